"""Linear maps as matrices of balls. Every stored value enters exactly; nothing is rounded before it is enclosed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from blockcert.program import Integer, LinearMap, LowRank, Rows, Sparse, TensorRef
from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, arb_mat
from blockcert_verifier.evaluate.weights import Host, WeightStore, dense_matrix, integer_matrix, sparse_parts

__all__ = ["MOST_ENTRIES", "Maps", "vector"]

Matrix: TypeAlias = Any
MOST_ENTRIES = 1 << 21
"""Entries of one matrix of balls; larger maps are applied in slices of their outputs, and not kept."""
_EXACT = 1 << 53


def vector(store: WeightStore, reference: TensorRef) -> list[Ball]:
    """A stored vector, exactly."""
    return [arb(value) for value in store.floats(reference, (None,)).astype(np.float64).tolist()]


class Maps:
    """The linear maps of one stage on both sides; a map that both sides name is converted once."""

    def __init__(self, store: WeightStore) -> None:
        self._store = store
        self._kept: dict[LinearMap, list[Matrix]] = {}

    def apply(self, linear: LinearMap, x: Balls) -> Balls:
        """``W x`` for every token."""
        match linear:
            case LowRank():
                store = self._store
                right = store.floats(linear.right, (None, None)).astype(np.float64)
                left = store.floats(linear.left, (None, right.shape[0])).astype(np.float64)
                return _product(_product(x, _slices(right)), _slices(left))
            case Rows():
                return self._rows(linear, x)
            case _:
                pass
        if linear in self._kept:
            return _product(x, self._kept[linear])
        matrix = self._matrix(linear)
        if len(matrix) * len(matrix[0]) <= MOST_ENTRIES:
            self._kept[linear] = list(_slices(matrix))
            return _product(x, self._kept[linear])
        return _product(x, _slices(matrix))

    def _rows(self, linear: Rows, x: Balls) -> Balls:
        """The stored rows alone; every other output is 0."""
        store = self._store
        weight = store.floats(linear.weight, (None, None)).astype(np.float64)
        indices = store.integers(linear.indices, (weight.shape[0],)).tolist()
        zero = arb(0)
        found: Balls = []
        for values in _product(x, _slices(weight)):
            row = [zero] * linear.size
            for index, value in zip(indices, values, strict=True):
                row[index] = value
            found.append(row)
        return found

    def _matrix(self, linear: LinearMap) -> Host | Balls:
        """``W`` in float64 where that holds it exactly, else in balls; ``out x in``."""
        match linear:
            case Integer():
                values, scale = integer_matrix(self._store, linear)
                return _scaled(values.astype(np.float64), scale)
            case Sparse():
                values, scale = sparse_parts(self._store, linear)
                return values if scale is None else _scaled(values, np.broadcast_to(scale[:, None], values.shape))
            case _:
                return dense_matrix(self._store, linear).astype(np.float64)


def _scaled(values: Host, scale: Host) -> Host | Balls:
    """Integers times a scale, entry by entry: float64 where every product is exact in it."""
    with np.errstate(all="ignore"):
        narrow = scale.astype(np.float32).astype(np.float64)
    bits = 24 if (narrow == scale).all() else 53
    # a product of b and c bits has at most b + c, and one of a float32 is far from the least float64
    if np.abs(values).max(initial=0) < _EXACT >> bits:
        return values * scale
    pairs = zip(values.tolist(), scale.tolist(), strict=True)
    return [[arb(v) * arb(s) for v, s in zip(row, scales, strict=True)] for row, scales in pairs]


def _slices(matrix: Host | Balls) -> Iterator[Matrix]:
    """The transpose, ``in x out``, in slices of outputs, one after another."""
    wide = len(matrix[0])
    size = max(1, MOST_ENTRIES // max(1, wide))
    return (_ball_matrix(matrix[at : at + size]) for at in range(0, len(matrix), size))


def _ball_matrix(rows: Host | Balls) -> Matrix:
    if isinstance(rows, list):
        return arb_mat(rows).transpose()
    return arb_mat(np.ascontiguousarray(rows.T).tolist())


def _product(x: Balls, slices: Iterable[Matrix]) -> Balls:
    left = arb_mat(x)
    parts = [(left * one).tolist() for one in slices]
    return parts[0] if len(parts) == 1 else [list(chain(*rows)) for rows in zip(*parts, strict=True)]
