"""`--prove N` of a producer: proven ends in the evidence, their claims in the certificate, and what a verifier says."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.evidence import ENCLOSED, ENCLOSURE
from blockcert.evidence_file import EvidenceTable, read_evidence
from blockcert.statement import Statement
from blockcert_producers import embedded
from blockcert_producers.certify import CertifyOptions
from blockcert_producers.cli.run import run
from blockcert_producers.embedded.text import generate
from blockcert_producers.work_folder import WorkFolder
from blockcert_verifier import Report, render, verify
from blockcert_verifier.steps import recompute, structure
from tests.support.bundles import CERTIFICATION, NOW, Made, make_bundle, restate, rewrite_column

pytest.importorskip("flint", reason="python-flint, blockcert[prove], is not installed")

from blockcert_producers.certify import enclosing
from blockcert_verifier.enclose.order import proof_order

EVIDENCE = "evidence.safetensors"
ROWS = 2
COUNTS = ("--count", "4", "--calibration", "8", "--attribution", "1", "--length", "8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"), options=CertifyOptions(attribution=2, prove=ROWS))


def statement(bundle: Path) -> Statement:
    payload = parse_envelope((bundle / "statement.dsse.json").read_bytes(), "statement").payload
    found, findings = structure.statement(payload)
    assert found is not None, findings
    return found


def evidence(bundle: Path) -> EvidenceTable:
    return read_evidence(bundle / EVIDENCE, recompute.evidence_shape(statement(bundle)), EVIDENCE)


def check(made: Made, **options: Any) -> Report:
    return verify(made.bundle, made.policy, **{"reference": made.model, "at": NOW, "replay": "all", **options})


# --- what is written --------------------------------------------------------------------------------------------


def test_the_first_rows_are_enclosed_and_each_end_is_tight(made: Made) -> None:
    """BC-ENC-14: an upper end is hardly above what was measured, a lower one of a count no lower than that."""
    table, claims = evidence(made.bundle), statement(made.bundle).predicate.claims.enclosures
    assert claims is not None
    assert (claims.rows, claims.basis, claims.scope) == (ROWS, "enclosure", "listed-prompts")
    for name in ENCLOSED:
        ends = np.array(table.flat(ENCLOSURE + name))
        measured = np.array(table.flat(name)[: len(ends)])
        if ends.dtype.kind == "i":
            assert ends.tolist() == measured.tolist()
        else:
            assert np.all(np.abs(ends - measured) <= 1e-9 * measured)
    assert set(table.flat("enclosure.bits")) == {124}


def test_more_rows_than_prompts_are_all_prompts(tmp_path: Path) -> None:
    found = make_bundle(tmp_path, options=CertifyOptions(attribution=0, prove=99))
    claims = statement(found.bundle).predicate.claims.enclosures
    assert claims is not None
    assert claims.rows == CERTIFICATION


@given(st.fractions(min_value=0, max_value=10**320))
def test_a_float_above_is_the_least_one(value: Fraction) -> None:
    """BC-EVD-10."""
    found = enclosing.float_above(value)
    if found == float("inf"):
        assert value > Fraction(np.finfo(np.float64).max)
        return
    assert Fraction(found) >= value
    below = float(np.nextafter(found, -1.0))
    assert found == 0 or Fraction(below) < value


def test_ends_of_huge_and_tiny_numbers() -> None:
    assert enclosing.float_above(Fraction(10**400)) == float("inf")
    assert enclosing.float_above(Fraction(1, 10**400)) == 5e-324
    assert enclosing.float_above(Fraction(3, 2)) == 1.5


def test_a_measurement_that_is_not_the_exact_one_is_not_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = enclosing.enclosure_columns

    def lied(pair: Any, tokens: Any, shape: Any, thresholds: Any, recorded: Any, **options: Any) -> Any:
        return honest(pair, tokens, shape, thresholds, {**recorded, "drift": recorded["drift"] * 1.01}, **options)

    monkeypatch.setattr(enclosing, "enclosure_columns", lied)
    with pytest.raises(Refusal) as refused:
        make_bundle(tmp_path, options=CertifyOptions(prove=1))
    assert refused.value.code == "measure.self_check"
    assert refused.value.place.startswith("drift[0, 1]")
    assert not (tmp_path / "bundle").exists()


# --- what a verifier says ---------------------------------------------------------------------------------------


def test_it_is_verified_without_the_package(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-CLM-18: whoever recomputes the claims encloses nothing."""
    hide_flint(monkeypatch)
    report = check(made)
    assert report.verdict == "accepted"
    assert [u.what for u in report.unchecked if "proved" in u.what] == ["the 2 rows that the producer proved"]
    text = " ".join(render(report).split())
    assert "Proven of the two exact programs [listed-prompts, enclosure]" in text
    assert "by the producer; --prove N proves rows again" in text


