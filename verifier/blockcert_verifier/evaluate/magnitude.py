"""How large the values inside a stage become: what decides whether float64 resolves the stage (BC-EVD-08).

Rounding errors are relative to the largest value that takes part in a sum, so a program may hide a part of its exact
meaning behind huge values that cancel. Bounds here are per token, B x T, and cost one pass over a step's inputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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

__all__ = ["Gains", "frobenius", "largest_gain", "linear_magnitude", "score_bound", "step_magnitude"]


def _norm(backend: Backend, x: Array) -> Array:
    return backend.xp.sqrt(backend.xp.vecdot(x, x, axis=-1))


def _largest(backend: Backend, x: Array) -> Array:
    # two reductions in place of a copy of the whole value
    return backend.xp.maximum(backend.largest(x), -backend.smallest(x))


def largest_gain(backend: Backend, matrix: Array) -> Any:
    """The largest norm of a row of ``W``, whose transpose (in x out) is given: no product of its is larger."""
    xp = backend.xp
    return xp.sqrt(xp.max(xp.vecdot(matrix.T, matrix.T, axis=-1)))


def frobenius(backend: Backend, matrix: Array) -> Any:
    """The Frobenius norm of a matrix: the norm of no product of its is larger."""
    return backend.xp.sqrt(backend.xp.sum(backend.xp.vecdot(matrix.T, matrix.T, axis=-1)))


class Gains(NamedTuple):
    """What bounds a linear step: the largest gain of its one or two matrices, and its largest bias or ``None``."""

    product: Any
    bias: Any


def linear_magnitude(backend: Backend, step: Linear, gains: Gains, x: Array, norms: dict[str, Array]) -> Array:
    """A bound on every term and partial sum of a linear step at ``x`` (B x T x in), B x T.

    ``norms`` keeps the norms of values that several steps read.
    """
    if step.input not in norms:
        norms[step.input] = _norm(backend, x)
    bound = norms[step.input] * gains.product
    return bound if gains.bias is None else bound + gains.bias


def step_magnitude(backend: Backend, step: Step, value: Array) -> Array | None:
    """A bound on every term and partial sum of a step whose result is ``value``, B x T; ``None`` where its inputs'
    bounds cover it. Linear steps have :func:`linear_magnitude`."""
    match step:
        case Embed() | Positions() | Constant() | Add() | Multiply():
            return _largest(backend, value)
        case _:
            return None


def score_bound(backend: Backend, step: Attention, query: Array, key: Array) -> Array:
    """A bound on the attention scores of each position over all heads and keys, B x T."""

    def norms(x: Array, heads: int) -> Array:  # B x T x heads
        return _norm(backend, x.reshape((*x.shape[:2], heads, step.head_size)))

    q = backend.largest(norms(query, step.heads))
    k = backend.largest(norms(key, step.key_value_heads))  # B x T
    scale = backend.number(step.denominator_squared) ** -0.5
    return q * backend.largest(k, keep=True) * scale
