"""Every stage at stated points, inside a verification: what it says, what it does not, and how it ends."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

from blockcert.findings import Finding
from blockcert_verifier import Report, render, to_json, verify
from blockcert_verifier.enclose import point_balls
from blockcert_verifier.steps import points as step
from blockcert_verifier.work import Estimate
from tests.support.bundles import CERTIFICATION, NOW, Made, make_bundle
from tests.support.lies import lower_rows

SCHEMA = Path(__file__).parents[2] / "schemas" / "report.schema.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def run(made: Made, **options: Any) -> Report:
    given = {"reference": made.model, "at": NOW, "replay": 3, "prove_stages": 2, **options}
    return verify(made.bundle, made.policy, **given)


def of(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def test_every_stage_is_enclosed_at_the_first_rows_that_were_drawn(made: Made) -> None:
    """BC-ENC-18."""
    report = run(made)
    points, audit = report.points, report.audit
    assert report.verdict == "accepted"
    assert report.proof is None
    assert points is not None
    assert audit is not None
    assert (points.drawn, points.seed, points.ending) == (audit.drawn[:2], audit.seed, None)
    assert (points.scope, points.basis, points.device) == ("stated-points", "enclosure", "cpu")
    assert [one.stage for one in points.stages] == list(range(len(points.stages)))
    assert all(one.verdict != "exceeded" for one in points.stages)


def test_its_largest_errors_are_what_was_measured_of_all_rows(made: Made) -> None:
    """The bound of each stage is its largest error, which the enclosures of all rows then hold, but for their width."""
    points = run(made, replay="all", prove_stages=CERTIFICATION).points
    assert points is not None
    replaced = [one for one in points.stages if one.stated != "0"]
    assert replaced
    for one in replaced:
        assert one.at_most is not None
        low, high = float(one.at_least or 0), float(one.at_most)
        assert low <= high <= low * (1 + 1e-6) + 1e-12
        assert float(one.stated) * (1 - 2e-5) <= high <= float(one.stated) * (1 + 1e-6)


def test_no_more_rows_at_once_than_fit(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = bytes(range(32))
    whole = run(made, seed=seed, prove_stages=CERTIFICATION).points
    monkeypatch.setattr(step, "_MOST_VALUES", 1)
    one = run(made, seed=seed, prove_stages=CERTIFICATION).points
    assert whole is not None
    assert one is not None
    for first, second in zip(whole.stages, one.stages, strict=True):
        assert float(first.at_least or 0) == pytest.approx(float(second.at_least or 0), rel=1e-6, abs=1e-12)


def test_a_lie_is_exceeded_and_leaves_the_verdict_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a point beside the trajectory: no refutation, which is the replay's, here switched off."""
    made = make_bundle(tmp_path)
    lower_rows(made, slice(None), factor=0.9)
    audit = run(make_bundle(tmp_path / "honest"), prove_stages=0).audit

    def agree(*_: Any) -> tuple[Any, list[Finding]]:
        return audit, [Finding("replay", "replay.rows", "passed", "here", "nothing was looked at")]

    monkeypatch.setattr("blockcert_verifier.steps.replay.replay", agree)
    report = run(made, prove_stages=CERTIFICATION)
    assert report.verdict == "indeterminate"
    assert report.points is not None
    assert "exceeded" in {one.verdict for one in report.points.stages}
    assert of(report, "proof.cell.inconclusive")


