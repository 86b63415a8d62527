"""Drift through the depth: what the verifier reads off the evidence, and how a person sees it.

Requirements: BC-VER-18.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from blockcert.composition import telescoping_bound
from blockcert.evidence import EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import parse_decimal, round_bound
from blockcert_verifier import Report, render, verify
from blockcert_verifier.depth import depth
from blockcert_verifier.depth_text import MOST_STAGES, depth_lines
from blockcert_verifier.report import DepthRow
from tests.support.bundles import ATTRIBUTION, LENGTH, NOW, Made, make_bundle, restate, rewrite_column

SMALLEST = "0." + "0" * 29 + "1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def report(made: Made) -> Report:
    return verify(made.bundle, made.without_replay, at=NOW)


def rows_of(report: Report) -> tuple[DepthRow, ...]:
    assert report.depth is not None
    return report.depth


def table(blocks: int, rows: int, attributed: int, **cells: Sequence[float]) -> EvidenceTable:
    """Evidence of zeros but for the given columns (a dot is written as two underscores)."""
    shape = EvidenceShape(blocks, rows, attributed, 1, 1)
    sizes = {column.name: column.shape for column in columns(shape)}
    found: dict[str, Sequence[float]] = {}
    for name, size in sizes.items():
        count = 1
        for axis in size:
            count *= axis
        found[name] = [0.0] * count
    for name, given_ in cells.items():
        column = name.replace("__", ".")
        assert len(given_) == len(found[column])
        found[column] = given_
    return EvidenceTable(shape, found)


def different(blocks: int) -> list[bool]:
    return [False] * (blocks + 2)


# --- the numbers ------------------------------------------------------------------------------------------------


def test_each_stage_has_its_largest_drift_and_the_controls() -> None:
    evidence = table(
        1,
        2,
        0,
        drift=[0.25, 3.0, 1.0, 0.5, 2.0, 4.0],
        relative_drift=[0.125, 0.25, 0.0, 0.0, 0.5, 0.75],
        identity__drift=[0.0, 8.0, 9.0, 0.0, 10.0, 1.0],
        identity__relative_drift=[0.0, 1.0, 1.0, 0.0, 1.5, 0.5],
    )
    found = depth(evidence, different(1), 8)
    assert found is not None
    assert [row.drift for row in found] == ["0.5", "3", "4"]
    assert [row.relative_drift for row in found] == ["0.125", "0.5", "0.75"]
    assert [row.identity_drift for row in found] == ["0", "10", "9"]
    assert [row.identity_relative_drift for row in found] == ["0", "1.5", "1"]


def test_without_attribution_rows_no_stage_has_a_cost() -> None:
    found = depth(table(1, 2, 0), different(1), 8)
    assert found is not None
    assert all((row.largest_step, row.mean_step, row.step_share) == (None, None, None) for row in found)
    assert all((row.loss_tokens, row.loss_covered) == (None, None) for row in found)


def test_a_stage_has_the_largest_and_the_mean_step_and_its_share_of_all_steps() -> None:
    evidence = table(
        1, 3, 2, attribution__hybrid_step=[1.0, 2.0, 3.0, 6.0], attribution__loss_within=[7, 5, 6, 7, 4, 1]
    )
    found = depth(evidence, different(1), 8)
    assert found is not None
    assert [row.largest_step for row in found] == ["3", "6", None]
    assert [row.mean_step for row in found] == ["2", "4", None]
    assert [row.step_share for row in found] == ["0.333333", "0.666666", None]  # rounded down
    assert [row.loss_covered for row in found] == [(14,), (9,), (7,)]
    assert {row.loss_tokens for row in found} == {14}


def test_steps_that_are_all_zero_have_no_share() -> None:
    found = depth(table(2, 1, 1), [True] * 4, 8)
    assert found is not None
    assert [row.step_share for row in found] == [None] * 4
    assert [row.mean_step for row in found] == ["0", "0", "0", None]


def test_a_drift_prints_zero_only_while_every_stage_so_far_is_the_same_program() -> None:
    found = depth(table(2, 1, 1), [True, False, True, True], 8)
    assert found is not None
    assert [row.drift for row in found] == ["0", SMALLEST, SMALLEST, SMALLEST]
    assert [row.largest_step for row in found] == ["0", SMALLEST, "0", None]
    assert [row.identity_drift for row in found] == ["0", SMALLEST, SMALLEST, SMALLEST]


@pytest.mark.parametrize("column", ["drift", "identity__drift", "attribution__hybrid_step"])
def test_a_value_that_no_decimal_string_states_leaves_no_depth(column: str) -> None:
    size = 2 if column.startswith("attribution") else 3
    assert depth(table(1, 1, 1, **{column: [1e308] * size}), different(1), 8) is None
    assert depth(table(1, 1, 1, **{column: [1e39] * size}), different(1), 8) is not None


@given(st.data())
def test_mean_steps_times_rows_are_at_least_their_sum_and_shares_at_most_one(data: st.DataObject) -> None:
    blocks, attributed = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    count = attributed * (blocks + 1)
    steps = data.draw(st.lists(st.floats(0, 1e6), min_size=count, max_size=count))
    found = depth(table(blocks, attributed, attributed, attribution__hybrid_step=steps), different(blocks), 8)
    assert found is not None
    exact = [sum((Fraction(d) for d in steps[i :: blocks + 1]), Fraction(0)) for i in range(blocks + 1)]
    assert [row.mean_step for row in found[:-1]] == [round_bound(total / attributed, False) for total in exact]
    shares = [parse_decimal(row.step_share) for row in found if row.step_share is not None]
    assert sum(shares) <= 1
    assert not shares or sum(shares) > 1 - Fraction(blocks + 1, 10**6)
    # the largest steps bound what the telescoping claim sums
    listed = [steps[p * (blocks + 1) : (p + 1) * (blocks + 1)] for p in range(attributed)]
    whole = telescoping_bound([[Fraction(d) for d in row] for row in listed])
    assert sum(parse_decimal(row.largest_step) for row in found if row.largest_step is not None) >= whole


# --- in a report ------------------------------------------------------------------------------------------------


def test_a_report_has_one_row_for_each_stage_and_they_agree_with_the_claims(report: Report) -> None:
    assert report.certificate is not None
    claims, found = report.certificate.claims, rows_of(report)
    assert [row.index for row in found] == [stage.index for stage in claims.stages]
    assert [row.same_program for row in found] == [stage.same_program for stage in claims.stages]
    last = found[-2]
    assert (last.drift, last.relative_drift) == (claims.end_to_end.drift, claims.end_to_end.relative_drift)
    assert last.identity_drift == claims.control.identity.drift
    assert [row.loss_covered for row in found] == [stage.loss_covered for stage in claims.stages]
    assert found[0].loss_tokens == ATTRIBUTION * (LENGTH - 1)


def test_there_is_no_depth_where_the_claims_do_not_follow(made: Made, tmp_path: Path) -> None:
    changed = made.copy(tmp_path)
    path = changed.bundle / "evidence.safetensors"
    rewrite_column(path, "drift", lambda cells: cells.__imul__(2))
    assert verify(changed.bundle, made.without_replay, at=NOW).depth is None


def test_a_drift_that_cannot_be_stated_rejects_nothing_that_is_claimed(made: Made, tmp_path: Path) -> None:
    changed = made.copy(tmp_path)

    def change(cells: object) -> None:
        cells[:, 1] = 1e300  # type: ignore[index]

    rewrite_column(changed.bundle / "evidence.safetensors", "drift", change)
    restate(changed)
    found = verify(changed.bundle, made.without_replay, at=NOW)
    assert (found.verdict, found.depth) == ("accepted", None)
    assert "Drift through the depth" not in render(found)


# --- for a person -----------------------------------------------------------------------------------------------


def deep(report: Report, stages: int) -> tuple[DepthRow, ...]:
    """As many stages, drift growing but for one stage in the middle where it is largest."""
    first = rows_of(report)[1]
    rows = [
        replace(first, index=i, relative_drift=f"0.{i + 1:04}1", mean_step=f"{i + 1}", largest_step=f"{i + 2}")
        for i in range(stages)
    ]
    rows[stages // 3] = replace(rows[stages // 3], relative_drift="7.5")
    rows[-1] = replace(rows[-1], largest_step=None, mean_step=None, step_share=None)
    return tuple(rows)


def test_both_tables_are_shown_with_the_control_and_a_bar_of_plain_signs(report: Report) -> None:
    text = render(report)
    assert "Drift through the depth [listed-prompts, measurement]" in text
    assert f"Which stage costs what, on {ATTRIBUTION} prompts [listed-prompts, measurement]" in text
    assert "################" in text
    assert text.isascii()


@pytest.mark.parametrize("stages", [3, MOST_STAGES, MOST_STAGES + 1, 42, 202])
def test_a_deep_model_shows_its_first_last_and_worst_stage_and_the_costliest(report: Report, stages: int) -> None:
    assert report.certificate is not None
    drift, costs = depth_lines(deep(report, stages), report.certificate)
    assert len(drift) <= MOST_STAGES + 5
    assert len(costs) <= MOST_STAGES + 7
    assert max(map(len, drift + costs)) <= 80
    names = [line.split("  ")[1] for line in drift[3 : 3 + min(stages, MOST_STAGES)]]
    assert names[0] == "embedding"
    assert any(line.startswith("  head") for line in drift)
    worst = "embedding" if stages // 3 == 0 else f"block {stages // 3}"
    assert any(line.startswith(f"  {worst} ") and "################" in line for line in drift)
    costliest = next(line for line in costs if line.startswith("  block"))
    assert costliest.startswith(f"  block {stages - 2} ")
    assert any("worst" in line for line in drift) == (stages > MOST_STAGES)


def test_stages_are_ordered_by_what_they_cost_and_the_head_comes_last(report: Report) -> None:
    assert report.certificate is not None
    costs = depth_lines(deep(report, 6), report.certificate)[1]
    names = [line.split("  ")[1] for line in costs if line.startswith(("  block", "  embedding", "  head"))]
    assert names == ["block 4", "block 3", "block 2", "block 1", "embedding", "head"]


def test_a_stage_that_is_the_same_program_is_counted_and_not_listed_as_a_cost(report: Report) -> None:
    assert report.certificate is not None
    rows = [replace(row, same_program=row.index != 2) for row in deep(report, 6)]
    costs = depth_lines(rows, report.certificate)[1]
    assert "5 of 6 stages are one program on both sides and cost nothing" in costs[-1]
    assert sum(line.startswith("  block") for line in costs) == 1
    assert depth_lines([replace(row, same_program=True) for row in rows], report.certificate)[1] == []
