"""Rows in chunks: measured whole or, where that fails, row by row, so that a row is refuted and never lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.file_range import Source
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Cells, Measured, Pair, Settings, Unresolved, measure_resolved

__all__ = [
    "CRASHES",
    "Chunk",
    "ChunkResult",
    "Engine",
    "RowFailure",
    "Stopped",
    "Task",
    "Tick",
    "failure",
    "join",
    "measure_chunk",
]

Host: TypeAlias = np.ndarray[Any, Any]
CRASHES = (ArithmeticError, LookupError, MemoryError, OSError, Refusal, RuntimeError, TypeError, ValueError)
"""What measuring a row may raise: each refutes the row."""
Reason: TypeAlias = Literal["time-limit", "interrupted"]
Tick: TypeAlias = Callable[[float], None]
"""Called with how many rows' worth of the unfinished chunks is done; what it raises ends the work."""


class Stopped(Exception):  # noqa: N818 - not an error: the work ends here because somebody said so
    """The work ends before all rows are measured; ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Task(Struct, frozen=True):
    """What every chunk of one verification shares: both programs, where their weights are, and the thresholds."""

    reference: Program
    surrogate: Program
    weights: dict[str, Source]
    settings: Settings
    device: str = "cpu"

    def pair(self) -> Pair:
        """Both programs over one new store of weights."""
        same = same_stages(self.reference, self.surrogate)
        return Pair(self.reference, self.surrogate, same, WeightStore(self.weights))


class Chunk(Struct, frozen=True):
    """Prompts that are measured together: token ids, rows x T int64, those that carry attribution first.

    ``noise`` is the seed of the second measurement.
    """

    tokens: Host
    attributed: int
    noise: int

    @property
    def rows(self) -> int:
        """How many prompts."""
        return int(self.tokens.shape[0])

    def row(self, offset: int) -> Chunk:
        """One of its prompts, alone."""
        return Chunk(self.tokens[offset : offset + 1], int(offset < self.attributed), self.noise + offset)


class RowFailure(Struct, frozen=True):
    """A row that could not be measured. A ``refusal`` says that every row would fail so; ``exhausted``: for memory."""

    offset: int
    kind: Literal["refusal", "crash", "exhausted"]
    sentence: str
    code: str | None = None
    place: str | None = None


class ChunkResult(Struct, frozen=True):
    """What came of a chunk: the cells of the rows at ``offsets`` (None where there is none) and what failed.

    An offset that is neither measured nor failed was not reached.
    """

    measured: Measured | None
    offsets: tuple[int, ...]
    failures: tuple[RowFailure, ...] = ()


class Engine(Protocol):
    """Measures chunks, in this process or in others."""

    def prepare(self, rows: int) -> None:
        """Make ready for so many rows, while the caller does other things."""
        ...

    def close(self) -> None:
        """Give up what :meth:`prepare` made ready and no :meth:`run` used."""
        ...

    def run(self, chunks: Sequence[Chunk], tick: Tick) -> Iterator[tuple[int, ChunkResult]]:
        """Each chunk's number and result, as they come; closing the iterator ends the work."""
        ...


def failure(offset: int, fault: Exception) -> RowFailure:
    """A fault as the failure of one row."""
    if isinstance(fault, Refusal):
        return RowFailure(offset, "refusal", fault.sentence, fault.code, fault.place)
    reason = " ".join(str(fault).split())[:200]
    kind = "exhausted" if isinstance(fault, MemoryError) else "crash"
    return RowFailure(offset, kind, f"{type(fault).__name__}: {reason}")


def measure_chunk(pair: Pair, chunk: Chunk, settings: Settings, device: str, tick: Tick) -> ChunkResult:
    """The cells of a chunk's rows.

    Where the whole cannot be measured, its rows are taken one at a time: that tells which row it was, and needs the
    least memory. A program or weight file at fault ends that at once, and so does a second row without memory: every
    other would say the same.
    """

    def one(part: Chunk, before: int) -> Measured:
        def progress(done: int, total: int) -> None:
            tick(before + part.rows * done / total)

        return measure_resolved(
            pair,
            part.tokens,
            settings,
            noise=part.noise,
            device=device,
            attribution=part.attributed,
            progress=progress,
        )

    try:
        return ChunkResult(one(chunk, 0), tuple(range(chunk.rows)))
    except CRASHES as fault:
        if chunk.rows == 1:
            return ChunkResult(None, (), (failure(0, fault),))
    parts: list[tuple[int, ChunkResult]] = []
    exhausted = 0
    for offset in range(chunk.rows):
        try:
            part = ChunkResult(one(chunk.row(offset), offset), (0,))
        except CRASHES as fault:
            part = ChunkResult(None, (), (failure(0, fault),))
            exhausted += isinstance(fault, MemoryError)
        parts.append((offset, part))
        if exhausted > 1 or any(fault.kind == "refusal" for fault in part.failures):
            break
    return join(parts)


def join(parts: Sequence[tuple[int, ChunkResult]]) -> ChunkResult:
    """The results of consecutive parts, each with the offset of its first row, as that of one chunk."""
    measured = [(offset, part) for offset, part in parts if part.measured is not None]
    failures = tuple(
        RowFailure(offset + fault.offset, fault.kind, fault.sentence, fault.code, fault.place)
        for offset, part in parts
        for fault in part.failures
    )
    if not measured:
        return ChunkResult(None, (), failures)
    found = [part.measured or Measured({}) for _, part in measured]
    names = dict.fromkeys(name for one in found for name in one)
    cells = {name: Cells.concatenate([one[name] for one in found if name in one]) for name in names}
    offsets: list[int] = []
    unresolved: list[Unresolved] = []
    for (offset, part), one in zip(measured, found, strict=True):
        unresolved += [open_._replace(row=len(offsets) + open_.row) for open_ in one.unresolved]
        offsets += [offset + row for row in part.offsets]
    return ChunkResult(Measured(cells, tuple(unresolved)), tuple(offsets), failures)
