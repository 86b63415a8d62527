"""The two messages between a runner and a verifier, one JSON object on a line each (`spec/14-conformance.md`).

Schema: ``schemas/conformance-message.schema.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert.program import Hash
from blockcert.statement import Time
from blockcert_verifier.conformance.index import Case, CaseId, Code, Outcome, OwnLimits, Rows

__all__ = ["MOST_BYTES", "Answer", "Request", "encode_line", "parse_answer", "parse_request", "request_of"]

MOST_BYTES = 1 << 20
"""Longest line of either side, its newline included."""
_GATE = strict_json.Limits(bytes=MOST_BYTES, nesting=4, nodes=1 << 14, string=1 << 16)

Absolute = Annotated[str, Meta(min_length=1, max_length=4096)]
Reason = Annotated[str, Meta(min_length=1, max_length=1024)]


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen and closed to unknown fields."""


class Request(_Record, frozen=True):
    """One case as a verifier gets it: absolute paths and options, and nothing of what is expected.

    `limits` is absent but where the case sets some, so that a verifier without them need not know the field.
    """

    case: CaseId
    bundle: Absolute
    policy: Absolute
    reference: Absolute | None
    corpus: Annotated[tuple[Absolute, ...], Meta(max_length=16)]
    own: Annotated[tuple[Absolute, ...], Meta(max_length=16)]
    tokenizer: Absolute | None
    published: Absolute | None
    revocations: Absolute | None
    revocation_state: Absolute | None
    follows: Absolute | None
    at: Time
    replay: Rows
    seed: Hash | None
    fresh: Annotated[int, Meta(ge=0, le=4096)]
    all_digests: bool
    prove: Annotated[int, Meta(ge=0, le=4096)]
    limits: OwnLimits | UnsetType = UNSET


class _AnswerJson(_Record, frozen=True):
    """An answer as it is written: what is not said is absent, never null."""

    case: CaseId
    verdict: Outcome | UnsetType = UNSET
    codes: Annotated[tuple[Code, ...], Meta(max_length=1024)] | UnsetType = UNSET
    notes: Annotated[tuple[Code, ...], Meta(max_length=1024)] | UnsetType = UNSET
    skipped: Reason | UnsetType = UNSET
    fault: Reason | UnsetType = UNSET


class Answer(_Record, frozen=True, omit_defaults=True):
    """What a verifier says of one case: a verdict with its codes, or why it skips the case, or a fault of its own.

    `codes` are those of failed and inconclusive findings, or of the refusal; `notes` those of the others.
    """

    case: CaseId
    verdict: Outcome | None = None
    codes: tuple[Code, ...] = ()
    notes: tuple[Code, ...] = ()
    skipped: str | None = None
    fault: str | None = None


def request_of(case: Case, corpus: Path) -> Request:
    """The message that gives `case` to a verifier; `corpus` is the folder of the index."""
    inputs, options = case.inputs, case.options
    folder = corpus.resolve()

    def at(name: str | None) -> str | None:
        return None if name is None else str(folder / name)

    return Request(
        case=case.id,
        bundle=str(folder / inputs.bundle),
        policy=str(folder / inputs.policy),
        reference=at(inputs.reference),
        corpus=tuple(str(folder / name) for name in inputs.corpus),
        own=tuple(str(folder / name) for name in inputs.own),
        tokenizer=at(inputs.tokenizer),
        published=at(inputs.published),
        revocations=at(inputs.revocations),
        revocation_state=at(inputs.revocation_state),
        follows=at(inputs.follows),
        at=options.at,
        replay=options.replay,
        seed=options.seed,
        fresh=options.fresh,
        all_digests=options.all_digests,
        prove=options.prove,
        limits=options.limits,
    )


def encode_line(message: Request | Answer) -> bytes:
    """The message as one line, its newline included."""
    return msgspec.json.encode(message, order="sorted") + b"\n"


def parse_request(line: bytes) -> Request:
    """The request in a line; refuses what the JSON gate refuses."""
    return strict_json.decode(line, Request, "request", _GATE)


def parse_answer(line: bytes) -> Answer:
    """The answer in a line.

    Raises:
        Refusal: what the JSON gate refuses, and ``conformance.answer`` where it does not say exactly one of a
            verdict, a reason to skip and a fault.
    """
    found = strict_json.decode(line, _AnswerJson, "answer", _GATE)
    said = sum(part is not UNSET for part in (found.verdict, found.skipped, found.fault))
    if said != 1 or (found.verdict is UNSET and (found.codes is not UNSET or found.notes is not UNSET)):
        sentence = "an answer has a verdict with its codes, or skipped, or fault, and only one of them"
        raise Refusal("conformance.answer", "answer", sentence)
    return Answer(
        case=found.case,
        verdict=found.verdict or None,
        codes=found.codes or (),
        notes=found.notes or (),
        skipped=found.skipped or None,
        fault=found.fault or None,
    )
