"""Rotary tables rounded once: cosines and sines by exact integers, where no library's error has to be assumed."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from blockcert.numbers import parse_decimal
from blockcert.program import LinearScaling, Llama3Scaling, Rotary, YarnScaling

__all__ = ["rotary_table"]

_BITS = 192
_ONE = 1 << _BITS
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
"""``2^192 pi`` to within a few hundred units (Machin)."""


def _frequencies(step: Rotary) -> list[Fraction]:
    """The frequencies after scaling (BC-PRG-09, 23), with relative errors below 1e-50."""
    theta = parse_decimal(step.theta)
    logarithm = _DIGITS.ln(_DIGITS.divide(Decimal(theta.numerator), Decimal(theta.denominator)))
    found: list[Fraction] = []
    for j in range(step.size // 2):
        power = _DIGITS.divide(_DIGITS.multiply(logarithm, Decimal(-2 * j)), Decimal(step.size))
        found.append(_scaled(Fraction(_DIGITS.exp(power)), j, step))
    return found


def _scaled(w: Fraction, j: int, step: Rotary) -> Fraction:
    match step.scaling:
        case None:
            return w
        case LinearScaling(factor=factor):
            return w / parse_decimal(factor)
        case Llama3Scaling() as llama:
            low, high = parse_decimal(llama.low_frequency_factor), parse_decimal(llama.high_frequency_factor)
            turns = llama.original_context * w / (2 * Fraction(_PI, _ONE))
            kept = min(Fraction(1), max(Fraction(0), (turns - low) / (high - low)))
            return (1 - kept) * w / parse_decimal(llama.factor) + kept * w
        case YarnScaling() as yarn:
            first, last = parse_decimal(yarn.ramp_from), parse_decimal(yarn.ramp_to)
            slowed = min(Fraction(1), max(Fraction(0), (j - first) / (last - first)))
            return (1 - slowed) * w + slowed * w / parse_decimal(yarn.factor)


def _cosine_sine(angle: int) -> tuple[int, int]:
    """``2^192`` times cosine and sine of ``angle / 2^192``, to within 2^20 units for angles below 2^40."""
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
    """Cosines and sines of every position's angles, each T x size/2 in float64, times YaRN's attention factor; and a
    radius that bounds the error of each.

    The integers' errors, for positions and frequencies below 2^40, are some 2^-150 and vanish in the radius, which is
    twice that of rounding to float64.
    """
    factor = Fraction(1) if not isinstance(step.scaling, YarnScaling) else parse_decimal(step.scaling.attention_factor)
    steps = [int(w * _ONE) for w in _frequencies(step)]
    cosines, sines = np.zeros((length, len(steps))), np.zeros((length, len(steps)))
    for t in range(length):
        for j, w in enumerate(steps):
            cosine, sine = _cosine_sine(t * w)
            cosines[t, j], sines[t, j] = (float(Fraction(value, _ONE) * factor) for value in (cosine, sine))
    return cosines, sines, float(factor) * 2.0**-52
