"""How large the values inside a stage become: what decides whether float64 resolves the stage (BC-EVD-08).

Rounding errors are relative to the largest value that takes part in a sum, so a program may hide a part of its exact
meaning behind huge values that cancel. Bounds here are per token, B x T, and cost one pass over a step's inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blockcert.program import (
    Add,
    Attention,
    Constant,
    Embed,
    Linear,
    Multiply,
    Positions,
    Step,
)
from blockcert_verifier.evaluate.backend import Array, Backend

__all__ = ["frobenius", "largest_gain", "score_bound", "step_magnitude"]


def _norm(backend: Backend, x: Array) -> Array:
    return backend.xp.sqrt(backend.xp.vecdot(x, x, axis=-1))


def _largest(backend: Backend, x: Array) -> Array:
    xp = backend.xp
    # two reductions in place of a copy of the whole value
    return xp.maximum(xp.max(x, axis=-1), -xp.min(x, axis=-1))


def largest_gain(backend: Backend, matrix: Array) -> Any:
    """The largest norm of a row of ``W``, whose transpose (in x out) is given: no product of its is larger."""
    return backend.xp.max(_norm(backend, matrix.T))


def frobenius(backend: Backend, matrix: Array) -> Any:
    """The Frobenius norm of a matrix: the norm of no product of its is larger."""
    return backend.xp.sqrt(backend.xp.sum(backend.xp.vecdot(matrix.T, matrix.T, axis=-1)))


def step_magnitude(
    backend: Backend,
    step: Step,
    loaded: tuple[Array | None, ...],
    gains: Any,
    values: Mapping[str, Array],
    norms: dict[str, Array],
) -> Array | None:
    """A bound on every term and partial sum of a step, B x T; ``None`` where its inputs' bounds cover it.

    ``gains`` bound the products of a linear step's one or two matrices; ``norms`` keeps the norms of values that
    several steps read.
    """
    match step:
        case Linear():
            first, second = gains
            if step.input not in norms:
                norms[step.input] = _norm(backend, values[step.input])
            bound = norms[step.input] * first
            if second is not None:
                bound = bound * second  # of the product of both factors, hence of either
            if loaded[2] is not None:
                bound = bound + backend.xp.max(backend.xp.abs(loaded[2]))
            return bound
        case Embed() | Positions() | Constant() | Add() | Multiply():
            return _largest(backend, values[step.out])
        case _:
            return None


def score_bound(backend: Backend, step: Attention, values: Mapping[str, Array]) -> Array:
    """A bound on the attention scores of each position over all heads and keys, B x T."""
    xp = backend.xp

    def norms(x: Array, heads: int) -> Array:  # B x T x heads
        return _norm(backend, xp.reshape(x, (*x.shape[:2], heads, step.head_size)))

    q = xp.max(norms(values[step.query], step.heads), axis=-1)
    k = xp.max(norms(values[step.key], step.key_value_heads), axis=-1)  # B x T
    scale = backend.number(step.denominator_squared) ** -0.5
    return q * xp.max(k, axis=-1, keepdims=True) * scale
