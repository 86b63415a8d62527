"""Bounds: never violated more often than stated, least, in agreement with scipy, and quick.

Requirements: BC-CLM-07, BC-VER-13.
"""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.statistics import MOST_DRAWS, audit_bound, hypergeometric, population_bound
from blockcert.statistics.enclosure import UNIT
from blockcert.statistics.hypergeometric import enclosed_sums, exceeds_exactly, hypergeometric_exceeds, is_half

LEVELS = [Fraction(1, 100), Fraction(5, 100), Fraction(1, 3), Fraction(1, 2), Fraction(9, 10)]


def tail(M: int, K: int, n: int, s: int) -> Fraction:
    """P[Hyp(M, K, n) >= s], from its definition."""
    favourable = sum(math.comb(K, j) * math.comb(M - K, n - j) for j in range(s, n + 1))
    return Fraction(favourable, math.comb(M, n))


# --- the population bound -------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("M", [1, 2, 3, 5, 8, 13])
def test_no_population_violates_its_bound_more_often_than_alpha(M: int, alpha: Fraction) -> None:
    for n in range(M + 1):
        bounds = [population_bound(M, n, s, alpha) for s in range(n + 1)]
        for K in range(M + 1):
            violated = sum(math.comb(K, s) * math.comb(M - K, n - s) for s in range(n + 1) if bounds[s] > K)
            assert Fraction(violated, math.comb(M, n)) <= alpha


def test_no_population_violates_its_bound_over_all_samples_listed_one_by_one() -> None:
    M, n, alpha = 8, 4, Fraction(1, 10)
    for K in range(M + 1):
        samples = list(combinations(range(M), n))
        violations = [
            sample for sample in samples if population_bound(M, n, sum(window < K for window in sample), alpha) > K
        ]
        assert Fraction(len(violations), len(samples)) <= alpha


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("M", [1, 2, 3, 5, 8, 13, 21])
def test_the_bound_is_the_least_by_exhaustion(M: int, alpha: Fraction) -> None:
    for n in range(M + 1):
        for s in range(n + 1):
            expected = 0 if s == 0 else next(K for K in range(M + 1) if tail(M, K, n, s) > alpha)
            assert population_bound(M, n, s, alpha) == expected


def test_the_tail_does_not_decrease_with_the_number_of_successes() -> None:
    for M in range(1, 15):
        for n in range(M + 1):
            for s in range(n + 1):
                tails = [tail(M, K, n, s) for K in range(M + 1)]
                assert tails == sorted(tails)
                assert tails[M - (n - s)] == 1


def test_a_tail_exactly_at_the_level_does_not_count() -> None:
    """alpha equal to an attained probability: the comparison is strict, so K is the next one."""
    for K in range(1, 10):
        level = tail(10, K, 4, 3)
        if 0 < level < 1:
            assert population_bound(10, 4, 3, level) == K + 1


@given(st.integers(1, 400), st.data())
def test_the_quick_comparison_equals_the_exact_one(M: int, data: st.DataObject) -> None:
    K, n = data.draw(st.integers(0, M)), data.draw(st.integers(0, M))
    s = data.draw(st.integers(0, n))
    attained = tail(M, data.draw(st.integers(0, M)), n, s)
    alpha = data.draw(st.sampled_from([*LEVELS, Fraction(1, 10**100), Fraction(1, 10**40), attained]))
    if 0 < alpha < 1:
        expected = tail(M, K, n, s) > alpha
        assert hypergeometric_exceeds(M, K, n, s, alpha, "here") == expected
        assert exceeds_exactly(M, K, n, s, alpha) == expected


def test_a_half_by_symmetry_is_a_half() -> None:
    halves = 0
    for M in range(1, 13):
        for K in range(M + 1):
            for n in range(M + 1):
                for s in range(n + 1):
                    if is_half(M, K, n, s):
                        assert tail(M, K, n, s) == Fraction(1, 2)
                        halves += 1
    assert halves == 39  # for even M: M/2 odd draws of half good windows, as many the other way, both at once once


def test_a_tie_of_a_long_draw_is_decided_at_once() -> None:
    """P = alpha exactly, at the bound less one: by symmetry, and by one window left out of the draw."""
    for M, n, s, alpha, expected in (
        (200_000, 100_000, 50_001, Fraction(1, 2), 100_002),
        (1 << 47, 99_999, 50_000, Fraction(1, 2), (1 << 46) + 1),
        (100_000, 99_999, 95_000, Fraction(1, 20), 95_001),
    ):
        assert population_bound(M, n, s, alpha) == expected
        assert seconds(lambda M=M, n=n, s=s, alpha=alpha: population_bound(M, n, s, alpha)) < 2


def test_a_long_sum_that_no_enclosure_tells_from_alpha_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    level = tail(10_000, 5_000, 4_400, 2_100)
    with monkeypatch.context() as patch:
        patch.setattr(hypergeometric, "MOST_EXACT", 4_000)
        with pytest.raises(Refusal) as refusal:
            population_bound(10_000, 4_400, 2_100, level)
    assert refusal.value.code == "statistics.work"
    assert population_bound(10_000, 4_400, 2_100, level + Fraction(1, 10**60)) == 5_001
    assert population_bound(10_000, 4_400, 2_100, level - Fraction(1, 10**60)) == 5_000


def test_more_draws_than_bounds_are_made_for_are_refused_at_once() -> None:
    with pytest.raises(Refusal) as refusal:
        population_bound(1 << 47, MOST_DRAWS + 1, 1, Fraction(1, 20))
    assert refusal.value.code == "statistics.work"


