"""Safetensors files (``spec/02-bundle.md``) read from hostile hands and written deterministically, without numpy.

A file is eight bytes of little-endian header length, a JSON header, then the data. The header alone is read here, so
that a checkpoint of many gigabytes costs nothing to open; who needs a tensor maps the file and slices it.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from blockcert.errors import Refusal
from blockcert.file_range import Source, opened
from blockcert.names import shown
from blockcert.strict_json import LARGEST_INTEGER, Limits, check, typed

__all__ = ["DTYPE_SIZES", "Buffer", "Column", "TensorInfo", "column", "read_header", "read_header_bytes", "write"]

Buffer: TypeAlias = bytes | bytearray | memoryview
Column: TypeAlias = "memoryview[float] | memoryview[int] | array[float] | array[int]"

DTYPE_SIZES: dict[str, int] = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of one element, by the format's name of its type."""

MAX_HEADER = 16 << 20
"""Most bytes of the header: that of a dense model with 8,000 tensors has one megabyte, and one with 100,000, as in
the largest mixtures of experts, fifteen. The format's own cap is 100,000,000."""
MAX_AXES = 8
"""Most axes of one tensor: more than any program reads, fewer than array libraries refuse."""
ALIGNMENT = 64
_METADATA = "__metadata__"
# Training tools keep megabytes of JSON in one metadata string; the entry of a matrix has eight values.
_LIMITS = Limits(bytes=MAX_HEADER, nesting=3, nodes=1 << 20, string=MAX_HEADER)
_TYPECODES: dict[str, Literal["d", "q", "i", "B"]] = {"F64": "d", "I64": "q", "I32": "i", "U8": "B"}


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor: element type, shape, and the offsets in its file of its first byte and of the byte after its last."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_header(source: Source, place: str) -> dict[str, TensorInfo]:
    """The tensors of a file, in the header's order. Reads the header and the file's size, never the data.

    Raises:
        Refusal: ``tensor.unreadable``, ``tensor.header``, ``tensor.dtype``, ``tensor.size``, ``tensor.layout``,
            ``bundle.changed``, or what ``strict_json.check`` raises about the header.
    """
    try:
        with opened(source, place) as span, open(span.descriptor, "rb", closefd=False) as file:
            if not span.regular:
                raise Refusal("tensor.unreadable", place, "This is not a regular file.")
            file.seek(span.begin)
            start = file.read(min(8, span.size))
            claimed = int.from_bytes(start, "little")
            header = file.read(claimed) if 8 + claimed <= span.size and claimed <= MAX_HEADER else b""
            size = span.size
    except OSError as error:
        # a file that was listed or looked at before could be read then
        code = "tensor.unreadable" if isinstance(source, Path) else "bundle.changed"
        raise Refusal(code, place, f"The file cannot be read: {error.strerror or 'unknown reason'}.") from None
    # judged after the file was found unchanged: half a header must not be taken for a wrong one
    _header_length(start, size, place)
    return _parse(header, size, place)


def read_header_bytes(data: Buffer, place: str) -> dict[str, TensorInfo]:
    """The tensors of a whole file held in memory, in the header's order.

    Raises:
        Refusal: as ``read_header``.
    """
    view = memoryview(data)
    length = _header_length(bytes(view[:8]), len(view), place)
    return _parse(bytes(view[8 : 8 + length]), len(view), place)


def _header_length(start: bytes, size: int, place: str) -> int:
    if len(start) < 8:
        raise Refusal("tensor.header", place, f"The file has {len(start)} bytes; a safetensors file begins with 8.")
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        sentence = f"The header claims {length} bytes; at most {MAX_HEADER} are accepted. Is this safetensors?"
        raise Refusal("tensor.header", place, sentence)
    if length > size - 8:
        sentence = f"The header claims {length} bytes, but only {size - 8} follow; the file was cut off."
        raise Refusal("tensor.header", place, sentence)
    return length


def _parse(header: bytes, size: int, place: str) -> dict[str, TensorInfo]:
    where = f"{place}: header"
    if not header.startswith(b"{"):
        raise Refusal("tensor.header", place, "The header does not begin with an opening brace.")
    check(header, where, _LIMITS)
    entries = typed(header, dict[str, msgspec.Raw], where)
    if (metadata := entries.pop(_METADATA, None)) is not None:
        typed(metadata, dict[str, str], where, f"$.{_METADATA}")
    start = 8 + len(header)
    tensors = {
        name: _tensor(typed(raw, _Entry, where, f"$.{shown(name)[1:-1]}"), name, start, place)
        for name, raw in entries.items()
    }
    _check_layout(tensors, start, size, place)
    return tensors


