"""What a program costs, counted from its steps and weights (``spec/08-claims.md``, "What was kept")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from msgspec.structs import replace

from blockcert.program import (
    Attention,
    Dense,
    Integer,
    Linear,
    LinearMap,
    LowRank,
    Program,
    Rows,
    Sparse,
    Stage,
    Take,
    TensorRef,
    WindowPattern,
    attends,
    step_references,
)
from blockcert.statement import Cost
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.evaluate.threads import cut
from blockcert_verifier.evaluate.weights import integer_matrix

__all__ = ["program_costs", "stage_cost"]

_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "I64": 64,
    "U64": 64,
    "I32": 32,
    "U32": 32,
    "I16": 16,
    "U16": 16,
}

_AT_ONCE = 1 << 23
"""Weights that are counted at a time."""


def _stored_bits(store: WeightStore, reference: TensorRef | None) -> int:
    if reference is None:
        return 0
    return math.prod(store.shape(reference)) * _BITS.get(store.info(reference).dtype, 8)


def _nonzero(tensor: np.ndarray[Any, Any]) -> int:
    return int(np.count_nonzero(tensor))


def _nonzero_values(store: WeightStore, reference: TensorRef) -> int:
    """Values that are not 0; bfloat16 is kept as its bits, and its minus zero is a zero too."""
    flat = replace(reference, transpose=False)  # rows as they are stored
    shape = store.shape(flat)
    most = _AT_ONCE // max(1, math.prod(shape[1:]))
    nonzero = 0
    for part in cut(shape[0], most) if shape else [None]:
        dtype, tensor = store.raw(flat, part)
        nonzero += _nonzero(tensor & 0x7FFF if dtype == "BF16" else tensor)
    return nonzero


def _map_cost(store: WeightStore, linear: LinearMap) -> tuple[int, int]:
    """Nonzero weights and stored bits of a linear map."""
    match linear:
        case Dense():
            return _nonzero_values(store, linear.weight), _stored_bits(store, linear.weight)
        case Sparse():
            parts = (linear.values, linear.columns, linear.row_starts, linear.scale)
            return _nonzero_values(store, linear.values), sum(_stored_bits(store, part) for part in parts)
        case LowRank():
            factors = (linear.left, linear.right)
            return sum(_nonzero_values(store, f) for f in factors), sum(_stored_bits(store, f) for f in factors)
        case Rows():
            parts = (linear.indices, linear.weight)
            return _nonzero_values(store, linear.weight), sum(_stored_bits(store, part) for part in parts)
        case Integer():
            rows, width = store.shape(linear.values, 2)
            nonzero = 0
            for part in cut(rows, _AT_ONCE // max(1, width)):
                nonzero += _nonzero(integer_matrix(store, linear, part)[0])
            parts = (linear.scale, linear.zero_point)
            return nonzero, rows * width * linear.bits + sum(_stored_bits(store, p) for p in parts)


def _ramp(length: int, top: int) -> int:
    """The sum of ``min(t + 1, top)`` over ``0 <= t < length``; 0 where ``length`` is not above 0."""
    rising = max(0, min(length, top))
    return rising * (rising + 1) // 2 + (max(0, length) - rising) * top


def _attended(step: Attention, length: int) -> int:
    """Pairs (position, attended position), summed over the heads that weigh positions; in constant time.

    Under a window, position ``t`` attends ``min(t + 1, width)`` recent positions and those sinks that lie before them,
    ``min(sinks, t + 1 - width)`` from ``t = width`` on.
    """
    total = 0
    for pattern in step.patterns:
        if not attends(pattern):
            continue
        if isinstance(pattern, WindowPattern):
            total += _ramp(length, pattern.width) + _ramp(length - pattern.width, pattern.sinks)
        else:
            total += _ramp(length, length)
    return total


def stage_cost(stage: Stage, store: WeightStore, length: int) -> Cost:
    """Nonzero weights, stored bits, and multiply-adds on one prompt of ``length`` tokens.

    Raises:
        Refusal: ``tensor.*`` where a weight is missing or does not fit.
    """
    parameters = bits = multiply_adds = 0
    for step in stage.steps:
        if isinstance(step, Linear):
            weights, stored = _map_cost(store, step.map)
            parameters, bits, multiply_adds = (
                parameters + weights,
                bits + stored,
                multiply_adds + length * weights,
            )
            references = (step.bias,) if step.bias is not None else ()
        else:
            references = step_references(step)
        if isinstance(step, Attention):
            multiply_adds += 2 * step.head_size * _attended(step, length)
        for reference in references:
            # indices say where weights are; they are stored, but are no weights
            parameters += 0 if isinstance(step, Take) else _nonzero_values(store, reference)
            bits += _stored_bits(store, reference)
    return Cost(parameters, bits, multiply_adds)


def program_costs(
    program: Program, store: WeightStore, length: int, look: Callable[[], None] = lambda: None
) -> tuple[Cost, ...]:
    """The cost of every stage, in order; ``look`` is called before each, and raises where there is no more time."""
    found: list[Cost] = []
    for stage in program.stages:
        look()
        found.append(stage_cost(stage, store, length))
    return tuple(found)
