"""What a verdict rests on, for a terminal: each kind of claim with its scope, its basis and who checked it."""

from __future__ import annotations

from blockcert.numbers import parse_decimal
from blockcert_verifier.counted import all_rows, counted
from blockcert_verifier.enclosures_text import who_proved
from blockcert_verifier.layout import percent, wrap
from blockcert_verifier.report import Audit, Certificate, Report

__all__ = ["rests_lines"]


def rests_lines(report: Report, certificate: Certificate) -> list[str]:
    """One entry for each kind of claim that the report shows."""
    claims, audit = certificate.claims, report.audit
    end, population = claims.end_to_end, claims.population
    rows = [("errors, drift, loss", end.scope, end.basis, _replayed(audit))]
    if report.proof is not None and report.proof.confirmed:
        proven = f"{report.proof.confirmed} of {report.proof.rows} rows, without tolerance"
        rows.append(("the same, proven", end.scope, report.proof.basis, proven))
    if claims.enclosures is not None:
        stated, again = claims.enclosures, None if report.proof is None else report.proof.enclosures
        who = who_proved(stated, 0 if again is None else again.confirmed)
        rows.append(("enclosures", stated.scope, stated.basis, f"{counted(stated.rows, 'row')}, {who}"))
    if report.points is not None and report.points.stages:
        at = f"each stage alone, at points of {counted(len(report.points.drawn), 'row')}"
        rows.append(("errors of stages", report.points.scope, report.points.basis, at))
    for bound in claims.composition:
        said = "VACUOUS; " if bound.vacuous else ""
        ground = "an estimate, no guarantee" if bound.basis == "estimate" else "composed from the above"
        rows.append((f"{bound.method} bound", bound.scope, bound.basis, said + ground))
    if population.claims:
        verified = report.frame is not None and report.frame.status == "verified"
        sure = f"at {percent(1 - parse_decimal(population.alpha))} %"
        frame = "frame verified" if verified else "frame unverified"
        rows.append(("shares of windows", population.scope, population.basis, f"{sure}, {frame}"))
    for one in report.fresh:
        kind = "fresh prompts" if one.population == "frame" else "your own texts"
        rows.append((kind, "population", "measurement", f"{one.rows} drawn here, none listed"))
    rows.append(("what was kept", "both programs", "count", "producer's word" if audit is None else "counted again"))
    rows.append(("float32 floor", end.scope, "estimate", "one machine's rounding"))
    if certificate.fidelity is not None:
        on = counted(certificate.fidelity.rows, "prompt")
        rows.append(("lifting fidelity", on, "estimate", "producer's word"))
    lines = ["Rests on (scope, basis, this run)"]
    for kind, scope, basis, ground in rows:
        head = f"  {kind:<21}{scope:<16}{basis:<13}"
        lines += wrap(ground, head, " " * len(head))
    return lines


def _replayed(audit: Audit | None) -> str:
    if audit is None:
        return "recorded; nothing re-run"
    if audit.confirmed == audit.rows:
        return f"{all_rows(audit.rows)} re-run"
    if audit.false_rows_below is None or audit.repeatable:
        return f"{audit.confirmed} of {audit.rows} rows re-run, no audit"
    sure = percent(parse_decimal(audit.confidence))
    return f"{audit.confirmed} of {audit.rows} rows re-run; {sure} % sure: fewer than {audit.false_rows_below} false"
