"""From balls to exact rational intervals, and truth about balls."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from blockcert_verifier.enclose.arithmetic import Ball, arb
from blockcert_verifier.enclose.interval import Interval, Truth

__all__ = ["at_most", "both", "either", "exponent", "hull", "interval", "largest_ball", "more_than", "root"]

_MOST_BITS = 4096
"""Beyond 2^4096 an end is not known to be finite; below 2^-4096 it is moved outward to 0 or 2^-4096."""


def interval(x: Ball) -> Interval:
    """The interval that a ball is: its ends exactly, or moved outward where they are out of all proportion."""
    if not x.is_finite():
        return Interval(None, None)
    middle, radius = x.mid(), x.rad()
    if exponent(radius) > _MOST_BITS or exponent(middle) > _MOST_BITS:
        return Interval(None, None)
    # an outer bound of what is too small to write stands in for it
    slack = Fraction(0)
    parts: list[Fraction] = []
    for part in (middle, radius):
        if exponent(part) < -_MOST_BITS:
            slack += Fraction(1, 1 << _MOST_BITS)
            parts.append(Fraction(0))
        else:
            parts.append(_exact(part))
    return Interval(parts[0] - parts[1] - slack, parts[0] + parts[1] + slack)


def exponent(x: Ball) -> int:
    """The ``e`` with ``2^(e-1) <= |x| < 2^e``; 0 for 0."""
    mantissa, exponent = x.man_exp()
    return int(mantissa).bit_length() + int(exponent) if mantissa else 0


def _exact(x: Ball) -> Fraction:
    mantissa, exponent = (int(part) for part in x.man_exp())
    return Fraction(mantissa << exponent) if exponent >= 0 else Fraction(mantissa, 1 << -exponent)


def largest_ball(values: Iterable[Ball]) -> Ball:
    """A ball that holds the largest of the numbers in some balls; at least one."""
    found: Ball | None = None
    for value in values:
        found = value if found is None else found.max(value)
    if found is None:
        raise ValueError("the largest of nothing")
    return found


def hull(low: Ball, high: Ball) -> Ball:
    """A ball that holds every number from one in ``low`` to one in ``high``."""
    return low.union(high)


def root(x: Ball) -> Ball:
    """The square root of a number that is not negative, given a ball that may reach below 0."""
    if x > 0 or not x.is_finite():
        return x.sqrt()
    return arb(0) if x.is_zero() else arb(0).union(x.upper().max(arb(0)).sqrt())


def at_most(left: Ball, right: Ball) -> Truth:
    """Whether ``left <= right``."""
    return True if left <= right else False if left > right else None


def more_than(left: Ball, right: Ball) -> Truth:
    """Whether ``left > right``."""
    return True if left > right else False if left <= right else None


def both(first: Truth, second: Truth) -> Truth:
    """Whether the two hold."""
    if first is False or second is False:
        return False
    return True if first and second else None


def either(first: Truth, second: Truth) -> Truth:
    """Whether one of the two holds."""
    if first or second:
        return True
    return False if first is False and second is False else None
