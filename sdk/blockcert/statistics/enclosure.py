"""Whether a tail of a distribution over counts lies above a level, enclosed in integers.

The distributions have one mode and simple ratios of neighbouring terms. Their sums are taken relative to the largest
term: nothing overflows, and no normalising constant is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

__all__ = ["UNIT", "enclosed_sums", "tail_exceeds"]

UNIT = 1 << 320
"""The scale of the enclosing sums: far below every confidence level that a person would ask for."""


def enclosed_sums(
    mode: int, least: int, upward: Iterable[tuple[int, int]], downward: Iterable[tuple[int, int]]
) -> tuple[int, int]:
    """Lower bounds of the sums of ``t_j / t_mode``, ``j >= least`` and ``j < least``, times ``UNIT``.

    ``upward`` gives the ratios ``t_(j+1) / t_j`` from the mode on as numerator and denominator, ``downward`` the ratios
    ``t_(j-1) / t_j``; none is above 1. Terms are rounded down, so each step adds less than one unit of error: after
    ``i`` steps a term is short by at most ``i`` units, also when it has become 0 and the walk has stopped. With the
    counts ``0 .. n`` a sum over terms is therefore short by at most ``n (n + 1)`` units.
    """
    sums = [0, 0]
    sums[mode >= least] += UNIT
    term, j = UNIT, mode
    for numerator, denominator in upward:
        term = term * numerator // denominator
        if not term:
            break
        j += 1
        sums[j >= least] += term
    term, j = UNIT, mode
    for numerator, denominator in downward:
        term = term * numerator // denominator
        if not term:
            break
        j -= 1
        sums[j >= least] += term
    below, above = sums
    return above, below


def tail_exceeds(sums: tuple[int, int], most: int, level: Fraction) -> bool | None:
    """Whether ``above / (above + below) > level`` for all that :func:`enclosed_sums` allows; None where it is open.

    ``most`` is the largest count.
    """
    above, below = sums
    slack = most * (most + 1)
    # P > level  <=>  above * (1 - level) > level * below
    yes, no = level.denominator - level.numerator, level.numerator
    if above * yes > no * (below + slack):
        return True
    if (above + slack) * yes <= no * below:
        return False
    return None
