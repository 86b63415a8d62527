"""Linear maps as matrices of balls. Every stored value enters exactly; nothing is rounded before it is enclosed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from blockcert.program import Integer, LinearMap, LowRank, Rows, Sparse, TensorRef
from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, arb_mat, ctx
from blockcert_verifier.enclose.integer_products import Digits, Slices, cut, product, slices, worthwhile
from blockcert_verifier.evaluate.weights import Host, WeightStore, dense_matrix, integer_matrix, sparse_parts

__all__ = ["MOST_ENTRIES", "Maps", "vector"]

Matrix: TypeAlias = Any
MOST_ENTRIES = 1 << 22
"""Entries of one matrix of balls; larger maps are applied in slices of their outputs, and not kept."""
_EXACT = 1 << 53
_FEWEST_ROWS = 8
_COLUMNS = 256
"""Outputs of one product of integers: as many as keep its sums in a processor's cache."""


def vector(store: WeightStore, reference: TensorRef) -> list[Ball]:
    """A stored vector, exactly."""
    return [arb(value) for value in store.floats(reference, (None,)).astype(np.float64).tolist()]


class Maps:
    """The linear maps of one stage on both sides; a map that both sides name is converted once.

    ``look`` is called before each part of a product, and by whoever else works on the stage; what it raises ends that.
    """

    def __init__(self, store: WeightStore, look: Callable[[], None] = lambda: None) -> None:
        self._store, self.look = store, look
        self._kept: dict[LinearMap, list[Matrix | Slices]] = {}
        self._cut: tuple[Balls, int, Digits | None] | None = None

    def apply(self, linear: LinearMap, x: Balls) -> Balls:
        """``W x`` for every token."""
        match linear:
            case LowRank():
                store = self._store
                right = store.floats(linear.right, (None, None)).astype(np.float64)
                left = store.floats(linear.left, (None, right.shape[0])).astype(np.float64)
                return self._product(self._product(x, self._slices(right, len(x))), self._slices(left, len(x)))
            case Rows():
                return self._rows(linear, x)
            case _:
                pass
        if linear in self._kept:
            return self._product(x, self._kept[linear])
        matrix = self._matrix(linear)
        if len(matrix) * len(matrix[0]) <= MOST_ENTRIES:
            self._kept[linear] = list(self._slices(matrix, len(x)))
            return self._product(x, self._kept[linear])
        return self._product(x, self._slices(matrix, len(x)))

    def _slices(self, matrix: Host | Balls, rows: int) -> Iterator[Matrix | Slices]:
        """The transpose, ``in x out``, in slices of outputs, one after another."""
        inner, out = len(matrix[0]), len(matrix)
        if isinstance(matrix, np.ndarray) and rows >= _FEWEST_ROWS and worthwhile(inner, out):
            for at in range(0, out, _COLUMNS):
                part = np.ascontiguousarray(matrix[at : at + _COLUMNS].T)
                yield slices(part) or _ball_matrix(part)
            return
        size = max(1, MOST_ENTRIES // max(1, inner))
        for at in range(0, out, size):
            rows_of = matrix[at : at + size]
            yield arb_mat(rows_of).transpose() if isinstance(rows_of, list) else _ball_matrix(rows_of.T)

    def _product(self, x: Balls, parts: Iterable[Matrix | Slices]) -> Balls:
        found: list[Balls] = []
        left: Any = None
        for one in parts:
            self.look()
            digits = self._digits(x) if isinstance(one, Slices) else None
            if isinstance(one, Slices) and digits is not None:
                found.append(product(digits, one))
                continue
            left = arb_mat(x) if left is None else left
            matrix = _ball_matrix(one.values()) if isinstance(one, Slices) else one
            found.append((left * matrix).tolist())
        return found[0] if len(found) == 1 else [list(chain(*rows)) for rows in zip(*found, strict=True)]

    def _digits(self, x: Balls) -> Digits | None:
        """What :func:`cut` makes of ``x``; once for the maps that are applied to the same value."""
        if self._cut is None or self._cut[0] is not x or self._cut[1] != ctx.prec:
            self._cut = (x, ctx.prec, cut(x))
        return self._cut[2]

    def _rows(self, linear: Rows, x: Balls) -> Balls:
        """The stored rows alone; every other output is 0."""
        store = self._store
        weight = store.floats(linear.weight, (None, None)).astype(np.float64)
        indices = store.integers(linear.indices, (weight.shape[0],)).tolist()
        zero = arb(0)
        found: Balls = []
        for values in self._product(x, self._slices(weight, len(x))):
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


def _ball_matrix(matrix: Host) -> Matrix:
    return arb_mat(np.ascontiguousarray(matrix).tolist())
