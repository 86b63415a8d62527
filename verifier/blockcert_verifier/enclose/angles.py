"""Rotary tables rounded once: cosines and sines by exact integers, where no library's error has to be assumed."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from msgspec.structs import replace

from blockcert.numbers import parse_decimal
from blockcert.program import (
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    ProportionalScaling,
    Rotary,
    YarnScaling,
    amplitude,
)

__all__ = ["rotary_table"]

_BITS = 192
_ONE = 1 << _BITS
_TIGHT = 1 << 180
_DIGITS = Context(prec=80, rounding=ROUND_HALF_EVEN, Emin=-999999, Emax=999999)
"""``Decimal.ln`` and ``exp`` are correctly rounded (Python's documentation of ``decimal``)."""


def _arctangent(inverse: int) -> int:
    """``2^192 arctan(1/inverse)``, to within a few units."""
    power = _ONE // inverse
    total, n, sign = power, 1, 1
    while power:
        power //= inverse * inverse
        n, sign = n + 2, -sign
        total += sign * (power // n)
    return total


_PI = 4 * (4 * _arctangent(5) - _arctangent(239))
"""``2^192 pi`` to within 2^11 units (Machin): each term of both series is cut once or twice."""


def _frequencies(step: Rotary, length: int) -> list[tuple[Fraction, Fraction]]:
    """The frequencies after scaling (BC-PRG-09, 23, 25, 26) in a prompt of ``length`` tokens, correct to a relative
    1e-70 and an absolute error beside each."""
    theta = parse_decimal(step.theta)
    logarithm = _DIGITS.ln(_DIGITS.divide(Decimal(theta.numerator), Decimal(theta.denominator)))
    found: list[tuple[Fraction, Fraction]] = []
    for j in range(step.size // 2):
        power = _DIGITS.divide(_DIGITS.multiply(logarithm, Decimal(-2 * j)), Decimal(step.size))
        found.append(_scaled(Fraction(_DIGITS.exp(power)), j, step, length))
    return found


def _scaled(w: Fraction, j: int, step: Rotary, length: int) -> tuple[Fraction, Fraction]:
    exact = Fraction(0)
    match step.scaling:
        case None:
            return w, exact
        case LinearScaling(factor=factor):
            return w / parse_decimal(factor), exact
        case Llama3Scaling() as llama:
            low, high = parse_decimal(llama.low_frequency_factor), parse_decimal(llama.high_frequency_factor)
            turns = llama.original_context * w / (2 * Fraction(_PI, _ONE))
            kept = min(Fraction(1), max(Fraction(0), (turns - low) / (high - low)))
            # a narrow ramp enlarges what is missing from pi
            unsure = min(Fraction(1), turns / _TIGHT / (high - low)) * w * max(1, 1 / parse_decimal(llama.factor))
            return (1 - kept) * w / parse_decimal(llama.factor) + kept * w, unsure
        case YarnScaling() as yarn:
            first, last = parse_decimal(yarn.ramp_from), parse_decimal(yarn.ramp_to)
            slowed = min(Fraction(1), max(Fraction(0), (j - first) / (last - first)))
            return (1 - slowed) * w + slowed * w / parse_decimal(yarn.factor), exact
        case LongRopeScaling() as longrope:
            divisors = longrope.short if length <= longrope.original_context else longrope.long
            return w / parse_decimal(divisors[j]), exact
        case ProportionalScaling(factor=factor, turned=turned):
            return (w / parse_decimal(factor) if j < turned else exact), exact


def _cosine_sine(angle: int) -> tuple[int, int]:
    """``2^192`` times cosine and sine of ``angle / 2^192``, to within 2^20 units beside what is missing from pi."""
    angle %= 2 * _PI
    small = angle >> 4
    cosine, sine, power, n = 0, 0, _ONE, 0
    while power:
        term = -power if n & 2 else power
        cosine, sine = (cosine, sine + term) if n & 1 else (cosine + term, sine)
        n += 1
        power = power * small // (n << _BITS)
    for _ in range(4):
        cosine, sine = (cosine * cosine - sine * sine) >> _BITS, (cosine * sine) >> (_BITS - 1)
    return cosine, sine


def rotary_table(step: Rotary, length: int) -> tuple[Any, Any, float]:
    """What :func:`_table` gives for a step, computed once where steps differ in their names only."""
    return _table(replace(step, out="x", input="x", head_size=step.size), length)


@lru_cache(maxsize=4)
def _table(step: Rotary, length: int) -> tuple[Any, Any, float]:
    """Cosines and sines of every position's angles, each T x size/2 in float64, times the scaling's attention factor;
    and a radius that bounds the error of each.

    The radius is twice that of rounding to float64, and what the integers miss: of an angle at most its 2^-180th part
    by pi, of a frequency what is unsure of it. It is far below rounding, but for frequencies that no model has.
    """
    factor = parse_decimal(amplitude(step.scaling) or "1")
    frequencies = _frequencies(step, length)
    steps = [int(w * _ONE) for w, _ in frequencies]
    missing = max((length * (w / _TIGHT + unsure) for w, unsure in frequencies), default=Fraction(0))
    cosines, sines = np.zeros((length, len(steps))), np.zeros((length, len(steps)))
    for t in range(length):
        for j, w in enumerate(steps):
            cosine, sine = _cosine_sine(t * w)
            cosines[t, j], sines[t, j] = (float(Fraction(value, _ONE) * factor) for value in (cosine, sine))
    return cosines, sines, float(factor) * (2.0**-52 + float(missing)) * (1 + 2.0**-40)