@given(st.integers(1, 300), st.data())
def test_the_enclosure_holds_the_exact_sums(M: int, data: st.DataObject) -> None:
    K, n = data.draw(st.integers(0, M)), data.draw(st.integers(0, M))
    s = data.draw(st.integers(0, n))
    terms = [math.comb(K, j) * math.comb(M - K, n - j) for j in range(n + 1)]
    exact = (Fraction(sum(terms[s:]), max(terms)) * UNIT, Fraction(sum(terms[:s]), max(terms)) * UNIT)
    for found, value in zip(enclosed_sums(M, K, n, s), exact, strict=True):
        assert found <= value <= found + n * (n + 1)


@settings(max_examples=60)
@given(st.integers(1, 10**9), st.data())
def test_agreement_with_scipy(M: int, data: st.DataObject) -> None:
    from scipy.stats import hypergeom

    n = data.draw(st.integers(1, min(M, 300)))
    s = data.draw(st.integers(1, n))
    alpha = data.draw(st.sampled_from(LEVELS))
    K = population_bound(M, n, s, alpha)
    assert hypergeom.sf(s - 1, M, K, n) > float(alpha) * (1 - 1e-6)
    assert hypergeom.sf(s - 1, M, K - 1, n) <= float(alpha) * (1 + 1e-6)


def test_published_sample_sizes() -> None:
    """459 prompts without a failure give 99 % at 99 %; 619 do for five predicates jointly (alpha / 5)."""
    M = 10**9
    assert population_bound(M, 459, 459, Fraction(1, 100)) >= Fraction(99, 100) * M
    assert population_bound(M, 458, 458, Fraction(1, 100)) < Fraction(99, 100) * M
    assert population_bound(M, 619, 619, Fraction(1, 500)) >= Fraction(99, 100) * M
    assert population_bound(M, 618, 618, Fraction(1, 500)) < Fraction(99, 100) * M


def test_the_whole_population_listed_is_the_count_itself() -> None:
    for s in range(21):
        assert population_bound(20, 20, s, Fraction(1, 20)) == s


def test_at_one_success_clopper_pearson_would_claim_too_much() -> None:
    """With one success among 20 windows, 3 draws see it with probability 0.15, above alpha: one cannot be excluded.

    Clopper-Pearson's lower end ``p`` solves ``1 - (1 - p)^3 = alpha`` and lies above 1/20 here.
    """
    alpha = Fraction(29, 200)
    assert tail(20, 1, 3, 1) == Fraction(15, 100)
    assert population_bound(20, 3, 1, alpha) == 1
    assert 1 - (1 - Fraction(1, 20)) ** 3 < alpha


BAD_COUNTS = {
    "more successes than draws": (10, 4, 5),
    "more draws than windows": (10, 11, 5),
    "negative successes": (10, 4, -1),
    "no population": (0, 0, 0),
}


@pytest.mark.parametrize("case", BAD_COUNTS)
def test_bad_counts(case: str) -> None:
    with pytest.raises(Refusal) as refusal:
        population_bound(*BAD_COUNTS[case], Fraction(1, 20))
    assert refusal.value.code == "statistics.counts"


@pytest.mark.parametrize("level", [Fraction(0), Fraction(1), Fraction(-1, 2), Fraction(2)])
def test_bad_levels(level: Fraction) -> None:
    for call in (lambda: population_bound(10, 4, 2, level), lambda: audit_bound(10, 4, level)):
        with pytest.raises(Refusal) as refusal:
            call()
        assert refusal.value.code == "statistics.level"


# --- the audit bound ------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", LEVELS)
@pytest.mark.parametrize("N", [1, 2, 3, 7, 20, 41])
def test_the_audit_bound_is_the_least_by_exhaustion(N: int, beta: Fraction) -> None:
    for m in range(1, N + 1):
        expected = next(q for q in range(N + 1) if Fraction(math.comb(N - q, m), math.comb(N, m)) <= beta)
        assert audit_bound(N, m, beta) == expected


def test_false_rows_slip_through_no_more_often_than_beta() -> None:
    N, beta = 9, Fraction(1, 10)
    for m in range(1, N + 1):
        q = audit_bound(N, m, beta)
        for false in range(q, N + 1):
            samples = list(combinations(range(N), m))
            passed = [sample for sample in samples if all(row >= false for row in sample)]
            assert Fraction(len(passed), len(samples)) <= beta


def test_replaying_every_row_leaves_no_false_one() -> None:
    for N in (1, 2, 10, 1000):
        assert audit_bound(N, N, Fraction(1, 100)) == 1


@pytest.mark.parametrize(("rows", "sampled"), [(10, 0), (10, 11), (0, 0), (10, -1)])
def test_bad_audit_counts(rows: int, sampled: int) -> None:
    with pytest.raises(Refusal) as refusal:
        audit_bound(rows, sampled, Fraction(1, 20))
    assert refusal.value.code == "statistics.counts"


# --- speed ----------------------------------------------------------------------------------------------


def seconds(call: object) -> float:
    times: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("successes", [1, 100, 150, 190, 199, 200])
def test_a_typical_bound_is_quick(successes: int) -> None:
    assert seconds(lambda: population_bound(30_000, 200, successes, Fraction(1, 100))) < 0.02


def test_a_large_bound_is_quick() -> None:
    assert seconds(lambda: population_bound(10**7, 10**4, 9_900, Fraction(1, 1000))) < 1


def test_the_largest_bound_is_quick() -> None:
    assert seconds(lambda: population_bound(1 << 47, MOST_DRAWS, MOST_DRAWS // 2, Fraction(1, 2000))) < 4


def test_a_large_audit_is_quick() -> None:
    for sampled in (1, 16, 4096, 1 << 20, (1 << 24) - 1):
        assert seconds(lambda sampled=sampled: audit_bound(1 << 24, sampled, Fraction(1, 100))) < 1
