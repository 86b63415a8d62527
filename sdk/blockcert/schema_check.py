"""Documents against the standard's JSON Schemas: which one is meant, and every place where it is not met.

The schemas in ``schemas/`` are normative beside the text. A verifier does not use them (its typed decoder refuses the
same documents, sixty times as fast); this is for whoever writes documents or other tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from msgspec import Struct

from blockcert import dsse, review, strict_json
from blockcert.errors import Refusal
from blockcert.names import shown

__all__ = ["KINDS", "Kind", "Problem", "check", "kind_of", "schema"]

Kind: TypeAlias = Literal[
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
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind of JSON document that the standard has a schema for."""

MOST_PROBLEMS = 50
"""Problems of one document that are listed."""
_MESSAGE = strict_json.Limits(bytes=1 << 20, nesting=4, nodes=1 << 14, string=1 << 16)
_POLICY = strict_json.Limits(bytes=1 << 20, nesting=8, nodes=1 << 14, string=1024)
_REVIEW = strict_json.Limits(bytes=1 << 16, nesting=8, nodes=256, string=4096)
_REVOCATIONS = strict_json.Limits(bytes=8 << 20, nesting=5, nodes=1 << 18, string=4096)
_STATE = strict_json.Limits(bytes=1 << 15, nesting=2, nodes=512, string=256)
_GATES: dict[Kind, strict_json.Limits] = {
    "envelope": dsse.LIMITS,
    "trust-policy": _POLICY,
    "review": _REVIEW,
    "revocation-list": _REVOCATIONS,
    "revocation-state": _STATE,
    "conformance-message": _MESSAGE,
    "report": strict_json.REPORT,
}
"""Kinds with caps of their own (BC-NUM-11, BC-CNF-08)."""
_WIDEST = strict_json.Limits(bytes=64 << 20, nesting=64, nodes=1 << 20, string=16 << 20)
"""Caps under which any kind of document can be looked at to see which it is; its own apply afterwards."""
_MARKS: tuple[tuple[str, str | None, Kind], ...] = (
    ("type", "blockcert-trust-policy", "trust-policy"),
    ("type", "blockcert-conformance-index", "conformance-index"),
    ("type", "blockcert-conformance-score", "conformance-score"),
    ("type", "blockcert-revocations", "revocation-list"),
    ("type", "blockcert-revocation-state", "revocation-state"),
    ("predicateType", review.PREDICATE_TYPE, "review"),
    ("_type", None, "statement"),
    ("payloadType", None, "envelope"),
    ("stages", None, "program"),
    ("type", "blockcert-report", "report"),
    ("case", None, "conformance-message"),
)
"""A field, and its value where that matters, by which a document says what it is."""


_SIMPLE = frozenset({"const", "enum", "pattern", "type", "minimum", "maximum", "minLength", "maxLength"})
"""Keywords whose own value says what is wrong."""


