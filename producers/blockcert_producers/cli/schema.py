"""`blockcert schema check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from blockcert import schema_check

__all__ = ["check"]


def check(
    *,
    file: Annotated[list[Path], typer.Argument(metavar="FILE…", help="JSON documents of the standard.")],
    as_: Annotated[
        str | None, typer.Option("--as", metavar="KIND", help="What they are, if they do not say so themselves.")
    ] = None,
) -> None:
    """Check documents against their JSON Schemas; of an envelope, what is inside too.

    A document that passes is well formed, and no more: whether it is true, and who signed it, `verify` says.
    Exit code 0: all are as their schemas say. 1: one is not. 2: wrong usage; or one cannot be read or does not
    say what it is, and the others are checked all the same.
    """
    from blockcert.errors import Refusal
    from blockcert.printable import plain

    kind = None if as_ is None else _kind(as_)
    wrong = unread = False
    for path in file:
        try:
            problems, right = _checked(path, kind)
        except Refusal as refusal:
            print(plain(f"blockcert: {refusal}"), file=sys.stderr)
            unread = True
            continue
        wrong = wrong or bool(problems)
        for problem in problems:
            print(plain(f"{problem.place}: {problem.sentence} ({problem.code})"))
        for place, one in right:
            print(plain(f"{place}: {'an' if one == 'envelope' else 'a'} {one} as schemas/{one}.schema.json has it"))
    raise typer.Exit(2 if unread else int(wrong))


def _checked(
    path: Path, as_: schema_check.Kind | None
) -> tuple[list[schema_check.Problem], list[tuple[str, schema_check.Kind]]]:
    """What is wrong with the document in a file and with what is inside it, and places and kinds of what is right.

    Raises:
        Refusal: ``file.missing``, ``file.unreadable``, ``schema.unknown``.
    """
    from blockcert import schema_check
    from blockcert.errors import Refusal
    from blockcert_producers.cli.files import read

    data, place = read(path), str(path)
    try:
        kind = schema_check.kind_of(data, place) if as_ is None else as_
    except Refusal as refusal:
        if refusal.code == "schema.unknown":
            raise
        return [schema_check.Problem(refusal.code, refusal.place, refusal.sentence)], []
    parts: list[tuple[bytes, schema_check.Kind, str]] = [(data, kind, place)]
    if kind == "envelope" and (inside := _inside(data, place)) is not None:
        parts.append(inside)
    wrong: list[schema_check.Problem] = []
    right: list[tuple[str, schema_check.Kind]] = []
    for part, one, at in parts:
        problems = schema_check.check(part, one, at)
        wrong += problems
        if not problems:
            right.append((at, one))
    return wrong, right


def _inside(data: bytes, place: str) -> tuple[bytes, schema_check.Kind, str] | None:
    """The payload of an envelope and what it is meant to be; None where there is none: the envelope's own problems
    are listed."""
    from blockcert import dsse, revocation, rotation
    from blockcert.errors import Refusal

    at = f"{place}: payload"
    others: dict[str, schema_check.Kind] = {
        revocation.PAYLOAD_TYPE: "revocation-list",
        rotation.PAYLOAD_TYPE: "trust-policy",
    }
    for payload_type in (dsse.PAYLOAD_TYPE, *others):
        try:
            payload = dsse.parse_envelope(data, place, payload_type).payload
        except Refusal:
            continue
        return payload, others.get(payload_type) or _statement_or_review(payload), at
    return None


def _statement_or_review(payload: bytes) -> schema_check.Kind:
    from blockcert import schema_check
    from blockcert.errors import Refusal

    try:
        return "review" if schema_check.kind_of(payload, "payload") == "review" else "statement"
    except Refusal:
        return "statement"


def _kind(text: str) -> schema_check.Kind:
    from blockcert.errors import Refusal
    from blockcert.schema_check import KINDS

    for kind in KINDS:
        if kind == text:
            return kind
    raise Refusal("schema.unknown", "--as", f"there is no schema {text[:60]!r}; there are {', '.join(KINDS)}")
