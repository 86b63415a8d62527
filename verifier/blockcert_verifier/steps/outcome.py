"""How a step says what it saw: short makers of findings."""

from __future__ import annotations

import re
from collections.abc import Iterable

from blockcert.errors import Refusal
from blockcert.findings import Finding, Status, StepName

__all__ = ["MOST_FINDINGS", "capped", "failed", "failures", "from_refusal", "inconclusive", "passed", "skipped"]


MOST_FINDINGS = 1000
"""Findings of one check that a report lists one by one: whoever makes a bundle must not choose how long a report is."""


def capped(findings: Iterable[Finding]) -> list[Finding]:
    """The first :data:`MOST_FINDINGS` findings and one more that counts the others; it failed if one of those did."""
    kept: list[Finding] = []
    first: Finding | None = None
    more = 0
    for finding in findings:
        if len(kept) < MOST_FINDINGS:
            kept.append(finding)
            continue
        more += 1
        if first is None or (finding.status == "failed" and first.status != "failed"):
            first = finding
    if first is not None:
        sentence = first.message + (f" (and {more - 1} more findings)" if more > 1 else "")
        kept.append(Finding(first.step, first.code, first.status, first.place, sentence))
    return kept


def passed(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that ran and holds."""
    return _finding(step, code, "passed", place, message)


def failed(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that ran and does not hold; it rejects the certificate."""
    return _finding(step, code, "failed", place, message)


def skipped(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that did not run, and why."""
    return _finding(step, code, "skipped", place, message)


def inconclusive(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that ran and could not decide."""
    return _finding(step, code, "inconclusive", place, message)


def from_refusal(step: StepName, refusal: Refusal, status: Status = "failed") -> Finding:
    """The finding that a refused input is.

    What exceeds a limit of the caller's own is left undecided, and so is what was to be measured from files that
    changed after they were compared with what was signed (BC-VER-30).
    """
    changed = refusal.code == "bundle.changed" and step in ("replay", "fresh")
    if refusal.code.startswith("limit.") or changed:
        status = "inconclusive"
    # a finding's message is a clause: reports join several, and put the code behind it
    return _finding(step, refusal.code, status, refusal.place, refusal.sentence.removesuffix("."))


_SURROGATE = re.compile("[\ud800-\udfff]")
"""What stands in the path of a file whose name is not UTF-8; no JSON text can hold it."""


def _finding(step: StepName, code: str, status: Status, place: str, message: str) -> Finding:
    return Finding(step, code, status, _SURROGATE.sub("\ufffd", place), _SURROGATE.sub("\ufffd", message))


def failures(findings: list[Finding]) -> bool:
    """Whether any finding failed."""
    return any(finding.status == "failed" for finding in findings)
