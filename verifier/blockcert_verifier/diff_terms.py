"""What two certificates are about, side by side, and whether their claims speak of the same thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from blockcert import strict_json
from blockcert.digest import blake3_bytes
from blockcert.statement import Statement
from blockcert.wellformed import REFERENCE_PREFIX

__all__ = ["OTHER_PROMPTS", "OTHER_REFERENCE", "Shown", "Term", "notes", "same_reference", "terms", "why_not_listed"]

OTHER_REFERENCE, OTHER_PROMPTS = "different reference", "other prompts"


class Shown(Struct, frozen=True):
    """A bundle that is compared: where it lies and what it says of itself. None of it is checked."""

    path: str
    certificate_id: str
    signatures: int
    statement: Statement


class Term(Struct, frozen=True):
    """Something that both certificates are about, in words; digests stand whole."""

    what: str
    a: str
    b: str
    same: bool


def same_reference(a: Statement, b: Statement) -> bool:
    """Whether both name the same files of the reference model and the same program for it, by digest."""
    return _reference(a) == _reference(b)


def why_not_listed(a: Statement, b: Statement) -> str | None:
    """Why claims about the listed prompts cannot be compared, or None: the same reference, draws from one frame."""
    if not same_reference(a, b):
        return OTHER_REFERENCE
    return None if _frame(a) == _frame(b) else OTHER_PROMPTS


def terms(a: Shown, b: Shown) -> tuple[Term, ...]:
    """All that both are about, whether it is the same or not."""
    first, second = _about(a), _about(b)
    return tuple(Term(what, first[what], second[what], first[what] == second[what]) for what in first)


def notes(a: Statement, b: Statement, why_not: str | None) -> tuple[str, ...]:
    """What a reader must know beside the tables."""
    return tuple(_notes(a, b, why_not))


def _reference(statement: Statement) -> tuple[list[tuple[str, str]], str]:
    found = {s.name: s.digest.blake3 for s in statement.subject}
    model = sorted((name, digest) for name, digest in found.items() if name.startswith(REFERENCE_PREFIX))
    return model, found.get(statement.predicate.reference.program, "")


def _frame(statement: Statement) -> Any:
    frame = statement.predicate.prompts.frame
    return [(file.blake3, file.size) for file in frame.corpus], frame.tokenizer, frame.length, frame.windows


def _about(shown: Shown) -> dict[str, str]:
    p = shown.statement.predicate
    reference, frame, files = p.reference, p.prompts.frame, {s.name: s.digest.blake3 for s in shown.statement.subject}
    model, program = _reference(shown.statement)
    more = f" and {len(frame.corpus) - 1} more" if len(frame.corpus) > 1 else ""
    corpus = [(file.blake3, file.size) for file in frame.corpus]
    bos = "none" if frame.tokenizer.bos is None else f"{frame.tokenizer.bos}"
    size = f"width {reference.hidden_size}, {reference.vocabulary} tokens"
    return {
        "bundle": shown.path,
        "certificate": shown.certificate_id,
        "signatures": f"{shown.signatures}",
        "producer": f"{p.producer.name} {p.producer.version} ({p.producer.kind})",
        "issued": p.issued_at,
        "valid to": p.not_after,
        "reference": f"{reference.architecture}, {reference.blocks} blocks, {size}",
        "its files": f"{len(model)} files, {_digest(model)}",
        "its program": program,
        "surrogate": files.get(p.surrogate.program, "-"),
        "corpus": f"{next(file.name for file in frame.corpus)}{more}, {_digest(corpus)}",
        "tokenizer": f"{frame.tokenizer.blake3}, first token {bos}",
        "windows": f"{frame.windows} of {frame.length} tokens",
        "calibration": f"{frame.calibration} prompts, seed {frame.seed}",
        "listed": f"{frame.certification} prompts",
        "errors within": ", ".join(p.thresholds.relative),
        "loss within": ", ".join(p.thresholds.loss),
        "attribution": f"{p.evidence.attribution_rows} prompts",
        "enclosed": f"{0 if p.claims.enclosures is None else p.claims.enclosures.rows} prompts",
    }


def _digest(value: object) -> str:
    """One digest for a list of any length: names and digests are a stranger's, and there may be thousands."""
    return blake3_bytes(strict_json.encode(value))


def _notes(a: Statement, b: Statement, why_not: str | None) -> Iterator[str]:
    if why_not is None:
        yield (
            "Each certificate draws its own prompts from the same windows: a small difference may be chance, and a "
            "maximum over more prompts is larger."
        )
    if set(a.predicate.thresholds.relative) != set(b.predicate.thresholds.relative):
        yield "Only thresholds that are in both stand side by side."
    if any(statement.predicate.thresholds.post_hoc for statement in (a, b)):
        yield "A threshold was chosen after the fact."
