"""Replay: sampled rows are measured again and every recorded cell must lie within the verifier's own tolerance.

Normative text: ``spec/10-verification.md``. numpy and the evaluator are imported when rows are measured, not before.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from blockcert.draw import replay_rows
from blockcert.errors import Refusal
from blockcert.evidence import columns
from blockcert.evidence_file import EvidenceTable
from blockcert.findings import Finding
from blockcert.numbers import exact, round_up
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Statement
from blockcert.statistics import audit_bound
from blockcert_verifier.report import Audit
from blockcert_verifier.steps.consequences import consequences
from blockcert_verifier.steps.outcome import failed, failures, from_refusal, inconclusive, passed

if TYPE_CHECKING:
    from blockcert_verifier.evaluate import Precision
    from blockcert_verifier.measure import Confirmation, Disagreement, Measured, Pair

__all__ = ["BETA", "MOST_CELLS", "ReplayInputs", "replay"]

BETA = Fraction(1, 100)
"""One minus the confidence of the audit bound."""
MOST_CELLS = 20
"""Refuted cells that a report lists one by one."""
MOST_EXTENDED = 8
"""Rows that are measured again at higher precision, which is hundreds of times slower than float64."""
PLACE = "evidence.safetensors"

_CRASHES = (ArithmeticError, LookupError, MemoryError, OSError, Refusal, RuntimeError, TypeError, ValueError)

Progress = Callable[[int, int], None]


class ReplayInputs(Struct, frozen=True):
    """What a replay needs: the certificate's parts, the files, and the verifier's own choices.

    ``weights`` gives the path of every file that the programs name. ``tokens`` are the certification prompts, one
    sequence a row. ``sampled`` rows are drawn with ``seed`` (32 bytes).
    """

    statement: Statement
    certificate: bytes
    reference: Program
    surrogate: Program
    table: EvidenceTable
    tokens: Sequence[Sequence[int]]
    weights: Mapping[str, Path]
    sampled: int
    seed: bytes
    repeatable: bool


def replay(inputs: ReplayInputs, progress: Progress | None = None) -> tuple[Audit, list[Finding]]:
    """The audit of the sampled rows and its findings: refuted cells, recounted costs, or that all rows agree."""
    from blockcert_verifier.evaluate import WeightStore
    from blockcert_verifier.measure import Pair

    rows = replay_rows(inputs.certificate, inputs.seed, inputs.table.shape.rows, inputs.sampled)
    same = same_stages(inputs.reference, inputs.surrogate)
    pair = Pair(inputs.reference, inputs.surrogate, same, WeightStore(dict(inputs.weights)))
    findings = _recount(inputs, pair)
    confirmation, measured, crashes = _all_rows(inputs, pair, rows, progress)
    doubted, cells = _judge(inputs, pair, confirmation)
    findings += [*crashes, *cells, *_unresolved(confirmation)]
    doubted |= {one.row for one in confirmation.unresolved}
    if not findings:
        sentence = f"{len(rows)} of {inputs.table.shape.rows} rows were measured again, and every cell agrees"
        findings.append(passed("replay", "replay.rows", PLACE, sentence))
    return _audit(inputs, rows, measured - len(doubted), confirmation, findings), findings


def _recount(inputs: ReplayInputs, pair: Pair) -> list[Finding]:
    """The costs that the statement says were kept, counted again from programs and weights."""
    from blockcert_verifier.costs import program_costs

    kept = inputs.statement.predicate.surrogate.kept
    length = inputs.statement.predicate.prompts.frame.length
    findings: list[Finding] = []
    for side, program, stated in (
        ("reference", inputs.reference, kept.reference),
        ("surrogate", inputs.surrogate, kept.surrogate),
    ):
        place = f"statement.dsse.json: $.predicate.surrogate.kept.{side}"
        try:
            counted = program_costs(program, pair.store, length)
        except Refusal as refusal:
            findings.append(from_refusal("replay", refusal))
            continue
        except _CRASHES as fault:
            reason = " ".join(str(fault).split())[:200]
            sentence = f"counting fails: {type(fault).__name__}: {reason}"
            findings.append(failed("replay", "replay.kept.mismatch", place, sentence))
            continue
        if len(counted) != len(stated):
            sentence = f"{len(stated)} costs are stated for {len(counted)} stages"
            findings.append(failed("replay", "replay.kept.mismatch", place, sentence))
            continue
        for i, (found, said) in enumerate(zip(counted, stated, strict=True)):
            for name in found.__struct_fields__:
                if getattr(found, name) != getattr(said, name):
                    sentence = f"{getattr(said, name)} stands here, and {getattr(found, name)} are counted"
                    findings.append(failed("replay", "replay.kept.mismatch", f"{place}[{i}].{name}", sentence))
    return findings


def _all_rows(
    inputs: ReplayInputs, pair: Pair, rows: Sequence[int], progress: Progress | None
) -> tuple[Confirmation, int, list[Finding]]:
    """All rows compared, how many could be, and a finding for each that could not: it is refuted, never skipped."""
    from blockcert_verifier.measure import Confirmation

    with contextlib.suppress(*_CRASHES):
        return _confirm(inputs, pair, rows, "float64", progress), len(rows), []
    # one at a time tells which row it was, and needs the least memory
    whole, measured, exhausted = Confirmation(0, (), 0.0, None), 0, 0
    crashes: list[Finding] = []
    for done, row in enumerate(rows):
        try:
            one = _confirm(inputs, pair, [row], "float64", None)
        except Refusal as refusal:
            crashes.append(from_refusal("replay", refusal))
            break  # the program or a weight file is at fault: every row would say the same
        except _CRASHES as fault:
            crashes.append(_crash(row, fault))
            exhausted += isinstance(fault, MemoryError)
            if exhausted > 1:
                break  # every row asks for as much
        else:
            measured += 1
            largest = max(whole, one, key=lambda c: c.largest_fraction)
            whole = Confirmation(
                whole.cells + one.cells,
                whole.disagreements + one.disagreements,
                largest.largest_fraction,
                largest.column,
                whole.unresolved + one.unresolved,
            )
        if progress is not None:
            progress(done + 1, len(rows))
    return whole, measured, crashes


def _measure(
    inputs: ReplayInputs, pair: Pair, rows: Sequence[int], precision: Precision, progress: Progress | None
) -> tuple[list[int], Measured]:
    """Measured cells of `rows`, and the order in which they stand: rows that carry attribution come first."""
    import numpy as np

    from blockcert_verifier.evaluate import Backend
    from blockcert_verifier.measure import Measured, Settings, measure, moved_rows

    attributed = inputs.table.shape.attribution_rows
    order = sorted(rows, key=lambda row: row >= attributed)
    thresholds = inputs.statement.predicate.thresholds
    settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
    tokens = np.array([inputs.tokens[row] for row in order], dtype=np.int64)
    count = sum(row < attributed for row in order)
    found = measure(pair, tokens, settings, Backend("cpu", precision), attribution=count, progress=progress)
    if precision == "float64":
        # the verifier's own randomness: nobody can fit a program to it
        noise = Backend("cpu", noise=int.from_bytes(inputs.seed, "little"))
        noisy = measure(pair, tokens, settings, noise, attribution=count, progress=progress)
        found = Measured(found, (*found.unresolved, *moved_rows(found, noisy)))
    return order, found


def _recorded(inputs: ReplayInputs, order: Sequence[int]) -> dict[str, Any]:
    import numpy as np

    attributed = [row for row in order if row < inputs.table.shape.attribution_rows]
    found: dict[str, Any] = {}
    for column in columns(inputs.table.shape):
        cells = np.asarray(inputs.table.flat(column.name)).reshape(column.shape)
        found[column.name] = cells[attributed if column.name.startswith("attribution.") else list(order)]
    return found


def _confirm(
    inputs: ReplayInputs, pair: Pair, rows: Sequence[int], precision: Precision, progress: Progress | None
) -> Confirmation:
    """Recorded against measured cells of `rows`; indices in the result count the certificate's rows."""
    import numpy as np

    from blockcert_verifier.measure import Confirmation, Disagreement, confirm

    order, measured = _measure(inputs, pair, rows, precision, progress)
    with np.errstate(all="ignore"):  # values that are not finite are judged, not warned about
        found = confirm(_recorded(inputs, order), measured, most=sys.maxsize)
    named = tuple(
        Disagreement(d.column, (order[d.index[0]], *d.index[1:]), d.recorded, d.measured, d.low, d.high)
        for d in found.disagreements
    )
    unresolved = tuple(one._replace(row=order[one.row]) for one in found.unresolved)
    return Confirmation(found.cells, named, found.largest_fraction, found.column, unresolved)


