"""Proportions from independent draws, upper bounds, maxima, levels: scipy's values, edges, refusals."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.statistics import (
    MOST_DRAWS,
    binomial,
    joint_level,
    level_of_each,
    maximum_bound,
    population_bound,
    population_upper_bound,
    proportion_lower_bound,
    proportion_upper_bound,
)
from blockcert.statistics.binomial import binomial_exceeds

TINY = Fraction(1, 10**30)
LEVELS = st.sampled_from([TINY, *(Fraction(p) for p in ("1e-6", "0.01", "0.05", "0.5", "0.99"))])


@settings(max_examples=60)
@given(st.integers(1, 3000), st.data(), LEVELS)
def test_proportions_agree_with_scipy(n: int, data: st.DataObject, alpha: Fraction) -> None:
    from scipy.stats import beta

    s = data.draw(st.integers(0, n))
    lower, upper = proportion_lower_bound(n, s, alpha), proportion_upper_bound(n, s, alpha)
    if s:
        exact = float(beta.ppf(float(alpha), s, n - s + 1))
        assert -1e-12 - 1e-8 * exact <= exact - lower <= 1e-9 + 1e-8 * exact
    if s < n:
        exact = 1 - float(beta.ppf(float(alpha), n - s, s + 1))
        assert -1e-8 <= upper - exact <= 1e-9 + 1e-8


def test_a_two_sided_interval_of_scipy() -> None:
    from scipy.stats import binomtest

    found: Any = binomtest(87, 100).proportion_ci(confidence_level=0.9, method="exact")
    alpha = Fraction(1, 20)
    assert proportion_lower_bound(100, 87, alpha, digits=6) == Fraction(int(found.low * 10**6), 10**6)
    assert proportion_upper_bound(100, 87, alpha, digits=6) == Fraction(int(found.high * 10**6) + 1, 10**6)


@settings(max_examples=60)
@given(st.integers(1, 10**9), st.data(), st.sampled_from([Fraction(1, 100), Fraction(1, 3), Fraction(9, 10)]))
def test_upper_population_bounds_agree_with_scipy(M: int, data: st.DataObject, alpha: Fraction) -> None:
    from scipy.stats import hypergeom

    n = data.draw(st.integers(1, min(M, 300)))
    s = data.draw(st.integers(0, n - 1))
    K = population_upper_bound(M, n, s, alpha)
    assert hypergeom.cdf(s, M, K, n) > float(alpha) * (1 - 1e-6)
    assert hypergeom.cdf(s, M, K + 1, n) <= float(alpha) * (1 + 1e-6)


@given(st.integers(1, 60), st.data(), LEVELS)
def test_the_quick_comparison_equals_the_exact_one(n: int, data: st.DataObject, alpha: Fraction) -> None:
    least = data.draw(st.integers(0, n))
    p = Fraction(data.draw(st.integers(1, 99)), 100)
    exact = binomial._exactly(n, p, least)  # pyright: ignore[reportPrivateUsage]
    assert binomial_exceeds(n, p, least, alpha) == (exact > alpha)
    if 0 < exact < 1:
        assert not binomial_exceeds(n, p, least, exact)
        assert binomial_exceeds(n, p, least, exact - TINY**4)


@given(st.integers(1, 10**6), st.data(), LEVELS)
def test_bounds_rise_with_successes_and_with_the_level(M: int, data: st.DataObject, alpha: Fraction) -> None:
    n = data.draw(st.integers(1, min(M, 200)))
    s = data.draw(st.integers(0, n - 1))
    looser = alpha + (1 - alpha) / 2
    for low, high, least, most, draws in (
        (population_bound, population_upper_bound, 0, M, (M, n)),
        (proportion_lower_bound, proportion_upper_bound, 0, 1, (n,)),
    ):
        lower: Callable[[int, Fraction], Any] = lambda s, level, f=low, d=draws: f(*d, s, level)  # noqa: E731
        upper: Callable[[int, Fraction], Any] = lambda s, level, f=high, d=draws: f(*d, s, level)  # noqa: E731
        assert least <= lower(s, alpha) <= lower(s + 1, alpha) <= most
        assert least <= upper(s, alpha) <= upper(s + 1, alpha) <= most
        assert lower(s, alpha) <= lower(s, looser)
        assert upper(s, alpha) >= upper(s, looser)
        if alpha <= Fraction(1, 2):
            assert lower(s, alpha) <= upper(s, alpha)


@given(st.integers(1, 10**7), st.data(), LEVELS)
def test_more_draws_without_a_failure_raise_the_bound(M: int, data: st.DataObject, alpha: Fraction) -> None:
    n = data.draw(st.integers(1, min(M, 300)))
    assume(n < M)
    assert maximum_bound(M, n, alpha) <= maximum_bound(M, n + 1, alpha)
    assert proportion_lower_bound(n, n, alpha) <= proportion_lower_bound(n + 1, n + 1, alpha)


@given(st.integers(1, 400), st.data(), LEVELS)
def test_a_population_without_end_is_the_limit_of_large_ones(n: int, data: st.DataObject, alpha: Fraction) -> None:
    """Of 10^15 windows, 400 draws with and without replacement differ in at most one trillionth."""
    s, M = data.draw(st.integers(0, n)), 10**15
    finite = Fraction(population_bound(M, n, s, alpha), M)
    assert abs(finite - proportion_lower_bound(n, s, alpha, digits=12)) <= Fraction(1, 10**8)


def test_the_edges_of_a_proportion() -> None:
    assert proportion_lower_bound(10, 0, TINY) == 0
    assert proportion_upper_bound(10, 10, TINY) == 1
    assert proportion_lower_bound(1, 1, Fraction(1, 20)) == Fraction(1, 20)
    assert proportion_upper_bound(1, 0, Fraction(1, 20)) == Fraction(19, 20)
    # p^n = alpha has an end of few decimals: it is the bound itself, neither one step below nor above
    assert proportion_lower_bound(30, 30, TINY) == Fraction(1, 10)
    assert proportion_lower_bound(2, 2, Fraction(1, 4)) == Fraction(1, 2)


def test_one_success_and_a_tiny_level() -> None:
    """``1 - (1 - p)^n = alpha``: about ``alpha / n``, below every step of nine decimals, and of 18."""
    assert proportion_lower_bound(20, 1, TINY) == 0
    assert proportion_lower_bound(20, 1, Fraction(1, 10**15), digits=18) == Fraction(50, 10**18)
    assert population_bound(10**6, 20, 1, TINY) == 1
    assert population_upper_bound(10**6, 20, 19, TINY) == 10**6 - 1


def test_the_decimals_asked_for_are_given() -> None:
    fine = proportion_lower_bound(50, 40, Fraction(1, 20), digits=18)
    for digits in range(18):
        coarse = proportion_lower_bound(50, 40, Fraction(1, 20), digits=digits)
        assert coarse <= fine < coarse + Fraction(1, 10**digits)
        assert (coarse * 10**digits).denominator == 1


def test_published_sample_sizes_for_a_population_without_end() -> None:
    """459 prompts give 99 % at 99 % for one stage, 619 for five jointly, and one less does not."""
    share, each = Fraction(99, 100), level_of_each(Fraction(1, 100), 5)
    for prompts, level in ((459, Fraction(1, 100)), (619, each)):
        assert proportion_lower_bound(prompts, prompts, level) >= share
        assert proportion_lower_bound(prompts - 1, prompts - 1, level) < share
        assert maximum_bound(10**12, prompts, level) >= share * 10**12
        assert maximum_bound(10**12, prompts - 1, level) < share * 10**12


def test_a_half_by_symmetry_is_decided_for_a_long_draw() -> None:
    assert proportion_lower_bound(99_999, 50_000, Fraction(1, 2)) == Fraction(1, 2)
    assert proportion_upper_bound(99_999, 49_999, Fraction(1, 2)) == Fraction(1, 2)


def test_a_long_sum_that_no_enclosure_tells_from_alpha_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    level = binomial._exactly(300, Fraction(1, 4), 80)  # pyright: ignore[reportPrivateUsage]
    assert not binomial_exceeds(300, Fraction(1, 4), 80, level)
    monkeypatch.setattr(binomial, "MOST_EXACT", 200)
    with pytest.raises(Refusal) as refusal:
        binomial_exceeds(300, Fraction(1, 4), 80, level)
    assert refusal.value.code == "statistics.work"
    assert binomial_exceeds(300, Fraction(1, 4), 80, level - TINY)


def test_levels_are_divided_and_added() -> None:
    alpha, beta = Fraction(1, 20), Fraction(1, 100)
    assert level_of_each(alpha, 5) == Fraction(1, 100)
    assert joint_level(alpha, beta) == Fraction(6, 100)
    assert joint_level(Fraction(9, 10), Fraction(1, 2)) == 1
    assert joint_level() == 0


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a level over no statement": (lambda: level_of_each(Fraction(1, 20), 0), "statistics.counts"),
    "no draw": (lambda: proportion_lower_bound(0, 0, Fraction(1, 20)), "statistics.counts"),
    "more successes than draws": (lambda: proportion_lower_bound(3, 4, Fraction(1, 20)), "statistics.counts"),
    "fewer than no success": (lambda: proportion_upper_bound(3, 4, Fraction(1, 20)), "statistics.counts"),
    "nineteen decimals": (lambda: proportion_lower_bound(3, 2, Fraction(1, 20), digits=19), "statistics.counts"),
    "decimals below none": (lambda: proportion_lower_bound(3, 2, Fraction(1, 20), digits=-1), "statistics.counts"),
    "a level of 0": (lambda: proportion_lower_bound(3, 2, Fraction(0)), "statistics.level"),
    "a level of 1": (lambda: proportion_upper_bound(3, 2, Fraction(1)), "statistics.level"),
    "too many draws": (lambda: proportion_lower_bound(MOST_DRAWS + 1, 2, Fraction(1, 20)), "statistics.work"),
    "an upper bound of no sample": (lambda: population_upper_bound(3, 4, 2, Fraction(1, 20)), "statistics.counts"),
    "an upper bound at level 0": (lambda: population_upper_bound(9, 4, 2, Fraction(0)), "statistics.level"),
    "a maximum of too many draws": (lambda: maximum_bound(1 << 47, MOST_DRAWS + 1, TINY), "statistics.work"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sample_or_level_is_refused(case: str) -> None:
    call, code = REFUSED[case]
    with pytest.raises(Refusal) as refusal:
        call()
    assert refusal.value.code == code


def test_long_draws_are_quick() -> None:
    for n, s in ((10**4, 9_900), (MOST_DRAWS, MOST_DRAWS // 2)):
        start = time.perf_counter()
        proportion_lower_bound(n, s, Fraction(1, 1000))
        assert time.perf_counter() - start < 4
