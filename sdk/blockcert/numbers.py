"""Decimal strings (``spec/03-numbers.md``): one spelling for each value, exact rationals, stated rounding.

No float is ever printed or parsed here. A float64 enters as the rational it is (``exact``).
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.names import shown

__all__ = [
    "exact",
    "format_decimal",
    "parse_decimal",
    "round_bound",
    "round_down_share",
    "round_nearest",
    "round_up",
]

MAX_PLACES = 40
"""Most digits before the point, and most after it."""
_GRAMMAR = re.compile(r"-?(?:0|[1-9][0-9]{0,39})(?:\.([0-9]{0,39}[1-9]))?", re.ASCII)
_SMALLEST_BOUND = "0." + "0" * 29 + "1"


def parse_decimal(text: str, place: str = "") -> Fraction:
    """The value of a decimal string.

    Grammar, on the whole string: ``-?(0|[1-9][0-9]{0,39})(\\.[0-9]{0,39}[1-9])?``, and not ``-0``.

    Raises:
        Refusal: ``number.grammar``.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None or text == "-0":
        raise Refusal(
            "number.grammar",
            place,
            f"{shown(text)} is not a decimal number in its one spelling: digits without leading zeros, then "
            "where needed a point and digits that do not end in 0; no exponent, and at most "
            f"{MAX_PLACES} digits on either side of the point.",
        )
    decimals = match[1]
    if decimals is None:
        return Fraction(int(text))
    return Fraction(int(text.replace(".", "", 1)), 10 ** len(decimals))


def format_decimal(value: Fraction) -> str:
    """The decimal string whose value is exactly ``value``.

    Raises:
        Refusal: ``number.not_decimal`` where no decimal string has that value.
    """
    scaled = value * 10**MAX_PLACES
    if scaled.denominator != 1:
        raise Refusal(
            "number.not_decimal",
            "",
            f"The value is not a decimal of at most {MAX_PLACES} digits after the point.",
        )
    return _spell(scaled.numerator, MAX_PLACES)


def _spell(units: int, places: int) -> str:
    """The decimal string of ``units * 10^-places``; ``places`` may be negative."""
    if places < 0:
        units, places = units * 10**-places, 0
    if abs(units) >= 10 ** (places + MAX_PLACES):
        raise Refusal(
            "number.not_decimal",
            "",
            f"The value needs more than {MAX_PLACES} digits before the decimal point.",
        )
    digits = str(abs(units)).rjust(places + 1, "0")
    point = len(digits) - places
    whole, decimals = digits[:point], digits[point:].rstrip("0")
    return ("-" if units < 0 else "") + whole + ("." + decimals if decimals else "")


def _magnitude(value: Fraction) -> int:
    """The ``e`` with ``10^e <= |value| < 10^(e+1)``; ``value`` is not 0."""
    top, bottom = abs(value.numerator), value.denominator
    # log10(2) of the difference in bits is within one of e; then correct exactly.
    e = math.floor((top.bit_length() - bottom.bit_length()) * 0.30103)
    while not _at_least_power(top, bottom, e):
        e -= 1
    while _at_least_power(top, bottom, e + 1):
        e += 1
    return e


def _at_least_power(top: int, bottom: int, e: int) -> bool:
    return top >= bottom * 10**e if e >= 0 else top * 10**-e >= bottom


def _ceil_units(value: Fraction, places: int) -> int:
    """The least integer ``u`` with ``u * 10^-places >= value``."""
    top, bottom = value.numerator, value.denominator
    if places >= 0:
        return -((-top * 10**places) // bottom)
    return -((-top) // (bottom * 10**-places))


def round_up(value: Fraction, digits: int = 6, places: int = 30) -> str:
    """The smallest decimal at least ``value``, of at most ``digits`` digits and ``places`` decimals.

    Digits are counted from the first that is not 0.

    Raises:
        Refusal: ``number.not_decimal`` where it would need more than 40 digits before the point.
    """
    if digits < 1 or not 0 <= places <= MAX_PLACES:
        raise ValueError("digits must be at least 1 and places between 0 and 40")
    if value == 0:
        return "0"
    kept = min(digits - 1 - _magnitude(value), places)
    return _spell(_ceil_units(value, kept), kept)


def round_bound(value: Fraction, same: bool) -> str:
    """``round_up(value)``; one unit, 1e-30, where that is 0 and the sides are not the ``same`` program."""
    text = round_up(value)
    return _SMALLEST_BOUND if text == "0" and not same else text


def round_down_share(value: Fraction) -> str:
    """The largest decimal at most ``value`` with at most 6 decimals."""
    return _spell(math.floor(value * 10**6), 6)


def round_nearest(value: Fraction, places: int = 9) -> str:
    """The decimal of at most ``places`` decimals nearest to ``value``; of two equally near, the even one."""
    if not 0 <= places <= MAX_PLACES:
        raise ValueError("places must be between 0 and 40")
    return _spell(round(value * 10**places), places)


def exact(value: float, place: str = "") -> Fraction:
    """The rational number that a float64 is.

    Raises:
        Refusal: ``number.not_finite`` for a NaN or an infinity.
    """
    if not math.isfinite(value):
        raise Refusal("number.not_finite", place, f"The value is {value!r}; every number must be finite.")
    return Fraction(value)
