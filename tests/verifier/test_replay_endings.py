"""Replays that end early, go on later, or run in several processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from blockcert.draw import replay_rows
from blockcert.errors import Refusal
from blockcert.statistics import audit_bound, rows_needed
from blockcert_verifier import Report, verify
from blockcert_verifier.steps import measuring, recount
from blockcert_verifier.work import (
    Chunk,
    ChunkResult,
    Estimate,
    LocalEngine,
    Stopped,
    Tick,
    children,
    chunks,
    processes,
)
from tests.support.bundles import NOW, Made, make_bundle, restate, rewrite_column

SEED = bytes(range(32))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(autouse=True)
def one_row_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_TARGET", 1)


def check(made: Made, **options: Any) -> Report:
    return verify(
        made.bundle,
        options.pop("policy", made.policy),
        **{"reference": made.model, "at": NOW, "replay": "all", **options},
    )


def order(made: Made, report: Report) -> list[int]:
    assert report.audit is not None
    assert report.certificate_id is not None
    identity = bytes.fromhex(report.certificate_id.removeprefix("blake3:"))
    return replay_rows(identity, bytes.fromhex(report.audit.seed), report.audit.rows, report.audit.asked)


class _Clock:
    """A clock that goes on by one second for each row that is measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        real = chunks.measure_resolved

        def wrapped(pair: Any, tokens: Any, *rest: Any, **named: Any) -> Any:
            found = real(pair, tokens, *rest, **{**named, "progress": None})
            self.now += len(tokens)
            return found

        monkeypatch.setattr(chunks, "measure_resolved", wrapped)

    def __call__(self) -> float:
        return self.now


def _interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    real, calls = chunks.measure_resolved, [0]

    def wrapped(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] > after:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(chunks, "measure_resolved", wrapped)


