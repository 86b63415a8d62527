"""Documents against their schemas: which one is meant, and where it is not met."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from blockcert.errors import Refusal
from blockcert.schema_check import KINDS, Kind, check, kind_of, schema
from blockcert_producers.cli.run import run

ROOT = Path(__file__).parents[2]


def examples() -> list[tuple[Kind, Any]]:
    return [(kind, example) for kind in KINDS for example in schema(kind)["examples"]]


def test_there_is_a_kind_for_every_schema() -> None:
    files = sorted(path.name.removesuffix(".schema.json") for path in (ROOT / "schemas").glob("*.schema.json"))
    assert sorted(KINDS) == files


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_says_what_it_is_and_is_as_its_schema_says(kind: Kind) -> None:
    for example in schema(kind)["examples"]:
        data = json.dumps(example).encode()
        assert kind_of(data, "file") == kind
        assert check(data, kind, "file") == []


def test_what_says_nothing_of_itself_is_asked_for() -> None:
    for data in (b"{}", b"[]", b'{"type":"other"}', b"1"):
        with pytest.raises(Refusal) as refused:
            kind_of(data, "file")
        assert refused.value.code == "schema.unknown"
        assert "--as" in refused.value.sentence


@pytest.mark.parametrize("kind", KINDS)
def test_each_problem_has_its_place_and_no_whole_document(kind: Kind) -> None:
    example = schema(kind)["examples"][0]
    for name in example:
        found = check(json.dumps({**example, name: [example] * 10}).encode(), kind, "file")
        assert found, name
        for problem in found:
            by_the_gate = problem.code == "json.limit"  # of a kind that nests less, at no place but the file
            assert by_the_gate or problem.place.startswith("file: $") or problem.sentence.startswith("and ")
            assert len(problem.sentence) < 600


def test_what_no_gate_passes_is_told_by_its_code() -> None:
    for data, code in ((b'{"a":1,"a":2}', "json.duplicate_key"), (b"{", "json.syntax"), (b'{"a":1.5}', "json.number")):
        (problem,) = check(data, "statement", "file")
        assert problem.code == code


NEAREST: dict[str, tuple[Kind, dict[str, Any], str, str]] = {
    "a step of a program": (
        "program",
        {"stages": [{"steps": [{"op": "add", "out": "x", "left": "a", "right": 7}]}]},
        "$.stages[0].steps[0].right",
        "'7' does not meet type",
    ),
    "an answer with a verdict": (
        "conformance-message",
        {"case": "a::b", "verdict": "fine"},
        "$.verdict",
        "'fine' does not meet enum",
    ),
    "a request without most of it": (
        "conformance-message",
        {"case": "a::b", "bundle": "x", "policy": "y"},
        "$",
        "a field is missing: reference, corpus",
    ),
    "a number or a word": (
        "conformance-index",
        {"cases": [{"options": {"at": "2026-11-22T10:00:00Z", "replay": "most"}}]},
        "$.cases[0].options.replay",
        '\'most\' does not meet const "all", nor type "integer"',
    ),
    "null or a path": (
        "conformance-index",
        {"cases": [{"inputs": {"bundle": "b", "policy": "p", "reference": 1}}]},
        "$.cases[0].inputs.reference",
        '\'1\' does not meet type "null", nor type "string"',
    ),
}


@pytest.mark.parametrize("what", NEAREST)
def test_of_several_alternatives_the_nearest_is_told(what: str) -> None:
    kind, part, path, says = NEAREST[what]
    found = {problem.place: problem.sentence for problem in check(json.dumps(part).encode(), kind, "file")}
    assert says in found.get(f"file: {path}", ""), found


@pytest.mark.parametrize("kind", KINDS)
def test_no_problem_is_only_that_no_alternative_is_met(kind: Kind) -> None:
    example = schema(kind)["examples"][0]
    for name in example:
        for value in (7, "x", {}, [example]):
            found = check(json.dumps({**example, name: value}).encode(), kind, "file")
            assert [p for p in found if p.sentence.endswith(("anyOf", "oneOf"))] == [], (name, value)


def test_an_endless_list_of_problems_ends() -> None:
    document = schema("conformance-index")["examples"][0]
    found = check(json.dumps({**document, "cases": [{}] * 1000}).encode(), "conformance-index", "file")
    assert len(found) == 51
    assert "950 more" in found[-1].sentence


def test_the_command_checks_an_envelope_and_the_statement_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, other = (tmp_path / name for name in ("good.json", "bad.json", "other.json"))
    statement = schema("statement")["examples"][0]
    for path, predicate in ((good, statement["predicate"]), (bad, {**statement["predicate"], "version": "2.0"})):
        payload = json.dumps({**statement, "predicate": predicate}).encode()
        envelope = {"payload": base64.b64encode(payload).decode(), "payloadType": "application/vnd.in-toto+json"}
        path.write_text(json.dumps({**envelope, "signatures": []}))
    other.write_text("{}")
    assert run(["schema", "check", str(good)]) == 0
    shown = capsys.readouterr().out
    assert "a statement as" in shown
    assert "envelope as" in shown
    review = tmp_path / "review.json"
    payload = json.dumps(schema("review")["examples"][0]).encode()
    review.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode(), "signatures": []}))
    assert run(["schema", "check", str(review)]) == 0
    assert "payload: a review as" in capsys.readouterr().out
    assert run(["schema", "check", str(good), str(bad)]) == 1
    assert "payload: $.predicate.version" in capsys.readouterr().out
    assert run(["schema", "check", str(other)]) == 2
    assert run(["schema", "check", str(other), "--as", "program"]) == 1
    assert run(["schema", "check", str(other), "--as", "poem"]) == 2
    assert run(["schema", "check", str(tmp_path / "nothing.json")]) == 2
    assert "schema.unknown" in capsys.readouterr().err


BROKEN: dict[str, tuple[bytes, str]] = {
    "cut off": (b'{"type":"blockcert-trust-policy"', "json.syntax"),
    "a fraction": (b'{"type":"blockcert-trust-policy","version":1.5}', "json.number"),
    "a key twice": (b'{"type":"blockcert-trust-policy","type":"x"}', "json.duplicate_key"),
    "no UTF-8": (b'{"type":"\xff"}', "json.encoding"),
    "too deep": (b"[" * 65 + b"]" * 65, "json.limit"),
    "empty": (b"", "json.syntax"),
}


@pytest.mark.parametrize("as_", [[], ["--as", "trust-policy"]], ids=["as it says", "as a policy"])
@pytest.mark.parametrize("what", BROKEN)
def test_what_the_gate_refuses_is_a_problem_and_the_next_file_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, as_: list[str]
) -> None:
    data, code = BROKEN[what]
    bad, good = tmp_path / "bad.json", tmp_path / "good.json"
    bad.write_bytes(data)
    good.write_text(json.dumps(schema("trust-policy")["examples"][0]))
    assert run(["schema", "check", str(bad), str(good), *as_]) == 1
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith(f"{bad}: ")
    assert first.endswith(f"({code})")
    assert second == f"{good}: a trust-policy as schemas/trust-policy.schema.json has it"
    assert err == ""


def test_a_file_that_cannot_be_read_costs_no_other_its_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, unsaid = tmp_path / "good.json", tmp_path / "unsaid.json"
    good.write_text(json.dumps(schema("trust-policy")["examples"][0]))
    unsaid.write_text("{}")
    assert run(["schema", "check", str(tmp_path / "nothing.json"), str(unsaid), str(tmp_path), str(good)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{good}: a trust-policy as schemas/trust-policy.schema.json has it"]
    assert [line for line in err.splitlines() if not line.startswith("blockcert: ")] == []
    assert all(code in err for code in ("file.missing", "schema.unknown", "file.unreadable"))
