"""The trust ladder: from a signature to a proof, what each rung establishes, which were climbed, what the next takes.

Normative text: ``spec/13-report.md``, BC-VER-19. Pure: the seconds come from whoever read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

from blockcert.findings import Finding, Status, StepName, step_status
from blockcert.numbers import exact, parse_decimal, round_up
from blockcert.statistics import audit_bound
from blockcert_verifier.counted import all_rows, counted, verb
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.layout import percent
from blockcert_verifier.proof_report import Proof
from blockcert_verifier.report import Audit, Rung, RungName

__all__ = ["USUAL_ROWS", "ladder"]

USUAL_ROWS = 16
"""Rows that a rung's price is named for where nobody has asked for a number."""
_CONFIDENCE = Fraction(99, 100)
_Climbed = Literal["yes", "partly", "no"]


def ladder(
    findings: Iterable[Finding],
    audit: Audit | None,
    *,
    rows: int | None,
    seconds: Mapping[StepName, float],
    row_seconds: float | None,
    fresh: Sequence[Fresh] = (),
    proof: Proof | None = None,
) -> tuple[Rung, ...]:
    """The six rungs in their order; none reads as climbed whose step did not pass.

    ``rows`` is the number of evidence rows, None where the statement could not be read. ``seconds`` is what each step
    took in this run, ``row_seconds`` what one row takes on this machine; ``fresh`` what was measured on fresh ones,
    ``proof`` what was enclosed.
    """
    seen = list(findings)
    clock = _Clock(seconds, row_seconds)
    replayed = step_status(seen, "replay")
    return (
        _signature(step_status(seen, "authenticity"), step_status(seen, "integrity"), clock),
        _recomputation(step_status(seen, "recompute"), clock),
        _replay(replayed, audit, rows, clock),
        _all_rows(replayed, audit, rows, clock),
        _fresh(step_status(seen, "fresh"), fresh, audit, clock),
        _proof(replayed, proof, audit, rows),
    )


class _Clock:
    """Seconds as decimal strings: those that were measured, and those that a number of rows would take."""

    def __init__(self, seconds: Mapping[StepName, float], row: float | None) -> None:
        self._seconds, self._row = {str(step): taken for step, taken in seconds.items()}, row

    def took(self, *steps: str) -> str | None:
        taken = [self._seconds[step] for step in steps if step in self._seconds]
        return _decimal(sum(taken)) if taken else None

    def would_take(self, rows: int | None) -> str | None:
        return None if self._row is None or rows is None else _decimal(self._row * rows)


def _decimal(seconds: float) -> str:
    return round_up(exact(seconds), digits=2, places=3)


def _rung(
    name: RungName,
    establishes: str,
    climbed: _Climbed,
    how: str | None,
    took: str | None = None,
    would: str | None = None,
) -> Rung:
    """A rung that was climbed states what it took, any other what it would take."""
    if took is not None and climbed != "no":
        return Rung(name, establishes, climbed, how, took, "measured")
    return Rung(name, establishes, climbed, how, would, None if would is None else "estimate")


def _signature(signed: Status | None, intact: Status | None, clock: _Clock) -> Rung:
    held = signed == "passed" and intact != "failed"
    climbed: _Climbed = "no" if not held else "yes" if intact == "passed" else "partly"
    establishes = "a key that you trust answers for these very files"
    how = None if climbed == "yes" or "failed" in (signed, intact) else "a bundle whose files are whole"
    if signed == "inconclusive" and intact != "failed":
        how = "what is open beside the signatures, a revocation list or reviews: the findings name it"
    return _rung("signature", establishes, climbed, how, clock.took("authenticity", "integrity"))


def _recomputation(status: Status | None, clock: _Clock) -> Rung:
    climbed: _Climbed = "yes" if status == "passed" else "partly" if status == "inconclusive" else "no"
    how = {
        "yes": None,
        "partly": "nothing here decides the claims that were left open",
        "no": None if status == "failed" else "it needs the rung before it",
    }[climbed]
    establishes = "every claim follows from the recorded numbers, to the last digit"
    return _rung("recomputation", establishes, climbed, how, clock.took("recompute"))


