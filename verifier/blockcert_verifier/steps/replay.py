"""Replay: sampled rows are measured again and every recorded cell must lie within the verifier's own tolerance.

Normative text: ``spec/10-verification.md``. numpy and the evaluator are imported when rows are measured, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blockcert.findings import Finding
from blockcert.numbers import exact, format_decimal, round_up
from blockcert.statistics import audit_bound
from blockcert_verifier.counted import verb
from blockcert_verifier.report import Audit, ReplayCost
from blockcert_verifier.steps.consequences import consequences
from blockcert_verifier.steps.outcome import failures, inconclusive, passed, skipped
from blockcert_verifier.steps.plan import Plan, Progress, ReplayInputs

if TYPE_CHECKING:
    from blockcert_verifier.steps.measuring import Ending, Judged, Rows

__all__ = ["replay"]

PLACE = "evidence.safetensors"
MOST_DRAWN = 1024
"""Rows that a report lists in the order drawn; the others follow from seed and certificate id."""


def replay(inputs: ReplayInputs, plan: Plan, progress: Progress) -> tuple[Audit, list[Finding]]:
    """The audit of the sampled rows and its findings: refuted cells, recounted costs, or that all rows agree.

    Raises:
        Refusal: ``resume.*``, ``usage.jobs`` and ``device.*``, before anything is measured.
    """
    from blockcert_verifier.steps.measuring import Rows
    from blockcert_verifier.steps.recount import recount

    run = Rows(inputs, plan, progress)
    try:
        findings = recount(inputs.statement, inputs.reference, inputs.surrogate, run.pair.store, plan.look)
        judged = run.measure()
    finally:
        run.engine.close()
    findings += judged.findings
    findings += _ending(plan, run.ending, judged)
    if not findings or all(finding.status == "skipped" for finding in findings):
        done = len(judged.prefix)
        again = f"{verb(done, 'was', 'were')} measured again, and every cell agrees"
        sentence = f"{done} of {inputs.table.shape.rows} rows {again}"
        findings.append(passed("replay", "replay.rows", PLACE, sentence))
    return _audit(inputs, plan, run, judged, findings), findings


def _ending(plan: Plan, ending: Ending | None, judged: Judged) -> list[Finding]:
    """The finding that a replay ended early: enough for the policy, or not."""
    if ending not in ("time-limit", "interrupted"):
        return []
    why = "the time limit was reached" if ending == "time-limit" else "it was interrupted"
    sentence = f"{why} after {len(judged.prefix)} of the {plan.asked} rows that were asked for"
    if plan.enough is not None and judged.confirmed >= plan.enough:
        return [skipped("replay", "replay.partial", PLACE, f"{sentence}; the policy asks for {plan.enough}")]
    return [inconclusive("replay", "replay.partial", PLACE, sentence)]


def _audit(inputs: ReplayInputs, plan: Plan, run: Rows, judged: Judged, findings: list[Finding]) -> Audit:
    n, m = inputs.table.shape.rows, len(judged.prefix)
    clean = judged.confirmed == m > 0 and not failures(findings)
    bound = audit_bound(n, m, plan.beta) if clean else None
    attributed = sum(row < inputs.table.shape.attribution_rows for row in judged.prefix)
    worst = max(run.outcomes, key=lambda outcome: outcome.largest_fraction, default=None)
    done = sum(len(outcome.rows) for outcome in run.outcomes)
    return Audit(
        rows=n,
        asked=min(plan.asked, n),
        sampled=m,
        confirmed=judged.confirmed,
        attributed=attributed,
        drawn=judged.prefix[:MOST_DRAWN],
        seed=run.seed.hex(),
        repeatable=run.repeatable,
        confidence=format_decimal(1 - plan.beta),
        until=plan.until,
        ending=run.ending,
        false_rows_below=bound,
        largest_disagreement=round_up(exact(worst.largest_fraction), digits=3) if clean and worst else None,
        largest_disagreement_at=worst.column if clean and worst else None,
        consequences=()
        if bound is None
        else consequences(inputs.statement, bound, attributed > 0, plan.beta, plan.look),
        cost=_cost(plan, run, done - run.resumed),
    )


def _cost(plan: Plan, run: Rows, rows: int) -> ReplayCost:
    """What the rows of this run took, beside what was expected of them."""
    expected = run.estimate
    return ReplayCost(
        rows=rows,
        resumed=run.resumed,
        seconds=_decimal(run.seconds),
        device=plan.device,
        jobs=plan.jobs,
        expected_seconds=None if expected is None else _decimal(expected.seconds),
        expected_memory=None if expected is None else expected.memory,
    )


def _decimal(seconds: float) -> str:
    return round_up(exact(max(0.0, seconds)), digits=3)
