"""Noise of the size of rounding, added to every step: what moves the result much, float64 does not resolve (BC-EVD-08).

A program can hide a part of its exact meaning where float64 loses it (beside a larger value, below the smallest one, in
a saturated function) and amplify it afterwards. Noise put where rounding falls is amplified with it, and shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from blockcert.program import Activation, Add, Linear, Rotary, SoftCap, Step
from blockcert_verifier.evaluate.backend import Array, Backend

__all__ = ["RELATIVE", "SMALLEST", "Noise"]

RELATIVE = 1e-14
"""Of the size of the terms that a step adds up; rounding itself is about 1e-16 of it."""
SMALLEST = 1e-290
"""Beside it: where values are lost because they are too small."""
_POOL = 1 << 17


class Noise:
    """Noise for the steps of one evaluation, from a seed.

    Numbers of ``[-1, 1]`` come from one pool, from a place in it that is drawn for each value: no two elements of one
    value share a number, and nobody who does not know the seed can tell where in the pool a value's noise begins.
    """

    def __init__(self, backend: Backend, seed: int) -> None:
        self._backend = backend
        self._source = np.random.default_rng(seed)
        self._pool: Any = None
        self._size = 0

    def branch(self) -> Noise:
        """Noise for work of its own, on whatever thread: its places are drawn from a seed drawn here."""
        if self._pool is None:
            self._grow(0)
        other = Noise(self._backend, int(self._source.integers(1 << 63)))
        other._pool, other._size = self._pool, self._size
        return other

    def _grow(self, count: int) -> None:
        # twice as long as the largest value, so that a place in it is hardly ever met again
        self._size = max(_POOL, 2 * count)
        self._pool = self._backend.array(self._source.uniform(-RELATIVE, RELATIVE, self._size))

    def _numbers(self, shape: tuple[int, ...]) -> Array:
        """Numbers of ``[-RELATIVE, RELATIVE]``."""
        count = math.prod(shape)
        if self._pool is None or count > self._size:
            self._grow(count)
        begin = int(self._source.random() * (self._size - count + 1))
        pool: Array = self._pool
        return pool[begin : begin + count].reshape(shape)

    def add(self, step: Step, bound: Array | None, values: Mapping[str, Array], first: int) -> Array:
        """A step's result with noise on its prompts from ``first`` on.

        ``bound`` is a linear step's magnitude, B x T.
        """
        value = values[step.out]
        noisy = value[first:]
        size = _terms(self._backend, step, bound, values, first)
        numbers = self._numbers(tuple(noisy.shape))
        if size.shape == numbers.shape:
            size += SMALLEST / RELATIVE
            size *= numbers
        else:
            size = (size + SMALLEST / RELATIVE) * numbers
        noisy += size  # in place: every step but those that repeat a vector makes a value of its own
        return value


def _terms(backend: Backend, step: Step, bound: Array | None, values: Mapping[str, Array], first: int) -> Array:
    """The size of what a step adds up, of a shape that broadcasts to its result."""
    xp = backend.xp
    out = values[step.out][first:]
    match step:
        case Linear() if bound is not None:
            return bound[first:, :, None]
        case Add():
            return xp.maximum(xp.abs(values[step.left][first:]), xp.abs(values[step.right][first:]))
        case Activation() | SoftCap():
            return xp.maximum(xp.abs(out), xp.abs(values[step.input][first:]))
        case Rotary():
            return xp.max(xp.abs(out), axis=-1, keepdims=True)
        case _:
            return xp.abs(out)
