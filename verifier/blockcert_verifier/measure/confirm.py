"""Recorded cells against measured ones: confirmed, or refuted with both values."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from blockcert_verifier.measure.batch import Unresolved
from blockcert_verifier.measure.engine import Measured
from blockcert_verifier.measure.tolerance import Cells, Host

__all__ = ["Confirmation", "Disagreement", "confirm", "first_not_finite", "moved_rows"]


class Disagreement(Struct, frozen=True):
    """One refuted cell: its column, its index (the row first), the recorded and the measured value, and the bracket."""

    column: str
    index: tuple[int, ...]
    recorded: float
    measured: float
    low: float
    high: float


class Confirmation(Struct, frozen=True):
    """What came of comparing some rows.

    ``largest_fraction`` is the largest disagreement of a confirmed norm, ratio or sum as a fraction of its tolerance,
    and ``column`` says where it occurred. The float32 floor is left out: its bracket is not a tolerance.
    ``unresolved`` rows are confirmed by nothing, whatever their cells say.
    """

    cells: int
    disagreements: tuple[Disagreement, ...]
    largest_fraction: float
    column: str | None
    unresolved: tuple[Unresolved, ...] = ()


def _fraction(recorded: Host, cells: Cells) -> Host:
    """Disagreement as a fraction of the tolerance on the side it falls; 0 where nothing differs."""
    with np.errstate(all="ignore"):
        over = recorded - cells.value
        room = np.where(over > 0, cells.high - cells.value, cells.value - cells.low)
        return np.where(over == 0, 0.0, np.abs(over) / room)


def confirm(recorded: Mapping[str, Host], measured: Measured, most: int = 100) -> Confirmation:
    """Compare recorded columns with measured cells of the same rows; at most ``most`` disagreements are listed.

    A cell is refuted where the recorded value, the measured value or an end of the bracket is a NaN, the measured value
    is infinite, or the recorded value lies outside the bracket.
    """
    found: list[Disagreement] = []
    count, largest, worst = 0, 0.0, None
    for name, cells in measured.items():
        values = np.asarray(recorded[name])
        count += int(values.size)
        with np.errstate(invalid="ignore"):
            inside = (cells.low <= values) & (values <= cells.high) & np.isfinite(cells.value) & np.isfinite(values)
        for index in np.argwhere(~inside):
            if len(found) == most:
                break
            at = tuple(int(i) for i in index)
            parts = (float(x[at]) for x in (values, cells.value, cells.low, cells.high))
            found.append(Disagreement(name, at, *parts))
        if values.size and values.dtype.kind == "f" and not name.startswith("float32."):
            fraction = float(np.where(inside, _fraction(values, cells), 0.0).max())
            if fraction > largest:
                largest, worst = fraction, name
    return Confirmation(count, tuple(found), largest, worst, measured.unresolved)


def moved_rows(measured: Measured, noisy: Measured) -> tuple[Unresolved, ...]:
    """The rows that noise of the size of rounding moves out of tolerance (BC-EVD-08): float64 does not resolve them."""
    found = confirm({name: cells.value for name, cells in measured.items()}, noisy, most=sys.maxsize)
    first: dict[int, str] = {}
    for one in found.disagreements:
        first.setdefault(one.index[0], one.column)
    reason = "noise of the size of rounding moves {} out of tolerance"
    return tuple(Unresolved(row, -1, reason.format(column)) for row, column in sorted(first.items()))


def first_not_finite(measured: Mapping[str, Cells]) -> tuple[str, tuple[int, ...]] | None:
    """The column and index of the first value that is a NaN or an infinity, or ``None``."""
    for name, cells in measured.items():
        bad = np.argwhere(~np.isfinite(cells.value))
        if len(bad):
            return name, tuple(int(i) for i in bad[0])
    return None
