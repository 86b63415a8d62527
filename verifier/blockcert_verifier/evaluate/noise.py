"""Noise of the size of rounding, added to every step: what moves the result much, float64 does not resolve (BC-EVD-08).

A program can hide a part of its exact meaning where float64 loses it (beside a larger value, below the smallest one, in
a saturated function) and amplify it afterwards. Noise put where rounding falls is amplified with it, and shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from blockcert.program import Activation, Add, Linear, Rotary, SoftCap, Step
from blockcert_verifier.evaluate.backend import Array, Backend

__all__ = ["RELATIVE", "SMALLEST", "perturbed"]

RELATIVE = 1e-14
"""Of the size of the terms that a step adds up; rounding itself is about 1e-16 of it."""
SMALLEST = 1e-290
"""Beside it: where values are lost because they are too small."""


def _terms(backend: Backend, step: Step, bound: Array | None, values: Mapping[str, Array]) -> Array:
    """The size of what a step adds up, of a shape that broadcasts to its result."""
    xp = backend.xp
    out = xp.abs(values[step.out])
    match step:
        case Linear() if bound is not None:
            return bound[..., None]
        case Add():
            return xp.maximum(xp.abs(values[step.left]), xp.abs(values[step.right]))
        case Activation() | SoftCap():
            return xp.maximum(out, xp.abs(values[step.input]))
        case Rotary():
            return xp.max(out, axis=-1, keepdims=True)
        case _:
            return out


def perturbed(
    backend: Backend, step: Step, bound: Array | None, values: Mapping[str, Array], source: np.random.Generator
) -> Array:
    """A step's result with noise; ``bound`` is a linear step's magnitude, B x T."""
    value = values[step.out]
    uniform = backend.array(source.uniform(-1.0, 1.0, tuple(value.shape)))
    size: Any = _terms(backend, step, bound, values)
    return value + (RELATIVE * size + SMALLEST) * uniform
