"""Two bundles side by side: unverified, and compared only where they speak of the same thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import certificate_id, parse_envelope
from blockcert.numbers import parse_decimal
from blockcert.statement import Statement
from blockcert_producers.cli.run import run
from blockcert_verifier.diff import Difference, Line, Table, compare
from blockcert_verifier.diff_terms import Shown
from blockcert_verifier.diff_text import MOST_BLOCKS, render_difference
from tests.support.bundles import Made, change_statement, make_bundle

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def other(made: Made, tmp_path: Path) -> Made:
    return made.copy(tmp_path)


def read(bundle: Path) -> Shown:
    envelope = parse_envelope((bundle / STATEMENT).read_bytes(), STATEMENT)
    statement = strict_json.decode(envelope.payload, Statement, STATEMENT)
    return Shown(str(bundle), certificate_id(envelope.payload), len(envelope.signatures), statement)


def against(made: Made, other: Made, change: Change) -> Difference:
    """A bundle beside a copy of which the predicate was changed."""
    change_statement(other, lambda statement: change(statement["predicate"]))
    return compare(read(made.bundle), read(other.bundle))


def table(difference: Difference, title: str) -> Table:
    return next(table for table in difference.tables if table.title.startswith(title))


def line(difference: Difference, title: str, what: str, block: int | None = None) -> Line:
    lines = table(difference, title).lines
    return next(line for line in lines if line.what.strip() == what and line.block == block)


def all_lines(difference: Difference) -> list[Line]:
    return [line for table in difference.tables for line in table.lines]


# --- what is compared -------------------------------------------------------------------------------------------


def test_a_bundle_beside_itself_differs_in_nothing(made: Made) -> None:
    difference = compare(read(made.bundle), read(made.bundle))
    assert all(term.same for term in difference.terms)
    assert {table.why_not for table in difference.tables} == {None}
    assert {line.better for line in all_lines(difference)} == {None}
    stated = [line for line in all_lines(difference) if line.a is not None]
    assert stated
    assert {line.difference for line in stated} == {"0"}


def test_lower_errors_and_higher_shares_are_nearer_the_reference(made: Made, other: Made) -> None:
    def change(predicate: dict[str, Any]) -> None:
        end, block = predicate["claims"]["end_to_end"], predicate["claims"]["stages"][1]
        end["top1_agree"], end["logit_difference"], end["kl_max"] = 0, "0.001", "1000"
        block["relative_error"], block["covered"] = "0.001", [block["tokens"]] * len(block["covered"])

    difference = against(made, other, change)
    assert line(difference, "End", "top-1 agrees").better == "A"
    assert line(difference, "End", "largest logit difference").better == "B"
    assert line(difference, "End", "largest KL, nats").better == "A"
    assert line(difference, "Blocks", "relative", 1).better == "B"
    assert line(difference, "Blocks", "<=0.01", 1).better == "B"
    assert line(difference, "Blocks", "relative", 2).better is None


@pytest.mark.parametrize(("a", "b", "better"), [("-0.5", "0.25", "B"), ("0.25", "-0.5", "A"), ("-0.5", "0.5", None)])
def test_a_loss_that_falls_is_as_far_from_the_reference_as_one_that_rises(
    made: Made, other: Made, tmp_path: Path, a: str, b: str, better: str | None
) -> None:
    first = made.copy(tmp_path / "first")
    for changed, value in ((first, a), (other, b)):
        change_statement(changed, lambda s, v=value: s["predicate"]["claims"]["end_to_end"].update(loss_difference=v))
    found = line(compare(read(first.bundle), read(other.bundle)), "End", "mean loss difference, nats")
    assert found.better == better
    assert found.difference is not None
    assert parse_decimal(found.difference) == parse_decimal(b) - parse_decimal(a)


def test_each_claim_stands_beside_the_control(made: Made) -> None:
    difference = compare(read(made.bundle), read(made.bundle))
    control = read(made.bundle).statement.predicate.claims.control.identity
    assert line(difference, "End", "drift after the last block").control == control.drift
    assert line(difference, "Blocks", "relative", 1).control == control.relative_error[1]
    assert "control" in render_difference(difference)


def test_of_two_controls_the_nearer_is_shown(made: Made, other: Made) -> None:
    difference = against(made, other, lambda p: p["claims"]["control"]["identity"].update(drift="0.5", top1_agree=48))
    assert line(difference, "End", "drift after the last block").control == "0.5"
    assert line(difference, "End", "top-1 agrees").control == "1"


# --- what is not ------------------------------------------------------------------------------------------------


def reference_digest(statement: dict[str, Any]) -> None:
    subject = next(s for s in statement["subject"] if s["name"].startswith("reference/"))
    subject["digest"]["blake3"] = "0" * 64


def reference_program(statement: dict[str, Any]) -> None:
    subject = next(s for s in statement["subject"] if s["name"] == statement["predicate"]["reference"]["program"])
    subject["digest"]["blake3"] = "0" * 64


@pytest.mark.parametrize("change", [reference_digest, reference_program])
def test_another_reference_is_not_compared(made: Made, other: Made, change: Change) -> None:
    change_statement(other, change)
    difference = compare(read(made.bundle), read(other.bundle))
    assert {table.why_not for table in difference.tables} == {"different reference"}
    assert {(line.difference, line.better) for line in all_lines(difference)} == {(None, None)}
    text = render_difference(difference)
    assert "not comparable, different reference" in text
    assert "B - A" not in text
    assert "nearer the reference\n" not in text.replace("the one nearer the reference\n", "")


def corpus(frame: dict[str, Any]) -> None:
    frame["corpus"][0]["blake3"] = "0" * 64


def tokenizer(frame: dict[str, Any]) -> None:
    frame["tokenizer"]["blake3"] = "0" * 64


def length(frame: dict[str, Any]) -> None:
    frame["length"] = 16


@pytest.mark.parametrize("change", [corpus, tokenizer, length])
def test_other_prompts_are_not_compared(made: Made, other: Made, change: Change) -> None:
    difference = against(made, other, lambda predicate: change(predicate["prompts"]["frame"]))
    for title in ("End", "Blocks", "Drift", "Share"):
        assert table(difference, title).why_not == "other prompts"
    # costs are counted from the programs, whatever the prompts
    assert table(difference, "Kept").why_not is None
    assert {line.better for line in all_lines(difference)} == {None}


def test_populations_without_the_same_windows_are_not_compared(made: Made, other: Made) -> None:
    difference = against(made, other, lambda p: p["prompts"]["frame"].update(seed=9))
    assert table(difference, "End").why_not is None
    assert "calibration" in (table(difference, "Share").why_not or "")


def test_bounds_of_another_confidence_are_not_compared(made: Made, other: Made) -> None:
    difference = against(made, other, lambda p: p["claims"]["population"].update(alpha="0.5"))
    assert "confidence" in (table(difference, "Share").why_not or "")


def test_a_predicate_of_one_only_stands_alone(made: Made, other: Made) -> None:
    name = "top-1 agrees at 95 % of positions"

    def change(predicate: dict[str, Any]) -> None:
        claims = predicate["claims"]["population"]["claims"]
        claims[:] = [claim for claim in claims if claim["predicate"]["kind"] != "top1"]

    found = line(against(made, other, change), "Share", name)
    assert found.a is not None
    assert (found.b, found.difference, found.better) == (None, None, None)


def test_only_thresholds_of_both_stand_side_by_side(made: Made, other: Made) -> None:
    difference = against(made, other, lambda p: p["thresholds"].update(relative=["0.01", "0.02", "0.5"]))
    names = {line.what for line in table(difference, "Blocks").lines}
    assert names == {"error", "relative", "<=0.01", "<=0.02"}
    assert any("thresholds" in note for note in difference.notes)


def vacuous(predicate: dict[str, Any]) -> None:
    predicate["claims"]["composition"][0].update(vacuous=True, bound="0.001")


def estimate(predicate: dict[str, Any]) -> None:
    predicate["claims"]["composition"][0].update(basis="estimate", bound="0.001")


@pytest.mark.parametrize(("change", "word"), [(vacuous, "B is VACUOUS"), (estimate, "an estimate, no guarantee")])
def test_a_bound_that_says_nothing_is_not_better(made: Made, other: Made, change: Change, word: str) -> None:
    difference = against(made, other, change)
    assert line(difference, "Drift", "bound").better is None
    assert word in render_difference(difference)


def test_no_cost_is_called_better(made: Made, other: Made) -> None:
    def change(predicate: dict[str, Any]) -> None:
        for cost in predicate["surrogate"]["kept"]["surrogate"]:
            cost.update(parameters=0)

    lines = table(against(made, other, change), "Kept").lines
    assert lines[0].difference is not None
    assert parse_decimal(lines[0].difference) < 0
    assert {line.better for line in lines} == {None}


def test_other_numbers_of_blocks_are_not_put_side_by_side(made: Made, tmp_path: Path) -> None:
    difference = compare(read(made.bundle), read(make_bundle(tmp_path, blocks=3).bundle))
    found = table(difference, "Blocks")
    assert found.lines == ()
    assert found.why_not == "different reference: 2 and 3 blocks"


# --- for a person -----------------------------------------------------------------------------------------------


def test_that_nothing_was_checked_comes_first(made: Made) -> None:
    text = render_difference(compare(read(made.bundle), read(made.bundle)))
    assert text.startswith("UNVERIFIED: ")


def test_digests_are_cut_short_unless_that_hides_where_they_differ(made: Made, other: Made) -> None:
    program = read(made.bundle).statement.predicate.surrogate.program

    def change(statement: dict[str, Any]) -> None:
        subject = next(s for s in statement["subject"] if s["name"] == program)
        digest = subject["digest"]["blake3"]
        subject["digest"]["blake3"] = digest[:-1] + ("0" if digest[-1] != "0" else "1")

    change_statement(other, change)
    difference = compare(read(made.bundle), read(other.bundle))
    term = next(term for term in difference.terms if term.what == "surrogate")
    text = "".join(render_difference(difference).split())
    assert not term.same
    assert term.a in text
    assert term.b in text
    identity = next(term for term in difference.terms if term.what == "certificate")
    assert identity.a not in text


def many_blocks(count: int) -> Change:
    def change(statement: dict[str, Any]) -> None:
        claims = statement["predicate"]["claims"]
        stages, control = claims["stages"], claims["control"]["identity"]
        first, last = stages[0], stages[-1]
        middle = [{**stages[1], "index": i + 1, "relative_error": f"0.{i + 1:03}1"} for i in range(count)]
        claims["stages"] = [first, *middle, {**last, "index": count + 1}]
        for name in ("error", "relative_error", "covered"):
            cells = control[name]
            control[name] = [cells[0], *[cells[1]] * count, cells[-1]]

    return change


@pytest.mark.parametrize("count", [1, 2, 16, 17, 200])
def test_any_number_of_blocks_fits_a_terminal(made: Made, other: Made, count: int) -> None:
    change_statement(other, many_blocks(count))
    difference = compare(read(other.bundle), read(other.bundle))
    text = render_difference(difference)
    assert max(map(len, text.splitlines())) <= 80
    blocks = next(part for part in text.split("\n\n") if part.startswith("Blocks"))
    numbered = {line.split()[0] for line in blocks.splitlines() if line.strip()[:1].isdigit()}
    assert len(numbered) == min(count, MOST_BLOCKS)
    assert ("blocks whose relative errors differ most" in " ".join(blocks.split())) == (count > MOST_BLOCKS)


HOSTILE = ["\x1b[2J\x1b[31mACCEPTED", "a\nb", "\u202eevil", "x" * 1024, "漢" * 300, ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_made_plain_and_fit(made: Made, name: str) -> None:
    shown = read(made.bundle)
    hostile = Shown(name, "blake3:" + "0" * 64, 0, shown.statement)
    text = render_difference(compare(hostile, shown))
    assert max(map(len, text.splitlines())) <= 80
    assert not set("\x1b\u202e\r") & set(text)
    assert text.startswith("UNVERIFIED")


EXTREMES: dict[str, Change] = {
    "no tokens": lambda p: p["claims"]["end_to_end"].update(tokens=0, top1_agree=9),
    "more agree than there are": lambda p: p["claims"]["end_to_end"].update(top1_agree=2**53 - 1),
    "the largest number": lambda p: p["claims"]["end_to_end"].update(drift="9" * 40, kl_max="-" + "9" * 40),
    "the smallest number": lambda p: p["claims"]["end_to_end"].update(drift="0." + "0" * 39 + "1"),
    "a long threshold": lambda p: p["thresholds"].update(relative=["0.01", "0.02", "0." + "1" * 40]),
    "no windows": lambda p: p["claims"]["population"].update(windows=0),
    "no predicates": lambda p: p["claims"]["population"].update(claims=[]),
    "no bounds": lambda p: p["claims"].update(composition=[]),
    "a bound twice": lambda p: p["claims"].update(composition=p["claims"]["composition"] * 2),
    "costs of nothing": lambda p: p["surrogate"]["kept"].update(reference=[], surrogate=[]),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_no_statement_that_can_be_read_makes_it_fail(made: Made, other: Made, name: str) -> None:
    difference = against(made, other, EXTREMES[name])
    for found in (difference, compare(read(other.bundle), read(made.bundle)), compare(*[read(other.bundle)] * 2)):
        assert max(map(len, render_difference(found).splitlines())) <= 80
        assert json.loads(strict_json.encode(found))["verified"] is False


# --- the command ------------------------------------------------------------------------------------------------


def test_the_bundles_may_stand_before_or_after_the_option(
    made: Made, other: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(made.bundle), str(other.bundle)
    texts: list[str] = []
    for words in (["--diff", a, b], [a, "--diff", b], [a, b, "--diff"]):
        assert run(["show", *words]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0].startswith("UNVERIFIED: ")
    assert texts == [texts[0]] * 3


@pytest.mark.parametrize("words", ["A B", "--diff A", "--diff A B A", "--diff --raw A B", "A --json -"])
def test_any_other_number_of_bundles_is_wrong_usage(made: Made, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", *(str(made.bundle) if word in "AB" else word for word in words.split())]) == 2
    assert "usage.show" in capsys.readouterr().err


def test_the_difference_is_written_as_json(
    made: Made, other: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles = [str(made.bundle), str(other.bundle)]
    assert run(["show", "--diff", *bundles, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["type"], document["verified"]) == ("blockcert-difference", False)
    assert run(["show", "--diff", *bundles, "--json", str(tmp_path / "d.json")]) == 0
    assert json.loads((tmp_path / "d.json").read_bytes()) == document
    assert run(["show", "--diff", *bundles, "--json", str(tmp_path)]) == 2


@pytest.mark.parametrize("data", [b"", b"[]", b"\x00\xff", b'{"payload": 1}'])
def test_a_bundle_that_cannot_be_read_is_named(
    made: Made, other: Made, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (other.bundle / STATEMENT).write_bytes(data)
    assert run(["show", "--diff", str(made.bundle), str(other.bundle)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(other.bundle) in captured.err
    assert run(["show", "--diff", str(other.bundle), str(made.bundle) + "x"]) == 2
