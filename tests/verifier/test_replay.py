"""What a replay decides when machines disagree, precision runs out, or a row cannot be measured.

Requirements: BC-VER-07, 08, 10, 11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from blockcert_verifier import Report, evaluate, verify
from blockcert_verifier.measure import Cells
from blockcert_verifier.steps import measuring
from blockcert_verifier.work import chunks
from tests.support.bundles import NOW, Made, make_bundle, reseal, rewrite_column
from tests.verifier.test_mutations import restate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def check(made: Made, **options: Any) -> Report:
    return verify(made.bundle, made.policy, reference=made.model, at=NOW, **{"replay": "all", **options})


def by_status(report: Report, status: str) -> set[str]:
    return {finding.code for finding in report.findings if finding.status == status}


def _engine(monkeypatch: pytest.MonkeyPatch, wrong_in: set[str], factor: float = 2.0) -> None:
    """Make the engine see errors `factor` times as large in some precisions."""

    def wrap(module: Any, name: str, precision: str) -> None:
        real = getattr(module, name)

        def wrapped(*arguments: Any, **rest: Any) -> Any:
            found = real(*arguments, **rest)
            error = found["error"]
            with np.errstate(invalid="ignore"):  # nothing times infinity
                found["error"] = Cells(error.value * factor, error.low * factor, error.high * factor)
            return found

        if precision in wrong_in:
            monkeypatch.setattr(module, name, wrapped)

    wrap(chunks, "measure_resolved", "float64")
    wrap(measuring, "measure", "extended")


def _measure(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Any], Exception | None]) -> None:
    """Make measuring raise where `fault` gives an exception for the tokens."""
    real = chunks.measure_resolved

    def wrapped(pair: Any, tokens: Any, *rest: Any, **named: Any) -> Any:
        found = fault(tokens)
        if found is not None:
            raise found
        return real(pair, tokens, *rest, **named)

    monkeypatch.setattr(chunks, "measure_resolved", wrapped)


def test_a_cell_that_only_higher_precision_confirms_is_confirmed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    if not evaluate.extended_is_wider():
        pytest.skip("this machine has no precision beyond float64")
    _engine(monkeypatch, {"float64"})
    assert check(made).verdict == "accepted"


def test_a_cell_that_higher_precision_refutes_too_is_refuted(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    if not evaluate.extended_is_wider():
        pytest.skip("this machine has no precision beyond float64")
    _engine(monkeypatch, {"float64", "extended"})
    report = check(made)
    assert report.verdict == "rejected"
    assert by_status(report, "failed") == {"replay.cell.refuted"}
    assert report.audit is not None
    assert (report.audit.confirmed, report.audit.false_rows_below, report.audit.consequences) == (0, None, ())


def test_without_higher_precision_a_disagreement_is_inconclusive(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, {"float64"})
    monkeypatch.setattr(measuring, "extended_is_wider", lambda: False)
    report = check(made)
    assert report.verdict == "indeterminate"
    assert by_status(report, "inconclusive") == {"replay.cell.inconclusive"}
    assert by_status(report, "failed") == set()
    assert report.audit is not None
    assert report.audit.false_rows_below is None


def test_a_measurement_that_is_not_finite_is_refuted_at_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _engine(monkeypatch, {"float64"}, float("inf"))
    monkeypatch.setattr(measuring, "extended_is_wider", lambda: False)
    assert by_status(check(made), "failed") == {"replay.cell.refuted"}


@pytest.mark.parametrize("fault", [MemoryError(), ValueError("shapes"), FloatingPointError("overflow")])
def test_a_row_that_cannot_be_measured_is_refuted_by_its_number(
    made: Made, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    bad = _row(made, 2)
    _measure(monkeypatch, lambda tokens: fault if any(row.tolist() == bad for row in tokens) else None)
    report = check(made)
    assert report.verdict == "rejected"
    crashed = [finding for finding in report.findings if finding.status == "failed"]
    assert [finding.code for finding in crashed] == ["replay.row.crashed"]
    assert crashed[0].place.endswith("row 2")
    assert report.audit is not None
    assert report.audit.confirmed == 5


def test_too_little_memory_for_all_rows_at_once_is_no_fault_of_theirs(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measure(monkeypatch, lambda tokens: MemoryError() if len(tokens) > 1 else None)
    report = check(made)
    assert report.verdict == "accepted"
    assert report.audit is not None
    assert report.audit.confirmed == 6


def _row(made: Made, number: int) -> list[int]:
    from blockcert.safetensors_file import column, read_header_bytes

    data = (made.bundle / "prompts.safetensors").read_bytes()
    info = read_header_bytes(data, "prompts")["tokens"]
    rows, length = info.shape
    flat = list(column(data, info))
    start = (rows - 6 + number) * length
    return [int(token) for token in flat[start : start + length]]


def test_a_false_row_is_found_as_soon_as_it_is_sampled(made: Made, tmp_path: Any) -> None:
    copy = made.copy(tmp_path)
    rewrite_column(copy.bundle / "evidence.safetensors", "kl_sum", lambda c: c.__setitem__(3, c[3] * 1.001))
    restate(copy)
    verdicts = {check(copy, replay=2, seed=bytes([i]) * 32).verdict for i in range(24)}
    assert verdicts == {"accepted", "rejected"}
    for rows in range(1, 7):
        report = check(copy, replay=rows, seed=bytes(32))
        assert report.audit is not None
        assert report.audit.sampled == rows
    assert check(copy, replay="all").verdict == "rejected"


def test_progress_counts_up_to_the_whole(made: Made) -> None:
    seen: list[tuple[str, int, int]] = []
    check(made, progress=lambda step, done, total: seen.append((step, done, total)))
    assert {step for step, _, _ in seen} == {"integrity", "recompute", "replay"}
    for step in ("integrity", "recompute", "replay"):
        last = [(done, total) for name, done, total in seen if name == step][-1]
        assert last[0] == last[1]


def test_resealing_an_untouched_bundle_changes_no_verdict(made: Made, tmp_path: Any) -> None:
    copy = made.copy(tmp_path)
    reseal(copy)
    assert check(copy).verdict == "accepted"
