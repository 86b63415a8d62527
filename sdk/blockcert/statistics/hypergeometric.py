"""Tails of the hypergeometric distribution against a level, decided exactly (``spec/08-claims.md``, BC-CLM-07)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.statistics import enclosure

__all__ = ["MOST_EXACT", "hypergeometric_exceeds"]

MOST_EXACT = 1 << 12
"""Most terms of a sum that is made exactly: its work grows with their square."""
_HALF = Fraction(1, 2)


def hypergeometric_exceeds(population: int, good: int, draws: int, least: int, alpha: Fraction, place: str) -> bool:
    """Whether ``P[Hyp(population, good, draws) >= least] > alpha``.

    The terms ``t_j = C(K, j) C(M - K, n - j)`` relative to the largest are enclosed first. Where that leaves the
    comparison open, it is made with the binomial coefficients themselves, but for a half that symmetry gives.

    Long sums as close to a level as the enclosure's 80 decimals are not known but by that symmetry; one would be
    refused and not worked out for hours.

    Raises:
        Refusal: ``statistics.work`` at ``place`` where the comparison is open and the exact sum is too long.
    """
    found = enclosure.tail_exceeds(enclosed_sums(population, good, draws, least), draws, alpha)
    if found is not None:
        return found
    if is_half(population, good, draws, least):
        return alpha < _HALF
    if min(good, population - good, draws, population - draws) > MOST_EXACT:
        sentence = "A probability lies too close to the level to be told from it; state another level."
        raise Refusal("statistics.work", place, sentence)
    return exceeds_exactly(population, good, draws, least, alpha)


def is_half(population: int, good: int, draws: int, least: int) -> bool:
    """Whether ``P[Hyp(population, good, draws) >= least]`` is 1/2 by symmetry.

    With as many good windows as bad, good and bad change places; with half of the windows drawn, the sample and the
    rest do. An odd count on the other side leaves no middle.
    """
    return (2 * good == population and 2 * least == draws + 1) or (2 * draws == population and 2 * least == good + 1)


def enclosed_sums(population: int, good: int, draws: int, least: int) -> tuple[int, int]:
    """Lower bounds of the sums of ``t_j / t_mode``, ``j >= least`` and ``j < least``, times ``enclosure.UNIT``."""
    first, last = max(0, draws - (population - good)), min(draws, good)
    spare = population - good - draws
    # t_(j+1) <= t_j  <=>  j + 1 >= (K+1)(n+1)/(M+2), so the terms fall on both sides of this mode
    mode = (good + 1) * (draws + 1) // (population + 2)
    upward = (((good - j) * (draws - j), (j + 1) * (spare + j + 1)) for j in range(mode, last))
    downward = ((j * (spare + j), (good - j + 1) * (draws - j + 1)) for j in range(mode, first, -1))
    return enclosure.enclosed_sums(mode, least, upward, downward)


def exceeds_exactly(population: int, good: int, draws: int, least: int, alpha: Fraction) -> bool:
    """The same with exact binomial coefficients; slow where both draws and good windows count thousands."""
    # drawn and good windows may change places, and so may the drawn and the rest: the shortest sum is taken
    if min(good, population - good) < min(draws, population - draws):
        good, draws = draws, good
    if population - draws < draws:
        # least of the good are drawn  <=>  at most good - least are left
        rest = population - draws
        return not _at_least(population, good, rest, good - least + 1, 1 - alpha, strictly=False)
    return _at_least(population, good, draws, least, alpha, strictly=True)


def tail_terms(population: int, good: int, draws: int, least: int) -> Iterator[int]:
    """The terms ``C(K, j) C(M - K, n - j)``, ``j >= least``: their sum over ``C(M, n)`` is the tail."""
    last = min(draws, good)
    start = max(least, draws - (population - good), 0)
    if start > last:
        return
    spare = population - good - draws
    term = math.comb(good, start) * math.comb(population - good, draws - start)
    yield term
    for j in range(start, last):
        # exact: every term is an integer
        term = term * ((good - j) * (draws - j)) // ((j + 1) * (spare + j + 1))
        yield term


def _at_least(population: int, good: int, draws: int, least: int, level: Fraction, *, strictly: bool) -> bool:
    """Whether the exact ``P[Hyp(population, good, draws) >= least]`` is above ``level``, or not ``strictly`` above."""
    total = sum(tail_terms(population, good, draws, least))
    found, wanted = total * level.denominator, level.numerator * math.comb(population, draws)
    return found > wanted or (not strictly and found == wanted)
