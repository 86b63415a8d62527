"""Proof: sampled rows are enclosed in exact arithmetic, and every recorded cell and claim is held against them.

Normative text: ``spec/15-enclosures.md``. python-flint is imported when rows are enclosed, and not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.evidence import ENCLOSURE
from blockcert.findings import Finding
from blockcert.numbers import exact, parse_decimal, round_nearest, round_up
from blockcert.same_program import same_stages
from blockcert.statement import Claims
from blockcert_verifier.counted import verb
from blockcert_verifier.enclose.claimed import cell_index, claimed_ends, judge_end
from blockcert_verifier.enclose.interval import Enclosed, Interval, ends, largest
from blockcert_verifier.enclose.judge import COUNTS, Judgement, judge
from blockcert_verifier.enclose.memory import row_bytes
from blockcert_verifier.enclose.order import rows_to_prove
from blockcert_verifier.enclose.rows import Encloser, enclosed_here, enclosed_in_processes
from blockcert_verifier.enclose.trajectories import Place, Thresholds, first_bits
from blockcert_verifier.evaluate import Backend, WeightStore, logits
from blockcert_verifier.measure import Pair
from blockcert_verifier.proof_report import CellCounts, EnclosedClaim, Proof, ProofVerdict, ProvenEnds
from blockcert_verifier.steps.outcome import capped, failed, inconclusive, passed
from blockcert_verifier.steps.plan import Plan, Progress, ReplayInputs
from blockcert_verifier.work import Stopped

__all__ = ["MOST_BITS", "prove"]

MOST_BITS = 4096
"""The precision at which a cell that is still open is left inconclusive."""
PLACE = "evidence.safetensors"
_Ending: TypeAlias = Literal["time-limit", "interrupted", "refuted"]


class _Row(Struct, frozen=True):
    """One row: what every cell exactly is, what is recorded, and the verdicts; ``ends`` are the stated proven ends,
    where the row has some, and ``proven`` the verdicts on them."""

    row: int
    bits: int
    cells: Mapping[Place, Enclosed]
    recorded: Mapping[Place, Fraction]
    verdicts: Mapping[Place, Judgement]
    ends: Mapping[Place, Fraction]
    proven: Mapping[Place, Judgement]

    @property
    def judged(self) -> list[Judgement]:
        """The verdicts on all cells."""
        return [*self.verdicts.values(), *self.proven.values()]


def prove(inputs: ReplayInputs, plan: Plan, progress: Progress) -> tuple[Proof | None, list[Finding]]:
    """The enclosures of ``plan.asked`` rows, in the order of BC-ENC-02, and the findings.

    Rows are taken one after another, or as many at a time as the plan has processes, until one is refuted or the time
    is up.

    Raises:
        Refusal: ``tensor.*`` or ``program.*`` where a program cannot be evaluated with these weights, ``limit.memory``
            where a row is estimated to take more than the plan's.
    """
    begun = plan.clock()
    rows, stages = inputs.table.shape.rows, inputs.table.shape.stages
    order = rows_to_prove(inputs.certificate, plan.seed, inputs.table.shape, plan.asked)
    pair = Pair(
        inputs.reference,
        inputs.surrogate,
        same_stages(inputs.reference, inputs.surrogate),
        WeightStore(dict(inputs.weights)),
    )
    thresholds = _thresholds(inputs)
    done: list[_Row] = []
    ending: _Ending | None = None

    def look(stage: int) -> None:
        progress(len(done) * stages + stage, len(order) * stages)
        if plan.deadline is not None and plan.clock() >= plan.deadline:
            raise Stopped("time-limit")

    def job(encloser: Encloser, row: int) -> _Row:
        return _enclose(inputs, pair, row, encloser, share)

    # as many processes as there are rows for, each with its share of the memory
    jobs = min(plan.jobs, len(order))
    share = None if plan.memory is None else plan.memory // max(1, jobs)
    made: Iterator[_Row] | None = None
    try:
        if order:
            _evaluable(pair, inputs.tokens[order[0]], plan)
            _fits(pair, len(inputs.tokens[order[0]]), first_bits(inputs.table.shape.blocks), share)
            _announce(inputs, pair, plan, order)
        if jobs > 1:
            made = enclosed_in_processes(jobs, pair, inputs.weights, thresholds, order, job, look)
        else:
            made = enclosed_here(pair, thresholds, order, job, look)
        for row in made:
            done.append(row)
            if any(one.verdict == "refuted" for one in row.judged):
                ending = "refuted" if len(done) < len(order) else None
                break
    except Stopped as stopped:
        ending = stopped.reason
    except MemoryError:
        findings = [inconclusive("replay", "proof.partial", PLACE, "it does not fit in this machine's memory")]
        return None, findings
    except KeyboardInterrupt:
        if not plan.catch:
            raise
        ending = "interrupted"
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()  # ends the processes, if there are any
    # several processes are done in whatever order
    done.sort(key=lambda one: order.index(one.row))
    progress(1, 1)
    findings = capped(finding for row in done for finding in _findings(row, inputs))
    if ending in ("time-limit", "interrupted"):
        why = "the time limit was reached" if ending == "time-limit" else "it was interrupted"
        sentence = f"{why} after {len(done)} of the {len(order)} rows that were to be proven"
        findings.append(inconclusive("replay", "proof.partial", PLACE, sentence))
    if not findings:
        proven = f"{len(done)} of {rows} rows {verb(len(done), 'is', 'are')} proven"
        sentence = f"{proven}: what is claimed holds of the two exact programs there"
        findings.append(passed("replay", "proof.rows", PLACE, sentence))
    seconds = round_up(exact(max(0.0, plan.clock() - begun)), digits=3)
    return _report(inputs, plan, order, done, ending, seconds), findings


def _evaluable(pair: Pair, tokens: Sequence[int], plan: Plan) -> None:
    """Refuse, before any ball is made, what the evaluator in float64 refuses: sizes, shapes, weights."""
    one = np.array([tokens], dtype=np.int64)
    for program in (pair.reference, pair.surrogate):
        plan.look()
        logits(program, pair.store, one, Backend())


def _fits(pair: Pair, length: int, bits: int, memory: int | None) -> None:
    """Refuse what would exceed the caller's limit before it is begun."""
    if memory is not None and (needed := row_bytes(pair, length, bits)) > memory:
        sentence = f"enclosing one row is estimated to take {needed} bytes of memory, and the limit is {memory}"
        raise Refusal("limit.memory", PLACE, sentence)


