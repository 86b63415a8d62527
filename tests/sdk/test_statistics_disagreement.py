"""Fresh rows beside listed ones, and rows that an audit needs: scipy's values, edges, large counts, refusals.

Requirements: BC-VER-21, 22.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.statistics import (
    audit_bound,
    disagrees,
    exceedance_disagrees,
    exceedance_probability,
    fisher_disagreement,
    rows_needed,
)

LEVELS = [Fraction(1, 10**30), Fraction(1, 100), Fraction(1, 20), Fraction(1, 2), Fraction(9, 10)]


@st.composite
def tables(draw: st.DrawFn, most: int = 300) -> tuple[int, int, int, int]:
    n, m = draw(st.integers(1, most)), draw(st.integers(0, most))
    return n, draw(st.integers(0, n)), m, draw(st.integers(0, m))


@given(tables())
def test_a_disagreement_agrees_with_scipy(table: tuple[int, int, int, int]) -> None:
    from scipy.stats import fisher_exact

    n, s, m, f = table
    found: Any = fisher_exact([[f, m - f], [s, n - s]], alternative="less")
    # scipy says 1 wherever a margin is empty, and so does the exact value
    assert float(fisher_disagreement(n, s, m, f)) == pytest.approx(float(found.pvalue), rel=1e-9, abs=1e-300)


@given(tables(), st.sampled_from(LEVELS))
def test_a_flag_is_the_comparison_of_the_probability(table: tuple[int, int, int, int], level: Fraction) -> None:
    p = fisher_disagreement(*table)
    assert disagrees(*table, level) == (p <= level)
    if 0 < p < 1:
        assert disagrees(*table, p)
        assert not disagrees(*table, p - p / 10**6)


@given(tables())
def test_fewer_fresh_successes_disagree_more(table: tuple[int, int, int, int]) -> None:
    n, s, m, f = table
    if f:
        assert fisher_disagreement(n, s, m, f - 1) <= fisher_disagreement(n, s, m, f) <= 1


def test_what_cannot_disagree_has_probability_1() -> None:
    assert fisher_disagreement(10, 7, 0, 0) == 1
    assert fisher_disagreement(10, 7, 5, 5) == 1
    assert fisher_disagreement(10, 0, 5, 0) == 1
    assert fisher_disagreement(0, 0, 5, 2) == 1
    assert exceedance_probability(10, 5, 0) == 1


def test_all_listed_rows_succeed_and_no_fresh_one() -> None:
    assert fisher_disagreement(10, 10, 2, 0) == Fraction(1, 66)
    assert exceedance_probability(10, 2, 2) == Fraction(1, 66)


@given(st.integers(1, 400), st.integers(0, 400), st.data())
def test_an_exceedance_is_a_disagreement_about_a_share(n: int, m: int, data: st.DataObject) -> None:
    """All listed rows lie within their largest, and ``j`` of the fresh do not: the same question, the same answer."""
    j = data.draw(st.integers(0, m))
    p = exceedance_probability(n, m, j)
    assert p == fisher_disagreement(n, n, m, m - j)
    for level in LEVELS:
        assert exceedance_disagrees(n, m, j, level) == (p <= level)


def test_large_tables_with_one_small_margin_are_exact_and_quick() -> None:
    start = time.perf_counter()
    million = 1 << 20
    for table in ((million, million - 3, million, million - 9), (million, 5, million, 1), (200, 190, million, 900_000)):
        p = fisher_disagreement(*table)
        assert disagrees(*table, p)
        assert not disagrees(*table, p - p / 10**6)
    assert exceedance_probability(million, million, 3) > Fraction(1, 9)
    assert time.perf_counter() - start < 5


def test_large_tables_are_compared_though_no_probability_is_worked_out() -> None:
    start = time.perf_counter()
    table = (100_000, 90_000, 100_000, 89_000)
    with pytest.raises(Refusal) as refusal:
        fisher_disagreement(*table)
    assert refusal.value.code == "statistics.work"
    assert disagrees(*table, Fraction(1, 10**12))
    assert not disagrees(100_000, 90_000, 100_000, 89_990, Fraction(1, 20))
    with pytest.raises(Refusal) as refusal:
        exceedance_probability(100_000, 100_000, 5_000)
    assert refusal.value.code == "statistics.work"
    assert exceedance_disagrees(100_000, 100_000, 5_000, LEVELS[0])
    assert time.perf_counter() - start < 2


@given(st.integers(1, 5000), st.data(), st.sampled_from(LEVELS))
def test_the_rows_needed_suffice_and_one_less_does_not(N: int, data: st.DataObject, beta: Fraction) -> None:
    below = data.draw(st.integers(1, N))
    m = rows_needed(N, below, beta)
    assert audit_bound(N, m, beta) <= below
    assert m == 1 or audit_bound(N, m - 1, beta) > below


def test_to_be_sure_of_every_row_every_row_is_needed() -> None:
    assert rows_needed(1000, 1, Fraction(1, 1001)) == 1000
    # a single false row among 1000 is missed by 990 sampled ones with probability exactly 1 in 100
    assert rows_needed(1000, 1, Fraction(1, 100)) == 990


def test_the_rows_needed_of_a_million_are_found_at_once() -> None:
    start = time.perf_counter()
    for below in (1, 16, 1000, 1 << 19, 1 << 20):
        rows_needed(1 << 20, below, Fraction(1, 100))
        rows_needed(1 << 20, below, Fraction(1, 10**30))
    assert time.perf_counter() - start < 4


HALF = Fraction(1, 2)
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "more listed successes than rows": (lambda: fisher_disagreement(3, 4, 3, 1), "statistics.counts"),
    "more fresh successes than rows": (lambda: disagrees(3, 1, 3, 4, HALF), "statistics.counts"),
    "no row at all": (lambda: fisher_disagreement(0, 0, 0, 0), "statistics.counts"),
    "a level of 1": (lambda: disagrees(3, 1, 3, 1, Fraction(1)), "statistics.level"),
    "no listed row to exceed": (lambda: exceedance_probability(0, 3, 1), "statistics.counts"),
    "more exceedances than fresh rows": (lambda: exceedance_probability(3, 3, 4), "statistics.counts"),
    "exceedances at level 0": (lambda: exceedance_disagrees(3, 3, 1, Fraction(0)), "statistics.level"),
    "fewer than 0 false rows": (lambda: rows_needed(10, 0, HALF), "statistics.counts"),
    "more false rows than there are rows": (lambda: rows_needed(10, 11, HALF), "statistics.counts"),
    "rows at level 1": (lambda: rows_needed(10, 2, Fraction(1)), "statistics.level"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sample_or_level_is_refused(case: str) -> None:
    call, code = REFUSED[case]
    with pytest.raises(Refusal) as refusal:
        call()
    assert refusal.value.code == code
