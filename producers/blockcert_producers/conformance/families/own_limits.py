"""Limits of the caller's own: each one just met, and each one exceeded by the least that is possible."""

from __future__ import annotations

import json
from typing import Any, cast

from blockcert.bundle import STATEMENT
from blockcert_producers.conformance.changes import model_given, options, state
from blockcert_producers.conformance.draft import Change, Draft, program_name
from blockcert_producers.conformance.entry import Entry, accepted, case, indeterminate
from blockcert_producers.conformance.families.packed import packed

__all__ = ["CASES"]


def counted(less: int = 0, **counts: Any) -> Change:
    """Limits that are what a count of the sealed draft gives, or `less` below it."""

    def apply(draft: Draft) -> None:
        draft.options["limits"] = {name: count(draft) - less for name, count in counts.items()}

    return lambda draft: draft.later(apply)


def own_bytes(draft: Draft) -> int:
    return sum(map(len, draft.sealed.values()))


def all_bytes(draft: Draft) -> int:
    return own_bytes(draft) + sum(file["size"] for file in draft.predicate["files"] if file["name"] in _of_model(draft))


def _of_model(draft: Draft) -> set[str]:
    return {file["name"] for file in draft.predicate["files"] if file["name"] not in draft.files}


def entries(draft: Draft) -> int:
    """Files and the folders in which they lie."""
    folders = {name.rpartition("/")[0] for name in draft.sealed if "/" in name}
    return len(draft.sealed) + len(folders)


def levels(value: Any) -> int:
    """How deep a JSON value nests: 1 for an object or array without another one in it."""
    if isinstance(value, dict):
        return 1 + max(map(levels, cast(dict[str, Any], value).values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels, cast(list[Any], value)), default=0)
    return 0


def depth(draft: Draft) -> int:
    """Of the document that nests deepest: envelope, payload and both programs."""
    documents = (
        draft.sealed[STATEMENT],
        draft.signed,
        *(draft.files[program_name(s)] for s in ("reference", "surrogate")),
    )
    return max(levels(json.loads(document)) for document in documents)


def pair(name: str, tests: str, exceeds: str, code: str, met: Change, missed: Change, *changes: Change) -> list[Entry]:
    return [
        case(f"own-limit::{name}-met", tests, "BC-VER-29 BC-CNF-08", accepted(), met, *changes),
        case(f"own-limit::{name}-exceeded", exceeds, "BC-VER-29 BC-CNF-08", indeterminate(code), missed, *changes),
    ]


CASES = (
    *pair(
        "bytes",
        "As many bytes as the bundle's files have",
        "One byte less than the bundle's files have",
        "limit.bytes",
        counted(bytes=own_bytes),
        counted(1, bytes=own_bytes),
    ),
    *pair(
        "bytes-of-the-model",
        "As many bytes as the bundle and the reference model have, which is given",
        "One byte less than the bundle and the reference model have, which is given",
        "limit.bytes",
        counted(bytes=all_bytes),
        counted(1, bytes=all_bytes),
        model_given,
    ),
    *pair(
        "members",
        "As many files and folders as there are",
        "One file or folder less than there are",
        "limit.members",
        counted(members=entries),
        counted(1, members=entries),
    ),
    *pair(
        "members-packed",
        "As many files and folders as there are in a packed bundle",
        "One file or folder less than there are in a packed bundle",
        "limit.members",
        counted(members=entries),
        counted(1, members=entries),
        packed(),
    ),
    *pair(
        "depth",
        "As many levels as the deepest document has",
        "One level less than the deepest document has",
        "limit.depth",
        counted(depth=depth),
        counted(1, depth=depth),
    ),
    *pair(
        "seconds",
        "A day",
        "No time at all",
        "limit.seconds",
        options(limits={"seconds": 86_400}),
        options(limits={"seconds": 0}),
    ),
    *pair(
        "memory",
        "A tebibyte of memory",
        "One byte of memory, in which no column has room",
        "limit.memory",
        options(limits={"memory": 1 << 40}),
        options(limits={"memory": 1}),
    ),
    case(
        "own-limit::exceeded-by-a-false-claim",
        "A certificate that would be rejected, and a limit that ends the verification before that shows",
        "BC-VER-29 BC-CNF-08",
        indeterminate("limit.memory"),
        state("claims.end_to_end.top1_agree", lambda value: value - 1),
        options(limits={"memory": 1}),
    ),
)
