"""Exact bounds from samples drawn without replacement (``spec/08-claims.md``, ``spec/10-verification.md``).

Every decision is made in integers: confidence levels are fractions, probabilities are compared, never
computed in floating point.
"""

from __future__ import annotations

import math
from fractions import Fraction

from blockcert.errors import Refusal

__all__ = ["MOST_DRAWS", "audit_bound", "population_bound"]

_UNIT = 1 << 320
"""The scale of the enclosing sums: far below every confidence level that a person would ask for."""
MOST_DRAWS = 1 << 20
"""Most draws from a population: the enclosure's work grows with their square root."""
_MOST_EXACT = 1 << 12
"""Most terms of a sum that is made exactly: its work grows with their square."""
_HALF = Fraction(1, 2)


def population_bound(population: int, draws: int, successes: int, alpha: Fraction) -> int:
    """The least ``K`` with ``P[Hyp(M, K, n) >= s] > alpha``; 0 where ``s`` is 0.

    Of ``M = population`` windows, ``n = draws`` were drawn without replacement and ``s = successes`` of
    them satisfy a predicate. Then at least ``K`` of the ``M`` do, at confidence ``1 - alpha``: were there
    fewer, the draw had probability at most ``alpha``.

    The probability does not decrease with ``K``: turning one more window into a success takes none away
    from any sample. At ``K = M - (n - s)`` it is 1, since ``n - s`` failures cannot fill more of the
    sample. So bisection finds the least ``K``.

    Raises:
        Refusal: ``statistics.counts`` unless ``0 <= s <= n <= M`` and ``M >= 1``, ``statistics.level`` unless
            ``0 < alpha < 1``, ``statistics.work`` above ``MOST_DRAWS`` or where a comparison stays open (see
            :func:`_tail_exceeds`).
    """
    if not (0 <= successes <= draws <= population and population >= 1):
        raise Refusal(
            "statistics.counts",
            "population",
            f"{successes} successes in {draws} draws from {population} windows are not counts of one sample.",
        )
    _check_level(alpha, "alpha")
    if draws > MOST_DRAWS:
        sentence = f"{draws} draws from a population are too many; bounds are made for at most {MOST_DRAWS}."
        raise Refusal("statistics.work", "population", sentence)
    if successes == 0:
        return 0
    low, high = successes, population - (draws - successes)
    while low < high:
        middle = (low + high) // 2
        if _tail_exceeds(population, middle, draws, successes, alpha):
            high = middle
        else:
            low = middle + 1
    return low


def audit_bound(rows: int, sampled: int, beta: Fraction) -> int:
    """The least ``q`` with ``C(N - q, m) / C(N, m) <= beta``.

    All ``m = sampled`` of ``N = rows`` rows, drawn without replacement, were confirmed. Then, at confidence
    ``1 - beta``, fewer than ``q`` rows are false: with ``q`` or more false rows, a sample without any had
    that probability. The quotient decreases with ``q`` and is 0 at ``q = N - m + 1``.

    Raises:
        Refusal: ``statistics.counts`` unless ``1 <= m <= N``, ``statistics.level`` unless ``0 < beta < 1``.
    """
    if not 1 <= sampled <= rows:
        raise Refusal("statistics.counts", "audit", f"{sampled} sampled rows of {rows} are not counts of one sample.")
    _check_level(beta, "beta")
    # doubling first keeps the products short: where the answer is small, no large q is ever tried
    high = 1
    while not _unseen_at_most(rows, sampled, high, beta):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if _unseen_at_most(rows, sampled, middle, beta):
            high = middle
        else:
            low = middle
    return high


def _check_level(level: Fraction, name: str) -> None:
    if not 0 < level < 1:
        raise Refusal("statistics.level", name, f"{name} is {level} and must lie between 0 and 1.")


def _unseen_at_most(rows: int, sampled: int, false: int, beta: Fraction) -> bool:
    """Whether ``C(rows - false, sampled) / C(rows, sampled) <= beta``."""
    if false > rows - sampled:
        return True
    # the quotient is symmetric in sampled and false; the shorter product is taken
    factors, gap = min(sampled, false), max(sampled, false)
    return math.perm(rows - gap, factors) * beta.denominator <= beta.numerator * math.perm(rows, factors)


