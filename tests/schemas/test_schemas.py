"""The JSON Schemas are strict, self-contained, and right about their own examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "schemas").glob("*.schema.json"))
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Every keyword the schemas may use, and what stands under it: an unknown keyword is ignored by a validator, so a
# misspelt one would silently check nothing.
PLAIN = frozenset({"$schema", "$id", "$ref", "$comment", "title", "description", "examples"})
PLAIN |= {"type", "const", "enum", "pattern", "required", "additionalProperties", "uniqueItems"}
PLAIN |= {"minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"}
ONE_SCHEMA = frozenset({"items", "contains", "not"})
LIST_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf"})
MAP_OF_SCHEMAS = frozenset({"properties", "$defs"})
KNOWN = PLAIN | ONE_SCHEMA | LIST_OF_SCHEMAS | MAP_OF_SCHEMAS


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def subschemas(schema: Any, at: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its place."""
    assert isinstance(schema, dict), f"{at}: a schema here is an object, not {schema!r}"
    yield at, schema
    for keyword, value in schema.items():
        if keyword in ONE_SCHEMA:
            yield from subschemas(value, f"{at}/{keyword}")
        elif keyword in LIST_OF_SCHEMAS:
            for i, part in enumerate(value):
                yield from subschemas(part, f"{at}/{keyword}/{i}")
        elif keyword in MAP_OF_SCHEMAS:
            for name, part in value.items():
                yield from subschemas(part, f"{at}/{keyword}/{name}")


def unknown_keywords(schema: dict[str, Any]) -> list[str]:
    return [f"{at}: {keyword}" for at, part in subschemas(schema) for keyword in part if keyword not in KNOWN]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    # without an empty registry a $ref that is not local would go to the network
    return Draft202012Validator(schema, registry=Registry())


each_schema = pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)


def test_there_is_a_schema_for_every_json_document() -> None:
    assert [path.name.removesuffix(".schema.json") for path in SCHEMAS] == [
        "conformance-index",
        "conformance-message",
        "conformance-score",
        "envelope",
        "program",
        "report",
        "review",
        "revocation-list",
        "revocation-state",
        "statement",
        "trust-policy",
    ]


@each_schema
def test_a_schema_is_valid_and_uses_known_keywords_only(path: Path) -> None:
    schema = load(path)
    Draft202012Validator.check_schema(schema)
    assert unknown_keywords(schema) == []


@pytest.mark.parametrize("misspelt", ["maxlength", "additionalproperties", "Required", "minLenght"])
def test_a_misspelt_keyword_is_found(misspelt: str) -> None:
    schema = {"properties": {"a": {"anyOf": [{"type": "string", misspelt: 1}]}}}
    assert unknown_keywords(schema) == [f"#/properties/a/anyOf/0: {misspelt}"]


@each_schema
def test_a_schema_has_a_name_and_a_dialect_and_refers_to_itself_only(path: Path) -> None:
    schema = load(path)
    kind = path.name.removesuffix(".schema.json")
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"urn:blockcert:schema:{kind}:1.0"
    used = {part["$ref"] for _, part in subschemas(schema) if "$ref" in part}
    assert used == {f"#/$defs/{name}" for name in schema.get("$defs", {})}, "unresolved or unused definitions"


@each_schema
def test_every_object_is_closed_and_requires_only_fields_it_has(path: Path) -> None:
    open_objects: list[str] = []
    for at, part in subschemas(load(path)):
        if part.get("type") != "object":
            continue
        if part.get("additionalProperties", True) is not False:
            open_objects.append(at)
        assert set(part.get("required", [])) <= set(part.get("properties", {})), at
    # in-toto's outer statement is open by its own rule, extensions by ours
    by_rule = {
        "statement.schema.json": ["#", "#/$defs/predicate/properties/extensions"],
        "review.schema.json": ["#"],
    }
    assert open_objects == by_rule.get(path.name, [])


