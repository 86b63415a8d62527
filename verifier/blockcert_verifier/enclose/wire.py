"""What passes between a verifier and the processes in which rows are enclosed, in frames.

Both ends are the same installation on the same machine, and nothing of this is part of the standard. Rational numbers
are written in hexadecimal, for msgpack has no integers of their size.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import BinaryIO, TypeAlias

import msgspec
from msgspec import Struct

from blockcert.file_range import FileRange
from blockcert.program import Program
from blockcert_verifier.enclose.interval import Enclosed, Interval
from blockcert_verifier.enclose.trajectories import Place
from blockcert_verifier.work import children

__all__ = [
    "Advance",
    "Begin",
    "Cells",
    "Enclose",
    "Failed",
    "decode_cells",
    "encode_cells",
    "fraction",
    "receive",
    "send",
    "text",
]

_Ends: TypeAlias = tuple[str | None, str | None]


class Begin(Struct, frozen=True, tag="begin"):
    """The first frame to a process: both programs, where their weights are, and the thresholds of counts."""

    reference: Program
    surrogate: Program
    weights: dict[str, str | FileRange]
    relative: tuple[str, ...]
    loss: tuple[str, ...]


class Enclose(Struct, frozen=True, tag="enclose"):
    """A row to enclose, at a precision."""

    tokens: tuple[int, ...]
    bits: int


class Advance(Struct, frozen=True, tag="advance"):
    """How many stages of its row a process has done."""

    stages: int


class Cells(Struct, frozen=True, tag="cells"):
    """A row's cells: column, stage, threshold, the ends of the value, of its lower bracket, and of the upper if any."""

    cells: tuple[tuple[str, int | None, int | None, _Ends, _Ends, _Ends | None], ...]


class Failed(Struct, frozen=True, tag="failed"):
    """A program that cannot be evaluated with these weights, as the refusal; without a code: no memory was left."""

    code: str | None = None
    place: str = ""
    sentence: str = ""


Message: TypeAlias = Begin | Enclose | Advance | Cells | Failed
_DECODER = msgspec.msgpack.Decoder(Message)


def send(stream: BinaryIO, message: Message) -> None:
    """Write one frame and flush; raises ``OSError`` where nobody reads any more."""
    children.send(stream, message)


def receive(stream: BinaryIO) -> Message | None:
    """The next frame, or None at the end of the stream."""
    return children.receive(stream, _DECODER)


def text(value: Fraction) -> str:
    """A rational number as text."""
    return f"{value.numerator:x}/{value.denominator:x}"


def fraction(written: str) -> Fraction:
    """The rational number in a text."""
    numerator, denominator = written.split("/")
    return Fraction(int(numerator, 16), int(denominator, 16))


def _ends(one: Interval) -> _Ends:
    lower, upper = (None if end is None else text(end) for end in (one.lower, one.upper))
    return lower, upper


def _interval(ends: _Ends) -> Interval:
    return Interval(*(None if end is None else fraction(end) for end in ends))


def encode_cells(cells: Mapping[Place, Enclosed]) -> Cells:
    """A row's cells as a frame."""
    return Cells(
        tuple(
            (
                place.column,
                place.stage,
                place.threshold,
                _ends(one.value),
                _ends(one.low),
                None if one.high is None else _ends(one.high),
            )
            for place, one in cells.items()
        )
    )


def decode_cells(frame: Cells) -> dict[Place, Enclosed]:
    """The cells in a frame, in their order."""
    return {
        Place(column, stage, threshold): Enclosed(
            _interval(value), _interval(low), None if high is None else _interval(high)
        )
        for column, stage, threshold, value, low, high in frame.cells
    }
