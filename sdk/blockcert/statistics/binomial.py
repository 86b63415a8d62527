"""Exact bounds of a proportion from independent draws: with replacement, or from a population without end.

C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26 (1934). For draws without replacement these bounds are slightly wrong at one success and looser elsewhere:
there :mod:`blockcert.statistics.population` is right.
"""

from __future__ import annotations

from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.statistics import enclosure
from blockcert.statistics.hypergeometric import MOST_EXACT
from blockcert.statistics.levels import check_level
from blockcert.statistics.population import MOST_DRAWS

__all__ = ["binomial_exceeds", "proportion_lower_bound", "proportion_upper_bound"]

_HALF = Fraction(1, 2)
_MOST_DIGITS = 18


def proportion_lower_bound(draws: int, successes: int, alpha: Fraction, digits: int = 9) -> Fraction:
    """The greatest ``p`` of ``digits`` decimals with ``P[Bin(n, p) >= s] <= alpha``; 0 where ``s`` is 0.

    Of ``n = draws`` independent draws ``s = successes`` were successes. Then the proportion is at least ``p``, at
    confidence ``1 - alpha``. It is the Clopper-Pearson limit rounded down, decided by exact comparisons and never by
    rounding a quantile.

    Raises:
        Refusal: ``statistics.counts`` unless ``0 <= s <= n``, ``n >= 1`` and ``0 <= digits <= 18``,
            ``statistics.level`` unless ``0 < alpha < 1``, ``statistics.work`` above ``MOST_DRAWS`` or where a
            comparison stays open (see :func:`binomial_exceeds`).
    """
    if not (0 <= successes <= draws and draws >= 1):
        sentence = f"{successes} successes in {draws} draws are not counts of one sample."
        raise Refusal("statistics.counts", "proportion", sentence)
    if not 0 <= digits <= _MOST_DIGITS:
        sentence = f"A proportion has from 0 to {_MOST_DIGITS} decimals, and {digits} are asked for."
        raise Refusal("statistics.counts", "proportion", sentence)
    check_level(alpha, "alpha")
    if draws > MOST_DRAWS:
        sentence = f"{draws} draws are too many; bounds are made for at most {MOST_DRAWS}."
        raise Refusal("statistics.work", "proportion", sentence)
    if successes == 0:
        return Fraction(0)
    # P grows with p from 0 at 0 to 1 at 1
    low, high = 0, 10**digits
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_exceeds(draws, Fraction(middle, 10**digits), successes, alpha):
            high = middle
        else:
            low = middle
    return Fraction(low, 10**digits)


def proportion_upper_bound(draws: int, successes: int, alpha: Fraction, digits: int = 9) -> Fraction:
    """The least ``p`` of ``digits`` decimals with ``P[Bin(n, p) <= s] <= alpha``; 1 where ``s`` is ``n``.

    The Clopper-Pearson limit rounded up: the lower bound of failures, mirrored.

    Raises:
        Refusal: as :func:`proportion_lower_bound`.
    """
    return 1 - proportion_lower_bound(draws, draws - successes, alpha, digits)


def binomial_exceeds(draws: int, chance: Fraction, least: int, alpha: Fraction) -> bool:
    """Whether ``P[Bin(n, p) >= least] > alpha``, ``0 < p < 1``, ``0 <= least <= n``.

    Decided as for :func:`~blockcert.statistics.hypergeometric.hypergeometric_exceeds`: by an enclosure, by symmetry,
    then by the exact sum.

    Raises:
        Refusal: ``statistics.work`` where the comparison is open and the exact sum is too long.
    """
    good, bad = chance.numerator, chance.denominator - chance.numerator
    # t_(j+1) <= t_j  <=>  j + 1 >= (n + 1) p, so the terms fall on both sides of this mode
    mode = (draws + 1) * good // chance.denominator
    upward = (((draws - j) * good, (j + 1) * bad) for j in range(mode, draws))
    downward = ((j * bad, (draws - j + 1) * good) for j in range(mode, 0, -1))
    found = enclosure.tail_exceeds(enclosure.enclosed_sums(mode, least, upward, downward), draws, alpha)
    if found is not None:
        return found
    if chance == _HALF and 2 * least == draws + 1:
        return alpha < _HALF
    if draws > MOST_EXACT:
        sentence = "A probability lies too close to the level to be told from it; state another level."
        raise Refusal("statistics.work", "proportion", sentence)
    return _exactly(draws, chance, least) > alpha


def _exactly(draws: int, chance: Fraction, least: int) -> Fraction:
    """``P[Bin(n, p) >= least]``."""
    good, bad = chance.numerator, chance.denominator - chance.numerator
    term = bad**draws
    total = 0 if least > 0 else term
    for j in range(draws):
        # C(n, j) good^j bad^(n - j), every one an integer
        term = term * ((draws - j) * good) // ((j + 1) * bad)
        if j + 1 >= least:
            total += term
    return Fraction(total, chance.denominator**draws)