@each_schema
def test_a_string_pattern_cannot_be_passed_by_a_final_newline(path: Path) -> None:
    """Python's ``$`` matches before one, ECMA-262's does not: a second check must close the gap."""
    seen = 0
    for at, part in subschemas(load(path)):
        pattern = part.get("pattern")
        if pattern is None or at.split("/")[-1] == "not" or "/not/" in at:
            continue
        seen += 1
        assert pattern.startswith("^"), at
        assert pattern.endswith("$"), at
        assert re.search(r"\\[a-zA-Z]|\(\?", pattern) is None, f"{at}: engines differ"
        exemplar = EXEMPLARS[pattern]
        assert validator(part).is_valid(exemplar), at
        for spoiled in (exemplar + "\n", "\n" + exemplar, exemplar + " ", exemplar + "\u0660"):
            assert not validator(part).is_valid(spoiled), f"{at}: {spoiled!r}"
    assert seen


EXEMPLARS = {
    "^(0|[1-9][0-9]{0,39})(\\.[0-9]{0,39}[1-9])?$": "1.25",
    "^(0(\\.[0-9]{0,39}[1-9])?|1)$": "0.95",
    "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$": "vendor@example.org",
    "^-?(0|[1-9][0-9]{0,39})(\\.[0-9]{0,39}[1-9])?$": "-1.25",
    "^[0-9a-f]{64}$": "0" * 64,
    "^[a-z][a-z0-9-]*::[a-z0-9][a-z0-9.-]*$": "number::nan",
    "^BC-[A-Z]{3}-[0-9]{2}$": "BC-NUM-01",
    "^blake3:[0-9a-f]{64}$": "blake3:" + "0" * 64,
    "^[a-z][a-z0-9_]*$": "hidden_2",
    "^[a-z][a-z0-9_]*(\\.[a-z0-9_]+)+$": "json.syntax",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$": "2026-11-22T10:00:00Z",
    "^1\\.(0|[1-9][0-9]{0,3})$": "1.0",
    "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$": "+/+/e30=",
    "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]==|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=)?$": "-_-_e30=",
}


@each_schema
def test_examples_are_valid(path: Path) -> None:
    schema = load(path)
    assert schema["examples"]
    for example in schema["examples"]:
        errors = [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(example)]
        assert errors == []


def test_a_definition_that_two_schemas_share_is_the_same_in_both() -> None:
    shared = {"decimal", "hash", "count", "counts", "time", "claims", "composition", "end_to_end", "population"}
    shared |= {
        "population_claim",
        "control",
        "identity_control",
        "float32_floor",
        "kept",
        "cost",
        "fidelity",
        "printable",
    }
    seen: dict[str, dict[str, Any]] = {}
    for path in SCHEMAS:
        for name, definition in load(path).get("$defs", {}).items():
            if name in shared:
                assert seen.setdefault(name, definition) == definition, f"{path.name}: {name}"
    assert shared <= seen.keys()


DECIMALS = {
    "0": True,
    "1": True,
    "-1": True,
    "0.5": True,
    "-0.5": True,
    "10": True,
    "9" * 40 + "." + "9" * 40: True,
    "-" + "9" * 40 + "." + "9" * 40: True,
    "0." + "0" * 39 + "1": True,
    "": False,
    "-": False,
    "-0": False,
    "+1": False,
    "01": False,
    "1.": False,
    ".5": False,
    "0.50": False,
    "1.0": False,
    "-0.0": False,
    "1e3": False,
    "1 ": False,
    "1\n": False,
    "9" * 41: False,
    "0." + "0" * 40 + "1": False,
    "1,5": False,
    "NaN": False,
    "Infinity": False,
    "\u0661": False,
    "0x1": False,
    "1_000": False,
}


@pytest.mark.parametrize(("text", "good"), DECIMALS.items(), ids=repr)
def test_the_decimal_grammar_is_the_librarys(text: str, good: bool) -> None:
    from blockcert.errors import Refusal
    from blockcert.numbers import parse_decimal

    schema = load(ROOT / "schemas" / "statement.schema.json")["$defs"]["decimal"]
    assert validator(schema).is_valid(text) is good
    try:
        parse_decimal(text)
    except Refusal:
        assert not good
    else:
        assert good


def test_a_report_has_exactly_the_fields_of_the_type() -> None:
    import msgspec

    from blockcert_verifier.report import Report

    for example in load(ROOT / "schemas" / "report.schema.json")["examples"]:
        report = msgspec.convert(example, Report)
        assert json.loads(msgspec.json.encode(report)) == example