def _judge(inputs: ReplayInputs, pair: Pair, confirmation: Confirmation) -> tuple[set[int], list[Finding]]:
    """The rows that are not confirmed and a finding for each of their cells.

    A cell outside its tolerance is measured again at higher precision before it is refuted, row by row until one row
    is; where the machine has none, or another row is refuted already, it is inconclusive. A value that is not finite
    refutes at once.
    """
    from blockcert_verifier.evaluate import extended_is_wider

    doubtful = [d for d in confirmation.disagreements if math.isfinite(d.measured)]
    refuted = [d for d in confirmation.disagreements if not math.isfinite(d.measured)]
    crashes: list[Finding] = []
    why = "no higher precision to decide it"
    if extended_is_wider():
        why = "it was not decided at higher precision: the row is not resolved, or others were measured first"
        # what is not resolved is not confirmed anyway, and long double is slow: one refuted row is enough
        unresolved = {one.row for one in confirmation.unresolved}
        for row in sorted({d.index[0] for d in doubtful} - unresolved)[:MOST_EXTENDED]:
            if refuted or crashes:
                break
            try:
                again = _confirm(inputs, pair, [row], "extended", None)
            except _CRASHES as fault:
                crashes.append(_crash(row, fault))
                break
            if again.unresolved:
                continue
            still = {(d.column, d.index): d for d in again.disagreements}
            refuted += [
                still[d.column, d.index] for d in doubtful if d.index[0] == row and (d.column, d.index) in still
            ]
            doubtful = [d for d in doubtful if d.index[0] != row]
    findings = [_refuted(d) for d in sorted(refuted, key=lambda d: (d.index, d.column))[:MOST_CELLS]]
    if len(refuted) > MOST_CELLS:
        sentence = f"{len(refuted) - MOST_CELLS} more cells are refuted"
        findings.append(failed("replay", "replay.cell.refuted", PLACE, sentence))
    findings += [
        inconclusive("replay", "replay.cell.inconclusive", _place(d), f"{_values(d)}; {why}")
        for d in doubtful[:MOST_CELLS]
    ]
    return {d.index[0] for d in [*refuted, *doubtful]}, [*findings, *crashes]


