"""Proof of sampled rows inside a verification: what it adds, what it refuses to add, and how it ends."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from referencing import Registry

from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.numbers import parse_decimal
from blockcert.same_program import same_stages
from blockcert_verifier import Report, render, to_json, verify
from blockcert_verifier.enclose.interval import Interval
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair
from blockcert_verifier.work import Estimate, Stopped
from tests.support.bundles import CERTIFICATION, NOW, Made, make_bundle, restate, rewrite_column
from tests.support.lies import EVIDENCE, lower_rows
from tests.support.tiny import tiny_pair

pytest.importorskip("flint", reason="python-flint, blockcert[prove], is not installed")

from blockcert_verifier.enclose.interval import ends
from blockcert_verifier.enclose.trajectories import Thresholds, enclose_row
from blockcert_verifier.steps.proof import _total

SCHEMA = Path(__file__).parents[2] / "schemas" / "report.schema.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def run(made: Made, **options: Any) -> Report:
    return verify(made.bundle, made.policy, **{"reference": made.model, "at": NOW, "replay": 3, "prove": 2, **options})


def of(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def test_proven_rows_are_the_first_that_were_drawn(made: Made) -> None:
    """BC-ENC-02."""
    report = run(made)
    proof, audit = report.proof, report.audit
    assert report.verdict == "accepted"
    assert report.sentence.endswith("; what is claimed is proven on 2 rows.")
    assert proof is not None
    assert audit is not None
    assert (proof.drawn, proof.seed, proof.repeatable) == (audit.drawn[:2], audit.seed, False)
    assert (proof.rows, proof.asked, proof.confirmed, proof.ending) == (CERTIFICATION, 2, 2, None)
    assert (proof.cells.refuted, proof.cells.inconclusive) == (0, 0)
    assert proof.cells.confirmed == 2 * 42
    assert [finding.status for finding in of(report, "proof.rows")] == ["passed"]


def test_the_report_fits_its_schema_and_shows_the_proof(made: Made) -> None:
    report = run(made)
    schema = json.loads(SCHEMA.read_bytes())
    errors = Draft202012Validator(schema, registry=Registry()).iter_errors(json.loads(to_json(report)))
    assert [error.message for error in errors] == []
    text = render(report)
    assert "2 of 2 rows proven, out of 6" in text
    assert "the same, proven     listed-prompts  enclosure    2 of 6 rows" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert report.ladder[-1].climbed == "partly"


def test_a_count_is_shown_to_its_last_digit() -> None:
    """A bound may be shown rounded up, and a count of agreements not."""
    from blockcert_verifier.proof_report import CellCounts, EnclosedClaim, Proof
    from blockcert_verifier.proof_text import proof_lines

    claims = tuple(
        EnclosedClaim("top1_agree", None, None, least, "511237", "511239", "inconclusive")
        for least in ("511237", "511234")
    )
    lines = proof_lines(Proof(9, 9, (1,), 1, "", False, None, 64, CellCounts(1, 0, 0), claims, "1"))
    shown = [line.split() for line in lines if "top-1" in line]
    assert shown == [
        ["top-1", "agrees", "511237", "511239", "open"],
        ["top-1", "agrees", "511234", "to", "511237", "511239", "open"],
    ]


def test_what_is_exact_lies_below_what_is_stated(made: Made) -> None:
    proof = run(made, prove=CERTIFICATION, replay="all").proof
    assert proof is not None
    for claim in proof.claims:
        assert claim.at_least is not None
        assert claim.at_most is not None
        assert float(claim.at_least) <= float(claim.at_most)
        assert claim.verdict == "confirmed"
        if claim.column == "error":
            # of all rows, the certificate's bound is the largest, rounded up to 6 digits
            assert float(claim.stated) * (1 - 2e-5) <= float(claim.at_most) <= float(claim.stated)


def test_all_rows_climb_the_last_rung(made: Made) -> None:
    assert [rung.climbed for rung in run(made, prove=99, replay="all").ladder][-1] == "yes"


# --- what it does not stand in for ------------------------------------------------------------------------------


def test_nothing_is_proven_without_the_model(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, at=NOW, prove=1)
    assert [finding.status for finding in of(report, "proof.not_run")] == ["skipped"]
    assert report.verdict == "indeterminate", "what was asked for did not run"
    assert report.proof is None


def test_a_proof_stands_in_for_no_replay(made: Made) -> None:
    report = run(made, replay=0)
    assert of(report, "proof.not_run")
    assert report.verdict == "indeterminate"


def test_without_the_package_it_says_what_to_install(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "blockcert_verifier.enclose.install.find_spec", lambda name: None if name == "flint" else found(name)
    )
    with pytest.raises(Refusal) as refused:
        run(made)
    assert refused.value.code == "install.prove"
    assert "blockcert[prove]" in refused.value.sentence
    assert run(made, prove=0).verdict == "accepted"


# --- lies -------------------------------------------------------------------------------------------------------


def test_a_lie_inside_the_tolerance_is_not_confirmed(tmp_path: Path) -> None:
    """A replay of all rows agrees; a bound that exact values exceed stays open, and the verdict waits."""
    made = make_bundle(tmp_path)

    def shave(cells: Any) -> None:
        # to just below the decimal under it, by at most 9e-7 of the cell
        for index, value in np.ndenumerate(cells):
            if value > 0:
                cells[index] = value * (1 - 9e-7)

    for column in ("error", "relative_error", "drift", "relative_drift"):
        rewrite_column(made.bundle / EVIDENCE, column, shave)
    restate(made)
    assert run(made, replay="all", prove=0).verdict == "accepted"
    report = run(made, replay="all", prove=CERTIFICATION)
    assert report.verdict == "indeterminate"
    open_ = of(report, "proof.cell.inconclusive")
    assert open_
    assert all("beyond the claimed" in finding.message for finding in open_)
    assert report.ladder[-1].climbed == "partly"
    assert not of(report, "proof.rows")
    # the rows that hold a column's largest cell are open, the others are not: a claim has the verdict of the worst
    proof = report.proof
    assert proof is not None
    assert proof.confirmed < CERTIFICATION
    named = {finding.place.split(": ")[1].split("[")[0] for finding in open_}
    assert {claim.column for claim in proof.claims if claim.verdict == "inconclusive"} == named
    assert all(claim.stage == 2 for claim in proof.claims if "drift" in claim.column)


ENDS = [
    Fraction(1, 3),
    Fraction(10**20, 7),
    Fraction(1, 10**50),
    Fraction(123456789012345),
    Fraction(1, 4),
    Fraction(0),
]


@pytest.mark.parametrize("value", [*ENDS, *(-value for value in ENDS)], ids=str)
def test_ends_are_printed_outward(value: Fraction) -> None:
    """BC-ENC-07."""
    low, high = ends(Interval(value, value))
    assert low is not None
    assert high is not None
    assert parse_decimal(low) <= value <= parse_decimal(high)
    assert parse_decimal(high) - parse_decimal(low) <= max(abs(value) / 10**11, Fraction(1, 10**40) * 2)
    assert ends(Interval(None, Fraction(10**41))) == (None, None)


def test_a_sum_with_an_open_part_is_open() -> None:
    known = Interval(Fraction(1), Fraction(2))
    assert _total([known, known]) == Interval(Fraction(2), Fraction(4))
    assert _total([known, Interval(None, Fraction(5))]) == Interval(None, Fraction(7))
    assert _total([known, Interval(Fraction(5), None)]) == Interval(Fraction(6), None)


def test_a_cell_that_is_not_the_exact_one_is_refuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proven alone: a replay that a lie got past, here because it was switched off."""
    made = make_bundle(tmp_path)
    lower_rows(made, slice(None), factor=0.9)
    honest = make_bundle(tmp_path / "honest")
    audit = run(honest, prove=0).audit

    def agree(*_: Any) -> tuple[Any, list[Finding]]:
        return audit, [Finding("replay", "replay.rows", "passed", "here", "nothing was looked at")]

    monkeypatch.setattr("blockcert_verifier.steps.replay.replay", agree)
    report = run(made)
    assert report.verdict == "rejected"
    refuted = of(report, "proof.cell.refuted")
    assert refuted
    assert all(finding.status == "failed" and "the exact value lies between" in finding.message for finding in refuted)
    assert report.proof is not None
    assert len(report.proof.drawn) == 1, "one refuted row is enough"
    assert report.proof.ending == "refuted"


