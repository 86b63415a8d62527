"""Weights: tensors of safetensors files, memory-mapped in their own dtype and converted one stage at a time."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from blockcert.errors import Refusal
from blockcert.file_range import Source, mapped, opened
from blockcert.program import Dense, Integer, LinearMap, LowRank, Rows, Sparse, TensorRef
from blockcert.safetensors_file import TensorInfo, read_header

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
_LARGEST_ZERO_POINT = (1 << 31) - 1
_LARGEST_EXACT = (1 << 53) - 1


class WeightStore:
    """Tensors by reference, from a fixed set of files.

    Args:
        files: every file that programs may name, by its path or in a bundle.

    Raises:
        Refusal: ``tensor.*`` where a file, tensor, slice or dtype is not there or does not fit.
    """

    def __init__(self, files: Mapping[str, Source]) -> None:
        self._sources = dict(files)
        self._open: dict[str, tuple[Host, dict[str, TensorInfo]]] = {}
        self._maps: list[mmap.mmap] = []
        self._opening = Lock()  # stages are loaded side by side

    def _file(self, name: str) -> tuple[Host, dict[str, TensorInfo]]:
        with self._opening:
            if name not in self._open:
                if name not in self._sources:
                    raise Refusal("tensor.file", name, "a program names this weight file, but it is not at hand")
                source = self._sources[name]
                header = read_header(source, name)
                with opened(source, name) as span:
                    mapping, rest = mapped(span, 0, span.size)
                self._maps.append(mapping)
                self._open[name] = (np.frombuffer(mapping, dtype=np.uint8, count=span.size, offset=rest), header)
            return self._open[name]

    def release(self) -> None:
        """Let go of the pages read so far, so that memory holds the weights of one stage and not of all before it."""
        for mapping in self._maps:
            if hasattr(mmap, "MADV_DONTNEED"):
                mapping.madvise(mmap.MADV_DONTNEED)

    def info(self, reference: TensorRef) -> TensorInfo:
        """Dtype and stored shape of a tensor, before slicing."""
        _, header = self._file(reference.file)
        if reference.tensor not in header:
            raise Refusal("tensor.missing", f"{reference.file}: {reference.tensor}", "the file has no such tensor")
        return header[reference.tensor]

    def raw(self, reference: TensorRef) -> tuple[str, Host]:
        """The dtype's name and the sliced, transposed tensor as stored (bfloat16 as its 16 bits); nothing is copied but
        rows of every period."""
        info = self.info(reference)
        place = f"{reference.file}: {reference.tensor}"
        if info.dtype not in _DTYPES:
            raise Refusal("tensor.dtype", place, f"weights of dtype {info.dtype} have no meaning in a program")
        data, _ = self._file(reference.file)
        # a misaligned tensor is copied by numpy where it is used; the bytes are the same
        tensor = data[info.begin : info.end].view(_DTYPES[info.dtype]).reshape(info.shape)
        rows = reference.rows
        if reference.period is not None:
            tensor, rows = _of_every_period(tensor, reference, place), None
        for axis, cut in ((0, rows), (1, reference.columns)):
            if cut is None:
                continue
            if tensor.ndim <= axis or not 0 <= cut[0] < cut[1] <= tensor.shape[axis]:
                raise Refusal("tensor.slice", place, f"the slice {cut} does not fit a tensor of shape {info.shape}")
            tensor = tensor[cut[0] : cut[1]] if axis == 0 else tensor[:, cut[0] : cut[1]]
        return info.dtype, tensor.T if reference.transpose else tensor

    def shape(self, reference: TensorRef, axes: int) -> tuple[int, ...]:
        """The shape of a tensor as it is used, sliced and transposed; refuses ``tensor.shape`` unless of ``axes``."""
        _, tensor = self.raw(reference)
        _expect(reference, tensor, (None,) * axes)
        return tensor.shape

    def floats(
        self, reference: TensorRef, shape: tuple[int | None, ...] | None = None, part: slice | Host | None = None
    ) -> Host:
        """A tensor's values as float32 or float64 (whichever holds them exactly); ``None`` in ``shape`` fits any.

        Only the rows ``part`` of it where that is given; the ``shape`` is the whole tensor's.
        """
        dtype, tensor = self.raw(reference)
        _expect(reference, tensor, shape)
        tensor = tensor if part is None else tensor[part]
        place = f"{reference.file}: {reference.tensor}"
        if dtype not in ("F64", "F32", "F16", "BF16"):
            raise Refusal("tensor.dtype", place, f"{dtype} where floats are needed")
        if dtype == "BF16":
            tensor = (tensor.astype(np.uint32) << 16).view(np.float32)
        elif dtype == "F16":
            tensor = tensor.astype(np.float32)
        if not np.isfinite(tensor).all():
            raise Refusal(
                "tensor.not_finite", place, "a weight is a NaN or an infinity, and has no meaning in a program"
            )
        return tensor

    def integers(
        self, reference: TensorRef, shape: tuple[int | None, ...] | None = None, part: slice | None = None
    ) -> Host:
        """A tensor of integers as int64; only the rows ``part`` where that is given, with the whole tensor's shape."""
        dtype, tensor = self.raw(reference)
        _expect(reference, tensor, shape)
        tensor = tensor if part is None else tensor[part]
        if dtype not in ("I64", "I32", "I16", "I8", "U8", "U16", "U32"):
            raise Refusal("tensor.dtype", f"{reference.file}: {reference.tensor}", f"{dtype} where integers are needed")
        return tensor.astype(np.int64)


