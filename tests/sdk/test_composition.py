"""Composition: the recurrence is the sum of the spec, bounds real drift, and never flatters basis or scope.

Requirements: BC-CLM-04, 05, 14.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.composition import BASES, compose_scope, lipschitz_bound, telescoping_bound, weakest_basis
from blockcert.errors import Refusal
from blockcert.statement import Basis, Scope

numbers = st.fractions(min_value=0, max_value=100, max_denominator=10**6)
parts = st.integers(0, 6).flatmap(
    lambda n: st.tuples(st.lists(numbers, min_size=n + 1, max_size=n + 1), st.lists(numbers, min_size=n, max_size=n))
)


@given(parts)
def test_the_recurrence_is_the_sum_of_products(given_parts: tuple[list[Fraction], list[Fraction]]) -> None:
    errors, constants = given_parts
    expected = sum((error * math.prod(constants[i:], start=Fraction(1)) for i, error in enumerate(errors)), Fraction(0))
    assert lipschitz_bound(errors, constants) == expected


def test_a_worked_value() -> None:
    F = Fraction
    assert lipschitz_bound([F(1, 10), F(2, 10), F(3, 10)], [F(2), F(5)]) == F(23, 10)
    assert telescoping_bound([[F(1), F(2)], [F(5), F(1, 2)], [F(0), F(0)]]) == F(11, 2)


@given(parts, st.data())
def test_the_bound_holds_for_stages_on_the_line(
    given_parts: tuple[list[Fraction], list[Fraction]], data: st.DataObject
) -> None:
    """g_j(y) = L_j y + c_j is L_j-Lipschitz; the reference is the surrogate off by at most e_j, of either sign."""
    errors, constants = given_parts
    off = [error * data.draw(st.sampled_from([-1, 0, 1])) for error in errors]
    y, x = Fraction(0), off[0]
    for constant, offset in zip(constants, off[1:], strict=True):
        y, x = constant * y + 1, constant * x + 1 + offset
    assert abs(x - y) <= lipschitz_bound(errors, constants)
    if all(offset == error for offset, error in zip(off, errors, strict=True)):
        assert abs(x - y) == lipschitz_bound(errors, constants)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=5))
def test_telescoping_bounds_every_rows_sum_and_attains_one(rows: list[list[Fraction]]) -> None:
    bound = telescoping_bound(rows)
    assert all(sum(row) <= bound for row in rows)
    assert any(sum(row) == bound for row in rows)


@pytest.mark.parametrize("stronger", range(len(BASES)))
@pytest.mark.parametrize("weaker", range(len(BASES)))
def test_the_weaker_of_two_bases_remains(stronger: int, weaker: int) -> None:
    assert weakest_basis([BASES[stronger], BASES[weaker]]) == BASES[max(stronger, weaker)]


def test_bases_from_strongest_to_weakest() -> None:
    assert BASES == ("proof", "enclosure", "measurement", "estimate")


def test_an_estimated_constant_makes_an_estimate() -> None:
    bases: list[Basis] = ["measurement", "proof", "estimate", "enclosure"]
    assert weakest_basis(bases) == "estimate"


COMPOSED: dict[str, tuple[list[Scope], Scope]] = {
    "one listed": (["listed-prompts"], "listed-prompts"),
    "all listed": (["listed-prompts", "listed-prompts"], "listed-prompts"),
    "constants for all inputs, errors for listed prompts": (["all-inputs", "listed-prompts"], "listed-prompts"),
    "all inputs": (["all-inputs", "all-inputs"], "all-inputs"),
}


@pytest.mark.parametrize("case", COMPOSED)
def test_scopes_that_compose(case: str) -> None:
    scopes, expected = COMPOSED[case]
    assert compose_scope(scopes) == expected


REFUSED: dict[str, list[Scope]] = {
    "population beside listed": ["population", "listed-prompts"],
    "population beside all inputs": ["population", "all-inputs"],
    "population alone": ["population", "population"],
    "points beside listed": ["stated-points", "listed-prompts"],
    "points alone": ["stated-points"],
    "points beside population": ["stated-points", "population"],
}


@pytest.mark.parametrize("case", REFUSED)
def test_scopes_that_do_not_compose(case: str) -> None:
    with pytest.raises(Refusal) as refusal:
        compose_scope(REFUSED[case])
    assert refusal.value.code == "composition.scope"
    assert all(scope in refusal.value.sentence for scope in REFUSED[case])


NO_PARTS = {
    "no errors": lambda: lipschitz_bound([], []),
    "a constant missing": lambda: lipschitz_bound([Fraction(1)] * 3, [Fraction(1)]),
    "a constant too many": lambda: lipschitz_bound([Fraction(1)], [Fraction(1)]),
    "a negative error": lambda: lipschitz_bound([Fraction(-1), Fraction(1)], [Fraction(1)]),
    "a negative constant": lambda: lipschitz_bound([Fraction(1), Fraction(1)], [Fraction(-1)]),
    "no row": lambda: telescoping_bound([]),
    "empty rows": lambda: telescoping_bound([[]]),
    "rows of two lengths": lambda: telescoping_bound([[Fraction(1)], [Fraction(1), Fraction(2)]]),
    "a negative distance": lambda: telescoping_bound([[Fraction(1), Fraction(-1)]]),
    "no basis": lambda: weakest_basis([]),
    "no scope": lambda: compose_scope([]),
}


@pytest.mark.parametrize("case", NO_PARTS)
def test_compositions_without_proper_parts(case: str) -> None:
    with pytest.raises(Refusal) as refusal:
        NO_PARTS[case]()
    assert refusal.value.code == "composition.parts"
