"""Bounds for each corpus file: the draw decides how many prompts a file has; no bound fails more often than stated.

Requirements: BC-CLM-17.
"""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from itertools import combinations

import pytest
from msgspec.structs import replace

from blockcert.claims import stratum_bounds, successes, summarise
from blockcert.draw import draw_windows
from blockcert.statement import CorpusFile, Frame, Tokenizer
from blockcert.statistics import population_bound
from blockcert.strata import Strata, strata_of
from tests.sdk.test_claims import PREDICATES, SHAPE, TERMS, table_of

REFERENCE, SURROGATE = "01" * 32, "04" * 32


def a_frame(*windows: int, calibration: int = 20, certification: int = 60) -> Frame:
    corpus = tuple(CorpusFile(f"{h}", 10**6, f"{h:064x}", count) for h, count in enumerate(windows))
    return Frame(corpus, Tokenizer("03" * 32, None), 64, sum(windows), 7, calibration, certification)


def test_each_row_belongs_to_the_file_that_its_window_is_in() -> None:
    sizes = (50, 0, 70, 1, 79)
    frame = a_frame(*sizes)
    found = strata_of(frame, REFERENCE, SURROGATE)
    assert found is not None
    drawn = draw_windows(frame, REFERENCE, SURROGATE)
    file_of = [h for h, count in enumerate(sizes) for _ in range(count)]
    assert found.of_row == tuple(file_of[window] for window in drawn.certification)
    taken = Counter(file_of[window] for window in drawn.calibration)
    assert found.windows == tuple(count - taken[h] for h, count in enumerate(sizes))
    assert sum(found.windows) == frame.windows - frame.calibration


def test_every_window_drawn_leaves_as_many_as_there_are_rows() -> None:
    found = strata_of(a_frame(30, 50), REFERENCE, SURROGATE)
    assert found is not None
    assert found.windows == tuple(Counter(found.of_row)[h] for h in (0, 1))


@pytest.mark.parametrize("files", [1, 65])
def test_a_single_file_and_very_many_have_no_strata(files: int) -> None:
    assert strata_of(a_frame(*[200] * files), REFERENCE, SURROGATE) is None


@pytest.mark.parametrize("files", [2, 64])
def test_from_two_files_to_64_have_them(files: int) -> None:
    found = strata_of(a_frame(*[200] * files), REFERENCE, SURROGATE)
    assert found is not None
    assert len(found.windows) == files


def test_claims_count_each_file_apart() -> None:
    strata = Strata(windows=(100, 0, 40), of_row=(0, 2, 0, 0, 2))
    for seed in range(20):
        table = table_of(random.Random(seed))
        population = summarise(table, replace(TERMS, strata=strata)).population
        assert population.strata is not None
        assert [(one.windows, one.trials) for one in population.strata] == [(100, 3), (0, 0), (40, 2)]
        level = Fraction(5, 100) / (len(PREDICATES) * 3)
        for k, predicate in enumerate(PREDICATES):
            assert sum(one.successes[k] for one in population.strata) == successes(table, TERMS, predicate)
            assert population.claims[k] == summarise(table, TERMS).population.claims[k]
            for one in population.strata:
                bound = population_bound(one.windows, one.trials, one.successes[k], level) if one.windows else 0
                assert one.at_least[k] == bound


def test_without_predicates_a_file_has_no_bound() -> None:
    strata = Strata(windows=(100, 40), of_row=(0, 1, 0, 0, 1))
    table = table_of(random.Random(0))
    population = summarise(table, replace(TERMS, strata=strata, predicates=())).population
    assert population.strata is not None
    assert [(one.trials, one.successes, one.at_least) for one in population.strata] == [(3, (), ()), (2, (), ())]
    assert SHAPE.rows == 5


@pytest.mark.parametrize("alpha", [Fraction(1, 20), Fraction(1, 3), Fraction(9, 10)])
@pytest.mark.parametrize("sizes", [(4, 3), (5, 1), (2, 2, 2), (6, 0)])
def test_no_file_lies_below_its_bound_more_often_than_alpha(sizes: tuple[int, ...], alpha: Fraction) -> None:
    """Over every draw that there is and every number of good windows in each file: together, and given the numbers."""
    H, windows = len(sizes), [(h, i) for h, size in enumerate(sizes) for i in range(size)]
    goods: list[tuple[int, ...]] = [()]
    for size in sizes:
        goods = [(*rest, good) for rest in goods for good in range(size + 1)]
    for n in range(len(windows) + 1):
        draws = list(combinations(windows, n))
        for good in goods:
            failed: Counter[tuple[int, ...]] = Counter()
            of: Counter[tuple[int, ...]] = Counter()
            for draw in draws:
                trials = tuple(sum(h == file for file, _ in draw) for h in range(H))
                counts = [sum(h == file and i < good[h] for file, i in draw) for h in range(H)]
                bounds = [stratum_bounds(sizes[h], trials[h], counts[h : h + 1], H, alpha)[0] for h in range(H)]
                of[trials] += 1
                failed[trials] += any(bound > right for bound, right in zip(bounds, good, strict=True))
            assert all(Fraction(failed[trials], of[trials]) <= alpha for trials in of)