# --- endings ----------------------------------------------------------------------------------------------------


def test_a_time_limit_leaves_the_verdict_waiting(made: Made) -> None:
    """BC-ENC-08."""
    ticks: Iterator[int] = iter(range(10**6))
    # the clock moves at every look; the replay is done by then, and the proof is not
    report = run(made, time_limit=25, clock=lambda: float(next(ticks)), prove=CERTIFICATION, replay=1)
    assert [finding.status for finding in of(report, "proof.partial")] == ["inconclusive"]
    assert report.verdict == "indeterminate"
    assert report.proof is not None
    assert report.proof.ending == "time-limit"


def test_the_time_is_looked_at_within_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head may take longer than all blocks: before each step, each head of attention, each part of a product and each
    position's logits there is a look, and what it raises ends the row."""
    reference, surrogate, paths = tiny_pair(tmp_path)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    tokens, thresholds, head = [1, 5, 9, 2], Thresholds((), ()), len(pair.same) - 1
    looks: Counter[int] = Counter()
    enclose_row(pair, tokens, thresholds, 100, lambda done: looks.update([done]))
    assert sorted(looks) == list(range(head + 2))
    steps = [len(stage.steps) for stage in reference.stages]
    assert looks[head] >= 1 + steps[head] + 1 + len(tokens)
    assert all(looks[block] > 1 + steps[block] for block in range(1, head))

    def reached(*_: Any) -> None:
        raise AssertionError("the head went on")

    def stop(done: int) -> None:
        left.subtract([done])
        if left[head] < looks[head] - 1:
            raise Stopped("time-limit")

    left = Counter(looks)
    monkeypatch.setattr("blockcert_verifier.enclose.trajectories.logit_cells", reached)
    with pytest.raises(Stopped):
        enclose_row(pair, tokens, thresholds, 100, stop)


