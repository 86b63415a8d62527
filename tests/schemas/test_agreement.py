"""Schemas and library refuse and accept the same documents: every example, and every single mutation of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry

from blockcert import strict_json
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.numbers import parse_decimal
from blockcert.program import Program
from blockcert.review import parse_review
from blockcert.revocation import read_list
from blockcert.statement import Statement
from blockcert.trust import parse_policy

ROOT = Path(__file__).parents[2]
Path_ = tuple[str | int, ...]


def schema(kind: str) -> dict[str, Any]:
    return json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_bytes())


def library(kind: str) -> Callable[[bytes], object]:
    return {
        "statement": lambda data: strict_json.decode(data, Statement, "s"),
        "program": lambda data: strict_json.decode(data, Program, "p"),
        "envelope": lambda data: parse_envelope(data, "e"),
        "trust-policy": lambda data: parse_policy(data, "t"),
        "revocation-list": lambda data: read_list(data, "r"),
        "review": lambda data: parse_review(data, "r"),
    }[kind]


BEYOND_A_SCHEMA = (
    "revocation.window",
    "revocation.repeated",
    "trust.threshold",
    "trust.limit_unused",
    "trust.key",
    "trust.window",
    "time.calendar",
    "key.public.",
)
"""What the library refuses of a policy or list and no schema can: rules between fields, and on points of a curve."""


def refusal(read: Callable[[bytes], object], data: bytes) -> str | None:
    """The code of the refusal, or None where the library reads the document."""
    try:
        read(data)
    except Refusal as refused:
        return refused.code
    return None


# --- single mutations -------------------------------------------------------------------------------------------


def nodes(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every node of a document, its root first."""
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from nodes(child, (*path, key))


OTHER_TYPES: tuple[Any, ...] = (None, True, 0, -1, 1, "", "x", "0", [], {}, [0])
NUMBERS = (2, 3, 4, 6, 8, 64, 65, 4096, 4097, 2**20, 2**20 + 1, 2**22, 2**22 + 1, 2**24, 2**24 + 1)
NUMBERS += (2**40, 2**40 + 1, 2**48 - 1, 2**48, 2**53 - 1)
TEXTS = ("-0", "0.50", "-1", "1.5", "9" * 41, "a" * 64, "x" * 512, "x" * 513, "x" * 1024, "x" * 1025)
TEXTS += ("2026-11-22T10:00:00Z", "1.0", "1.10000", "Hidden", "hidden_2", "e30", "e31=", "_-8=", "/-8=")


def replacements(value: Any) -> Iterator[Any]:
    yield from OTHER_TYPES
    if isinstance(value, str):
        yield from TEXTS
        yield from (value + "\n", value + "0", value.upper(), value[:-1])
    elif isinstance(value, int):
        yield from NUMBERS
    elif isinstance(value, list):
        yield [*value, *value[:1]]
        yield value[:-1]
        yield value[:1] * 17
        yield value[:1] * 65
    elif isinstance(value, dict):
        yield {**value, "zzz": None}
        for key in value:
            yield {k: v for k, v in value.items() if k != key}


def governed(example: Any, path: Path_) -> Path_:
    """The path with array indices replaced by what tells the entries' types apart."""
    found: list[str | int] = []
    value = example
    for key in path:
        value = value[key]
        tag = value.get("op") or value.get("kind") if isinstance(value, dict) else type(value).__name__
        found.append(f"[{tag}]" if isinstance(key, int) else f"{key}:{tag}" if isinstance(value, dict) else key)
    return tuple(found)


def mutations(example: Any, seen: set[Path_]) -> Iterator[tuple[str, Any]]:
    """Documents that differ from ``example`` at one node; of nodes that one definition governs only the first,
    and none that ``seen`` has already."""
    for path, value in nodes(example):
        kind = governed(example, path)
        if kind in seen:
            continue
        seen.add(kind)
        for i, other in enumerate(replacements(value)):
            if type(other) is type(value) and other == value:
                continue
            name = "/".join(map(str, path)) + f" #{i}"
            if not path:
                yield name, other
                continue
            document = copy.deepcopy(example)
            parent = document
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = other
            yield name, document


def small_programs(examples: list[Any]) -> Iterator[Any]:
    """One program for each kind of step and set of its fields in the examples, with that step alone: a schema asks for
    no more."""
    seen: set[str] = set()
    for program in examples:
        for step in (step for stage in program["stages"] for step in stage["steps"]):
            kind = step["op"] + step.get("map", {}).get("kind", "") + (step.get("scaling") or {}).get("kind", "")
            kind += " ".join(sorted(step))
            if kind not in seen:
                seen.add(kind)
                empty = {"kind": "embedding", "steps": [], "output": "x"}
                block = {"kind": "block", "steps": [step], "output": step["out"]}
                yield {**program, "stages": [empty, block, {**empty, "kind": "head"}]}


def examples(kind: str) -> list[Any]:
    found = schema(kind)["examples"]
    return [*small_programs(found)] if kind == "program" else [shortened(example) for example in found]


def shortened(value: Any) -> Any:
    """The document with arrays cut to two entries, which still fills every field of the formats."""
    if isinstance(value, dict):
        whole = ("require", "stages")
        return {key: part if key in whole else shortened(part) for key, part in value.items()}
    return [shortened(part) for part in value[:2]] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["envelope", "program", "review", "revocation-list", "statement", "trust-policy"])
def test_schema_and_library_agree_on_every_mutation(kind: str) -> None:
    validator = Draft202012Validator(schema(kind), registry=Registry())
    read = library(kind)
    disagreements: list[str] = []
    seen = {True: 0, False: 0}
    visited: set[Path_] = set()
    for example in examples(kind):
        for name, document in [("as it is", example), *mutations(example, visited)]:
            data = json.dumps(document).encode()
            code, by_schema = refusal(read, data), validator.is_valid(document)
            seen[by_schema] += 1
            agreed = (code is None or code.startswith(BEYOND_A_SCHEMA)) if by_schema else code is not None
            if not agreed:
                disagreements.append(f"{name}: library {code}, schema {by_schema}")
    assert disagreements == []
    # a test in which everything is refused, or accepted, compares nothing
    assert seen[True] > 5, seen
    assert seen[False] > 50, seen


@given(st.text(alphabet="0123456789.-+e \n٣", max_size=12) | st.from_regex(r"-?[0-9]{1,42}(\.[0-9]{1,42})?"))
def test_schema_and_library_agree_on_decimals(text: str) -> None:
    validator = Draft202012Validator(schema("statement")["$defs"]["decimal"], registry=Registry())
    assert validator.is_valid(text) == (refusal(lambda data: parse_decimal(data.decode()), text.encode()) is None)