def _tail_exceeds(population: int, good: int, draws: int, least: int, alpha: Fraction) -> bool:
    """Whether ``P[Hyp(population, good, draws) >= least] > alpha``.

    The terms ``t_j = C(K, j) C(M - K, n - j)`` relative to the largest are enclosed first, by recurrence
    from the mode outward in units of ``1 / _UNIT``, rounded down. Outward the ratio of neighbours is at
    most 1, so each step adds less than one unit of error: after ``i`` steps a term is short by at most ``i
    <= n`` units, also when it has become 0 and the walk has stopped. A sum over terms is therefore short by
    at most ``n (n + 1)`` units. Where that leaves the comparison open, it is made with the binomial
    coefficients themselves, but for a half that symmetry gives.

    Long sums as close to a level as the enclosure's 80 decimals are not known but by that symmetry; one would be
    refused and not worked out for hours.

    Raises:
        Refusal: ``statistics.work`` where the comparison is open and the exact sum is too long.
    """
    above, below = _enclosed_sums(population, good, draws, least)
    slack = draws * (draws + 1)
    # P > alpha  <=>  above * (1 - alpha) > alpha * below
    yes, no = alpha.denominator - alpha.numerator, alpha.numerator
    if above * yes > no * (below + slack):
        return True
    if (above + slack) * yes <= no * below:
        return False
    if _is_half(population, good, draws, least):
        return alpha < _HALF
    if min(good, population - good, draws, population - draws) > _MOST_EXACT:
        sentence = "A probability lies too close to alpha to be told from it; state another alpha."
        raise Refusal("statistics.work", "population", sentence)
    return _tail_exceeds_exactly(population, good, draws, least, alpha)


def _is_half(population: int, good: int, draws: int, least: int) -> bool:
    """Whether ``P[Hyp(population, good, draws) >= least]`` is 1/2 by symmetry.

    With as many good windows as bad, good and bad change places; with half of the windows drawn, the sample and the
    rest do. An odd count on the other side leaves no middle.
    """
    return (2 * good == population and 2 * least == draws + 1) or (2 * draws == population and 2 * least == good + 1)


def _enclosed_sums(population: int, good: int, draws: int, least: int) -> tuple[int, int]:
    """Lower bounds of the sums of ``t_j / t_mode``, ``j >= least`` and ``j < least``, times ``_UNIT``."""
    first, last = max(0, draws - (population - good)), min(draws, good)
    spare = population - good - draws
    # t_(j+1) <= t_j  <=>  j + 1 >= (K+1)(n+1)/(M+2), so the terms fall on both sides of this mode
    mode = (good + 1) * (draws + 1) // (population + 2)
    sums = [0, 0]
    sums[mode >= least] += _UNIT
    term = _UNIT
    for j in range(mode, last):
        term = term * ((good - j) * (draws - j)) // ((j + 1) * (spare + j + 1))
        if not term:
            break
        sums[j + 1 >= least] += term
    term = _UNIT
    for j in range(mode, first, -1):
        term = term * (j * (spare + j)) // ((good - j + 1) * (draws - j + 1))
        if not term:
            break
        sums[j - 1 >= least] += term
    below, above = sums
    return above, below


def _tail_exceeds_exactly(population: int, good: int, draws: int, least: int, alpha: Fraction) -> bool:
    """The same with exact binomial coefficients; slow where both draws and good windows count thousands."""
    # drawn and good windows may change places, and so may the drawn and the rest: the shortest sum is taken
    if min(good, population - good) < min(draws, population - draws):
        good, draws = draws, good
    if population - draws < draws:
        # least of the good are drawn  <=>  at most good - least are left
        rest = population - draws
        return not _tail_at_least(population, good, rest, good - least + 1, 1 - alpha, strictly=False)
    return _tail_at_least(population, good, draws, least, alpha, strictly=True)


def _tail_at_least(population: int, good: int, draws: int, least: int, level: Fraction, *, strictly: bool) -> bool:
    """Whether the exact ``P[Hyp(population, good, draws) >= least]`` is above ``level``, or not ``strictly`` above."""
    last = min(draws, good)
    start = max(least, draws - (population - good), 0)
    if start > last:
        return not strictly and level <= 0
    spare = population - good - draws
    term = math.comb(good, start) * math.comb(population - good, draws - start)
    total = term
    for j in range(start, last):
        # exact: every term is an integer
        term = term * ((good - j) * (draws - j)) // ((j + 1) * (spare + j + 1))
        total += term
    found, wanted = total * level.denominator, level.numerator * math.comb(population, draws)
    return found > wanted or (not strictly and found == wanted)
