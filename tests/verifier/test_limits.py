"""The caller's own limits (BC-VER-29): exceeding one leaves the verdict open, and nothing more is done."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from blockcert.bundle import STATEMENT
from blockcert.dsse import Envelope, Signature, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import PublicKey
from blockcert.trust import encode_policy
from blockcert_producers.cli.run import run
from blockcert_verifier import Limits, Report, verify
from blockcert_verifier.amounts import amount_of_bytes, amount_of_seconds
from blockcert_verifier.evaluate import extended_is_wider
from blockcert_verifier.limits import check_memory, read_limits
from blockcert_verifier.steps import measuring
from blockcert_verifier.steps.compare import Disagreement, Outcome, compare
from tests.support.bundles import NOW, Made, make_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def check(made: Made, limits: Limits, *, model: bool = False, clock: Callable[[], float] = lambda: 0.0) -> Report:
    policy = made.policy if model else made.without_replay
    reference = made.model if model else None
    return verify(made.bundle, policy, reference=reference, replay=1, limits=limits, at=NOW, clock=clock)


def only(report: Report, code: str, step: str) -> None:
    """The report is open because of this limit alone, and what needs the step did not run."""
    assert report.verdict == "indeterminate"
    wrong = [finding for finding in report.findings if finding.status in ("failed", "inconclusive")]
    assert [(finding.code, finding.step, finding.status) for finding in wrong] == [(code, step, "inconclusive")]
    names = ("integrity", "recompute", "replay", "fresh")
    later = names[names.index(step) + 1 :] if step in names else names
    assert {one.status for one in report.steps if one.step in later} <= {"skipped"}


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_defaults_take_a_bundle(made: Made) -> None:
    assert check(made, Limits(), model=True).verdict == "accepted"


def test_bytes_of_the_bundle(made: Made) -> None:
    total = size(made.bundle)
    assert check(made, Limits(bytes=total)).verdict == "accepted"
    only(check(made, Limits(bytes=total - 1)), "limit.bytes", "structure")


def test_bytes_of_the_reference_count_where_it_is_given(made: Made) -> None:
    total = size(made.bundle) + size(made.model)
    assert check(made, Limits(bytes=total), model=True).verdict == "accepted"
    only(check(made, Limits(bytes=total - 1), model=True), "limit.bytes", "integrity")


def test_members(made: Made) -> None:
    entries = len(list(made.bundle.rglob("*")))
    assert check(made, Limits(members=entries)).verdict == "accepted"
    only(check(made, Limits(members=entries - 1)), "limit.members", "structure")


@pytest.mark.parametrize("depth", [1, 5])
def test_depth(made: Made, depth: int) -> None:
    only(check(made, Limits(depth=depth)), "limit.depth", "structure")


def test_depth_that_suffices(made: Made) -> None:
    assert check(made, Limits(depth=20)).verdict == "accepted"


def test_memory_of_columns(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are smaller here than the documents about them."""
    for name in ("_TEXT", "_VALUE"):
        monkeypatch.setattr(f"blockcert_verifier.limits.{name}", 0)
    only(check(made, Limits(memory=100)), "limit.memory", "recompute")


