"""Rows of a stored tensor, read at their place in the file into memory of their own.

A map of the file would save the copy, but a file that is cut while it is mapped ends the process by a signal, and no
map tells whether what it shows is still what was hashed. Here a file is compared with what it was when it is opened,
and again when the tensor has been read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from blockcert.errors import Refusal
from blockcert.file_range import Source, Span, opened, read_into
from blockcert.program import TensorRef
from blockcert.safetensors_file import TensorInfo

__all__ = ["BLOCK", "stored_rows"]

Host: TypeAlias = np.ndarray[Any, Any]

BLOCK = 1 << 22
"""Bytes that are read at a time where only a part of what is read is wanted."""
_LONG = 1 << 14
"""Bytes of a part of a row that are worth a read of their own."""


def stored_rows(
    source: Source, reference: TensorRef, info: TensorInfo, dtype: np.dtype[Any], parts: Iterable[slice | Host]
) -> Iterator[Host]:
    """Some rows after others of what a reference takes of a tensor before it is transposed, each rows x elements.

    What came before the end of the iterator counts only where that is reached: the file is compared once more there.

    Args:
        source: the file.
        reference: of which ``rows``, ``period`` and ``columns`` fit the tensor.
        info: where the tensor is and its stored shape; one without axes is a row of one element.
        dtype: of its elements.
        parts: begin and end, or increasing numbers, of rows of the reference; all of them in range.

    Raises:
        Refusal: ``bundle.changed`` where the file is no longer the one it was, or cannot be read any more.
    """
    try:
        with opened(source, reference.file) as span:
            for rows in parts:
                yield np.ascontiguousarray(_rows(span, reference, info, dtype.itemsize, rows)).view(dtype)
    except (OSError, EOFError) as fault:
        why = getattr(fault, "strerror", None) or str(fault)
        sentence = f"The file cannot be read as it was before ({why}): it changed meanwhile; begin again."
        raise Refusal("bundle.changed", reference.file, sentence) from None


def _rows(span: Span, reference: TensorRef, info: TensorInfo, item: int, rows: slice | Host) -> Host:
    """The bytes of some rows of what a reference takes."""
    width = math.prod(info.shape[1:]) * item  # bytes of a stored row
    column = math.prod(info.shape[2:]) * item
    low, high = (0, width) if reference.columns is None else (end * column for end in reference.columns)
    count = rows.stop - rows.start if isinstance(rows, slice) else int(rows.size)
    if count <= 0 or high <= low:
        return np.empty((max(0, count), 0), np.uint8)
    first, end = reference.rows or (0, info.shape[0] if info.shape else 1)
    length, period = end - first, reference.period
    if not isinstance(rows, slice):
        numbers = first + (rows if period is None else rows // length * period + rows % length)
        found = np.empty((count, high - low), np.uint8)
        for at, stop in _runs(numbers):
            begin = info.begin + int(numbers[at]) * width
            found[at:stop] = _strided(span, begin, (stop - at, width), (low, high))
        return found
    if period is None:
        return _strided(span, info.begin + (first + rows.start) * width, (count, width), (low, high))
    # of every period one stretch of rows, within which the first may begin and the last may end
    outer, last = rows.start // length, -(-rows.stop // length)
    size = (last - outer, period * width)
    found = _strided(span, info.begin + outer * size[1], size, (first * width, end * width))
    skip = rows.start - outer * length
    return found.reshape(-1, width)[skip : skip + count, low:high]


def _strided(span: Span, begin: int, size: tuple[int, int], part: tuple[int, int]) -> Host:
    """Bytes ``part`` of each of some records, which stand one after another from ``begin``: records x bytes.

    ``size`` is the number of records and the bytes of each.
    """
    (count, stride), (low, high) = size, part
    found = np.empty((count, high - low), np.uint8)
    if high - low == stride:
        read_into(span, begin, found.reshape(-1).data)
    elif high - low >= _LONG or stride > BLOCK:
        for number in range(count):
            read_into(span, begin + number * stride + low, found[number].data)
    else:
        scratch = np.empty((min(count, BLOCK // stride), stride), np.uint8)
        for at in range(0, count, len(scratch)):
            block = scratch[: count - at]
            read_into(span, begin + at * stride, block.reshape(-1).data)
            found[at : at + len(block)] = block[:, low:high]
    return found


def _runs(numbers: Host) -> Iterator[tuple[int, int]]:
    """Where, among increasing numbers, each run of neighbours begins and ends."""
    ends = np.flatnonzero(np.diff(numbers) != 1) + 1
    yield from zip([0, *ends.tolist()], [*ends.tolist(), len(numbers)], strict=True)
