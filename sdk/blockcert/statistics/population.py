"""What a draw without replacement says about a finite population (``spec/08-claims.md``, BC-CLM-07)."""

from __future__ import annotations

from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.statistics.hypergeometric import hypergeometric_exceeds
from blockcert.statistics.levels import check_level

__all__ = ["MOST_DRAWS", "maximum_bound", "population_bound", "population_upper_bound"]

MOST_DRAWS = 1 << 20
"""Most draws from a population: the enclosure's work grows with their square root."""


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
            :func:`hypergeometric_exceeds`).
    """
    if not (0 <= successes <= draws <= population and population >= 1):
        raise Refusal(
            "statistics.counts",
            "population",
            f"{successes} successes in {draws} draws from {population} windows are not counts of one sample.",
        )
    check_level(alpha, "alpha")
    if draws > MOST_DRAWS:
        sentence = f"{draws} draws from a population are too many; bounds are made for at most {MOST_DRAWS}."
        raise Refusal("statistics.work", "population", sentence)
    if successes == 0:
        return 0
    low, high = successes, population - (draws - successes)
    while low < high:
        middle = (low + high) // 2
        if hypergeometric_exceeds(population, middle, draws, successes, alpha, "population"):
            high = middle
        else:
            low = middle + 1
    return low


def population_upper_bound(population: int, draws: int, successes: int, alpha: Fraction) -> int:
    """The greatest ``K`` with ``P[Hyp(M, K, n) <= s] > alpha``; ``M`` where ``s`` is ``n``.

    At most ``K`` of the ``M`` windows satisfy the predicate, at confidence ``1 - alpha``: whoever claims that more do
    is refuted at that level. Failures are successes of the opposite predicate, so this is the lower bound mirrored.

    Raises:
        Refusal: as :func:`population_bound`.
    """
    return population - population_bound(population, draws, draws - successes, alpha)


def maximum_bound(population: int, draws: int, alpha: Fraction) -> int:
    """The least number of the ``M`` windows whose value is at most the largest of the ``n`` drawn ones.

    It is ``population_bound(M, n, n, alpha)``, although the largest is known only after the draw. Let ``v`` be the
    ``K``-th smallest value of the population. If fewer than ``K`` values are at most the largest drawn one, that one is
    below ``v``, and so all draws fell among at most ``K - 1`` windows: probability at most ``alpha``.

    Raises:
        Refusal: as :func:`population_bound`.
    """
    return population_bound(population, draws, draws, alpha)
