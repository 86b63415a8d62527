"""Brackets and what is judged by them, at the very edge of each decision.

Requirements: BC-VER-08, 09, 10, BC-ENC-15.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest

from blockcert.evidence import ENCLOSED, ENCLOSURE, EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable
from blockcert_verifier.enclose.claimed import judge_end
from blockcert_verifier.enclose.interval import Interval
from blockcert_verifier.measure import Cells, Confirmation, Disagreement, Measured, Tolerance, Unresolved, confirm
from blockcert_verifier.measure.logits import agreement, loss_difference_counts
from blockcert_verifier.measure.tolerance import counted, ratio_counts, ratios
from blockcert_verifier.steps.compare import compare_rows
from blockcert_verifier.steps.judge import MOST_CELLS, judge

TOLERANCE = Tolerance()


def one(*values: float) -> np.ndarray:
    return np.array([values])


def bracket(cells: Cells) -> tuple[Any, Any, Any]:
    return tuple(part.flatten().tolist()[0] for part in (cells.low, cells.value, cells.high))


@pytest.mark.parametrize("recorded", [5.0, np.inf, np.nan])
def test_nothing_confirms_beside_a_measured_infinity(recorded: float) -> None:
    cells = Cells(np.array([np.inf]), np.array([0.0]), np.array([np.inf]))
    assert len(confirm({"error": np.array([recorded])}, Measured({"error": cells})).disagreements) == 1


@pytest.mark.parametrize("recorded", [np.inf, np.nan])
def test_nothing_that_is_not_finite_is_confirmed(recorded: float) -> None:
    cells = Cells(np.array([5.0]), np.array([0.0]), np.array([np.inf]))
    assert len(confirm({"error": np.array([recorded])}, Measured({"error": cells})).disagreements) == 1


def test_both_ends_of_a_bracket_confirm() -> None:
    cells = Cells(np.full(4, 2.0), np.full(4, 1.0), np.full(4, 3.0))
    recorded = np.array([1.0, 3.0, np.nextafter(1, 0), np.nextafter(3, 4)])
    assert [d.index for d in confirm({"error": recorded}, Measured({"error": cells})).disagreements] == [(2,), (3,)]


@pytest.mark.parametrize(("denominator", "ends"), [(0.25, False), (0.5, False), (0.75, True)])
def test_a_ratio_has_no_upper_end_where_its_divisor_may_be_nothing(denominator: float, ends: bool) -> None:
    cells = ratios(one(4.0), one(denominator), one(0.5), TOLERANCE)
    assert np.isfinite(cells.high).tolist() == [ends]
    # nothing by nothing is a ratio of 0, and nothing above it is excluded
    low, value, high = bracket(ratios(one(0.0), one(0.0), one(0.0), TOLERANCE))
    assert (low, value, high) == (0, 0, np.inf)


def test_a_token_that_its_tolerance_may_move_over_a_threshold_is_not_sure() -> None:
    tau, divisor = 0.01, 1.0
    # of threshold 1/2: both parts may be off by tau, so a ratio is certainly within at (0.485 + tau) / (1 - tau)
    for numerator, sure, maybe in (
        (0.48, 1, 1),
        (0.488, 0, 1),
        (0.49, 0, 1),
        (0.51, 0, 1),
        (0.512, 0, 1),
        (0.52, 0, 0),
    ):
        cells = ratio_counts(one(numerator), one(divisor), one(tau), (0.5,), TOLERANCE)
        assert bracket(cells) == (sure, int(numerator <= 0.5), maybe), numerator


def test_a_count_lies_in_its_own_bracket() -> None:
    yes, no = np.array([[True]]), np.array([[False]])
    assert bracket(counted(yes, no, no)) == (0, 0, 0)
    assert bracket(counted(no, yes, no)) == (0, 1, 1)


@pytest.mark.parametrize(("steps", "sure", "maybe"), [(5, 1, 1), (3, 0, 1), (1, 0, 1), (-3, 0, 1), (-5, 0, 0)])
def test_a_position_is_decided_beyond_four_tolerances(steps: int, sure: int, maybe: int) -> None:
    tolerance = Tolerance(absolute=2.0**-20)
    found = {name: one(1.0) for name in ("single", "same", "possible")}
    found |= {"difference": one(1.0), "scale": one(8.0), "margin": one(2 + steps * 2.0**-17)}
    assert bracket(agreement(found, "", tolerance).decided) == (sure, int(steps > 0), maybe)


@pytest.mark.parametrize(("steps", "sure", "maybe"), [(-18, 1, 1), (-16, 0, 1), (0, 0, 1), (16, 0, 1), (18, 0, 0)])
def test_a_loss_is_off_by_one_and_twice_the_scale_of_its_logits(steps: int, sure: int, maybe: int) -> None:
    tolerance = Tolerance(relative=0, absolute=2.0**-20)
    cells = loss_difference_counts(one(-(0.5 + steps * 2.0**-20)), one(8.0), (0.5,), tolerance)
    assert bracket(cells) == (sure, int(steps <= 0), maybe)


def cell(row: int, measured: float = 2.0) -> Disagreement:
    return Disagreement("error", (row, 0), 1.0, measured, 1.9, 2.1)


def test_a_row_that_higher_precision_does_not_resolve_is_not_refuted() -> None:
    def again(row: int) -> Confirmation:
        return Confirmation(1, (cell(row),), 0.0, None, (Unresolved(row, 1, "why"),) if row == 0 else ())

    rows, findings = judge([cell(0)], (), again)
    assert rows == {0}
    assert [f.status for f in findings] == ["inconclusive"]
    # the next row is measured again all the same
    rows, findings = judge([cell(0), cell(1)], (), again)
    assert rows == {0, 1}
    assert [(f.status, f.place) for f in findings] == [
        ("failed", "evidence.safetensors: error[1, 0]"),
        ("inconclusive", "evidence.safetensors: error[0, 0]"),
    ]


def test_a_row_that_is_refuted_already_costs_no_higher_precision() -> None:
    def again(row: int) -> Confirmation:
        raise AssertionError(row)

    rows, findings = judge([cell(0), cell(1, np.inf)], (), again)
    assert rows == {0, 1}
    assert [f.status for f in findings] == ["failed", "inconclusive"]


@pytest.mark.parametrize(
    ("measured", "words"), [(2.0, "3 more cells are not decided"), (np.inf, "3 more cells are ref")]
)
def test_cells_beyond_the_first_twenty_are_counted(measured: float, words: str) -> None:
    rows, findings = judge([cell(row, measured) for row in range(MOST_CELLS + 3)], (), None)
    assert len(rows) == MOST_CELLS + 3
    assert len(findings) == MOST_CELLS + 1
    assert findings[-1].place == "evidence.safetensors"
    assert findings[-1].message.startswith(words)


def test_a_proven_end_may_lie_anywhere_on_its_side() -> None:
    """Of a count any number up to the bracket's end, of any other cell any from the bracket's end on."""
    table = _Table()
    for count, expected in ((0, set()), (4, set()), (6, set()), (7, {"covered"})):
        table.ends["covered"] = count
        assert _beyond(table) == expected, count
    table.ends["covered"] = 0
    for end, expected in ((1e300, set()), (2.0, set()), (1.9, set()), (1.8, {"error"})):
        table.ends["error"] = end
        assert _beyond(table) == expected, end


class _Table:
    """One row with every proven end, and of what is recorded itself nothing."""

    def __init__(self) -> None:
        self.shape = EvidenceShape(1, 1, 0, 1, 1, enclosed_rows=1)
        self.ends: dict[str, float] = {"error": 2.0}

    def flat(self, name: str) -> np.ndarray:
        column = next(one for one in columns(self.shape) if one.name == name)
        value = self.ends.get(name.removeprefix(ENCLOSURE), 0 if column.dtype == "I64" else 2.0)
        return np.full(int(np.prod(column.shape)), value)


def _beyond(table: _Table) -> set[str]:
    measured = {
        column.name: Cells(*(np.full(column.shape, part) for part in ((5, 4, 6) if integer else (2.0, 1.9, 2.1))))
        for column in columns(table.shape)
        for integer in [column.dtype == "I64"]
        if not column.name.startswith(ENCLOSURE)
    }
    found = compare_rows(cast("EvidenceTable", cast("object", table)), [0], Measured(measured))
    names = {d.column.removeprefix(ENCLOSURE) for d in found.disagreements if d.column.startswith(ENCLOSURE)}
    assert names <= set(ENCLOSED)
    return names


FOUR, SIX = Fraction(4), Fraction(6)


@pytest.mark.parametrize(
    ("column", "end", "verdict"),
    [
        ("error", 7, "confirmed"),
        ("error", 6, "confirmed"),
        ("error", 5, "inconclusive"),
        ("error", 4, "inconclusive"),
        ("error", 3, "refuted"),
        ("covered", 3, "confirmed"),
        ("covered", 4, "confirmed"),
        ("covered", 5, "inconclusive"),
        ("covered", 6, "inconclusive"),
        ("covered", 7, "refuted"),
    ],
)
def test_a_stated_end_is_judged_by_the_ends_of_its_value(column: str, end: int, verdict: str) -> None:
    assert judge_end(Interval(FOUR, SIX), Fraction(end), column).verdict == verdict


@pytest.mark.parametrize("column", ["error", "covered"])
def test_an_end_is_not_judged_by_a_value_whose_ends_are_not_known(column: str) -> None:
    assert judge_end(Interval(None, None), FOUR, column).verdict == "inconclusive"