def test_a_time_limit_leaves_a_prefix_of_the_order_drawn(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-VER-13, 15."""
    report = check(made, time_limit=2.5, clock=_Clock(monkeypatch))
    audit = report.audit
    assert audit is not None
    assert (audit.asked, audit.sampled, audit.confirmed, audit.ending) == (6, 3, 3, "time-limit")
    assert list(audit.drawn) == order(made, report)[:3]

    assert audit.false_rows_below == audit_bound(6, 3, Fraction(1, 100))
    assert report.verdict == "indeterminate"
    assert "after 3 of the 6 rows" in report.sentence


def test_a_partial_replay_is_enough_where_the_policy_asks_for_no_more(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-VER-15."""
    limits = msgspec.structs.replace(made.policy.limits, least_audit_rows=3)
    policy = msgspec.structs.replace(made.policy, limits=limits)
    clock = _Clock(monkeypatch)
    report = check(made, policy=policy, time_limit=2.5, clock=clock)
    assert report.verdict == "accepted"
    partial = [finding for finding in report.findings if finding.code == "replay.partial"]
    assert [finding.status for finding in partial] == ["skipped"]
    clock.now = 0.0
    report = check(made, policy=policy, time_limit=1.5, clock=clock)
    assert report.verdict == "indeterminate"
    assert [f.status for f in report.findings if f.code == "replay.partial"] == ["inconclusive"]


def test_time_that_is_up_with_the_last_row_ends_nothing_early(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    report = check(made, time_limit=6, clock=_Clock(monkeypatch))
    assert report.audit is not None
    assert (report.verdict, report.audit.sampled, report.audit.ending) == ("accepted", 6, None)


def test_an_interruption_is_raised_unless_it_is_to_be_reported(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupt(monkeypatch, after=2)
    with pytest.raises(KeyboardInterrupt):
        check(made)
    _interrupt(monkeypatch, after=0)
    report = check(made, catch_interrupt=True)
    assert report.audit is not None
    assert (report.audit.sampled, report.audit.false_rows_below) == (0, None)
    assert report.verdict == "indeterminate"


def test_what_was_measured_before_an_interruption_is_reported(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupt(monkeypatch, after=4)
    report = check(made, catch_interrupt=True)
    assert report.audit is not None
    assert (report.audit.sampled, report.audit.confirmed, report.audit.ending) == (4, 4, "interrupted")


def test_a_replay_goes_on_where_it_was_with_the_same_seed(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-VER-15."""
    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        _interrupt(patch, after=2)
        first = check(made, catch_interrupt=True, state=state)
    second = check(made, state=state)
    assert first.audit is not None
    assert second.audit is not None
    assert (second.audit.seed, second.audit.repeatable) == (first.audit.seed, False)
    assert second.audit.drawn[:2] == first.audit.drawn
    assert (second.audit.cost.rows, second.audit.cost.resumed, second.audit.sampled) == (4, 2, 6)
    assert second.verdict == "accepted"
    again = check(made, state=state)
    assert again.audit is not None
    assert (again.audit.cost.rows, again.audit.cost.resumed, again.verdict) == (0, 6, "accepted")


def test_a_false_row_stays_found_when_the_replay_goes_on(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    rewrite_column(copy.bundle / "evidence.safetensors", "kl_sum", lambda c: c.__setitem__(slice(None), c * 1.001))
    restate(copy)
    state = tmp_path / "state"
    assert check(copy, replay=2, state=state).verdict == "rejected"
    again = check(copy, replay=2, state=state)
    assert again.verdict == "rejected"
    assert again.audit is not None
    assert again.audit.cost.rows == 0


def test_a_state_that_does_not_fit_is_refused(made: Made, tmp_path: Path) -> None:
    state, other = tmp_path / "state", make_bundle(tmp_path / "other", seed=1)
    check(made, replay=1, state=state, seed=SEED)
    cases = {
        "resume.other": lambda: check(other, state=state),
        "resume.seed": lambda: check(made, state=state, seed=bytes(32)),
    }
    for code, run in cases.items():
        with pytest.raises(Refusal) as refusal:
            run()
        assert refusal.value.code == code
    whole = state.read_bytes()
    short = msgspec.msgpack.encode({**msgspec.msgpack.decode(whole), "seed": bytes(31)})
    no_text = whole.replace(b"blockcert-replay", b"blockcert-\xffeplay")
    for content in (b"", b"{}", b"\x80", whole[:-1], whole.replace(b"state-1", b"state-0"), short, no_text):
        state.write_bytes(content)
        with pytest.raises(Refusal) as refusal:
            check(made, state=state)
        assert refusal.value.code == "resume.unreadable"
    with pytest.raises(Refusal) as refusal:
        check(made, state=tmp_path / "nowhere" / "state")
    assert refusal.value.code == "resume.unwritable"


def test_a_refuted_row_beyond_the_prefix_rejects(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-VER-15."""
    copy = made.copy(tmp_path)
    last = order(copy, check(copy, seed=SEED))[-1]
    rewrite_column(copy.bundle / "evidence.safetensors", "kl_sum", lambda c: c.__setitem__(last, c[last] * 1.001))
    restate(copy)
    drawn = order(copy, check(copy, seed=SEED))
    at = drawn.index(last)

    class Backwards(LocalEngine):
        def run(self, chunks: Sequence[Chunk], tick: Tick) -> Iterator[tuple[int, ChunkResult]]:
            for _, result in super().run(chunks[at : at + 1], tick):
                yield at, result
            raise Stopped("time-limit")

    monkeypatch.setattr(measuring, "open_engine", lambda task, _jobs, pair: Backwards(task, pair))
    report = check(copy, seed=SEED)
    assert report.verdict == "rejected"
    assert report.audit is not None
    assert report.audit.sampled == (1 if at == 0 else 0)


def test_until_measures_as_many_rows_as_it_takes_and_ends_at_a_refutation(made: Made, tmp_path: Path) -> None:
    """BC-VER-25."""
    beta = Fraction(1, 10)
    for below in (1, 2, 4):
        report = check(made, until=below, confidence="0.9")
        assert report.audit is not None
        assert report.audit.sampled == rows_needed(6, below, beta)
        assert report.audit.false_rows_below is not None
        assert report.audit.false_rows_below <= below
    copy = made.copy(tmp_path)
    rewrite_column(copy.bundle / "evidence.safetensors", "kl_sum", lambda c: c.__setitem__(slice(None), c * 1.001))
    restate(copy)
    report = check(copy, until=1)
    assert report.audit is not None
    assert (report.verdict, report.audit.sampled, report.audit.ending) == ("rejected", 1, "refuted")


def test_the_confidence_is_that_of_the_bound(made: Made) -> None:
    bounds: list[int] = []
    for confidence in ("0.5", "0.9", "0.999999"):
        report = check(made, replay=3, confidence=confidence)
        assert report.audit is not None
        assert report.audit.confidence == confidence
        assert report.audit.false_rows_below is not None
        bounds.append(report.audit.false_rows_below)
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"confidence": "1"}, "usage.confidence"),
        ({"confidence": "0"}, "usage.confidence"),
        ({"confidence": "99 %"}, "usage.confidence"),
        ({"until": 0}, "usage.until"),
        ({"jobs": 0}, "usage.jobs"),
        ({"time_limit": 0}, "usage.time_limit"),
        ({"time_limit": float("nan")}, "usage.time_limit"),
        ({"device": "abacus"}, "device.unavailable"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(made: Made, options: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        check(made, **options)
    assert refusal.value.code == code


def test_the_estimate_comes_before_the_first_row(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = chunks.measure_resolved
    monkeypatch.setattr(chunks, "measure_resolved", lambda *a, **n: seen.append("row") or real(*a, **n))
    report = check(made, announce=seen.append)
    assert isinstance(seen[0], Estimate)
    assert seen[1:] == ["row"] * 6
    assert (seen[0].rows, seen[0].seconds > 0, seen[0].memory > 1 << 20) == (6, True, True)
    assert report.audit is not None
    assert report.audit.cost.expected_memory == seen[0].memory


# --- several processes -------------------------------------------------------------------------------------------


def _without_time(report: Report) -> dict[str, Any]:
    found = msgspec.to_builtins(report)
    for name in ("cost",):
        found["audit"].pop(name)
    found.pop("ladder")
    return found


def test_two_processes_say_what_one_says(made: Made) -> None:
    """BC-VER-26."""
    one, two = (check(made, seed=SEED, jobs=jobs) for jobs in (1, 2))
    assert _without_time(one) == _without_time(two)
    assert two.audit is not None
    assert two.audit.cost.jobs == 2


def test_a_false_row_is_refuted_in_another_process_too(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    rewrite_column(copy.bundle / "evidence.safetensors", "error", lambda c: c.__setitem__((4, 1), c[4, 1] * 0.9))
    restate(copy)
    one, two = (check(copy, seed=SEED, jobs=jobs) for jobs in (1, 2))
    assert two.verdict == "rejected"
    assert _without_time(one) == _without_time(two)


def test_a_process_that_dies_over_every_row_refutes_the_first_two(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-VER-26."""
    monkeypatch.setattr(processes, "_WORKER", ("-c", "raise SystemExit(1)"))
    report = check(made, jobs=2)
    assert report.verdict == "rejected"
    crashed = [finding for finding in report.findings if finding.status == "failed"]
    assert {finding.code for finding in crashed} == {"replay.row.crashed"}
    assert "ended without an answer" in crashed[0].message


def test_progress_in_several_processes_reaches_the_whole(made: Made) -> None:
    seen: list[tuple[int, int]] = []
    check(made, jobs=2, progress=lambda step, done, total: seen.append((done, total)) if step == "replay" else None)
    assert seen[-1][0] == seen[-1][1]
    assert all(done <= total for done, total in seen)


def test_no_process_outlives_an_interruption_before_the_rows(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remembered(*given: Any, **named: Any) -> subprocess.Popen[bytes]:
        started.append(real(*given, **named))
        return started[-1]

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(children.subprocess, "Popen", remembered)
    monkeypatch.setattr(recount, "recount", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check(made, jobs=2)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
