"""Proven ends that a certificate states, against a verifier's own enclosures (``spec/15-enclosures.md``, BC-ENC-15)."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from blockcert.evidence import ENCLOSED, ENCLOSURE
from blockcert.evidence_file import EvidenceTable
from blockcert_verifier.enclose.interval import Enclosed, Interval
from blockcert_verifier.enclose.judge import COUNTS, Judgement
from blockcert_verifier.enclose.trajectories import Place

__all__ = ["cell_index", "claimed_ends", "judge_end"]


def cell_index(place: Place) -> tuple[int, ...]:
    """Where a cell stands in its column, beside the row: stage, from 0 at the first block in an update's; threshold."""
    stage = None if place.stage is None else place.stage - (place.column == "relative_update_error")
    return tuple(i for i in (stage, place.threshold) if i is not None)


def claimed_ends(table: EvidenceTable, row: int, cells: Mapping[Place, Enclosed]) -> dict[Place, Fraction]:
    """The proven ends that the evidence states of a row: of a count its lower, of any other cell its upper end."""
    if row >= table.shape.enclosed_rows:
        return {}
    return {
        place: Fraction(table.at(ENCLOSURE + place.column, *cell_index(place))[row])
        for place in cells
        if place.column in ENCLOSED
    }


def judge_end(value: Interval, end: Fraction, column: str) -> Judgement:
    """The verdict on a stated end: refuted where the exact value is certainly beyond it, confirmed where certainly not.

    Args:
        value: the verifier's own enclosure of the exact value.
        end: what the certificate says it is at most, or of a count at least.
        column: the column that the end is of.
    """
    counts = column in COUNTS
    near, far = (value.lower, value.upper) if counts else (value.upper, value.lower)
    if near is not None and (near >= end if counts else near <= end):
        return Judgement("confirmed")
    if far is not None and (far < end if counts else far > end):
        return Judgement("refuted")
    return Judgement("inconclusive")
