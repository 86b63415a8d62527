"""What passes between a verifier and its worker processes, in frames.

Both ends are the same installation on the same machine, and nothing of this is part of the standard.
"""

from __future__ import annotations

from typing import Any, BinaryIO, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.file_range import FileRange
from blockcert.program import Program
from blockcert_verifier.measure import Cells, Measured, Unresolved
from blockcert_verifier.work import children
from blockcert_verifier.work.chunks import Chunk, ChunkResult, RowFailure

__all__ = [
    "Advance",
    "Begin",
    "Done",
    "Measure",
    "decode_chunk",
    "decode_result",
    "encode_chunk",
    "encode_result",
    "receive",
    "send",
]

Host: TypeAlias = np.ndarray[Any, Any]


class Begin(Struct, frozen=True, tag="begin"):
    """The first frame to a worker: what `Task` holds."""

    reference: Program
    surrogate: Program
    weights: dict[str, str | FileRange]
    relative: tuple[float, ...]
    loss: tuple[float, ...]
    device: str


class Measure(Struct, frozen=True, tag="measure"):
    """A chunk to measure; ``tokens`` are rows x length int64."""

    tokens: bytes
    rows: int
    length: int
    attributed: int
    noise: bytes


class Advance(Struct, frozen=True, tag="advance"):
    """How many rows' worth of its chunk a worker has done."""

    rows: float


class Array(Struct, frozen=True, array_like=True):
    """An array's numpy dtype, shape and bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Done(Struct, frozen=True, tag="done"):
    """A chunk's result: per column values, lower and upper ends."""

    cells: dict[str, tuple[Array, Array, Array]] | None
    unresolved: tuple[tuple[int, int, str], ...]
    offsets: tuple[int, ...]
    failures: tuple[RowFailure, ...]


Message: TypeAlias = Begin | Measure | Advance | Done
_DECODER = msgspec.msgpack.Decoder(Message)


def send(stream: BinaryIO, message: Message) -> None:
    """Write one frame and flush; raises ``OSError`` where nobody reads any more."""
    children.send(stream, message)


def receive(stream: BinaryIO) -> Message | None:
    """The next frame, or None at the end of the stream."""
    return children.receive(stream, _DECODER)


def encode_chunk(chunk: Chunk) -> Measure:
    """A chunk as a frame."""
    tokens = np.ascontiguousarray(chunk.tokens, dtype=np.int64)
    noise = chunk.noise.to_bytes((chunk.noise.bit_length() + 7) // 8, "little")
    return Measure(tokens.tobytes(), chunk.rows, int(tokens.shape[1]), chunk.attributed, noise)


def decode_chunk(frame: Measure) -> Chunk:
    """The chunk in a frame."""
    tokens = np.frombuffer(frame.tokens, dtype=np.int64).reshape(frame.rows, frame.length)
    return Chunk(tokens, frame.attributed, int.from_bytes(frame.noise, "little"))


def _array(values: Host) -> Array:
    return Array(values.dtype.str, values.shape, np.ascontiguousarray(values).tobytes())


def _values(array: Array) -> Host:
    return np.frombuffer(array.data, dtype=array.dtype).reshape(array.shape)


def encode_result(result: ChunkResult) -> Done:
    """A chunk's result as a frame."""
    found = result.measured
    cells = None
    if found is not None:
        cells = {name: (_array(c.value), _array(c.low), _array(c.high)) for name, c in found.items()}
    unresolved = () if found is None else tuple((u.row, u.stage, u.reason) for u in found.unresolved)
    return Done(cells, unresolved, result.offsets, result.failures)


def decode_result(frame: Done) -> ChunkResult:
    """The result in a frame."""
    if frame.cells is None:
        return ChunkResult(None, frame.offsets, frame.failures)
    cells = {name: Cells(*map(_values, parts)) for name, parts in frame.cells.items()}
    measured = Measured(cells, tuple(Unresolved(*one) for one in frame.unresolved))
    return ChunkResult(measured, frame.offsets, frame.failures)
