"""Drift through the depth, and which stage costs what: read off the evidence, exactly. No numpy.

Normative text: ``spec/13-report.md``, BC-VER-18.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from blockcert.claims import exact_sum
from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import exact, round_bound, round_down_share
from blockcert_verifier.report import DepthRow

__all__ = ["depth"]


def depth(table: EvidenceTable, same: Sequence[bool], length: int) -> tuple[DepthRow, ...] | None:
    """One row for each stage, embedding and head included; None where a value is too large to be stated.

    ``same`` says of each stage whether it is one program on both sides, ``length`` is the number of tokens of a prompt.
    The evidence must have passed its own checks.
    """
    try:
        return _rows(table, same, length)
    except Refusal as refusal:
        if refusal.code == "limit.seconds":
            raise
        # 10^40 or more has no decimal string; the claims themselves may still be stated
        return None


def _rows(table: EvidenceTable, same: Sequence[bool], length: int) -> tuple[DepthRow, ...]:
    shape = table.shape
    attributed = shape.attribution_rows
    totals = [exact_sum(table.at("attribution.hybrid_step", i)) for i in range(shape.blocks + 1)] if attributed else []
    whole = sum(totals, Fraction(0))

    def largest(name: str, index: int, untouched: bool) -> str:
        return round_bound(exact(max(table.at(name, index))), untouched)

    rows: list[DepthRow] = []
    for i in range(shape.stages):
        so_far = all(same[: i + 1])
        steps = i < len(totals)
        rows.append(
            DepthRow(
                index=i,
                same_program=same[i],
                drift=largest("drift", i, so_far),
                relative_drift=largest("relative_drift", i, so_far),
                identity_drift=largest("identity.drift", i, i == 0),
                identity_relative_drift=largest("identity.relative_drift", i, i == 0),
                largest_step=largest("attribution.hybrid_step", i, same[i]) if steps else None,
                mean_step=round_bound(totals[i] / attributed, same[i]) if steps else None,
                step_share=round_down_share(totals[i] / whole) if steps and whole else None,
                loss_tokens=attributed * (length - 1) if attributed else None,
                loss_covered=_covered(table, i) if attributed else None,
            )
        )
    return tuple(rows)


def _covered(table: EvidenceTable, index: int) -> tuple[int, ...]:
    thresholds = range(table.shape.loss_thresholds)
    return tuple(sum(map(int, table.at("attribution.loss_within", index, q))) for q in thresholds)
