"""This verifier's verdict on what the Lean checker judges too: the statement, its evidence and its claims.

Not judged by either: signatures, digests, programs, the draw, names of files, replay, a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.findings import Finding
from blockcert.statement import Statement
from blockcert_verifier.steps import recompute, structure

__all__ = ["NOT_IN_LEAN", "Judged", "Verdict", "judge"]

Verdict: TypeAlias = Literal["ACCEPT", "REJECT", "INDETERMINATE"]

NOT_IN_LEAN = {
    "name.unsafe": "normal forms and case folding need Unicode's tables, which Lean's library does not have",
    "name.collision": "normal forms and case folding need Unicode's tables, which Lean's library does not have",
    "evidence.not_finite": "an export holds decimal strings, which state no NaN and no infinity",
    "statistics.work": "the Lean checker decides every comparison exactly, however long it takes",
}
"""Codes of this verdict that the Lean checker does not give, and why."""


class Judged(Struct, frozen=True):
    """A verdict and its codes, in the order of the findings; unconfirmed constants only where nothing refuses."""

    verdict: Verdict
    codes: tuple[str, ...]


def _judged(findings: Iterable[Finding]) -> Judged | None:
    """The verdict where a finding refuses or leaves it open, else None."""
    notable = [f for f in findings if f.status in ("failed", "inconclusive")]
    if not notable:
        return None
    refused = any(f.status == "failed" for f in notable)
    return Judged("REJECT" if refused else "INDETERMINATE", tuple(f.code for f in notable))


def judge(payload: bytes, evidence: Callable[[Statement], tuple[tuple[bool, ...], EvidenceTable]]) -> Judged:
    """The verdict on a statement's bytes; `evidence` reads what belongs to it, and may raise a `Refusal`."""
    statement, findings = structure.statement(payload)
    judged = _judged(findings)
    if statement is None or judged is not None:
        return judged or Judged("REJECT", ())
    try:
        same, table = evidence(statement)
    except Refusal as refusal:
        return Judged("REJECT", (refusal.code,))
    findings = recompute.from_evidence(statement, same, table)
    refused = [f for f in findings if f.status == "failed"]
    return _judged(refused or findings) or Judged("ACCEPT", ())