def test_rows_are_proven_again(made: Made) -> None:
    """BC-ENC-15, BC-ENC-16."""
    report = check(made, prove=3)
    assert report.verdict == "accepted"
    proof = report.proof
    assert proof is not None
    assert proof.enclosures is not None
    first, second, third = proof.drawn
    assert first < ROWS
    assert third < ROWS or second < ROWS
    assert (proof.enclosures.rows, proof.enclosures.enclosed, proof.enclosures.confirmed) == (ROWS, 2, 2)
    assert proof.enclosures.cells.inconclusive == proof.enclosures.cells.refuted == 0
    assert not [u.what for u in report.unchecked if "proved" in u.what]
    text = " ".join(render(report).split())
    assert "2 rows, by the producer, and again here on all" in text
    assert "Of the 2 rows that the certificate itself proves, 2 were enclosed here" in text


def test_stages_are_proven_on_the_same_rows(made: Made) -> None:
    """BC-ENC-18: every other row of BC-ENC-02 has proven ends, in whatever order a replay draws the rows."""
    orders: set[tuple[int, ...]] = set()
    for first in range(4):
        report = check(made, prove=1, prove_stages=3, seed=bytes([first] * 32))
        assert report.proof is not None
        assert report.points is not None
        assert report.audit is not None
        assert report.points.drawn[:1] == report.proof.drawn
        assert report.points.drawn[0] < ROWS
        assert list(report.points.drawn) == proof_order(report.audit.drawn, ROWS, 3)
        orders.add(report.audit.drawn[:3])
    assert any(one[0] >= ROWS for one in orders), "a replay that begins with another row"


def test_an_end_one_unit_in_its_last_bit_too_low_is_refuted(made: Made, tmp_path: Path) -> None:
    """The least float64 above the exact value holds, and the next below it does not."""
    copy = made.copy(tmp_path)

    def change(cells: Any) -> None:
        cells[0, 1] = np.nextafter(cells[0, 1], 0)

    rewrite_column(copy.bundle / EVIDENCE, "enclosure.error", change)
    restate(copy)
    assert check(copy).verdict == "accepted", "a replay has a tolerance"
    report = check(copy, prove=4)
    assert report.verdict == "rejected"
    refuted = [finding for finding in report.findings if finding.code == "proof.cell.refuted"]
    assert [finding.place for finding in refuted] == [f"{EVIDENCE}: enclosure.error[0, 1]"]
    assert "the certificate proves at most" in refuted[0].message


@given(st.permutations(range(7)), st.integers(0, 7), st.integers(0, 9))
def test_every_other_proven_row_is_one_that_the_certificate_encloses(
    drawn: list[int], enclosed: int, asked: int
) -> None:
    """BC-ENC-02."""
    order = proof_order(drawn, enclosed, asked)
    assert len(order) == min(asked, 7)
    assert len(set(order)) == len(order)
    for number in range(0, len(order), 2):
        left = [row for row in drawn if row < enclosed and row not in order[:number]]
        assert order[number] == (left or [row for row in drawn if row not in order[:number]])[0]
    for number in range(1, len(order), 2):
        assert order[number] == next(row for row in drawn if row not in order[:number])


