"""Schemas and library refuse and accept the same documents: every example, and every single mutation of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry

from blockcert import revocation, rotation, strict_json
from blockcert.dsse import PAYLOAD_TYPE, parse_envelope
from blockcert.errors import Refusal
from blockcert.numbers import parse_decimal
from blockcert.program import Program
from blockcert.review import parse_review
from blockcert.revocation import parse_state, read_list
from blockcert.statement import Statement
from blockcert.trust import parse_policy
from blockcert_verifier import Report, to_json
from blockcert_verifier.conformance.index import parse_index
from blockcert_verifier.conformance.messages import parse_answer, parse_request
from blockcert_verifier.conformance.score import parse_score

ROOT = Path(__file__).parents[2]
KINDS = ("conformance-index", "conformance-message", "conformance-score", "envelope", "program", "review")
KINDS += ("revocation-list", "revocation-state", "statement", "trust-policy")
Path_ = tuple[str | int, ...]


def schema(kind: str) -> dict[str, Any]:
    return json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_bytes())


def read_message(data: bytes) -> object:
    """A request or an answer; the schema is of both."""
    try:
        return parse_request(data)
    except Refusal:
        return parse_answer(data)


def read_envelope(data: bytes) -> object:
    """The envelope, of whichever document of ours; refuses what is none for each of them."""
    types = (PAYLOAD_TYPE, revocation.PAYLOAD_TYPE, rotation.PAYLOAD_TYPE)
    try:
        return parse_envelope(data, "e", next((one for one in types if one.encode() in data), types[0]))
    except Refusal:
        return parse_envelope(data, "e")


def library(kind: str) -> Callable[[bytes], object]:
    return {
        "statement": lambda data: strict_json.decode(data, Statement, "s"),
        "program": lambda data: strict_json.decode(data, Program, "p"),
        "envelope": read_envelope,
        "trust-policy": lambda data: parse_policy(data, "t"),
        "revocation-list": lambda data: read_list(data, "r"),
        "revocation-state": lambda data: parse_state(data, "s"),
        "review": lambda data: parse_review(data, "r"),
        "conformance-index": lambda data: parse_index(data, "i"),
        "conformance-message": read_message,
        "conformance-score": lambda data: parse_score(data, "s"),
    }[kind]


BEYOND_A_SCHEMA = ("trust.threshold", "trust.limit_unused", "trust.key", "trust.window", "time.calendar", "key.public.")
BEYOND_A_SCHEMA += ("conformance.index", "conformance.score", "revocation.window", "revocation.repeated")
"""What the library refuses and no schema can: rules between fields, dates, and points of a curve."""


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


@pytest.mark.parametrize("kind", KINDS)
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


# --- documents generated from the schema ------------------------------------------------------------------------


class Generator:
    """Documents that a schema describes, by chance; `spoil` is how likely a value is made one that it does not.

    Understands every keyword that the schemas use (tests/schemas/test_schemas.py). What it makes is nearly always
    valid where nothing is spoiled; the validator has the last word.
    """

    def __init__(self, root: dict[str, Any], seed: int, spoil: float) -> None:
        self.root, self.random, self.spoil = root, Random(seed), spoil

    def value(self, part: dict[str, Any]) -> Any:
        if self.random.random() < self.spoil:
            return self.random.choice([*OTHER_TYPES, *NUMBERS, *TEXTS])
        if "$ref" in part:
            named = self.root["$defs"][part["$ref"].removeprefix("#/$defs/")]
            return self.value({**named, **{name: rule for name, rule in part.items() if name != "$ref"}})
        for keyword in ("anyOf", "oneOf"):
            if keyword in part:
                rest = {name: rule for name, rule in part.items() if name != keyword}
                return self.value({**rest, **self.random.choice(part[keyword])})
        if "const" in part:
            return part["const"]
        if "enum" in part:
            return self.random.choice(part["enum"])
        kinds = part.get("type", "any")
        kind = self.random.choice(kinds) if isinstance(kinds, list) else kinds
        made: Callable[[dict[str, Any]], Any] = getattr(self, f"_{kind}")
        return made(part)

    def _any(self, _part: dict[str, Any]) -> Any:
        return self.random.choice(OTHER_TYPES)

    def _null(self, _part: dict[str, Any]) -> None:
        return None

    def _boolean(self, _part: dict[str, Any]) -> bool:
        return self.random.random() < 0.5

    def _integer(self, part: dict[str, Any]) -> int:
        low, high = part.get("minimum", -(2**53) + 1), part.get("maximum", 2**53 - 1)
        edges = [low, high, low + 1, high - 1] + ([low - 1, high + 1] if self.random.random() < self.spoil else [])
        return self.random.choice(edges) if self.random.random() < 0.5 else self.random.randint(low, high)

    def _string(self, part: dict[str, Any]) -> str:
        if "pattern" in part:
            text = self.random.choice(STRINGS[part["pattern"]])
        else:
            low, high = part.get("minLength", 0), min(part.get("maxLength", 20), part.get("minLength", 0) + 1100)
            text = "".join(self.random.choices("ab.0/-\u00e9", k=self.random.choice([low, high, min(high, low + 3)])))
        if self.random.random() < self.spoil:
            return text + self.random.choice(["\n", " ", "0", "\u0660", "\u200b"])
        return text

    def _array(self, part: dict[str, Any]) -> list[Any]:
        low = part.get("minItems", 0)
        count = low + self.random.choice([0, 1, 2]) if low < 8 else low
        count = min(count, part.get("maxItems", count)) + (self.random.random() < self.spoil)
        found = [self.value(part.get("items", {})) for _ in range(count)]
        for wanted in part.get("allOf", []):
            found.append(self.value(wanted["contains"]))
        if part.get("uniqueItems"):
            found = [entry for i, entry in enumerate(found) if entry not in found[:i]]
        return found

    def _object(self, part: dict[str, Any]) -> dict[str, Any]:
        fields, required = part.get("properties", {}), set(part.get("required", []))
        found = {
            name: self.value(fields[name])
            for name in fields
            if (name in required and self.random.random() >= self.spoil / 4) or self.random.random() < 0.5
        }
        if self.random.random() < self.spoil / 2:
            found["zzz"] = None
        return found


STRINGS: dict[str, tuple[str, ...]] = {
    "^(0|[1-9][0-9]{0,39})(\\.[0-9]{0,39}[1-9])?$": ("0", "1.25", "9" * 40, "0." + "0" * 39 + "1"),
    "^(0(\\.[0-9]{0,39}[1-9])?|1)$": ("0", "1", "0.95"),
    "^-?(0|[1-9][0-9]{0,39})(\\.[0-9]{0,39}[1-9])?$": ("0", "-1.25", "10", "-" + "9" * 40 + "." + "9" * 40),
    "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$": ("a", "vendor@example.org", "A" * 64),
    "^[0-9a-f]{64}$": ("0" * 64, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    "^blake3:[0-9a-f]{64}$": ("blake3:" + "0" * 64,),
    "^[a-z][a-z0-9_]*$": ("a", "hidden_2", "z" * 64),
    "^[a-z][a-z0-9_]*(\\.[a-z0-9_]+)+$": ("json.syntax", "a.b.c"),
    "^[a-z][a-z0-9-]*::[a-z0-9][a-z0-9.-]*$": ("number::nan", "a::0.b-c"),
    "^BC-[A-Z]{3}-[0-9]{2}$": ("BC-NUM-01",),
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$": ("2026-11-22T10:00:00Z", "2026-02-30T99:00:00Z"),
    "^1\\.(0|[1-9][0-9]{0,3})$": ("1.0", "1.9999"),
    "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$": ("", "+/+/e30="),
    "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]==|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=)?$": ("", "-_-_e30="),
}
"""Strings that match, for every pattern of the schemas that is not the inside of a `not`."""


@pytest.mark.parametrize(("spoil", "count"), [(0.0, 60), (0.02, 120)])
@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_library_agree_on_generated_documents(kind: str, spoil: float, count: int) -> None:
    """Both ways: what the schema describes the library reads, and where one refuses the other does."""
    root = schema(kind)
    validator, read = Draft202012Validator(root, registry=Registry()), library(kind)
    disagreements: list[str] = []
    seen = {True: 0, False: 0}
    for seed in range(count):
        document = Generator(root, seed, spoil).value(root)
        data = json.dumps(document).encode()
        code, by_schema = refusal(read, data), validator.is_valid(document)
        seen[by_schema] += 1
        agreed = (code is None or code.startswith(BEYOND_A_SCHEMA)) if by_schema else code is not None
        if not agreed:
            disagreements.append(f"seed {seed}: library {code}, schema {by_schema}: {data[:300]!r}")
    assert disagreements == []
    if spoil:
        assert seen[False] > count / 5, seen
    else:
        assert seen[True] > count / 2, seen


def test_whatever_report_the_schema_describes_reads_back() -> None:
    """Reports are written by us: what anybody else writes by the schema is read by the type, not all the other way."""
    root = schema("report")
    validator = Draft202012Validator(root, registry=Registry())
    documents = [Generator(root, seed, 0.0).value(root) for seed in range(25)]
    assert sum(map(validator.is_valid, documents)) > 20
    for document in filter(validator.is_valid, documents):
        report = strict_json.decode(json.dumps(document).encode(), Report, "report")
        assert strict_json.decode(to_json(report), Report, "report") == report


@given(st.text(alphabet="0123456789.-+e \n٣", max_size=12) | st.from_regex(r"-?[0-9]{1,42}(\.[0-9]{1,42})?"))
def test_schema_and_library_agree_on_decimals(text: str) -> None:
    validator = Draft202012Validator(schema("statement")["$defs"]["decimal"], registry=Registry())
    assert validator.is_valid(text) == (refusal(lambda data: parse_decimal(data.decode()), text.encode()) is None)