def _of_every_period(tensor: Host, reference: TensorRef, place: str) -> Host:
    """The rows ``rows`` of every ``period`` of them (BC-PRG-06)."""
    period, cut = reference.period or 0, reference.rows
    if tensor.ndim == 0 or cut is None or not 0 <= cut[0] < cut[1] <= period or tensor.shape[0] % period:
        raise Refusal(
            "tensor.slice", place, f"rows {cut} of every {period} do not fit a tensor of shape {tensor.shape}"
        )
    rest = tensor.shape[1:]
    cuts = tensor.reshape(-1, period, *rest)[:, cut[0] : cut[1]]
    return cuts.reshape(-1, *rest)


def _expect(reference: TensorRef, tensor: Host, shape: tuple[int | None, ...] | None) -> None:
    if shape is None:
        return
    fits = len(shape) == tensor.ndim and all(w is None or w == s for w, s in zip(shape, tensor.shape, strict=True))
    if not fits:
        wanted = " x ".join("any" if w is None else str(w) for w in shape)
        found = " x ".join(map(str, tensor.shape))
        raise Refusal(
            "tensor.shape",
            f"{reference.file}: {reference.tensor}",
            f"the program needs {wanted}, the tensor is {found}",
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
    scale = store.floats(linear.scale, shape, part).astype(np.float64).reshape(-1, groups)
    channel = np.array([i // (linear.group or width) for i in range(width)], dtype=np.int64)
    if linear.zero_point is not None:
        zero = store.integers(linear.zero_point, shape, part)
        # values and zero points below 2^31 cannot wrap in int64, and their difference is exact in float64
        if zero.size and (zero.min() < -_LARGEST_ZERO_POINT or zero.max() > _LARGEST_ZERO_POINT):
            place = f"{linear.zero_point.file}: {linear.zero_point.tensor}"
            raise Refusal("tensor.range", place, "a zero point is not of magnitude below 2^31")
        values = values - zero.reshape(-1, groups)[:, channel]
    return values, scale[:, channel]


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


def dense_matrix(store: WeightStore, linear: LinearMap, part: slice | None = None) -> Host:
    """The matrix ``W`` of a linear map, ``out x in``; a low-rank map multiplied out in float64.

    Only the rows ``part`` where that is given, of a dense map or one of integers.
    """
    match linear:
        case Dense():
            return store.floats(linear.weight, (None, None), part)
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
