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
