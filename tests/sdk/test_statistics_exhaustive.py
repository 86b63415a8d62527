"""Every population, sample and count up to a size, listed: no bound fails more often than stated, and none is loose.

What a bound promises is a probability over draws. Here it is added up exactly, over every draw that there is.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, combinations_with_replacement

import pytest

from blockcert.statistics import (
    audit_bound,
    disagrees,
    exceedance_disagrees,
    exceedance_probability,
    fisher_disagreement,
    maximum_bound,
    population_bound,
    population_upper_bound,
    proportion_lower_bound,
    proportion_upper_bound,
    rows_needed,
)

LEVELS = [Fraction(1, 10**30), Fraction(1, 1000), Fraction(1, 20), Fraction(1, 3), Fraction(1, 2), Fraction(9, 10)]
SIZES = range(1, 15)


def chances(M: int, K: int, n: int) -> list[Fraction]:
    """P[Hyp(M, K, n) = s] for s = 0 .. n."""
    return [Fraction(math.comb(K, s) * math.comb(M - K, n - s), math.comb(M, n)) for s in range(n + 1)]


def bernoulli(n: int, p: Fraction) -> list[Fraction]:
    """P[Bin(n, p) = s] for s = 0 .. n."""
    return [math.comb(n, s) * p**s * (1 - p) ** (n - s) for s in range(n + 1)]


def violated(chance: list[Fraction], wrong: list[bool]) -> Fraction:
    return sum((p for p, bad in zip(chance, wrong, strict=True) if bad), Fraction(0))


@pytest.mark.parametrize("alpha", LEVELS)
def test_no_population_lies_outside_its_bounds_more_often_than_alpha(alpha: Fraction) -> None:
    for M in SIZES:
        for n in range(M + 1):
            lower = [population_bound(M, n, s, alpha) for s in range(n + 1)]
            upper = [population_upper_bound(M, n, s, alpha) for s in range(n + 1)]
            for K in range(M + 1):
                chance = chances(M, K, n)
                assert violated(chance, [bound > K for bound in lower]) <= alpha
                assert violated(chance, [bound < K for bound in upper]) <= alpha


@pytest.mark.parametrize("alpha", LEVELS)
def test_a_population_bound_better_by_one_would_fail_more_often_than_alpha(alpha: Fraction) -> None:
    """At one count s, the others left as they are: the population that the bound still allowed is denied too often."""
    for M in SIZES:
        for n in range(M + 1):
            lower = [population_bound(M, n, s, alpha) for s in range(n + 1)]
            upper = [population_upper_bound(M, n, s, alpha) for s in range(n + 1)]
            for s in range(n + 1):
                better = [bound + (count == s) for count, bound in enumerate(lower)]
                if better[s] <= M:
                    assert violated(chances(M, lower[s], n), [bound > lower[s] for bound in better]) > alpha
                better = [bound - (count == s) for count, bound in enumerate(upper)]
                if better[s] >= 0:
                    assert violated(chances(M, upper[s], n), [bound < upper[s] for bound in better]) > alpha


@pytest.mark.parametrize("alpha", LEVELS)
def test_few_windows_lie_below_the_largest_drawn_no_more_often_than_alpha(alpha: Fraction) -> None:
    """Windows 0 .. M-1 with the values ``window // tie``: each draw's largest value covers at least the bound."""
    for M in range(1, 10):
        for tie in (1, 2, 3):
            for n in range(1, M + 1):
                bound = maximum_bound(M, n, alpha)
                draws = list(combinations(range(M), n))
                below = [sum(window // tie <= draw[-1] // tie for window in range(M)) for draw in draws]
                assert Fraction(sum(count < bound for count in below), len(draws)) <= alpha
                if tie == 1 and bound < M:
                    assert Fraction(sum(count < bound + 1 for count in below), len(draws)) > alpha


@pytest.mark.parametrize("beta", LEVELS)
def test_an_audit_misses_false_rows_no_more_often_than_beta_and_its_bound_is_the_least(beta: Fraction) -> None:
    for N in SIZES:
        for m in range(1, N + 1):
            q = audit_bound(N, m, beta)
            missed = [chances(N, false, m)[0] for false in range(N + 1)]
            assert all(chance <= beta for chance in missed[q:])
            assert missed[q - 1] > beta


@pytest.mark.parametrize("beta", LEVELS)
def test_the_rows_needed_are_the_least_that_suffice(beta: Fraction) -> None:
    for N in SIZES:
        for below in range(1, N + 1):
            suffice = [m for m in range(1, N + 1) if audit_bound(N, m, beta) <= below]
            assert rows_needed(N, below, beta) == suffice[0]
            assert suffice == list(range(suffice[0], N + 1))


@pytest.mark.parametrize("alpha", [*LEVELS[:4], Fraction(5, 8)])
def test_no_proportion_lies_outside_its_bounds_more_often_than_alpha(alpha: Fraction) -> None:
    """Over every proportion of two decimals and those between them; one step further would be a bound no more."""
    step = Fraction(1, 100)
    for n in SIZES:
        lower = [proportion_lower_bound(n, s, alpha, digits=2) for s in range(n + 1)]
        upper = [proportion_upper_bound(n, s, alpha, digits=2) for s in range(n + 1)]
        for half in range(201):
            p = half * step / 2
            chance = bernoulli(n, p)
            assert violated(chance, [bound > p for bound in lower]) <= alpha
            assert violated(chance, [bound < p for bound in upper]) <= alpha
        for s in range(n + 1):
            assert s == 0 or sum(bernoulli(n, lower[s] + step)[s:]) > alpha
            assert s == n or sum(bernoulli(n, upper[s] - step)[: s + 1]) > alpha


def test_a_disagreement_is_as_likely_as_stated() -> None:
    """Over every way to say which of ``n + m`` rows are the fresh ones; K of the rows succeed."""
    for rows in range(1, 15):
        for m in range(rows + 1):
            for K in range(rows + 1):
                chance = chances(rows, K, m)
                for f in range(max(0, K - (rows - m)), min(m, K) + 1):
                    p = fisher_disagreement(rows - m, K - f, m, f)
                    assert p == sum(chance[: f + 1])


@pytest.mark.parametrize("level", LEVELS)
def test_agreeing_rows_are_flagged_no_more_often_than_the_level(level: Fraction) -> None:
    for rows in range(1, 15):
        for m in range(rows + 1):
            for K in range(rows + 1):
                possible = range(max(0, K - (rows - m)), min(m, K) + 1)
                flags = {f: disagrees(rows - m, K - f, m, f, level) for f in possible}
                assert all(flags[f] == (fisher_disagreement(rows - m, K - f, m, f) <= level) for f in possible)
                chance = chances(rows, K, m)
                assert sum((chance[f] for f in possible if flags[f]), Fraction(0)) <= level


def exceeding(values: tuple[int, ...], fresh: tuple[int, ...]) -> int:
    """How many of the fresh rows lie strictly above every other row."""
    largest = max(value for row, value in enumerate(values) if row not in fresh)
    return sum(values[row] > largest for row in fresh)


def test_exceedances_are_as_likely_as_stated() -> None:
    """Over every choice of the fresh rows among rows of different values."""
    for rows in range(1, 13):
        values = tuple(range(rows))
        for m in range(rows):
            found = [exceeding(values, fresh) for fresh in combinations(range(rows), m)]
            for j in range(m + 1):
                share = Fraction(sum(count >= j for count in found), len(found))
                assert exceedance_probability(rows - m, m, j) == share


@pytest.mark.parametrize("level", LEVELS)
def test_maxima_are_flagged_no_more_often_than_the_level_also_where_values_are_equal(level: Fraction) -> None:
    for rows in range(1, 8):
        for values in {tuple(range(rows)), *combinations_with_replacement(range(3), rows)}:
            for m in range(rows):
                found = [exceeding(values, fresh) for fresh in combinations(range(rows), m)]
                flagged = sum(exceedance_disagrees(rows - m, m, j, level) for j in found)
                assert Fraction(flagged, len(found)) <= level
