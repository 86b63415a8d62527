"""Recorded rows against measured ones, chunk by chunk: what a replay keeps of the rows it has done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.evidence import ENCLOSED, ENCLOSURE, columns
from blockcert.evidence_file import EvidenceTable
from blockcert_verifier.measure import Cells, Confirmation, Disagreement, Measured, Unresolved, confirm
from blockcert_verifier.work import ChunkResult, RowFailure

__all__ = ["Outcome", "compare", "compare_rows"]

MOST_KEPT = 1000
"""Disagreements of one chunk that are kept: one is enough to refute, and nobody reads more."""


class Outcome(Struct, frozen=True):
    """What came of some rows of the certificate: those measured, those that failed, and every cell that disagrees.

    ``largest_fraction`` and ``column`` are as in ``Confirmation``. Row numbers are the certificate's, also the first
    index of a disagreement, the ``row`` of what is unresolved and the ``offset`` of a failure.
    """

    measured: tuple[int, ...]
    failures: tuple[RowFailure, ...]
    disagreements: tuple[Disagreement, ...]
    unresolved: tuple[Unresolved, ...]
    largest_fraction: float
    column: str | None

    @property
    def rows(self) -> tuple[int, ...]:
        """Every row that was tried."""
        return (*self.measured, *(failure.offset for failure in self.failures))

    @property
    def doubted(self) -> bool:
        """Whether a cell disagrees or a row failed."""
        return bool(self.disagreements or self.failures)


def compare_rows(table: EvidenceTable, rows: Sequence[int], measured: Measured) -> Confirmation:
    """Recorded against measured cells of `rows`, those with attribution first; indices count the certificate's rows.

    A proven end may lie anywhere on its side of the bracket's far end: how near it is, is no measurement's to say.
    """
    enclosed = [offset for offset, row in enumerate(rows) if row < table.shape.enclosed_rows]
    with np.errstate(all="ignore"):  # values that are not finite are judged, not warned about
        found = confirm(_recorded(table, rows), measured, most=sys.maxsize)
        ends = confirm(
            _ends(table, [rows[i] for i in enclosed]), _one_sided(table, measured, enclosed), most=sys.maxsize
        )
    named = tuple(
        Disagreement(d.column, (among[d.index[0]], *d.index[1:]), d.recorded, d.measured, d.low, d.high)
        for one, among in ((found, rows), (ends, [rows[i] for i in enclosed]))
        for d in one.disagreements
    )
    unresolved = tuple(one._replace(row=rows[one.row]) for one in found.unresolved)
    return Confirmation(found.cells + ends.cells, named, found.largest_fraction, found.column, unresolved)


def compare(table: EvidenceTable, rows: Sequence[int], result: ChunkResult) -> Outcome:
    """The outcome of a chunk that holds these rows of the certificate, in this order."""
    failures = tuple(msgspec.structs.replace(fault, offset=rows[fault.offset]) for fault in result.failures)
    if result.measured is None:
        return Outcome((), failures, (), (), 0.0, None)
    done = tuple(rows[offset] for offset in result.offsets)
    found = compare_rows(table, done, result.measured)
    kept = found.disagreements
    if len(kept) > MOST_KEPT:
        # one of every row at least: a row is confirmed by nothing else
        first = {d.index[0]: d for d in reversed(kept)}
        kept = tuple(dict.fromkeys([*first.values(), *kept[:MOST_KEPT]]))
    return Outcome(done, failures, kept, found.unresolved, found.largest_fraction, found.column)


def _recorded(table: EvidenceTable, rows: Sequence[int]) -> dict[str, Any]:
    attributed = [row for row in rows if row < table.shape.attribution_rows]
    found: dict[str, Any] = {}
    for column in columns(table.shape):
        if column.name.startswith(ENCLOSURE):
            continue
        cells = np.asarray(table.flat(column.name)).reshape(column.shape)
        found[column.name] = cells[attributed if column.name.startswith("attribution.") else list(rows)]
    return found


def _ends(table: EvidenceTable, rows: Sequence[int]) -> dict[str, Any]:
    """The proven ends of rows that have some."""
    if not rows:
        return {}
    shapes = {column.name: column.shape for column in columns(table.shape)}
    names = [ENCLOSURE + name for name in ENCLOSED]
    return {name: np.asarray(table.flat(name)).reshape(shapes[name])[list(rows)] for name in names}


def _one_sided(table: EvidenceTable, measured: Measured, offsets: Sequence[int]) -> Measured:
    """What a proven end of these measured rows can be: an upper one not below its bracket, a count's not above it."""
    if not offsets:
        return Measured({})
    dtypes = {column.name: column.dtype for column in columns(table.shape)}
    found: dict[str, Cells] = {}
    for name in ENCLOSED:
        value, low, high = (getattr(measured[name], part)[list(offsets)] for part in ("value", "low", "high"))
        if dtypes[name] == "I64":
            found[ENCLOSURE + name] = Cells(value, np.zeros_like(low), high)
        else:
            found[ENCLOSURE + name] = Cells(value, low, np.full(high.shape, np.inf))
    return Measured(found)