def test_the_limit_of_memory_is_the_proofs_too(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-VER-29."""

    def estimated(_: Any, __: int, bits: int) -> int:
        return bits << 40

    monkeypatch.setattr("blockcert_verifier.steps.proof.row_bytes", estimated)
    report = run(made)
    assert report.verdict == "indeterminate"
    assert report.proof is None
    assert [finding.status for finding in of(report, "limit.memory")] == ["inconclusive"]


def test_bits_are_not_doubled_beyond_the_limit_of_memory(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def estimated(_: Any, __: int, bits: int) -> int:
        return 0 if bits < 30 else 1 << 80

    monkeypatch.setattr("blockcert_verifier.steps.proof.first_bits", lambda _: 12)
    monkeypatch.setattr("blockcert_verifier.steps.proof.row_bytes", estimated)
    proof = run(made).proof
    assert proof is not None
    assert proof.bits == 24
    assert proof.cells.inconclusive > 0


def test_an_interruption_is_reported(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blockcert_verifier.enclose.rows.enclose_row", stop)
    report = run(made, catch_interrupt=True)
    assert of(report, "proof.partial")
    assert report.verdict == "indeterminate"
    with pytest.raises(KeyboardInterrupt):
        run(made)


def test_several_processes_prove_what_one_does(made: Made) -> None:
    seed = bytes(range(32))
    seen: list[Estimate] = []
    options = {"seed": seed, "prove": 3, "announce": seen.append}
    one, two = run(made, **options).proof, run(made, jobs=2, **options).proof
    assert one is not None
    assert two is not None
    assert one == replace(two, seconds=one.seconds)
    assert [found.rows for found in seen if found.what == "proving"] == [3, 3]
    assert all(found.seconds > 0 and found.memory > 1 << 20 for found in seen)


def test_processes_end_at_the_time_limit(made: Made) -> None:
    ticks: Iterator[int] = iter(range(10**6))
    report = run(made, time_limit=25, clock=lambda: 8.0 * next(ticks), prove=CERTIFICATION, replay=1, jobs=2)
    assert [finding.status for finding in of(report, "proof.partial")] == ["inconclusive"]
    assert report.proof is not None
    assert report.proof.ending == "time-limit"


def test_a_process_that_dies_leaves_the_verdict_waiting(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockcert_verifier.enclose.rows._WORKER", ("-c", "raise SystemExit(1)"))
    report = run(made, jobs=2)
    assert [finding.status for finding in of(report, "proof.partial")] == ["inconclusive"]
    assert report.verdict == "indeterminate"


def test_more_bits_are_taken_where_few_decide_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-ENC-03, 04: too few bits to begin with cost time and nothing else."""
    monkeypatch.setattr("blockcert_verifier.steps.proof.first_bits", lambda _: 12)
    proof = run(made, prove=1).proof
    assert proof is not None
    assert proof.confirmed == 1
    assert proof.bits in (48, 96)


def test_what_no_precision_decides_is_left_open(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-ENC-04, 08."""
    monkeypatch.setattr("blockcert_verifier.steps.proof.first_bits", lambda _: 12)
    monkeypatch.setattr("blockcert_verifier.steps.proof.MOST_BITS", 20)
    report = run(made)
    assert report.verdict == "indeterminate"
    assert "12 bits do not decide it" in of(report, "proof.cell.inconclusive")[0].message
