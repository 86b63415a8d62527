"""Three-valued verdicts on recorded cells, decided in exact rationals (``spec/15-enclosures.md``, BC-ENC-05)."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, TypeAlias

from msgspec import Struct

from blockcert_verifier.enclose.interval import Enclosed

__all__ = ["COUNTS", "Judgement", "Verdict", "judge"]

Verdict: TypeAlias = Literal["confirmed", "refuted", "inconclusive"]
COUNTS = frozenset({"covered", "top1_agree", "decided", "loss_within"})
"""Columns whose claim is a sum: each row must hold at least what it records."""


class Judgement(Struct, frozen=True):
    """The verdict on one cell; ``beyond`` says that its exact value is beyond the claim, by less than the tolerance."""

    verdict: Verdict
    beyond: bool = False

    @property
    def open(self) -> bool:
        """Whether a narrower enclosure could still decide it."""
        return self.verdict == "inconclusive" and not self.beyond


def judge(cell: Enclosed, recorded: Fraction, *, column: str, claim: Fraction | None) -> Judgement:
    """The verdict on a recorded cell, given what the cell exactly is.

    Args:
        cell: the enclosure of the exact value, and of its bracket.
        recorded: what the evidence says.
        column: the column's name.
        claim: the bound that the certificate states for the largest of the column, where it states one.
    """
    low, high, value = cell.low, cell.high, cell.value
    below = low.lower is not None and recorded < low.lower
    above = high is not None and high.upper is not None and recorded > high.upper
    if below or above:
        return Judgement("refuted")
    inside = low.upper is not None and recorded >= low.upper
    inside = inside and (high is None or (high.lower is not None and recorded <= high.lower))
    holds, beyond = True, False
    if column in COUNTS:
        holds = value.lower is not None and value.lower >= recorded
        beyond = value.upper is not None and value.upper < recorded
    elif claim is not None:
        holds = value.upper is not None and value.upper <= claim
        beyond = value.lower is not None and value.lower > claim
    if inside and holds:
        return Judgement("confirmed")
    return Judgement("inconclusive", inside and beyond)