# --- at the terminal --------------------------------------------------------------------------------------------


def hide_flint(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "blockcert_verifier.enclose.install.find_spec", lambda name: None if name == "flint" else found(name)
    )


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "text.txt").write_text(generate(5, 8_000), encoding="utf-8")
    texts = ("--prompts", str(tmp_path / "text.txt"), "--out", str(tmp_path / "out"))
    return ["extract", str(embedded.path("gpt2")), *texts, *COUNTS, "--prove", "2"]


def test_without_the_package_one_sentence_says_what_to_install(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide_flint(monkeypatch)
    assert run(words) != 0
    said = capsys.readouterr().err
    assert "pip install 'blockcert[prove]'" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_an_interrupted_run_goes_on_after_the_rows_that_are_proven(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enclose: Callable[..., Any] = enclosing.enclose_row
    seen: list[Any] = []

    def second_interrupted(pair: Any, tokens: Any, *rest: Any) -> Any:
        seen.append(tokens)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return enclose(pair, tokens, *rest)

    monkeypatch.setattr(enclosing, "enclose_row", second_interrupted)
    assert run(words) != 0
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".out.work/*/rows/*/*.json"))) == 1
    assert run(words) == 0
    assert len(seen) == 3, "the second row is enclosed again, and the first is not"
    assert seen[1] == seen[2]
    claims = statement(tmp_path / "out").predicate.claims.enclosures
    assert claims is not None
    assert claims.rows == 2
    assert "proven of the exact programs on 2 of these prompts" in " ".join(capsys.readouterr().out.split())


def test_what_does_not_fit_is_refused_before_any_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BC-VER-29's estimate, for whoever encloses first."""
    assert run([*words, "--limit", "memory=1MiB"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("blockcert: --prove: proving a prompt of 8 tokens with 164 bits is estimated to take ")
    assert "the limit is 1048576: give more with --limit memory=N, or shorter prompts" in line
    assert "[limit.memory]" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]
    compared = ["compare", words[1], *words[1:]]
    assert run([*compared, "--limit", "memory=1MiB"]) == 2
    assert "[limit.memory]" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


@pytest.mark.parametrize("limit", ["memory=0", "memory", "seconds=3", "memory=1GiB"])
def test_a_limit_that_is_none_is_refused(limit: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    proving = 0 if limit == "memory=1GiB" else 2  # without a proof there is nothing to limit
    assert run([*words, "--prove", str(proving), "--limit", limit]) == 2
    assert "[usage.limit]" in capsys.readouterr().err


def test_a_precision_that_does_not_fit_is_not_tried(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is finished is kept: with more memory the same command goes on."""
    judged, settled = enclosing.judge, list[bool]()

    def open_at_first(*given_: Any, **more: Any) -> Any:
        found = judged(*given_, **more)
        return found if settled else msgspec.structs.replace(found, verdict="inconclusive")

    def estimated(pair: Any, length: int, bits: int) -> int:
        return bits

    monkeypatch.setattr(enclosing, "judge", open_at_first)
    monkeypatch.setattr(enclosing, "row_bytes", estimated)
    assert run([*words, "--limit", "memory=200"]) == 2
    assert "with 328 bits is estimated to take 328 bytes" in capsys.readouterr().err
    assert len(list(tmp_path.glob(".out.work/*/blocks/*/chosen.json"))) == 4
    settled.append(True)
    assert run([*words, "--limit", "memory=328"]) == 0


def test_a_kept_row_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    shelf = WorkFolder(tmp_path / "out", b"key").rows("ab" * 32)
    assert shelf.load(0) is None
    cells = {"enclosure.error": [0.1, 5e-324, 1e300], "enclosure.top1_agree": 7}
    shelf.keep(0, cells)
    assert shelf.load(0) == cells
    (path,) = tmp_path.glob(".out.work/*/rows/*/0.json")
    path.write_bytes(path.read_bytes()[:-3])
    assert shelf.load(0) is None
