"""Intervals with exact rational ends, and what a cell is known to be: pure, and without floating point."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TypeAlias

from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.numbers import round_up

__all__ = ["Enclosed", "Interval", "Truth", "count", "ends", "largest"]

_DIGITS = 12
Truth: TypeAlias = bool | None
"""Certainly so, certainly not, or open."""


class Interval(Struct, frozen=True):
    """A closed interval that holds a real number; ``None`` is an end that is not known to be finite."""

    lower: Fraction | None
    upper: Fraction | None

    @classmethod
    def exactly(cls, value: Fraction | int) -> Interval:
        """The interval of one number."""
        return cls(Fraction(value), Fraction(value))


class Enclosed(Struct, frozen=True):
    """One cell: its exact value, and both ends of the bracket of BC-VER-09 around it; no upper end where None."""

    value: Interval
    low: Interval
    high: Interval | None

    @classmethod
    def exactly(cls, value: int) -> Enclosed:
        """A cell that is what it is by definition (BC-EVD-04): no tolerance."""
        one = Interval.exactly(value)
        return cls(one, one, one)


def largest(intervals: Iterable[Interval]) -> Interval:
    """The interval that holds the largest of numbers, given an interval for each; at least one."""
    found = list(intervals)
    lower = [one.lower for one in found if one.lower is not None]
    upper = [one.upper for one in found]
    return Interval(
        max(lower) if lower else None, None if None in upper else max(one for one in upper if one is not None)
    )


def count(truths: Iterable[Truth]) -> Interval:
    """How many of these are so: from those that certainly are to those that are not certainly not."""
    seen = list(truths)
    sure = sum(one is True for one in seen)
    return Interval(Fraction(sure), Fraction(sure + sum(one is None for one in seen)))


def ends(value: Interval) -> tuple[str | None, str | None]:
    """Both ends as decimals, moved outward to 12 digits; None for an end that no decimal string states."""
    return _lower(value.lower), _upper(value.upper)


def _upper(value: Fraction | None) -> str | None:
    try:
        return None if value is None else round_up(value, digits=_DIGITS, places=40)
    except Refusal:
        return None


def _lower(value: Fraction | None) -> str | None:
    negated = None if value is None else _upper(-value)
    if negated is None or negated == "0":
        return negated
    return negated[1:] if negated.startswith("-") else f"-{negated}"