def _announce(inputs: ReplayInputs, pair: Pair, plan: Plan, order: Sequence[int]) -> None:
    """Say what the rows are estimated to take, before they are begun."""
    if plan.announce is None:
        return
    from blockcert_verifier.enclose.estimate import estimate_rows

    bits, length = first_bits(inputs.table.shape.blocks), len(inputs.tokens[order[0]])
    plan.announce(estimate_rows(pair, length, bits, len(order), plan.jobs))


def _thresholds(inputs: ReplayInputs) -> Thresholds:
    stated = inputs.statement.predicate.thresholds
    return Thresholds(tuple(map(parse_decimal, stated.relative)), tuple(map(parse_decimal, stated.loss)))


def _enclose(inputs: ReplayInputs, pair: Pair, row: int, encloser: Encloser, memory: int | None) -> _Row:
    """One row, at a precision that is raised while a cell is open (BC-ENC-04) and the next is in the memory's limit."""
    predicate = inputs.statement.predicate
    bits = first_bits(inputs.table.shape.blocks)
    while True:
        cells = encloser(inputs.tokens[row], bits)
        recorded = {place: _recorded(inputs, place, row) for place in cells}
        verdicts = {
            place: judge(cell, recorded[place], column=place.column, claim=_claim(predicate.claims, place))
            for place, cell in cells.items()
        }
        stated = claimed_ends(inputs.table, row, cells)
        proven = {place: judge_end(cells[place].value, end, place.column) for place, end in stated.items()}
        found = _Row(row, bits, cells, recorded, verdicts, stated, proven)
        settled = any(one.verdict == "refuted" for one in found.judged)
        last = settled or 2 * bits > MOST_BITS or not any(one.open for one in found.judged)
        if last or (memory is not None and row_bytes(pair, len(inputs.tokens[row]), 2 * bits) > memory):
            return found
        bits *= 2


def _recorded(inputs: ReplayInputs, place: Place, row: int) -> Fraction:
    return Fraction(inputs.table.at(place.column, *cell_index(place))[row])


def _claim(claims: Claims, place: Place) -> Fraction | None:
    """The bound that a certificate states for the largest of a column, where it states one."""
    end, stage = claims.end_to_end, place.stage
    found: str | None = None
    match place.column:
        case "error" | "relative_error" | "relative_update_error" if stage is not None:
            found = getattr(claims.stages[stage], place.column)
        case "drift" | "relative_drift" if stage == len(claims.stages) - 2:
            found = getattr(end, place.column)
        case "logit_difference" | "kl_max":
            found = getattr(end, place.column)
        case _:
            pass
    return None if found is None else parse_decimal(found)


def _name(place: Place, row: int) -> str:
    return f"{PLACE}: {place.column}[{', '.join(map(str, (row, *cell_index(place))))}]"


