"""Enclosing for a certificate: proven ends of the first prompts, by the verifier's own ball arithmetic.

The first prompts are a sample that nobody chose: the certification prompts stand in the order in which they were drawn,
by a key that contains the finished surrogate's digest (``spec/rationale/0018-enclosures-in-a-certificate.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from blockcert.errors import Refusal
from blockcert.evidence import ENCLOSED, ENCLOSURE, EvidenceShape, columns
from blockcert_producers.progress import Progress
from blockcert_verifier.enclose.claimed import cell_index
from blockcert_verifier.enclose.interval import Enclosed
from blockcert_verifier.enclose.judge import COUNTS, judge
from blockcert_verifier.enclose.memory import row_bytes
from blockcert_verifier.enclose.trajectories import Place, Thresholds, enclose_row, first_bits
from blockcert_verifier.measure import Pair
from blockcert_verifier.steps.proof import MOST_BITS

__all__ = ["Row", "RowShelf", "check_room", "enclosure_columns", "float_above"]

Host = np.ndarray[Any, Any]
Row = dict[str, Any]
"""One row's cells: for each column of proven ends its number, or nested lists of numbers."""


class RowShelf(Protocol):
    """Where enclosed rows are kept while others are enclosed."""

    def load(self, row: int) -> Row | None:
        """A row's cells, None where it is not finished."""
        ...

    def keep(self, row: int, cells: Row) -> None:
        """Keep a finished row."""
        ...


def float_above(value: Fraction) -> float:
    """The least float64 that is at or above a rational number; infinite where there is none."""
    try:
        found = value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -1.7976931348623157e308
    return found if math.isfinite(found) and Fraction(found) >= value else math.nextafter(found, math.inf)


def check_room(pair: Pair, length: int, memory: int) -> None:
    """Return where enclosing a prompt of ``length`` tokens is estimated to take no more than ``memory`` bytes.

    Raises:
        Refusal: ``limit.memory``; ``tensor.*`` where a program names what its files do not hold.
    """
    _check_room(pair, length, first_bits(len(pair.same) - 2), memory)


def _check_room(pair: Pair, length: int, bits: int, memory: int) -> None:
    needed = row_bytes(pair, length, bits)
    if needed > memory:
        sentence = (
            f"proving a prompt of {length} tokens with {bits} bits is estimated to take {needed} bytes of memory, and "
            f"the limit is {memory}: give more with --limit memory=N, or shorter prompts with --length"
        )
        raise Refusal("limit.memory", "--prove", sentence)


def enclosure_columns(
    pair: Pair,
    tokens: Host,
    shape: EvidenceShape,
    thresholds: Thresholds,
    recorded: Mapping[str, Host],
    *,
    shelf: RowShelf | None,
    progress: Progress,
    memory: int | None = None,
) -> dict[str, Host]:
    """The columns of proven ends for the first ``shape.enclosed_rows`` of the listed prompts (N x T token ids).

    Args:
        pair, tokens: what is enclosed.
        shape: the sizes of the evidence.
        thresholds: of the counted columns.
        recorded: the measured columns, against which every enclosure is held.
        shelf: keeps finished rows; those that it has are not enclosed again.
        progress: called stage by stage.
        memory: bytes that a row may be estimated to take; None for any.

    Raises:
        Refusal: ``measure.self_check`` where a measured cell is certainly outside the tolerance around the exact value,
            ``measure.unresolved`` where no precision up to 4096 bits encloses a cell, ``limit.memory`` where a row
            needs a precision beyond ``memory``.
    """
    stages, rows = len(pair.same), shape.enclosed_rows
    found: list[Row] = []
    for row in range(rows):

        def tick(stage: int, row: int = row) -> None:
            progress("proving", row * stages + stage, rows * stages)

        tick(0)
        cells = None if shelf is None else shelf.load(row)
        if cells is None:
            cells = _enclose(pair, tokens[row].tolist(), shape, thresholds, recorded, row, tick, memory)
            if shelf is not None:
                shelf.keep(row, cells)
        found.append(cells)
    progress("proving", rows * stages, rows * stages)
    kinds = {column.name: column.dtype for column in columns(shape)}
    names = [*(ENCLOSURE + name for name in ENCLOSED), "enclosure.bits"]
    return {name: np.array([row[name] for row in found], "<f8" if kinds[name] == "F64" else "<i8") for name in names}


def _enclose(
    pair: Pair,
    tokens: list[int],
    shape: EvidenceShape,
    thresholds: Thresholds,
    recorded: Mapping[str, Host],
    row: int,
    tick: Callable[[int], None],
    memory: int | None,
) -> Row:
    """One row's ends, at a precision at which a verifier leaves none of its cells open (BC-ENC-04)."""
    bits = first_bits(shape.blocks)
    while True:
        if memory is not None:
            _check_room(pair, len(tokens), bits, memory)
        cells = enclose_row(pair, tokens, thresholds, bits, tick)
        verdicts = {
            place: judge(cell, Fraction(_at(recorded, place, row)), column=place.column, claim=None)
            for place, cell in cells.items()
        }
        refuted = next((place for place, one in verdicts.items() if one.verdict == "refuted"), None)
        if refuted is not None:
            raise Refusal(
                "measure.self_check",
                f"{refuted.column}{[row, *cell_index(refuted)]}",
                f"measured {float(_at(recorded, refuted, row))!r}, which is not what the two exact programs give: too "
                "ill-conditioned for a certificate",
            )
        ends = {place: _end(place, cell) for place, cell in cells.items() if place.column in ENCLOSED}
        infinite = next((place for place, end in ends.items() if not math.isfinite(end)), None)
        if infinite is None and not any(one.open for one in verdicts.values()):
            return _row(ends, shape, bits)
        if 2 * bits > MOST_BITS:
            if infinite is None:
                return _row(ends, shape, bits)
            raise Refusal(
                "measure.unresolved",
                f"{infinite.column}{[row, *cell_index(infinite)]}",
                f"{bits} bits do not enclose what the two programs exactly give on this prompt",
            )
        bits *= 2


def _at(recorded: Mapping[str, Host], place: Place, row: int) -> float:
    return recorded[place.column][(row, *cell_index(place))].item()


def _end(place: Place, cell: Enclosed) -> float:
    """What is proven of a cell: it is at most that, or of a count at least."""
    if place.column in COUNTS:
        return int(cell.value.lower or 0)
    return math.inf if cell.value.upper is None else float_above(cell.value.upper)


def _row(ends: Mapping[Place, float], shape: EvidenceShape, bits: int) -> Row:
    wanted = {column.name: column for column in columns(shape)}
    found: Row = {"enclosure.bits": bits}
    for name in ENCLOSED:
        column = wanted[ENCLOSURE + name]
        cells = np.zeros(column.shape[1:], "<f8" if column.dtype == "F64" else "<i8")
        for place, end in ends.items():
            if place.column == name:
                cells[cell_index(place)] = end
        found[ENCLOSURE + name] = cells.tolist()
    return found
