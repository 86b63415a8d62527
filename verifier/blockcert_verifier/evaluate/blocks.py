"""Matrices and tables too large to be held in the working precision, read a block of rows at a time.

A head over a large vocabulary and its embedding hold more weights than any block of the model. Of such a map each block
of rows is converted, multiplied and let go; of a table only the rows of tokens that occur are converted. Every element
of a result is the inner product that it is without blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from blockcert.program import Dense, Embed, Integer, LinearMap, TensorRef
from blockcert_verifier.evaluate.backend import Array, Backend
from blockcert_verifier.evaluate.magnitude import largest_gain
from blockcert_verifier.evaluate.threads import at_once, threads
from blockcert_verifier.evaluate.weights import WeightStore, dense_matrix

__all__ = ["MatrixInBlocks", "TableInBlocks", "held_entries", "in_blocks"]

WHOLE = 1 << 30
"""Bytes in the working precision up to which a matrix or table is held whole."""
BLOCK = 1 << 26
"""Bytes of a block in the working precision."""
_TILE = 192
"""Outputs: a multiple of what the kernels of a BLAS compute at a time."""
T = TypeVar("T")


def held_entries(entries: int, width: int, itemsize: int = 8) -> int:
    """How many of a matrix's ``entries`` are held at a time in a precision of ``itemsize`` bytes."""
    return entries if entries * itemsize <= WHOLE else min(entries, max(width, BLOCK // itemsize) * threads())


def in_blocks(store: WeightStore, linear: LinearMap | TensorRef, backend: Backend) -> bool:
    """Whether a map (dense or of integers) or a table of rows is read in blocks: where it is large, and on the host."""
    match linear:
        case Dense():
            reference = linear.weight
        case Integer():
            reference = linear.values
        case TensorRef():
            reference = linear
        case _:
            return False
    if not backend.on_cpu:
        return False
    itemsize = backend.dtype.itemsize
    # what is stored is no smaller than the part that a slice takes of it
    if math.prod(store.info(reference).shape) * itemsize <= WHOLE:
        return False
    return math.prod(store.shape(reference)) * itemsize > WHOLE


def _slices(rows: int, width: int, backend: Backend) -> list[slice]:
    length = max(1, BLOCK // (max(1, width) * backend.dtype.itemsize))
    # products are computed in tiles of some outputs, and those at the end of a block may be summed otherwise
    length -= length % _TILE if length > _TILE else 0
    return [slice(begin, min(begin + length, rows)) for begin in range(0, rows, length)]


class MatrixInBlocks:
    """The matrix of a linear map, ``in x out`` as it multiplies from the right.

    Raises:
        Refusal: ``tensor.shape`` where it is no matrix; the other ``tensor.*`` when its rows are read.
    """

    def __init__(self, store: WeightStore, linear: Dense | Integer, backend: Backend) -> None:
        reference = linear.weight if isinstance(linear, Dense) else linear.values
        rows, width = store.shape(reference, 2)
        self.shape = (width, rows)
        self._store, self._map, self._backend = store, linear, backend
        self._slices = _slices(rows, width, backend)
        self._gain: float | None = None

    def _each(self, work: Callable[[slice, Array], T]) -> list[T]:
        """What ``work`` makes of each slice of the outputs and its columns of the matrix; several at a time."""

        def one(part: slice) -> T:
            with np.errstate(all="ignore"):  # which every thread has for itself
                return work(part, self._backend.array(dense_matrix(self._store, self._map, part, self._backend.host)).T)

        return at_once([partial(one, part) for part in self._slices])

    def multiplied(self, x: Array, out: Array) -> None:
        """``x @ matrix`` into ``out``: n x in to n x out."""
        measuring = self._gain is None

        def work(part: slice, columns: Array) -> float:
            out[:, part] = self._backend.matmul(x, columns)
            return largest_gain(self._backend, columns) if measuring else 0.0

        found = self._each(work)
        if measuring:
            self._gain = max(found)

    def gain(self) -> float:
        """The largest norm of a row of the map."""
        if self._gain is None:
            self._gain = max(self._each(lambda _, columns: largest_gain(self._backend, columns)))
        return self._gain


class TableInBlocks:
    """The rows of a table of embeddings.

    Raises:
        Refusal: ``tensor.*`` where it does not fit, or one of its values is not finite.
    """

    def __init__(self, store: WeightStore, step: Embed, rows: int | None, backend: Backend) -> None:
        self._store, self._reference, self._backend = store, step.weight, backend
        count, width = store.shape(step.weight, 2)
        for part in _slices(count, width, backend):  # a row that no token reads is as much a part of the program
            store.floats(step.weight, (rows, None), part)

    def taken(self, tokens: Array) -> Array:
        """The rows of some tokens, n x d; ``IndexError`` for a token outside the table."""
        needed, places = np.unique(tokens, return_inverse=True)
        return self._backend.array(self._store.floats(self._reference, None, needed))[places.reshape(-1)]