def test_the_tolerance_beside_a_bound_is_a_replays(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-ENC-18: `S` has every stage's norms so far, the head's own logits among them."""
    norms: list[list[float]] = []
    largest = step._largest_norm
    reached: list[float] = []
    claim = step._Walk._claim

    def seen(xp: Any, points: Any) -> float:
        norms[-1].append(float(np.linalg.norm(points, axis=-1).max()))
        assert largest(xp, points) == pytest.approx(norms[-1][-1])
        return 1e9 * len(norms)

    def claimed(self: Any, index: int, lower: float, upper: float) -> Any:
        norms.append([])
        reached.append(self._largest)
        return claim(self, index, lower, upper)

    norms.append([])
    monkeypatch.setattr(step, "_largest_norm", seen)
    monkeypatch.setattr(step._Walk, "_claim", claimed)
    points = run(made).points
    assert points is not None
    assert reached == [1e9 * (i + 1) for i in range(len(points.stages))]
    assert all(len(one) == 1 for one in norms[:-1])


@pytest.mark.parametrize(
    ("lower", "upper", "largest", "verdict"),
    [
        (0.25, 0.5, 0.0, "confirmed"),
        (0.5, 0.5, 0.0, "confirmed"),
        (0.25, 0.5 + 2.0**-53, 0.0, "inconclusive"),
        (0.5 + 0.4e-6, 0.6, 0.0, "inconclusive"),
        (0.5 + 0.6e-6, 0.6, 0.0, "exceeded"),
        (0.5 + 0.6e-6, math.inf, 0.0, "exceeded"),
        (0.5 + 0.9e-6, 0.6, 500.0, "inconclusive"),
        (0.5 + 1.1e-6, 0.6, 500.0, "exceeded"),
        (0.6, 0.7, math.inf, "inconclusive"),
    ],
)
def test_a_bound_of_one_half_is_judged(lower: float, upper: float, largest: float, verdict: str) -> None:
    """BC-ENC-18: a millionth of the bound, and of the largest norm a thousand-millionth, are a replay's to decide."""
    claims = SimpleNamespace(stages=[SimpleNamespace(error="0.5")])
    predicate = SimpleNamespace(predicate=SimpleNamespace(claims=claims))
    walk: Any = SimpleNamespace(_inputs=SimpleNamespace(statement=predicate), _largest=largest)
    assert step._Walk._claim(walk, 0, lower, upper).verdict == verdict


def test_logits_too_large_for_their_squares_decide_nothing() -> None:
    assert step._largest_norm(np, np.full((1, 2, 3), 1e200)) == float("inf")
    assert step._largest_norm(np, np.array([[[1.0, np.nan], [3.0, 4.0]]])) == float("inf")
    assert step._largest_norm(np, np.array([[[1.0, 1.0], [3.0, 4.0]]])) == 5.0


def test_radii_too_wide_decide_nothing_and_refuse_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_balls, "UPWARD", float("inf"))
    report = run(made)
    assert report.verdict == "accepted"
    assert report.points is not None
    assert {one.at_most for one in report.points.stages if one.stated != "0"} == {None}


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("after", [0, 1])
def test_a_value_that_is_not_finite_is_no_point(
    after: int, value: float, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-ENC-18: of rows that no replay measured, nobody knows yet that they are not finite."""
    honest, calls = step._kept, [0]

    def overflowing(ball: Any, *, last: bool) -> Any:
        kept = honest(ball, last=last).copy()
        if calls[0] == after:
            kept[1, 0, 0] = value
        calls[0] += 1
        return kept

    monkeypatch.setattr(step, "_kept", overflowing)
    report = run(made)
    points = report.points
    assert points is not None
    assert (points.ending, len(points.stages)) == ("no-point", after + 1)
    ((status, message),) = [(f.status, f.message) for f in of(report, "proof.partial")]
    assert status == "inconclusive"
    assert f"after {after + 1} of the" in message
    assert report.verdict == "indeterminate"
    schema = json.loads(SCHEMA.read_bytes())
    Draft202012Validator(schema, registry=Registry()).validate(json.loads(to_json(report)))
    assert f"ended early, after {after + 1} stage" in " ".join(render(report).split())


def test_logits_that_are_not_finite_end_no_walk(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the head there is no stage that would need them."""
    monkeypatch.setattr(step, "_kept", lambda ball, *, last: ball.mid * (float("inf") if last else 1))
    points = run(made).points
    assert points is not None
    assert points.ending is None


def test_the_report_fits_its_schema_and_says_what_it_does_not_say(made: Made) -> None:
    report = run(made)
    schema = json.loads(SCHEMA.read_bytes())
    errors = Draft202012Validator(schema, registry=Registry()).iter_errors(json.loads(to_json(report)))
    assert [error.message for error in errors] == []
    text = render(report)
    assert "Proof at stated points" in text
    assert "It says nothing of the exact trajectory" in " ".join(text.split())
    assert "errors of stages     stated-points   enclosure" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_it_says_beforehand_what_it_is_estimated_to_take(made: Made) -> None:
    seen: list[Estimate] = []
    run(made, announce=seen.append)
    (found,) = [one for one in seen if one.what != "measuring"]
    assert found.rows == 2
    assert found.seconds > 0
    assert found.memory > 1 << 20


def test_without_a_model_nothing_is_proven(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, at=NOW, prove_stages=1)
    assert of(report, "proof.not_run")
    assert report.verdict == "indeterminate"


def test_it_ends_at_the_time_limit_and_at_an_interruption(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def announce(found: Estimate) -> None:
        now[0] = 0.0 if found.what == "measuring" else 1e6

    report = run(made, time_limit=100, clock=lambda: now[0], announce=announce)
    assert report.points is not None
    assert report.points.ending == "time-limit"
    assert report.points.stages == ()
    assert of(report, "proof.partial")
    assert report.verdict == "indeterminate"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "distances", stop)
    assert of(run(made, catch_interrupt=True), "proof.partial")


def test_the_limit_of_memory_holds(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def much(*_: Any) -> int:
        return 1 << 60

    monkeypatch.setattr(step._Walk, "_memory", much)
    assert of(run(made), "limit.memory")


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_a_stage_is_enclosed_where_it_just_fits(
    made: Made, monkeypatch: pytest.MonkeyPatch, more: int, refused: bool
) -> None:
    def as_much(*_: Any) -> int:
        return (1 << 34) + more

    monkeypatch.setattr(step._Walk, "_memory", as_much)
    real = step._Walk.__init__

    def limited(self: Any, inputs: Any, given: Any, tokens: Any) -> None:
        real(self, inputs, msgspec.structs.replace(given, memory=1 << 34), tokens)

    monkeypatch.setattr(step._Walk, "__init__", limited)
    assert bool(of(run(made), "limit.memory")) == refused