def _replay(status: Status | None, audit: Audit | None, rows: int | None, clock: _Clock) -> Rung:
    price = clock.would_take(None if rows is None else min(USUAL_ROWS, rows))
    if audit is None or status == "failed":
        how = None if status == "failed" else f"--reference MODEL --replay {USUAL_ROWS}"
        return _rung("replay", _bound(rows), "no", how, None, price)
    took = clock.took("replay")
    again = verb(audit.rows, "was measured again and agrees", "were measured again and agree")
    if status == "passed" and audit.confirmed == audit.rows:
        return _rung("replay", f"{all_rows(audit.rows)} {again}", "yes", None, took)
    agree = f"{audit.confirmed} of {audit.rows} rows {verb(audit.confirmed, 'agrees', 'agree')}"
    if audit.repeatable:
        establishes = f"{agree}; with a seed known beforehand it is no audit"
        return _rung("replay", establishes, _some(audit, status), "leave out --seed", took, price)
    if status == "passed" and audit.false_rows_below is not None:
        establishes = (
            f"{agree}: at {_percent(parse_decimal(audit.confidence))} confidence "
            f"fewer than {audit.false_rows_below} are false"
        )
        return _rung("replay", establishes, "yes", None, took)
    drawn = f"{counted(audit.sampled, 'row')} that {verb(audit.sampled, 'was', 'were')} drawn"
    establishes = f"{audit.confirmed} of the {drawn} {verb(audit.confirmed, 'agrees', 'agree')}, all else is undecided"
    return _rung("replay", establishes, _some(audit, status), "the findings say what was left open", took, price)


def _some(audit: Audit, status: Status | None) -> _Climbed:
    return "partly" if audit.confirmed and status in ("passed", "inconclusive") else "no"


def _bound(rows: int | None) -> str:
    if rows is None:
        return "how many of the recorded rows can be false at most"
    drawn = min(USUAL_ROWS, rows)
    below = audit_bound(rows, drawn, 1 - _CONFIDENCE)
    agree = f"{drawn} of {rows} rows {verb(drawn, 'agrees', 'agree')}"
    return f"if {agree}: at {_percent(_CONFIDENCE)} confidence fewer than {below} are false"


def _percent(confidence: Fraction) -> str:
    return f"{percent(confidence)} %"


def _all_rows(status: Status | None, audit: Audit | None, rows: int | None, clock: _Clock) -> Rung:
    whole = "none of the rows is" if rows is None else f"none of the {rows} rows is"
    if rows == 1:
        whole = "the one row is not"
    establishes = f"{whole} false, within the replay's tolerance; the means hold too"
    given = "" if audit is not None else "--reference MODEL "
    climbed: _Climbed = "no"
    if audit is not None and audit.sampled == audit.rows:
        climbed = "yes" if status == "passed" and audit.confirmed == audit.rows else _some(audit, status)
    how = None if climbed == "yes" or status == "failed" else f"{given}--replay all"
    return _rung("all-rows", establishes, climbed, how, clock.took("replay"), clock.would_take(rows))


def _fresh(status: Status | None, fresh: Sequence[Fresh], audit: Audit | None, clock: _Clock) -> Rung:
    establishes = "it holds on prompts that the producer has never seen, not only on those it lists"
    drawn = next((one for one in fresh if one.population == "frame"), None)
    climbed: _Climbed = "no"
    if drawn is not None and status in ("passed", "inconclusive"):
        establishes = f"{drawn.rows} prompts that the producer did not list agree with those that it did, within chance"
        if drawn.repeatable:
            establishes += "; with a seed known beforehand"
        if status == "inconclusive":
            establishes = f"{drawn.rows} prompts that the producer did not list differ beyond chance or are undecided"
        climbed = "yes" if status == "passed" and not drawn.repeatable else "partly"
    given = "" if audit is not None else "--reference MODEL "
    how = f"{given}--fresh {USUAL_ROWS} --corpus FILES" if drawn is None else "the findings say what was left open"
    if drawn is not None and status == "passed":
        how = "leave out --seed"
    done = climbed == "yes" or status == "failed"
    price = clock.would_take(USUAL_ROWS)
    return _rung("fresh-prompts", establishes, climbed, None if done else how, clock.took("fresh"), price)


def _proof(status: Status | None, proof: Proof | None, audit: Audit | None, rows: int | None) -> Rung:
    establishes = "what holds of the two exact programs, without any tolerance"
    if proof is None or status == "failed" or not proof.confirmed:
        given = "" if audit is not None else "--reference MODEL "
        how = "the findings say what was left open" if proof is not None else f"{given}--prove 1"
        return _rung("proof", establishes, "no", None if status == "failed" else how)
    each = parse_decimal(proof.seconds) / len(proof.drawn)
    establishes = f"on {proof.confirmed} of {proof.rows} rows what is claimed holds of the two exact programs"
    if proof.confirmed == proof.rows and status == "passed":
        return _rung("proof", establishes, "yes", None, proof.seconds)
    how = "the findings say what was left open" if proof.confirmed < len(proof.drawn) else "--prove N, with a larger N"
    price = f"all {rows} rows would take about {round_up(each * proof.rows, digits=2, places=3)} s"
    return _rung("proof", establishes, "partly", f"{how}; {price}", proof.seconds)
