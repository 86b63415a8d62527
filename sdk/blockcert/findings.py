"""Findings: what a verification step saw, as data, and the verdict that follows from them.

The normative text is ``spec/09-result-codes.md``. A step never raises to say that a certificate is bad; it
returns findings. The verdict is a pure function of the findings and of the steps that the trust policy
requires.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = [
    "STEPS",
    "Finding",
    "Status",
    "StepName",
    "Verdict",
    "exit_code",
    "step_status",
    "verdict_of",
]

Status: TypeAlias = Literal["passed", "failed", "skipped", "inconclusive"]
StepName: TypeAlias = Literal["structure", "authenticity", "integrity", "recompute", "replay", "fresh", "policy"]
Verdict: TypeAlias = Literal["accepted", "rejected", "indeterminate"]

STEPS: tuple[StepName, ...] = ("structure", "authenticity", "integrity", "recompute", "replay", "fresh", "policy")
"""The steps in the order in which they run."""


class Finding(Struct, frozen=True):
    """One thing that one step saw.

    ``code`` is registered in :mod:`blockcert.codes`. ``place`` is the file and the JSON path, tensor or cell
    inside it. ``message`` is one sentence for a person, with the two values that differ where there are two.
    """

    step: StepName
    code: str
    status: Status
    place: str
    message: str


def step_status(findings: Iterable[Finding], step: StepName) -> Status | None:
    """How one step ended, or None where it left no finding.

    The worst finding decides: failed, then inconclusive. A skipped finding beside passed ones leaves the step
    passed, since a step may name optional checks that nobody asked for; a check that the verdict must wait
    for is reported as inconclusive.
    """
    seen = {finding.status for finding in findings if finding.step == step}
    order: tuple[Status, ...] = ("failed", "inconclusive", "passed", "skipped")
    return next((status for status in order if status in seen), None)


def verdict_of(findings: Collection[Finding], required: Collection[StepName]) -> Verdict:
    """The verdict: rejected on a failed finding, accepted if every required step passed, else indeterminate.

    A failure rejects whether or not its step was required: what was checked and found false is not
    overlooked. A limit of the caller's own that was exceeded, and a file that changed while it was measured, leave the
    verdict open in whichever step. An empty ``required`` accepts nothing.
    """
    if any(finding.status == "failed" for finding in findings):
        return "rejected"
    if any(finding.code.startswith("limit.") or finding.code == "bundle.changed" for finding in findings):
        return "indeterminate"
    if required and all(step_status(findings, step) == "passed" for step in required):
        return "accepted"
    return "indeterminate"


def exit_code(verdict: Verdict) -> int:
    """The exit code of a verdict: 0 accepted, 1 rejected, 3 indeterminate."""
    return {"accepted": 0, "rejected": 1, "indeterminate": 3}[verdict]
