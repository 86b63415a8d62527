"""New tensors while they are only in memory, beside the reference's weight files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.program import TensorRef
from blockcert.safetensors_file import TensorInfo
from blockcert_verifier.evaluate import WeightStore

__all__ = ["SURROGATE_FILE", "Host", "MemoryStore", "Tensor", "bfloat16", "half", "held", "ref", "short", "tensor"]

Host: TypeAlias = np.ndarray[Any, Any]

SURROGATE_FILE = "programs/surrogate.safetensors"
"""The one file of the bundle in which an extracted program's new tensors stand."""

_NAMES = {"<f4": "F32", "<f2": "F16", "|i1": "I8", "<i4": "I32", "|u1": "U8", "<u2": "U16", "<u4": "U32"}


class Tensor(Struct, frozen=True):
    """A tensor as stored: the name of its dtype, and its values (bfloat16 as its 16 bits)."""

    dtype: str
    values: Host

    def stored(self) -> tuple[str, tuple[int, ...], bytes]:
        """Dtype, shape and bytes, as ``blockcert.safetensors_file.write`` takes them."""
        return self.dtype, self.values.shape, self.values.tobytes()


def tensor(values: Host) -> Tensor:
    """``values`` as a stored tensor of their own dtype, little-endian."""
    held = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return Tensor(_NAMES[held.dtype.str], held)


def held(dtype: str, shape: tuple[int, ...], data: bytes) -> Tensor:
    """The tensor of what ``stored`` gives."""
    name = "<u2" if dtype == "BF16" else next(numpy for numpy, stored in _NAMES.items() if stored == dtype)
    return Tensor(dtype, np.frombuffer(data, dtype=name).reshape(shape))


_LEAST_NORMAL, _LARGEST = 2.0**-14, 65504.0


def half(values: Host) -> Host:
    """``values`` in float16, or in float32 where one of them overflows or would lose precision."""
    size = np.abs(values)
    fits = bool(((size == 0) | ((size >= _LEAST_NORMAL) & (size <= _LARGEST))).all())
    return values.astype(np.float16 if fits else np.float32)


def short(values: Host) -> Host:
    """A bias, a factor or a norm's scale in float16, or in float32 where it overflows: what float16 loses is far below
    any budget."""
    return values.astype(np.float16 if np.abs(values).max(initial=0) <= _LARGEST else np.float32)


def bfloat16(values: Host) -> tuple[Tensor, Host]:
    """``values`` rounded to bfloat16, nearest with ties to even: the stored tensor and what it stands for."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    return Tensor("BF16", rounded), (rounded.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def ref(name: str) -> TensorRef:
    """A reference to a new tensor."""
    return TensorRef(SURROGATE_FILE, name)


class MemoryStore(WeightStore):
    """The weights of ``base`` and, under ``SURROGATE_FILE``, tensors held in memory."""

    def __init__(self, base: WeightStore, tensors: dict[str, Tensor]) -> None:
        super().__init__({})
        self._base = base
        self._tensors = tensors

    def info(self, reference: TensorRef) -> TensorInfo:
        """Dtype and stored shape of a tensor; the offsets of a tensor in memory are 0."""
        if reference.file != SURROGATE_FILE:
            return self._base.info(reference)
        held = self._tensors[reference.tensor]
        return TensorInfo(held.dtype, held.values.shape, 0, 0)

    def raw(self, reference: TensorRef, part: slice | Host | None = None) -> tuple[str, Host]:
        """The dtype's name and the tensor as stored, or the rows ``part`` of it."""
        if reference.file != SURROGATE_FILE:
            return self._base.raw(reference, part)
        held = self._tensors[reference.tensor]
        return held.dtype, held.values if part is None else held.values[part]

    def each(self, reference: TensorRef, parts: Sequence[slice | Host]) -> Iterator[Host]:
        """Rows of the tensor as stored, for each of the ``parts``."""
        if reference.file != SURROGATE_FILE:
            return self._base.each(reference, parts)
        held = self._tensors[reference.tensor]
        return (held.values[part] for part in parts)
