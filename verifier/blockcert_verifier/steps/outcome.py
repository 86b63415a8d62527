"""How a step says what it saw: short makers of findings."""

from __future__ import annotations

from blockcert.errors import Refusal
from blockcert.findings import Finding, Status, StepName

__all__ = ["failed", "failures", "from_refusal", "inconclusive", "passed", "skipped"]


def passed(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that ran and holds."""
    return Finding(step, code, "passed", place, message)


def failed(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that ran and does not hold; it rejects the certificate."""
    return Finding(step, code, "failed", place, message)


def skipped(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that did not run, and why."""
    return Finding(step, code, "skipped", place, message)


def inconclusive(step: StepName, code: str, place: str, message: str) -> Finding:
    """A check that ran and could not decide."""
    return Finding(step, code, "inconclusive", place, message)


def from_refusal(step: StepName, refusal: Refusal, status: Status = "failed") -> Finding:
    """The finding that a refused input is."""
    return Finding(step, refusal.code, status, refusal.place, refusal.sentence)


def failures(findings: list[Finding]) -> bool:
    """Whether any finding failed."""
    return any(finding.status == "failed" for finding in findings)
