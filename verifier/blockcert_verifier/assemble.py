"""From findings to a report: the verdict, one sentence, each step, and what was not checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from blockcert.findings import STEPS, Finding, StepName, Verdict, step_status, verdict_of
from blockcert.statement import Statement
from blockcert.times import format_time
from blockcert.trust import TrustPolicy
from blockcert_verifier.counted import all_rows, counted, verb
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.ladder import ladder
from blockcert_verifier.point_report import Points
from blockcert_verifier.proof_report import Proof
from blockcert_verifier.regimes import other_prompts
from blockcert_verifier.report import (
    Audit,
    DepthRow,
    FidelityCheck,
    FrameCheck,
    Report,
    RungName,
    Signer,
    StepReport,
    Unchecked,
    describe,
)
from blockcert_verifier.steps.policy import limits_of, met
from blockcert_verifier.version import VERSION

__all__ = ["Seen", "assemble"]


class Seen(Struct, frozen=True):
    """What a verification saw; the statement only where it is authentic.

    `listed` says that a genuine revocation list was given. `asked` are steps that the caller asked for beyond what a
    policy requires: a verdict waits for them too. `seconds` is what each step took, `row_seconds` what measuring one
    row takes on this machine, where that is known. `contexts` are the lengths of prompts beyond which a program turns
    its heads otherwise.
    """

    findings: tuple[Finding, ...]
    certificate_id: str | None
    signers: tuple[Signer, ...]
    statement: Statement | None
    audit: Audit | None
    frame: FrameCheck | None
    fresh: tuple[Fresh, ...] = ()
    fidelity: FidelityCheck | None = None
    proof: Proof | None = None
    points: Points | None = None
    depth: tuple[DepthRow, ...] | None = None
    asked: tuple[StepName, ...] = ()
    listed: bool = False
    seconds: Mapping[StepName, float] = {}
    row_seconds: float | None = None
    contexts: tuple[int, ...] = ()


_TIME_GIVEN = (Unchecked("whether it holds now", "the time was given; without one the clock here is read"),)


def assemble(
    trust: TrustPolicy,
    now: datetime,
    seen: Seen,
    digests: tuple[Literal["blake3", "sha256"], ...],
    *,
    time_given: bool,
) -> Report:
    """The report on what was seen, for the steps that `trust` requires.

    `digests` were compared if any file was; `time_given` says that `now` is the caller's choice, not the clock's.
    """
    more: list[StepName] = [step for step in seen.asked if step not in trust.require]
    required: tuple[StepName, ...] = trust.require + tuple(more)
    # asking for more makes no policy that requires nothing accept
    verdict = verdict_of(seen.findings, required if trust.require else ())
    if step_status(seen.findings, "integrity") is None:
        digests = ()  # no file was read
    return Report(
        type="blockcert-report",
        version="1.0",
        verdict=verdict,
        sentence=_sentence(verdict, seen, trust),
        checked_at=format_time(now),
        verifier=VERSION,
        certificate_id=seen.certificate_id,
        signers=seen.signers,
        steps=tuple(_step(step, seen.findings, step in required) for step in STEPS),
        certificate=None if seen.statement is None else describe(seen.statement, authenticated=True),
        audit=seen.audit,
        frame=seen.frame,
        fresh=seen.fresh,
        fidelity=seen.fidelity,
        proof=seen.proof,
        points=seen.points,
        depth=seen.depth,
        ladder=ladder(
            seen.findings,
            seen.audit,
            rows=None if seen.statement is None else seen.statement.predicate.evidence.rows,
            seconds=seen.seconds,
            row_seconds=seen.row_seconds,
            fresh=seen.fresh,
            proof=seen.proof,
        ),
        digests=digests,
        unchecked=(
            *(_TIME_GIVEN if time_given else ()),
            *(_unchecked(seen, digests, limits_of(trust)) if verdict != "rejected" else ()),
        ),
        findings=seen.findings,
    )


def _step(step: StepName, findings: tuple[Finding, ...], required: bool) -> StepReport:
    mine = [finding for finding in findings if finding.step == step]
    status = step_status(findings, step)
    if status is None:
        return StepReport(step, "skipped", required, "", _not_reached(step, findings))
    if status == "passed":
        # a check that did not run establishes nothing, also where the others of its step passed
        held = "; ".join(finding.message for finding in mine if finding.status == "passed")
        left = "; ".join(finding.message for finding in mine if finding.status == "skipped")
        return StepReport(step, status, required, held, left or None)
    worst = [finding for finding in mine if finding.status == status]
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
    return StepReport(step, status, required, "", f"{worst[0].place}: {worst[0].message}{more}")


def _not_reached(step: StepName, findings: tuple[Finding, ...]) -> str:
    before = [finding for finding in findings if finding.status in ("failed", "inconclusive")]
    return f"not reached, because {before[0].step} did not pass" if before else f"{step} did not run"


def _sentence(verdict: Verdict, seen: Seen, trust: TrustPolicy) -> str:
    if verdict == "rejected":
        wrong = next(finding for finding in seen.findings if finding.status == "failed")
        return f"REJECTED: {wrong.place}: {wrong.message} [{wrong.code}]."
    by = " and ".join(signer.name for signer in seen.signers)
    if verdict == "accepted":
        return f"ACCEPTED: signed by {by}, {_checked(seen, trust)}."
    wanted: tuple[StepName, ...] = (*trust.require, *seen.asked)
    # what is open in a step that nobody waits for is not why
    open_ = next((f for f in seen.findings if f.status == "inconclusive" and f.step in wanted), None)
    if open_ is not None:
        return f"INDETERMINATE: {open_.place}: {open_.message} [{open_.code}]."
    hold = all(step_status(seen.findings, step) == "passed" for step in ("authenticity", "recompute"))
    if hold and seen.audit is None and "replay" in trust.require:
        return "INDETERMINATE: signature and arithmetic hold; nothing was re-run: give --reference MODEL."
    missing: list[StepName] = [step for step in wanted if step_status(seen.findings, step) != "passed"]
    missing = [step for i, step in enumerate(missing) if step not in missing[:i]]
    did_not = f"{_who(missing, trust)} {', '.join(missing) or 'no step at all'}, which did not run"
    return f"INDETERMINATE: {did_not}{_why(missing, seen.findings)}."


def _why(missing: Sequence[StepName], findings: Sequence[Finding]) -> str:
    """Why the one step that is missing did not run, where a finding says so."""
    said = [finding.message for finding in findings if [finding.step] == list(missing) and finding.status == "skipped"]
    return f": {said[0]}" if said else ""


def _who(missing: Sequence[StepName], trust: TrustPolicy) -> str:
    return "the policy requires" if not missing or set(missing) & set(trust.require) else "you asked for"


def _checked(seen: Seen, trust: TrustPolicy) -> str:
    asked = limits_of(trust) if step_status(seen.findings, "policy") == "passed" else 0
    limits = f"; {met(asked)} met" if asked else ""
    return f"{_recomputed(seen)}, {_replayed(seen.audit)}{_fresh(seen)}{_proven(seen)}{limits}"


def _recomputed(seen: Seen) -> str:
    # a policy that does not require the step accepts whatever it left open
    if step_status(seen.findings, "recompute") == "passed":
        return "every claim follows from the evidence"
    return "not every claim follows from the evidence"


def _replayed(audit: Audit | None) -> str:
    if audit is None:
        return "and nothing was re-run"
    if audit.confirmed < audit.sampled:
        seen = f"{counted(audit.sampled, 'row')} that {verb(audit.sampled, 'was', 'were')} measured again"
        return f"and of {seen}, only {audit.confirmed} could be confirmed"
    which = all_rows(audit.rows) if audit.confirmed == audit.rows else f"{audit.confirmed} of {audit.rows} rows"
    agree = verb(audit.confirmed, "was measured again and agrees", "were measured again and agree")
    chosen = " (chosen by a given seed)" if audit.repeatable and audit.sampled < audit.rows else ""
    return f"and {which} {agree}{chosen}"


def _fresh(seen: Seen) -> str:
    status = step_status(seen.findings, "fresh")
    if status == "inconclusive":
        # a verdict waits for windows of the frame: these are texts of the caller's own
        return "; but not all own texts that were asked for were measured"
    rows = next((one.rows for one in seen.fresh if one.population == "frame"), 0)
    agree = "agrees" if rows == 1 else "agree"
    return f"; {counted(rows, 'fresh prompt')} {agree} within chance" if status == "passed" else ""


def _proven(seen: Seen) -> str:
    proof = seen.proof
    if proof is None or not proof.confirmed:
        return ""
    return f"; what is claimed is proven on {counted(proof.confirmed, 'row')}"


def _unchecked(seen: Seen, digests: tuple[str, ...], limits: int) -> tuple[Unchecked, ...]:
    if seen.statement is None:
        return ()
    found: list[Unchecked] = []
    audit, reference = seen.audit, seen.statement.predicate.reference

    def add(what: str, how: str, rung: RungName | None = None) -> None:
        found.append(Unchecked(what, how, rung))

    if not limits:
        # what holds may still be a poor copy: a verdict is no mark
        add(
            "whether the surrogate is close enough for you",
            "the policy sets no limits; blockcert trust set POLICY --coverage SHARE@ERROR, --top1-share ... sets some",
        )
    if audit is None:
        add("whether the numbers were really measured", "give the original model, --reference MODEL", "replay")
        how = "--reference MODEL counts parameters, bits and multiply-adds again"
        add("what the surrogate kept", how, "replay")
    else:
        if audit.confirmed < audit.sampled:
            how = "the findings name their cells; a machine with wider floating point may decide them"
            left = audit.sampled - audit.confirmed
            add(f"{counted(left, 'row')} that {verb(left, 'was', 'were')} measured again and not confirmed", how)
        if audit.sampled < audit.rows:
            other = audit.rows - audit.sampled
            add(
                "the other row" if other == 1 else f"the other {other} rows",
                "--replay all measures every row",
                "all-rows",
            )
        if audit.repeatable and audit.sampled < audit.rows:
            add("rows that the producer could not foresee", "leave out --seed; then the sample is an audit", "replay")
    stated = seen.statement.predicate.claims.enclosures
    proven = 0 if seen.proof is None or seen.proof.enclosures is None else seen.proof.enclosures.confirmed
    if stated is not None and proven < stated.rows:
        left = stated.rows - proven
        which = ("the other " if proven else "the ") + ("row" if left == 1 else f"{left} rows")
        how = "--prove N encloses sampled ones; until then their ends are the producer's word within the tolerance"
        add(f"{which} that the producer proved", how, "proof")
    if seen.frame is None or seen.frame.status != "verified":
        how = "--corpus FILES, whose digests the statement names, and the reference model's tokenizer.json"
        add("whether the prompts are the corpus' windows (frame unverified)", how)
    frame = seen.statement.predicate.prompts.frame
    if frame.calibration:
        # a key can be tried until the draw puts hard windows there: how many there are bounds what that hides (T11)
        add(
            f"the {frame.calibration} of the corpus' {frame.windows} windows that the producer calibrated on",
            "no claim and no fresh prompt is about them; --own FILE... with the corpus itself draws from all windows",
        )
    others = other_prompts(seen.contexts, frame.length)
    if others is not None:
        # not even a bound on them follows: they are another function of the same weights
        add(f"{others}, which LongRoPE turns otherwise", "only a certificate on such prompts says something of them")
    if step_status(seen.findings, "fresh") != "passed":
        add(
            "whether the producer tried several surrogates or corpora and shows the best",
            "prompts that it has never seen would show it, --fresh N with --corpus FILES",
            "fresh-prompts",
        )
    if seen.fidelity is None:
        stated = reference.fidelity
        against = "the model's own software" if stated is None else stated.against
        given = "the producer gives no figure" if stated is None else "the producer's figure is an estimate"
        add(
            f"whether the reference program computes what {against} computes",
            f"{given}; --transformers measures it again, with blockcert[produce]",
        )
    if not seen.listed:
        how = "a list signed by a key that the policy trusts as revoker, --revocations FILE"
        add("whether the certificate or its signers' keys were revoked", how)
    add("a bfloat16 runtime, a KV cache or a sampler", "the claims are about the two exact programs")
    if "sha256" not in digests:
        add("SHA-256 digests", "--all-digests compares them beside BLAKE3")
    return tuple(found)
