"""The report of one verification: typed data, and its JSON.

Whatever was not checked stands in ``unchecked`` with the way to check it; a step that did not run is ``skipped`` and
says why. Numbers that are not counts are decimal strings (``spec/03-numbers.md``).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from blockcert import strict_json
from blockcert.findings import Finding, Status, StepName, Verdict, exit_code
from blockcert.statement import Claims, Fidelity, Kept, Scope, Statement
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.point_report import Points
from blockcert_verifier.proof_report import Proof

__all__ = [
    "Audit",
    "Certificate",
    "Consequence",
    "DepthRow",
    "FidelityCheck",
    "FrameCheck",
    "ReplayCost",
    "Report",
    "Rung",
    "RungName",
    "Signer",
    "StepReport",
    "Unchecked",
    "describe",
    "to_json",
]


class Signer(Struct, frozen=True):
    """A trusted producer whose signature holds: the key's name in the policy, its fingerprint and its raw bytes."""

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
    """What the statement says about itself. ``authenticated`` says whether trusted keys signed it.

    ``corpus`` are the names of its corpus files.
    """

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
    corpus: tuple[str, ...]
    relative_thresholds: tuple[str, ...]
    loss_thresholds: tuple[str, ...]
    post_hoc: bool
    kept: Kept
    fidelity: Fidelity | None
    claims: Claims


class Consequence(Struct, frozen=True):
    """A claim as the audit leaves it: what still holds if as many rows are false as the sample could have missed.

    ``corpus_file`` is the place of a corpus file whose windows alone the claim is about, null for all others.
    """

    claim: str
    scope: Scope
    corpus_file: int | None
    stated: int
    at_least: int
    of: int
    confidence: str


class ReplayCost(Struct, frozen=True):
    """What measuring took: ``rows`` in this run, ``resumed`` ones in earlier runs of the same audit.

    ``seconds`` were measured here; ``expected_seconds`` and ``expected_memory`` (bytes) were estimated before it began,
    null where no row was left to measure.
    """

    rows: int
    resumed: int
    seconds: str
    device: str
    jobs: int
    expected_seconds: str | None
    expected_memory: int | None


class Audit(Struct, frozen=True):
    """The rows that were measured again: the completed prefix of the order that the seed draws.

    If all ``confirmed == sampled`` rows agree, then at ``confidence`` fewer than ``false_rows_below`` of ``rows`` are
    false. ``asked`` rows were asked for; ``ending`` says why fewer were measured, and is null where all were.
    ``drawn`` are the sampled rows in the order drawn, the first 1,024 of them. ``repeatable`` says that the seed was
    given: the same rows again, not an audit. ``until`` is the number of false rows that the caller asked to exclude.
    ``largest_disagreement`` is the largest distance of a recorded cell from the re-measured one, as a fraction of the
    cell's tolerance.
    """

    rows: int
    asked: int
    sampled: int
    confirmed: int
    attributed: int
    drawn: tuple[int, ...]
    seed: str
    repeatable: bool
    confidence: str
    until: int | None
    ending: Literal["time-limit", "interrupted", "refuted"] | None
    false_rows_below: int | None
    largest_disagreement: str | None
    largest_disagreement_at: str | None
    consequences: tuple[Consequence, ...]
    cost: ReplayCost


class FidelityCheck(Struct, frozen=True):
    """The reference program beside the software that runs the checkpoint, on some replayed prompts: an estimate.

    ``limit`` is what rounding may explain of the largest logit difference, by what was ``stated`` and by the size of
    the logits.
    """

    against: str
    rows: int
    stated: str | None
    max_logit_difference: str
    largest_logit: str
    limit: str
    basis: Literal["estimate"] = "estimate"


class FrameCheck(Struct, frozen=True):
    """What was seen of the frame: whether ``compared`` of the listed ``prompts`` are the windows they are numbered as.

    ``unverified`` where the corpus or the tokenizer was not at hand. ``shared_spans`` counts the different runs of
    ``span`` tokens of certification prompts that stand in a calibration prompt too, and ``prompts_with_shared_spans``
    the certification prompts that have one; null where there are too many tokens to count.
    """

    status: Literal["verified", "mismatch", "unverified"]
    windows: int
    prompts: int
    compared: int
    span: int
    shared_spans: int | None
    prompts_with_shared_spans: int | None


class DepthRow(Struct, frozen=True):
    """What was measured up to one stage over the listed prompts, and what the stage costs when it alone is replaced.

    ``drift`` is the largest distance of the two trajectories, ``largest_step``, ``mean_step`` and ``step_share`` are
    those of the hybrid steps over the attribution rows; null at the head and without such rows. Bounds are rounded up,
    the mean too, the share down.
    """

    index: int
    same_program: bool
    drift: str
    relative_drift: str
    identity_drift: str
    identity_relative_drift: str
    largest_step: str | None
    mean_step: str | None
    step_share: str | None
    loss_tokens: int | None
    loss_covered: tuple[int, ...] | None


RungName: TypeAlias = Literal["signature", "recomputation", "replay", "all-rows", "fresh-prompts", "proof"]


class Rung(Struct, frozen=True):
    """One rung of the trust ladder: what it establishes, whether this verification climbed it, and what that takes.

    ``how`` is null where nothing is left to climb. ``seconds`` is a decimal string, ``measured`` in this verification
    or an ``estimate`` from it for this machine.
    """

    name: RungName
    establishes: str
    climbed: Literal["yes", "partly", "no"]
    how: str | None
    seconds: str | None
    basis: Literal["measured", "estimate"] | None


class Unchecked(Struct, frozen=True):
    """Something this verification did not establish, how it could be, and the rung of the ladder that would."""

    what: str
    how: str
    rung: RungName | None = None


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
    frame: FrameCheck | None
    fresh: tuple[Fresh, ...]
    fidelity: FidelityCheck | None
    proof: Proof | None
    points: Points | None
    depth: tuple[DepthRow, ...] | None
    ladder: tuple[Rung, ...]
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
        corpus=tuple(file.name for file in frame.corpus),
        relative_thresholds=p.thresholds.relative,
        loss_thresholds=p.thresholds.loss,
        post_hoc=p.thresholds.post_hoc,
        kept=p.surrogate.kept,
        fidelity=p.reference.fidelity,
        claims=p.claims,
    )


def to_json(report: Report) -> bytes:
    """The report as JSON: one document, keys sorted, with a final newline."""
    return strict_json.encode(report, strict_json.REPORT) + b"\n"
