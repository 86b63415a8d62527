"""Evidence cells of one prompt as exact intervals, each with its bracket (``spec/07-evidence.md``, BC-VER-09).

Sequences here run over the tokens of one prompt; ``tau`` are the tokens' tolerances.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from blockcert_verifier.enclose.arithmetic import Ball, arb
from blockcert_verifier.enclose.balls import ball
from blockcert_verifier.enclose.interval import Enclosed, Interval, Truth, count
from blockcert_verifier.enclose.rational import at_most, both, either, hull, interval, largest_ball

__all__ = ["ABSOLUTE", "RELATIVE", "counted", "norms", "ratio_counts", "ratios", "sums"]

RELATIVE = Fraction(1, 10**6)
ABSOLUTE = Fraction(1, 10**9)


def _near(value: Ball, absolute: Ball, *, signed: bool = False) -> Enclosed:
    """``|recorded - value| <= D max(|recorded|, |value|) + absolute``, as a bracket."""
    delta = ball(RELATIVE)

    def upper(x: Ball) -> Ball:
        return (x + delta * abs(x) + absolute).max((x + absolute) / (1 - delta))

    low = -upper(-value)
    return Enclosed(interval(value), interval(low if signed else low.max(arb(0))), interval(upper(value)))


def norms(per_token: Sequence[Ball], tau: Sequence[Ball]) -> Enclosed:
    """The largest norm over tokens."""
    return _near(largest_ball(per_token), largest_ball(tau))


def sums(value: Ball, length: int, *, signed: bool = False) -> Enclosed:
    """A sum of losses or divergences over a prompt of ``length`` tokens."""
    return _near(value, ball(ABSOLUTE) * length, signed=signed)


def _silent(a: Ball, b: Ball, tau: Ball) -> Truth:
    return both(at_most(a, tau), at_most(b, tau))


def ratios(numerator: Sequence[Ball], denominator: Sequence[Ball], tau: Sequence[Ball]) -> Enclosed:
    """The largest per-token ratio, 0 where both parts are below the token's tolerance; 1 otherwise where they are one
    and the same ball, which is one number whatever its radius."""
    zero, delta = arb(0), ball(RELATIVE)
    values: list[Ball] = []
    high: list[Ball] = []
    open_end: Truth = False
    for a, b, t in zip(numerator, denominator, tau, strict=True):
        silent = _silent(a, b, t)
        if silent:
            values.append(zero)
        else:
            ratio = arb(1) if a is b else a / b
            values.append(ratio if silent is False or not ratio.is_finite() else hull(zero, ratio))
        no_end = at_most(b, t)
        open_end = either(open_end, no_end)
        if no_end is False:
            high.append((a + t) / (b - t))
    parts = zip(numerator, denominator, tau, strict=True)
    # where a tolerance is no larger than 0 neither is its token's norm, and nothing may be divided by it
    low = [zero if a - t <= 0 else (a - t).max(zero) / (b + t) for a, b, t in parts]
    upper: Interval | None = None
    if open_end is None:
        upper = Interval(None, None)
    elif open_end is False:
        upper = interval((1 + delta) * largest_ball(high))
    return Enclosed(interval(largest_ball(values)), interval((1 - delta) * largest_ball(low)), upper)


def ratio_counts(
    numerator: Sequence[Ball], denominator: Sequence[Ball], tau: Sequence[Ball], threshold: Fraction
) -> Enclosed:
    """Tokens whose ratio is at most a threshold."""
    theta, tight, wide = ball(threshold), ball(threshold * (1 - RELATIVE)), ball(threshold * (1 + RELATIVE))
    tokens = list(zip(numerator, denominator, tau, strict=True))
    return counted(
        [at_most(a + t, tight * (b - t)) for a, b, t in tokens],
        [either(_silent(a, b, t), at_most(a, theta * b)) for a, b, t in tokens],
        [at_most(a - t, wide * (b + t)) for a, b, t in tokens],
    )


def counted(sure: Sequence[Truth], exact: Sequence[Truth], maybe: Sequence[Truth]) -> Enclosed:
    """A count and its bracket, from whether each position certainly, exactly and possibly satisfies its condition."""
    return Enclosed(count(exact), count(sure), count(maybe))