def _findings(row: _Row, inputs: ReplayInputs) -> list[Finding]:
    found: list[Finding] = []
    for place, verdict in row.verdicts.items():
        if verdict.verdict == "confirmed":
            continue
        low, high = ends(row.cells[place].value)
        recorded = float(row.recorded[place])
        seen = f"the exact value lies between {low or 'minus infinity'} and {high or 'infinity'}"
        where = _name(place, row.row)
        if verdict.verdict == "refuted":
            sentence = f"row {row.row} records {recorded!r}, and {seen}"
            found.append(failed("replay", "proof.cell.refuted", where, sentence))
        elif verdict.beyond:
            bound = _claim(inputs.statement.predicate.claims, place)
            stated = "what is recorded" if bound is None else f"the claimed {round_up(bound)}"
            sentence = f"{seen}: beyond {stated}, by less than a replay tolerates"
            found.append(inconclusive("replay", "proof.cell.inconclusive", where, sentence))
        else:
            sentence = f"row {row.row} records {recorded!r}, and {seen}; {row.bits} bits do not decide it"
            found.append(inconclusive("replay", "proof.cell.inconclusive", where, sentence))
    return [*found, *_ends_beyond(row)]


def _ends_beyond(row: _Row) -> list[Finding]:
    """A finding for each proven end that does not hold, or of which it is not known."""
    found: list[Finding] = []
    for place, verdict in row.proven.items():
        if verdict.verdict == "confirmed":
            continue
        low, high = ends(row.cells[place].value)
        side = "at least" if place.column in COUNTS else "at most"
        sentence = (
            f"the certificate proves {side} {float(row.ends[place])!r} on row {row.row}, and the exact value lies "
            f"between {low or 'minus infinity'} and {high or 'infinity'}"
        )
        where = _name(msgspec.structs.replace(place, column=ENCLOSURE + place.column), row.row)
        if verdict.verdict == "refuted":
            found.append(failed("replay", "proof.cell.refuted", where, sentence))
        else:
            sentence += f"; {row.bits} bits do not decide it"
            found.append(inconclusive("replay", "proof.cell.inconclusive", where, sentence))
    return found


_SUMS = ("loss_reference", "loss_surrogate", "loss_difference", "kl_sum")


def _report(
    inputs: ReplayInputs, plan: Plan, order: Sequence[int], done: Sequence[_Row], ending: _Ending | None, seconds: str
) -> Proof:
    confirmed = sum(all(one.verdict == "confirmed" for one in row.judged) for row in done)
    enclosed = inputs.table.shape.enclosed_rows
    return Proof(
        rows=inputs.table.shape.rows,
        asked=len(order),
        drawn=tuple(row.row for row in done),
        confirmed=confirmed,
        seed=plan.seed.hex(),
        repeatable=plan.repeatable,
        ending=ending,
        bits=max((row.bits for row in done), default=0),
        cells=_counted([one for row in done for one in row.verdicts.values()]),
        claims=tuple(_claims(inputs, done)),
        seconds=seconds,
        enclosures=_proven_ends(enclosed, done) if enclosed else None,
    )


def _proven_ends(enclosed: int, done: Sequence[_Row]) -> ProvenEnds:
    seen = [row.proven.values() for row in done if row.ends]
    return ProvenEnds(
        rows=enclosed,
        enclosed=len(seen),
        confirmed=sum(all(one.verdict == "confirmed" for one in verdicts) for verdicts in seen),
        cells=_counted([one for verdicts in seen for one in verdicts]),
    )


def _counted(judged: Sequence[Judgement]) -> CellCounts:
    seen = [one.verdict for one in judged]
    return CellCounts(*(seen.count(one) for one in ("confirmed", "refuted", "inconclusive")))


def _claims(inputs: ReplayInputs, done: Sequence[_Row]) -> list[EnclosedClaim]:
    """The claims that the rows bear on, each with what the rows exactly are."""
    predicate = inputs.statement.predicate
    found: list[EnclosedClaim] = []
    for place in done[0].cells if done else ():
        values = [row.cells[place].value for row in done]
        claim = _claim(predicate.claims, place)
        if claim is not None:
            whole, stated = largest(values), round_up(claim, digits=40, places=40)
        elif place.column in COUNTS or place.column in _SUMS:
            whole = _total(values)
            stated = round_nearest(sum((row.recorded[place] for row in done), Fraction(0)), 12)
        else:
            continue
        listed = predicate.thresholds.loss if place.column == "loss_within" else predicate.thresholds.relative
        seen: list[ProofVerdict] = [row.verdicts[place].verdict for row in done]
        order: tuple[ProofVerdict, ...] = ("refuted", "inconclusive", "confirmed")
        low, high = ends(whole)
        found.append(
            EnclosedClaim(
                column=place.column,
                stage=place.stage,
                threshold=None if place.threshold is None else listed[place.threshold],
                at_least=low,
                at_most=high,
                stated=stated,
                verdict=next(one for one in order if one in seen),
            )
        )
    return found


def _total(values: Sequence[Interval]) -> Interval:
    lower, upper = [one.lower for one in values], [one.upper for one in values]
    return Interval(
        None if None in lower else sum((one for one in lower if one is not None), Fraction(0)),
        None if None in upper else sum((one for one in upper if one is not None), Fraction(0)),
    )