def _unresolved(confirmation: Confirmation) -> list[Finding]:
    """A finding for each row whose brackets confirm nothing, because rounding could hide a part of it (BC-EVD-08)."""
    rows = confirmation.unresolved
    findings = [
        inconclusive("replay", "replay.row.unresolved", f"{PLACE}: row {one.row}{_at(one.stage)}", one.reason)
        for one in rows[:MOST_CELLS]
    ]
    if len(rows) > MOST_CELLS:
        sentence = f"{len(rows) - MOST_CELLS} more rows are not resolved"
        findings.append(inconclusive("replay", "replay.row.unresolved", PLACE, sentence))
    return findings


def _at(stage: int) -> str:
    return f", stage {stage}" if stage >= 0 else ""


def _place(found: Disagreement) -> str:
    return f"{PLACE}: {found.column}[{', '.join(map(str, found.index))}]"


def _values(found: Disagreement) -> str:
    return (
        f"row {found.index[0]} records {found.recorded!r}, and {found.measured!r} is measured "
        f"(accepted from {found.low!r} to {found.high!r})"
    )


def _refuted(found: Disagreement) -> Finding:
    return failed("replay", "replay.cell.refuted", _place(found), _values(found))


def _crash(row: int, fault: Exception) -> Finding:
    reason = " ".join(str(fault).split())[:200]
    sentence = f"measuring it fails: {type(fault).__name__}: {reason}"
    return failed("replay", "replay.row.crashed", f"{PLACE}: row {row}", sentence)


def _audit(
    inputs: ReplayInputs,
    rows: Sequence[int],
    confirmed: int,
    confirmation: Confirmation,
    findings: list[Finding],
) -> Audit:
    n = inputs.table.shape.rows
    clean = confirmed == len(rows) > 0 and not failures(findings)
    bound = audit_bound(n, len(rows), BETA) if clean else None
    attributed = sum(row < inputs.table.shape.attribution_rows for row in rows)
    return Audit(
        rows=n,
        sampled=len(rows),
        confirmed=confirmed,
        attributed=attributed,
        seed=inputs.seed.hex(),
        repeatable=inputs.repeatable,
        confidence="0.99",
        false_rows_below=bound,
        largest_disagreement=round_up(exact(confirmation.largest_fraction), digits=3) if clean else None,
        largest_disagreement_at=confirmation.column if clean else None,
        consequences=consequences(inputs.statement, bound, attributed > 0, BETA) if bound is not None else (),
    )
