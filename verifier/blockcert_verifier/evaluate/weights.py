"""Weights: tensors of safetensors files, read in their own dtype where they are needed and converted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from msgspec.structs import replace

from blockcert.errors import Refusal
from blockcert.file_range import Source, pinned
from blockcert.program import Dense, Integer, LinearMap, LowRank, Rows, Sparse, TensorRef
from blockcert.safetensors_file import TensorInfo, read_header
from blockcert_verifier.evaluate.stored import BLOCK, stored_rows

__all__ = ["Host", "WeightStore", "dense_matrix", "integer_matrix", "sparse_parts"]

Host: TypeAlias = np.ndarray[Any, Any]

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
}
_FLOATS = {"F64": np.dtype(np.float64), "F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": None}
_LARGEST_ZERO_POINT = (1 << 31) - 1
_LARGEST_EXACT = (1 << 53) - 1
_PIECE = 1 << 17
"""Elements that are converted at a time, while they are in the processor's cache."""


class WeightStore:
    """Tensors by reference, from a fixed set of files.

    Args:
        files: every file that programs may name, by its path or in a bundle.

    Raises:
        Refusal: ``tensor.*`` where a file, tensor, slice or dtype is not there or does not fit.
    """

    def __init__(self, files: Mapping[str, Source]) -> None:
        self._sources = dict(files)
        self._open: dict[str, tuple[Source, dict[str, TensorInfo]]] = {}
        self._opening = Lock()  # stages are loaded side by side

    def _file(self, name: str) -> tuple[Source, dict[str, TensorInfo]]:
        """Where a file is and its header, read once; whoever reads it again must find the same file there."""
        with self._opening:
            if name not in self._open:
                if name not in self._sources:
                    raise Refusal("tensor.file", name, "a program names this weight file, but it is not at hand")
                source = self._sources[name]
                source = pinned(source) if isinstance(source, Path) else source
                self._open[name] = (source, read_header(source, name))
            return self._open[name]

    def info(self, reference: TensorRef) -> TensorInfo:
        """Dtype and stored shape of a tensor, before slicing."""
        _, header = self._file(reference.file)
        if reference.tensor not in header:
            raise Refusal("tensor.missing", f"{reference.file}: {reference.tensor}", "the file has no such tensor")
        return header[reference.tensor]

    def raw(self, reference: TensorRef, part: slice | Host | None = None) -> tuple[str, Host]:
        """The dtype's name and the sliced, transposed tensor as stored (bfloat16 as its 16 bits), read from its file.

        Only the rows ``part`` of it, a slice or increasing numbers, where that is given: no more is read than they
        need.

        Raises:
            IndexError: where ``part`` has a number that is no row's.
        """
        shape = self.shape(reference)
        if not reference.transpose or part is None or len(shape) < 2:
            [tensor] = self.each(replace(reference, transpose=False), [slice(None) if part is None else part])
            return self.info(reference).dtype, tensor.T if reference.transpose else tensor
        # rows of a transposed tensor are columns of what is stored
        flat = replace(reference, transpose=False)
        blocks = [rows for _, rows in _pieces(None, shape[-1], BLOCK // max(1, math.prod(shape[:-1]) * 8))]
        if isinstance(part, slice) and len(shape) == 2:
            begin, end, _ = part.indices(shape[0])
            if begin < end:
                first = 0 if reference.columns is None else reference.columns[0]
                flat = replace(flat, columns=(first + begin, first + end))
                blocks, part = [slice(None)], slice(None)
        found = [tensor[..., part] for tensor in self.each(flat, blocks)]
        return self.info(reference).dtype, np.concatenate(found or [np.empty(shape[::-1])[..., part]]).T

    def each(self, reference: TensorRef, parts: Sequence[slice | Host]) -> Iterator[Host]:
        """Rows of a sliced tensor that is not transposed, as stored, for each of the ``parts`` as :meth:`raw` takes
        them: its file is opened once. They count only where the iterator comes to its end."""
        shape, info = self.shape(reference), self.info(reference)
        rows = [_in_range(part, shape[0] if shape else 1, reference) for part in parts]
        source, _ = self._file(reference.file)
        for found in stored_rows(source, reference, info, np.dtype(_DTYPES[info.dtype]), rows):
            yield found.reshape((len(found), *shape[1:]) if shape else ())

    def shape(self, reference: TensorRef, axes: int | None = None) -> tuple[int, ...]:
        """The shape of a tensor as it is used, sliced and transposed, of which nothing is read.

        Raises:
            Refusal: ``tensor.dtype``, ``tensor.slice``, and ``tensor.shape`` unless of ``axes`` where that is given.
        """
        info = self.info(reference)
        place = f"{reference.file}: {reference.tensor}"
        if info.dtype not in _DTYPES:
            raise Refusal("tensor.dtype", place, f"weights of dtype {info.dtype} have no meaning in a program")
        shape, rows = list(info.shape), reference.rows
        if reference.period is not None:
            shape, rows = _of_every_period(shape, reference, place), None
        for axis, cut in ((0, rows), (1, reference.columns)):
            if cut is None:
                continue
            if len(shape) <= axis or not 0 <= cut[0] < cut[1] <= shape[axis]:
                raise Refusal("tensor.slice", place, f"the slice {cut} does not fit a tensor of shape {info.shape}")
            shape[axis] = cut[1] - cut[0]
        found = tuple(shape[::-1] if reference.transpose else shape)
        if axes is not None:
            _expect(reference, found, (None,) * axes)
        return found

    def floats(
        self,
        reference: TensorRef,
        shape: tuple[int | None, ...] | None = None,
        part: slice | Host | None = None,
        precision: np.dtype[Any] | None = None,
    ) -> Host:
        """A tensor's values as float32 or float64, whichever holds them exactly, or in the given ``precision``.

        ``None`` in ``shape`` fits any. Only the rows ``part`` of the tensor where that is given; the ``shape`` is the
        whole tensor's.
        """
        found = self.shape(reference)
        _expect(reference, found, shape)
        place = f"{reference.file}: {reference.tensor}"
        if (dtype := self.info(reference).dtype) not in _FLOATS:
            raise Refusal("tensor.dtype", place, f"{dtype} where floats are needed")
        precision = precision or np.dtype(np.float64 if dtype == "F64" else np.float32)
        if found and _FLOATS[dtype] != precision:
            return self._converted(reference, found, part, precision)
        values = _wide(dtype, self.raw(reference, part)[1])
        _check(_finite(values.T if reference.transpose else values), place)
        return values.astype(precision, copy=False)

    def _converted(
        self, reference: TensorRef, shape: tuple[int, ...], part: slice | Host | None, precision: np.dtype[Any]
    ) -> Host:
        """Floats in another precision than they are stored in: read and converted piece by piece, in the cache."""
        place, dtype = f"{reference.file}: {reference.tensor}", self.info(reference).dtype
        if reference.transpose and part is not None:
            values = _wide(dtype, self.raw(reference, part)[1])
            _check(_finite(values), place)
            return values.astype(precision, order="C")
        flat = replace(reference, transpose=False)
        stored = shape[::-1] if reference.transpose else shape
        pieces = _pieces(part, stored[0], _at_once(stored))
        found = np.empty((pieces[-1][0].stop if pieces else 0, *stored[1:]), precision)
        if reference.transpose:
            found = np.empty(found.shape[::-1], precision).T
        finite = True
        for (where, _), raw in zip(pieces, self.each(flat, [rows for _, rows in pieces]), strict=True):
            values = _wide(dtype, raw)
            finite = finite and _finite(values)
            found[where] = values
        # after the file was found unchanged: half of another weight must not be taken for a wrong one
        _check(finite, place)
        return found.T if reference.transpose else found

    def integers(
        self, reference: TensorRef, shape: tuple[int | None, ...] | None = None, part: slice | None = None
    ) -> Host:
        """A tensor of integers as int64; only the rows ``part`` where that is given, with the whole tensor's shape."""
        _expect(reference, self.shape(reference), shape)
        if (dtype := self.info(reference).dtype) not in ("I64", "I32", "I16", "I8", "U8", "U16", "U32"):
            raise Refusal("tensor.dtype", f"{reference.file}: {reference.tensor}", f"{dtype} where integers are needed")
        return self.raw(reference, part)[1].astype(np.int64)


def _in_range(part: slice | Host, rows: int, reference: TensorRef) -> slice | Host:
    """A part of so many rows with a begin and an end; ``IndexError`` for a number that is no row's."""
    if isinstance(part, slice):
        begin, end, _ = part.indices(rows)
        return slice(begin, end)
    if part.size and not 0 <= part.min() <= part.max() < rows:
        raise IndexError(f"a row outside the {rows} of {reference.file}: {reference.tensor}")
    return part


def _pieces(part: slice | Host | None, rows: int, each: int) -> list[tuple[slice, slice | Host]]:
    """Some of so many ``rows`` in pieces of ``each``: where each piece stands among them, and which rows it is."""
    each = max(1, each)
    if isinstance(part, np.ndarray):
        return [(slice(at, min(at + each, len(part))), part[at : at + each]) for at in range(0, len(part), each)]
    first, end, _ = (slice(None) if part is None else part).indices(rows)
    ends = [(at, min(at + each, end)) for at in range(first, end, each)]
    return [(slice(begin - first, stop - first), slice(begin, stop)) for begin, stop in ends]


def _wide(dtype: str, stored: Host) -> Host:
    """Stored floats in a type that numpy computes with; bfloat16 is the upper half of float32."""
    if dtype != "BF16":
        return stored
    bits = stored.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def _finite(values: Host) -> bool:
    """Whether all are finite; looked at in pieces of rows, which stay in the cache."""
    rows = (
        [values] if values.ndim == 0 else [values[at] for at, _ in _pieces(None, len(values), _at_once(values.shape))]
    )
    return all(np.isfinite(piece).all() for piece in rows)


def _check(finite: bool, place: str) -> None:
    if not finite:
        sentence = "a weight is a NaN or an infinity, and has no meaning in a program"
        raise Refusal("tensor.not_finite", place, sentence)


def _at_once(shape: tuple[int, ...]) -> int:
    """Rows of a piece."""
    return _PIECE // max(1, math.prod(shape[1:]))


def _of_every_period(shape: list[int], reference: TensorRef, place: str) -> list[int]:
    """The shape of the rows ``rows`` of every ``period`` of them (BC-PRG-06)."""
    period, cut = reference.period or 0, reference.rows
    if not shape or cut is None or not 0 <= cut[0] < cut[1] <= period or shape[0] % period:
        sentence = f"rows {cut} of every {period} do not fit a tensor of shape {tuple(shape)}"
        raise Refusal("tensor.slice", place, sentence)
    return [shape[0] // period * (cut[1] - cut[0]), *shape[1:]]


def _expect(reference: TensorRef, found: tuple[int, ...], shape: tuple[int | None, ...] | None) -> None:
    if shape is None:
        return
    if len(shape) != len(found) or any(w is not None and w != s for w, s in zip(shape, found, strict=True)):
        wanted = " x ".join("any" if w is None else str(w) for w in shape)
        raise Refusal(
            "tensor.shape",
            f"{reference.file}: {reference.tensor}",
            f"the program needs {wanted}, the tensor is {' x '.join(map(str, found))}",
        )


def integer_matrix(store: WeightStore, linear: Integer, part: slice | None = None) -> tuple[Host, Host]:
    """``(values - zero_point, scale)`` of an integer map, both ``out x in`` (the scale broadcast), exact in float64.

    Only the rows ``part`` where that is given.
    """
    out, width = store.shape(linear.values, 2)
    values = store.integers(linear.values, (None, None), part)
    bound = 1 << (linear.bits - 1)
    if values.size and (values.min() < -bound or values.max() >= bound):
        raise Refusal(
            "tensor.range", f"{linear.values.file}: {linear.values.tensor}", f"not {linear.bits}-bit integers"
        )
    groups = 1 if linear.group is None else -(-width // linear.group)
    shape: tuple[int, ...] = (out,) if linear.group is None else (out, groups)
    scale = store.floats(linear.scale, shape, part, np.dtype(np.float64)).reshape(-1, groups)

    def spread(of_groups: Host) -> Host:
        # one group is a column beside every other, of which no copy is made
        return of_groups if groups == 1 else np.repeat(of_groups, linear.group or width, axis=1)[:, :width]

    if linear.zero_point is not None:
        zero = store.integers(linear.zero_point, shape, part)
        # values and zero points below 2^31 cannot wrap in int64, and their difference is exact in float64
        if zero.size and (zero.min() < -_LARGEST_ZERO_POINT or zero.max() > _LARGEST_ZERO_POINT):
            place = f"{linear.zero_point.file}: {linear.zero_point.tensor}"
            raise Refusal("tensor.range", place, "a zero point is not of magnitude below 2^31")
        values -= spread(zero.reshape(-1, groups))
    return values, np.broadcast_to(spread(scale), values.shape)


def sparse_parts(store: WeightStore, linear: Sparse) -> tuple[Host, Host | None]:
    """A sparse map's values as a matrix, ``out x in``, exact in float64, and the scale of its rows if it has one."""
    out, width = linear.shape
    place = f"{linear.values.file}: {linear.values.tensor}"
    if linear.scale is None:
        values = store.floats(linear.values, (None,)).astype(np.float64)
    else:
        stored = store.integers(linear.values, (None,))
        if stored.size and (stored.min() < -_LARGEST_EXACT or stored.max() > _LARGEST_EXACT):
            raise Refusal("tensor.range", place, "a stored integer is not of magnitude below 2^53")
        values = stored.astype(np.float64)
    columns = store.integers(linear.columns, (values.shape[0],))
    starts = store.integers(linear.row_starts, (out + 1,))
    # compared and not subtracted: a difference wraps in int64, and np.repeat would write where it points
    if starts[0] != 0 or starts[-1] != values.shape[0] or (starts[1:] < starts[:-1]).any():
        raise Refusal("tensor.sparse", place, "row_starts do not divide the values into rows")
    rows = np.repeat(np.arange(out), np.diff(starts))
    if columns.size and (columns.min() < 0 or columns.max() >= width):
        raise Refusal("tensor.sparse", place, "a column index is outside the matrix")
    flat = rows * width + columns
    if (np.diff(flat) <= 0).any():
        raise Refusal("tensor.sparse", place, "column indices are not strictly increasing within a row")
    matrix = np.zeros((out, width))
    matrix.reshape(-1)[flat] = values
    return matrix, None if linear.scale is None else store.floats(linear.scale, (out,)).astype(np.float64)


def dense_matrix(
    store: WeightStore, linear: LinearMap, part: slice | None = None, precision: np.dtype[Any] | None = None
) -> Host:
    """The matrix ``W`` of a linear map, ``out x in``; a low-rank map multiplied out in float64.

    A dense map is in ``precision`` where that is given. Only the rows ``part`` where those are given, of a dense map or
    one of integers.
    """
    match linear:
        case Dense():
            return store.floats(linear.weight, (None, None), part, precision)
        case Integer():
            values, scale = integer_matrix(store, linear, part)
            return values * scale
        case Sparse():
            matrix, row_scale = sparse_parts(store, linear)
            if row_scale is not None:
                matrix *= row_scale[:, None]
            return matrix
        case LowRank():
            left = store.floats(linear.left, (None, None)).astype(np.float64)
            return left @ store.floats(linear.right, (left.shape[1], None)).astype(np.float64)
        case Rows():
            weight = store.floats(linear.weight, (None, None))
            indices = store.integers(linear.indices, (weight.shape[0],))
            place = f"{linear.indices.file}: {linear.indices.tensor}"
            if indices.size and (indices[0] < 0 or indices[-1] >= linear.size or (indices[1:] <= indices[:-1]).any()):
                raise Refusal("tensor.rows", place, f"not strictly increasing row numbers below {linear.size}")
            matrix = np.zeros((linear.size, weight.shape[1]))
            matrix[indices] = weight
            return matrix