class Problem(Struct, frozen=True):
    """One thing that is wrong: a code, the place in the document, a sentence."""

    code: str
    place: str
    sentence: str


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a kind of document; not to be changed."""
    here = Path(__file__).resolve().parent
    # beside the package where it is installed, at the root of the project where it is worked on
    folder = next(path for path in (here / "schemas", here.parents[1] / "schemas") if path.is_dir())
    return json.loads((folder / f"{kind}.schema.json").read_bytes())


def kind_of(data: bytes, place: str) -> Kind:
    """The kind of document that this JSON says it is.

    Raises:
        Refusal: what the JSON gate refuses, ``schema.unknown`` where it says nothing of the kind.
    """
    document = strict_json.decode(data, object, place, _WIDEST)
    if isinstance(document, dict):
        fields = cast(dict[str, object], document)
        for name, value, kind in _MARKS:
            if name in fields and (value is None or fields[name] == value):
                return kind
    sentence = f"the document does not say what it is; name its kind with --as: {', '.join(KINDS)}"
    raise Refusal("schema.unknown", place, sentence)


def check(data: bytes, kind: Kind, place: str) -> list[Problem]:
    """What is wrong with a document of this kind: what the JSON gate refuses, or else all that breaks its schema.

    The first :data:`MOST_PROBLEMS` are listed. Empty where the document is as its schema says: that it is consistent
    with itself, and true, is for a verifier to say.
    """
    try:
        strict_json.check(data, place, _GATES.get(kind, strict_json.DEFAULT))
    except Refusal as refusal:
        return [Problem(refusal.code, refusal.place, refusal.sentence)]
    found = _errors(json.loads(data), schema(kind), place)
    listed = [*islice(found, MOST_PROBLEMS)]
    more = sum(1 for _ in found)
    if more:
        listed.append(Problem("schema.invalid", place, f"and {more} more such problems"))
    return listed


def _errors(document: Any, against: dict[str, Any], place: str) -> Iterator[Problem]:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # an empty registry: without it a reference that is not local would go to the network
    validator = Draft202012Validator(against, registry=Registry())
    seen: set[Problem] = set()
    for error in validator.iter_errors(document):  # pyright: ignore[reportUnknownMemberType]
        path, sentence = _told(error)
        problem = Problem("schema.invalid", f"{place}: {path}", sentence)
        if problem not in seen:  # a validator says once for each field that is missing what is said of all here
            seen.add(problem)
            yield problem


def _told(error: Any) -> tuple[str, str]:
    """The place of a problem and a sentence on it; where a value may be one of several things, of the nearest."""
    alternatives = _alternatives(error)
    if not alternatives:
        return error.json_path, _sentence(error)
    if all(len(one) == 1 and one[0].validator in _SIMPLE and not one[0].path for one in alternatives):
        # none is nearer than another
        first, *others = (_sentence(one[0]) for one in alternatives)
        begin = f"{_found(error.instance)} does not meet "
        return error.json_path, ", nor ".join([first, *(sentence.removeprefix(begin) for sentence in others)])
    nearest = min(alternatives, key=_distance)
    # what is missing or unknown in the whole says less than what is wrong in a part
    return _told(max(nearest, key=lambda one: len(one.absolute_path)))


def _alternatives(error: Any) -> list[list[Any]]:
    """What is wrong with a value by each of the alternatives that it does not meet; empty where it had none."""
    found: dict[int, list[Any]] = {}
    if error.validator in ("anyOf", "oneOf"):
        for one in error.context:
            found.setdefault(one.schema_path[0], []).append(one)
    return [*found.values()]


def _distance(errors: list[Any]) -> tuple[int, ...]:
    """How far a value is from an alternative: its type, the field that names it, unknown fields, problems."""
    return tuple(sum(part) for part in zip(*map(_weight, errors), strict=True))


def _weight(error: Any) -> tuple[int, ...]:
    if alternatives := _alternatives(error):
        return min(map(_distance, alternatives))
    whole = not error.path
    return (
        error.validator == "type" and whole,
        error.validator == "const" and len(error.path) <= 1,
        len(_unknown(error)) if error.validator == "additionalProperties" and whole else 0,
        1,
    )


def _unknown(error: Any) -> list[str]:
    return sorted({*error.instance} - {*error.schema.get("properties", {})})


def _sentence(error: Any) -> str:
    """What a validator says, without the whole value that it says it of."""
    value: Any = error.instance
    found = _found(value)
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in value]
            return f"a field is missing: {', '.join(missing)}"
        case "additionalProperties":
            return f"no such field: {', '.join(shown(name, 60) for name in _unknown(error)[:5])}"
        case simple if simple in _SIMPLE:
            return f"{found} does not meet {error.validator} {shown(json.dumps(error.validator_value), 200)[1:-1]}"
        case _:
            return f"{found} does not meet {error.validator}"


def _found(value: Any) -> str:
    return shown(value, 60) if isinstance(value, str) else shown(json.dumps(value), 60)