def test_memory_is_the_machine_s_where_no_limit_is_given(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that uses one tensor a thousand times needs no large file."""
    most = Limits().most_memory()
    assert most is None or most > 1 << 28
    monkeypatch.setattr("blockcert_verifier.limits._physical", lambda: 1 << 20)
    only(check(made, Limits(), model=True), "limit.memory", "replay")


def test_memory_of_measuring(made: Made) -> None:
    assert check(made, Limits(memory=1 << 30), model=True).verdict == "accepted"
    only(check(made, Limits(memory=1 << 20), model=True), "limit.memory", "replay")


def test_memory_of_fresh_prompts(made: Made) -> None:
    """Without a replay before them, which would have been refused already."""
    pytest.importorskip("tokenizers")
    more = {"reference": made.model, "corpus": made.corpus, "fresh": 2, "replay": 0, "at": NOW}
    fits = verify(made.bundle, made.without_replay, limits=Limits(memory=1 << 30), **more)
    assert fits.fresh
    report = verify(made.bundle, made.without_replay, limits=Limits(memory=1 << 20), **more)
    wrong = [(finding.step, finding.code) for finding in report.findings if finding.status == "inconclusive"]
    assert ("fresh", "limit.memory") in wrong
    assert not report.fresh
    assert report.verdict == "indeterminate"


def test_seconds_before_anything_is_hashed(made: Made) -> None:
    times = iter(range(1000))
    only(check(made, Limits(seconds=1), clock=lambda: float(next(times))), "limit.seconds", "structure")


def test_seconds_while_files_are_hashed(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is looked at between two windows of a file, so that a huge one does not hold a caller up."""
    time = 0.0
    real = verify.__globals__["digest_files"]

    def slow(sources: object, sha256: bool, progress: Callable[[int], None]) -> object:
        def late(done: int) -> None:
            nonlocal time
            time += 10
            progress(done)

        return real(sources, sha256, late)

    monkeypatch.setitem(verify.__globals__, "digest_files", slow)
    only(check(made, Limits(seconds=15), clock=lambda: time), "limit.seconds", "integrity")


SLOW: dict[str, tuple[str, str, dict[str, object], str]] = {
    "evidence is read": ("blockcert_verifier.run", "table_from_bytes", {}, "recompute"),
    "claims are recomputed": ("blockcert.claims", "_end_to_end", {}, "recompute"),
    "distances are added up": ("blockcert.claims", "exact", {}, "recompute"),
    "what was kept is counted": ("blockcert_verifier.costs", "stage_cost", {"replay": 1}, "replay"),
    "the corpus is hashed": ("blockcert_verifier.steps.frame", "digest_file", {"corpus": True}, "recompute"),
    "the corpus is cut": ("blockcert_verifier.corpus", "_decoded", {"corpus": True}, "recompute"),
    "a row is evaluated before it is proven": ("blockcert_verifier.steps.proof", "logits", {"prove": 1}, "replay"),
}
"""Work that may take long: the module and the function that is slow, what is asked for, and the step."""


@pytest.mark.parametrize("case", SLOW)
def test_seconds_in_every_step(made: Made, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """BC-VER-29: whatever takes long looks at the clock now and then, and ends the verification."""
    place, name, wanted, step = SLOW[case]
    options: dict[str, Any] = {"replay": 0, **wanted}
    if options.pop("corpus", False):
        pytest.importorskip("tokenizers")
        options["corpus"] = made.corpus
    if "prove" in options:
        pytest.importorskip("flint")
        options["replay"] = 1
    module, time = import_module(place), 0.0
    real = getattr(module, name)

    def slow(*words: object, **named: object) -> object:
        nonlocal time
        time += 100
        return real(*words, **named)

    monkeypatch.setattr(module, name, slow)
    report = verify(
        made.bundle,
        made.policy,
        reference=made.model,
        at=NOW,
        limits=Limits(seconds=150 if name in ("_decoded", "stage_cost", "exact") else 50),
        clock=lambda: time,
        **options,
    )
    only(report, "limit.seconds", step)
    assert report.verdict == "indeterminate"


def test_seconds_while_a_cell_is_decided_at_higher_precision(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left open, as what a time limit cuts off, and the verification ends."""
    if not extended_is_wider():
        pytest.skip("this machine has no precision beyond float64")
    time = 0.0
    real = measuring.measure

    def slow(*words: Any, progress: Callable[[int, int], None], **named: Any) -> object:
        nonlocal time
        time += 100
        progress(1, 2)
        return real(*words, progress=progress, **named)

    def doubt(*words: Any) -> Outcome:
        found = compare(*words)
        one = Disagreement("kl_max", (found.rows[0],), 1.0, 0.5, 0.4, 0.6)
        return replace(found, disagreements=(one,))

    monkeypatch.setattr(measuring, "measure", slow)
    monkeypatch.setattr(measuring, "compare", doubt)
    limits = Limits(seconds=50)
    report = verify(made.bundle, made.policy, reference=made.model, replay=1, at=NOW, limits=limits, clock=lambda: time)
    assert report.verdict == "indeterminate"
    open_ = {finding.code for finding in report.findings if finding.status == "inconclusive"}
    assert open_ == {"replay.cell.inconclusive", "limit.seconds"}
    assert not any(finding.status == "failed" for finding in report.findings)


@pytest.mark.parametrize(
    "wrong",
    [{"bytes": 0}, {"members": 0}, {"depth": 0}, {"memory": 0}, {"seconds": -1}, {"seconds": float("nan")}],
    ids=str,
)
def test_a_limit_is_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Limits(**wrong)


def test_no_seconds_are_no_time_for_anything(made: Made) -> None:
    only(check(made, Limits(seconds=0)), "limit.seconds", "structure")


def test_the_command_takes_limits(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trust.json").write_bytes(encode_policy(made.without_replay))
    words = ["verify", str(made.bundle), "--trust", str(tmp_path / "trust.json"), "--at", "2026-11-23T00:00:00Z"]
    assert run([*words, "--limit", "seconds=3600", "--limit", "memory=1000000000"]) == 0
    assert run([*words, "--limit", "bytes=1"]) == 3
    assert "limit" in capsys.readouterr().out
    assert run([*words, "--limit", "speed=1"]) == 2


def test_limits_from_words() -> None:
    assert read_limits([]) == Limits()
    assert read_limits(["seconds=60", "memory=1000"]) == Limits(seconds=60, memory=1000)
    assert read_limits(["bytes=1.5GiB", "seconds=0.25"]) == Limits(bytes=3 << 29, seconds=0.25)


REFUSED_WORDS: dict[str, tuple[list[str], str]] = {
    "no number": (["seconds"], "is no number"),
    "zero": (["seconds=0"], "above 0"),
    "negative": (["seconds=-1"], "is no number"),
    "no name": (["speed=1"], "give one of bytes, members, depth, seconds, memory and =N"),
    "twice": (["depth=1", "depth=2"], "each once"),
    "nothing": ([""], "give one of"),
    "half a byte": (["bytes=0.5"], "no whole number of bytes"),
    "a part of a byte": (["memory=1.0001kB"], "no whole number of bytes"),
    "one letter": (["memory=1G"], "GB is 10^9 bytes, GiB 2^30"),
    "a unit of time": (["memory=1min"], "a number of bytes"),
    "a unit of bytes": (["seconds=1MB"], "a number of seconds"),
    "a unit of nothing": (["members=1kB"], "no whole number from 1 on"),
    "half a file": (["members=1.5"], "no whole number from 1 on"),
    "too much": (["bytes=1e30"], "at most"),
    "infinite": (["seconds=inf"], "a number of seconds"),
    "other digits": (["bytes=\u0661"], "a number of bytes"),
}


@pytest.mark.parametrize("what", REFUSED_WORDS)
def test_words_that_are_no_limit(what: str) -> None:
    words, says = REFUSED_WORDS[what]
    with pytest.raises(Refusal) as refused:
        read_limits(words)
    assert refused.value.code == "usage.limit"
    assert says in refused.value.sentence


AMOUNTS: dict[str, int] = {
    "1": 1,
    "1000000000": 10**9,
    "1e9": 10**9,
    "500MB": 500 * 10**6,
    "500 MB": 500 * 10**6,
    "1GiB": 1 << 30,
    "1.5GiB": 3 << 29,
    "0.5KiB": 512,
    "2.5e3B": 2500,
    "1gib": 1 << 30,
    "1TB": 10**12,
}


@pytest.mark.parametrize("text", AMOUNTS)
def test_bytes_are_exact(text: str) -> None:
    assert amount_of_bytes(text) == AMOUNTS[text]


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("60s", 60), ("0.5", 0.5), ("1.5min", 90), ("2h", 7200), ("1e3", 1000)]
)
def test_seconds_may_be_fractions(text: str, seconds: float) -> None:
    assert amount_of_seconds(text) == seconds


def test_seconds_while_signatures_are_tried(made: Made, tmp_path: Path) -> None:
    """Whoever appends sixteen signatures of nobody to a large payload does not hold a caller up (BC-VER-29)."""
    copy = made.copy(tmp_path)
    path = copy.bundle / STATEMENT
    envelope = parse_envelope(path.read_bytes(), STATEMENT)
    junk = tuple(Signature("", bytes([i]) * 64) for i in range(16))
    path.write_bytes(encode_envelope(Envelope(envelope.payload, envelope.payload_type, junk)))
    tried = 0
    verify_one = PublicKey.verify

    def slow(self: PublicKey, signature: bytes, message: bytes) -> bool:
        nonlocal tried
        tried += 1
        return verify_one(self, signature, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PublicKey, "verify", slow)
        report = check(copy, Limits(seconds=5), clock=lambda: float(tried))
    only(report, "limit.seconds", "authenticity")
    assert tried == 5


def test_memory_of_a_document(made: Made) -> None:
    """A statement, and then a program, that would take more than is allowed is not parsed."""
    statement = (made.bundle / STATEMENT).stat().st_size
    only(check(made, Limits(memory=7 * statement)), "limit.memory", "structure")


def test_a_limit_in_a_step_that_nobody_requires_leaves_the_verdict_open(made: Made) -> None:
    report = verify(
        made.bundle, made.without_replay, reference=made.model, limits=Limits(memory=1 << 22), at=NOW, replay=1
    )
    only(report, "limit.memory", "replay")
    assert report.exit_code == 3


@pytest.mark.parametrize(("needed", "fits"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_as_much_memory_as_the_limit_is_held_and_no_more(needed: int, fits: bool) -> None:
    if fits:
        check_memory(needed, "here", Limits(memory=1 << 20))
        return
    with pytest.raises(Refusal) as refusal:
        check_memory(needed, "here", Limits(memory=1 << 20))
    assert refusal.value.code == "limit.memory"
