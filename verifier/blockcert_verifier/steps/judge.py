"""What a disagreement means: refuted where higher precision agrees with float64, inconclusive where nothing decides.

Rules BC-VER-08, 10 and 11 (``spec/10-verification.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert_verifier.measure import Confirmation, Disagreement, Unresolved
from blockcert_verifier.steps.outcome import failed, from_refusal, inconclusive
from blockcert_verifier.work import RowFailure
from blockcert_verifier.work.chunks import CRASHES, failure

__all__ = ["MOST_CELLS", "PLACE", "crash", "judge", "unresolved"]

MOST_CELLS = 20
"""Cells that a report lists one by one, and of rows that are not resolved; the others it counts."""
MOST_EXTENDED = 8
"""Rows that are measured again at higher precision, which is hundreds of times slower than float64."""
PLACE = "evidence.safetensors"


def judge(
    disagreements: Sequence[Disagreement], unresolved: Collection[int], again: Callable[[int], Confirmation] | None
) -> tuple[set[int], list[Finding]]:
    """The rows that are not confirmed and a finding for each of their cells.

    A cell outside its tolerance is measured again at higher precision before it is refuted, row by row until one row
    is; where nothing measures more precisely, or another row is refuted already, it is inconclusive. A value that is
    not finite refutes at once.

    Args:
        disagreements: the cells outside their tolerance; their indices begin with the certificate's row.
        unresolved: rows that float64 does not resolve, and higher precision is not spent on.
        again: measures one row at higher precision and compares it; None where that cannot be done.
    """
    doubtful = [d for d in disagreements if math.isfinite(d.measured)]
    refuted = [d for d in disagreements if not math.isfinite(d.measured)]
    crashes: list[Finding] = []
    why = "no higher precision to decide it"
    if again is not None:
        why = "it was not decided at higher precision: the row is not resolved, or others were measured first"
        # what is not resolved is not confirmed anyway, and long double is slow: one refuted row is enough
        for row in sorted({d.index[0] for d in doubtful} - set(unresolved))[:MOST_EXTENDED]:
            if refuted or crashes:
                break
            try:
                second = again(row)
            except CRASHES as fault:
                crashes.append(crash(row, failure(0, fault)))
                break
            if second.unresolved:
                continue
            still = {(d.column, d.index): d for d in second.disagreements}
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
    if len(doubtful) > MOST_CELLS:
        sentence = f"{len(doubtful) - MOST_CELLS} more cells are not decided"
        findings.append(inconclusive("replay", "replay.cell.inconclusive", PLACE, sentence))
    return {d.index[0] for d in [*refuted, *doubtful]}, [*findings, *crashes]


def unresolved(rows: Sequence[Unresolved]) -> list[Finding]:
    """A finding for each row whose brackets confirm nothing, because rounding could hide a part of it (BC-EVD-08)."""
    findings = [
        inconclusive("replay", "replay.row.unresolved", f"{PLACE}: row {one.row}{_at(one.stage)}", one.reason)
        for one in rows[:MOST_CELLS]
    ]
    if len(rows) > MOST_CELLS:
        sentence = f"{len(rows) - MOST_CELLS} more rows are not resolved"
        findings.append(inconclusive("replay", "replay.row.unresolved", PLACE, sentence))
    return findings


def crash(row: int, fault: RowFailure) -> Finding:
    """The finding that a row is which could not be measured: refuted, never skipped; open where a file changed."""
    if fault.code is not None and fault.place is not None:
        return from_refusal("replay", Refusal(fault.code, fault.place, fault.sentence))
    return failed("replay", "replay.row.crashed", f"{PLACE}: row {row}", f"measuring it fails: {fault.sentence}")


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
