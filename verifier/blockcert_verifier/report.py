"""The report of one verification: typed data, and its JSON.

Whatever was not checked stands in ``unchecked`` with the way to check it; a step that did not run is ``skipped`` and
says why. Numbers that are not counts are decimal strings (``spec/03-numbers.md``).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from blockcert import strict_json
from blockcert.findings import Finding, Status, StepName, Verdict, exit_code
from blockcert.statement import Claims, Fidelity, Kept, Scope, Statement

__all__ = [
    "Audit",
    "Certificate",
    "Consequence",
    "Report",
    "Signer",
    "StepReport",
    "Unchecked",
    "describe",
    "to_json",
]


class Signer(Struct, frozen=True):
    """A trusted key whose signature holds: its name in the policy, its fingerprint and its raw bytes."""

    name: str
    fingerprint: str
    public_key: str


class StepReport(Struct, frozen=True):
    """How one step ended. ``establishes`` is what its passed checks hold; ``reason`` says why it did not pass or, where
    it did, which of its checks did not run."""

    step: StepName
    status: Status
    required: bool
    establishes: str
    reason: str | None


class Certificate(Struct, frozen=True):
    """What the statement says about itself. ``authenticated`` says whether trusted keys signed it."""

    authenticated: bool
    producer: str
    kind: Literal["extract", "compare"]
    issued_at: str
    not_after: str
    architecture: str
    blocks: int
    hidden_size: int
    vocabulary: int
    prompts: int
    prompt_length: int
    windows: int
    relative_thresholds: tuple[str, ...]
    loss_thresholds: tuple[str, ...]
    post_hoc: bool
    kept: Kept
    fidelity: Fidelity | None
    claims: Claims


class Consequence(Struct, frozen=True):
    """A claim as the audit leaves it: what still holds if as many rows are false as the sample could have missed."""

    claim: str
    scope: Scope
    stated: int
    at_least: int
    of: int
    confidence: str


class Audit(Struct, frozen=True):
    """The rows that were measured again.

    If all ``confirmed == sampled`` rows agree, then at ``confidence`` fewer than ``false_rows_below`` of ``rows`` are
    false. ``repeatable`` says that the seed was given: the same rows again, not an audit. ``largest_disagreement`` is
    the largest distance of a recorded cell from the re-measured one, as a fraction of the cell's tolerance.
    """

    rows: int
    sampled: int
    confirmed: int
    attributed: int
    seed: str
    repeatable: bool
    confidence: str
    false_rows_below: int | None
    largest_disagreement: str | None
    largest_disagreement_at: str | None
    consequences: tuple[Consequence, ...]


class Unchecked(Struct, frozen=True):
    """Something this verification did not establish, and how it could be."""

    what: str
    how: str


class Report(Struct, frozen=True):
    """The outcome of one verification. ``sentence`` says the verdict to a person."""

    type: Literal["blockcert-report"]
    version: Literal["1.0"]
    verdict: Verdict
    sentence: str
    checked_at: str
    verifier: str
    certificate_id: str | None
    signers: tuple[Signer, ...]
    steps: tuple[StepReport, ...]
    certificate: Certificate | None
    audit: Audit | None
    digests: tuple[Literal["blake3", "sha256"], ...]
    unchecked: tuple[Unchecked, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 3 indeterminate."""
        return exit_code(self.verdict)


def describe(statement: Statement, authenticated: bool) -> Certificate:
    """What a statement says, for a report."""
    p = statement.predicate
    frame = p.prompts.frame
    return Certificate(
        authenticated=authenticated,
        producer=f"{p.producer.name} {p.producer.version}",
        kind=p.producer.kind,
        issued_at=p.issued_at,
        not_after=p.not_after,
        architecture=p.reference.architecture,
        blocks=p.reference.blocks,
        hidden_size=p.reference.hidden_size,
        vocabulary=p.reference.vocabulary,
        prompts=frame.certification,
        prompt_length=frame.length,
        windows=frame.windows,
        relative_thresholds=p.thresholds.relative,
        loss_thresholds=p.thresholds.loss,
        post_hoc=p.thresholds.post_hoc,
        kept=p.surrogate.kept,
        fidelity=p.reference.fidelity,
        claims=p.claims,
    )


def to_json(report: Report) -> bytes:
    """The report as JSON: one document, keys sorted, with a final newline."""
    return strict_json.encode(report) + b"\n"
