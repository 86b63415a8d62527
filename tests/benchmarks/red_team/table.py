"""Measured rates of detection beside exact ones, as lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct

from blockcert.statistics import proportion_lower_bound, proportion_upper_bound

__all__ = ["HEAD", "LEVEL", "Rate", "lines", "summary"]

LEVEL = Fraction(1, 100)
"""One minus the confidence of an interval; half of it on each side."""
HEAD = f"  {'':64} {'caught':>10}   {'99 % interval':15}   theory"


class Rate(Struct, frozen=True):
    """How often a lie was caught: of `trials`, `caught`; `theory` is the exact rate, `by` the code that catches it.

    `by` is None where this verifier catches nothing by design; `note` then says who could.
    """

    lie: str
    by: str | None
    trials: int
    caught: int
    theory: Fraction
    note: str = ""

    @property
    def interval(self) -> tuple[Fraction, Fraction]:
        """The exact Clopper-Pearson interval of the rate."""
        found = (self.trials, self.caught, LEVEL / 2, 6)
        return proportion_lower_bound(*found), proportion_upper_bound(*found)

    @property
    def disagrees(self) -> bool:
        """Whether theory lies outside the interval."""
        low, high = self.interval
        return not low <= self.theory <= high

    @property
    def random(self) -> bool:
        """Whether theory leaves anything to chance that this many trials could show."""
        return 0 < self.theory < 1 - Fraction(1, 10**6)


def lines(title: str, rates: Sequence[Rate]) -> list[str]:
    """One line for each rate, two where there is a note."""
    found = [title]
    for rate in rates:
        low, high = map(float, rate.interval)
        flag = "DISAGREES  " if rate.disagrees else ""
        by = flag + (rate.by or "not caught, by design")
        caught = f"{rate.caught}/{rate.trials}"
        found.append(f"  {rate.lie:64} {caught:>10}   {low:.4f} - {high:.4f}   {float(rate.theory):.4f}   {by}")
        if rate.note:
            found.append(f"      {rate.note}")
    return found


def summary(rates: Sequence[Rate]) -> list[str]:
    """How many rates disagree with theory, and how likely so many are by chance."""
    random = [rate for rate in rates if rate.random]
    flagged = sum(rate.disagrees for rate in random)
    wrong = sum(rate.disagrees for rate in rates) - flagged
    n = len(random)
    chance = sum(math.comb(n, j) * LEVEL**j * (1 - LEVEL) ** (n - j) for j in range(flagged, n + 1))
    return [
        f"  Of {n} rates that chance decides, {flagged} disagree with theory; of the {len(rates) - n} others, {wrong}.",
        f"  Were theory right, so many or more of the {n} would disagree in at most {float(chance):.0%} of runs.",
    ]