def _tensor(entry: _Entry, name: str, start: int, place: str) -> TensorInfo:
    where = f"{place}: {shown(name)}"
    item = DTYPE_SIZES.get(entry.dtype)
    if item is None:
        raise Refusal("tensor.dtype", where, f"The element type {shown(entry.dtype)} is not known.")
    if len(entry.shape) > MAX_AXES:
        sentence = f"The shape has {len(entry.shape)} axes; at most {MAX_AXES} are accepted."
        raise Refusal("tensor.size", where, sentence)
    if any(length < 0 for length in entry.shape):
        raise Refusal("tensor.size", where, "The shape has a negative length.")
    begin, end = entry.data_offsets
    if not 0 <= begin <= end:
        raise Refusal("tensor.layout", where, f"The offsets {begin} and {end} are not a range.")
    needed = _size(entry.shape, item)
    if needed != end - begin:
        sentence = f"The shape needs {needed} bytes, but the offsets span {end - begin}."
        if needed is None:
            sentence = "The lengths of the shape multiply to more bytes than any file has."
        raise Refusal("tensor.size", where, sentence)
    return TensorInfo(entry.dtype, entry.shape, start + begin, start + end)


def _size(shape: tuple[int, ...], item: int) -> int | None:
    """Bytes of a tensor, or None where its lengths, a 0 among them left out, multiply to 2^53 bytes or more.

    Array libraries cannot hold a shape of such lengths even where a 0 leaves it empty.
    """
    size = item
    for length in shape:
        size *= length or 1
        if size > LARGEST_INTEGER:
            return None
    return 0 if 0 in shape else size


def _check_layout(tensors: dict[str, TensorInfo], start: int, size: int, place: str) -> None:
    at = start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != at:
            what = "overlaps the tensor before it" if info.begin < at else "leaves a gap before it"
            sentence = f"The tensor begins at byte {info.begin} and {what}, which ends at byte {at}."
            raise Refusal("tensor.layout", f"{place}: {shown(name)}", sentence)
        at = info.end
    if at > size:
        sentence = f"The tensors end at byte {at}, but the file has {size} bytes; it was cut off."
        raise Refusal("tensor.layout", place, sentence)
    if at < size:
        sentence = f"The tensors end at byte {at}, and {size - at} bytes of no tensor follow."
        raise Refusal("tensor.layout", place, sentence)


def column(data: Buffer, info: TensorInfo, place: str = "") -> Column:
    """The elements of one F64, I64, I32 or U8 tensor, flat and in row order, typed ``d``, ``q``, ``i`` or ``B``.

    ``data`` is the whole file, as bytes or a view of bytes (of a memory map, say). On a
    little-endian machine the result is a view of ``data``; alignment is not needed.

    Raises:
        Refusal: ``tensor.dtype`` for another element type, ``tensor.layout`` where ``data`` is too short.
    """
    code = _TYPECODES.get(info.dtype)
    if code is None:
        raise Refusal(
            "tensor.dtype", place, f"The element type is {info.dtype}; a column has one of F64, I64, I32, U8."
        )
    view = memoryview(data)
    if info.end > len(view):
        sentence = f"The tensor ends at byte {info.end}, but the file has {len(view)} bytes."
        raise Refusal("tensor.layout", place, sentence)
    if sys.byteorder == "little" and info.end > info.begin:  # a view of nothing cannot be cast
        return view[info.begin : info.end].cast(code)
    elements = array(code, bytes(view[info.begin : info.end]))
    if sys.byteorder == "big":
        elements.byteswap()
    return elements


def write(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...], Buffer]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a safetensors file; the same arguments give the same bytes.

    Tensors stand in the mapping's order, in the header and in the data, as little-endian bytes. The header is padded
    with spaces so that the data begins at a multiple of 64. The format allows no gap between tensors, so a later
    tensor is aligned only as its predecessors' sizes leave it: put wide element types first and every tensor is
    aligned to its element.

    Raises:
        ValueError: where bytes do not fit their type and shape, or a name is not a tensor's.
    """
    header: dict[str, object] = {}
    if metadata:
        header[_METADATA] = dict(metadata)
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        size = memoryview(data).nbytes
        if name == _METADATA:
            raise ValueError(f"{_METADATA} is not a tensor's name")
        known = dtype in DTYPE_SIZES and len(shape) <= MAX_AXES and min(shape, default=0) >= 0
        if not known or _size(shape, DTYPE_SIZES[dtype]) != size:
            raise ValueError(f"{name}: {size} bytes are not a {dtype} tensor of shape {shape}")
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (at, at + size)}
        at += size
    text = msgspec.json.encode(header)
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    check(text, str(path), _LIMITS)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, _, data in tensors.values():
            file.write(data)
