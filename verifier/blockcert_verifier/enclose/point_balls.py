"""Balls of float64 arrays, midpoint and radius, on any back end: the radius rules of BC-ENC-10 to 12.

A :class:`Ball` holds every array whose entries lie within its radii of its midpoints. What is assumed of the machine
stands in ``spec/15-enclosures.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from blockcert_verifier.evaluate.backend import Array, Backend

__all__ = ["SLACK", "ULP16", "Ball", "BallMath", "U"]

U = 2.0**-53
"""Unit roundoff of float64 to nearest."""
ULP16 = 2.0**-48
"""Assumed of exp, tanh and erf: 16 ulp."""
SLACK = 2.0**-1000
"""More than underflow, gradual or flushed, loses in 2^20 operations."""
UPWARD = 1 + 2.0**-40
"""More than rounding takes from a radius in a few dozen operations."""


class Ball(NamedTuple):
    """Midpoints and radii of one shape; a radius of None is 0."""

    mid: Array
    rad: Array | None


class BallMath:
    """Operations on balls of one back end, which is float64."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.xp = backend.xp

    def up(self, radius: Array, inner: int = 0) -> Array:
        """A computed radius, made at least the exact one, in its place; ``inner`` numbers were summed for each."""
        radius *= UPWARD * (1 + 4 * (inner + 4) * U)
        radius += SLACK
        return radius

    def summed(self, mid: Array, radius: Array, inner: int) -> Ball:
        """The ball of a sum of ``inner`` numbers. One that overflowed on the way may be infinite of either sign or a
        NaN, and its radius is made infinite or NaN too: no later operation shall take it for known."""
        return Ball(mid, self.up(radius + U * self.xp.abs(mid), inner))

    def radius(self, x: Ball) -> Array:
        """The radii as an array, zeros where they are none."""
        return self.xp.zeros_like(x.mid) if x.rad is None else x.rad

    def exactly(self, mid: Array) -> Ball:
        """Numbers that are what they are."""
        return Ball(mid, None)

    def add(self, a: Ball, b: Ball) -> Ball:
        """``a + b``."""
        mid = a.mid + b.mid
        return Ball(mid, self.up(self._sum(a, b) + U * self.xp.abs(mid)))

    def subtract(self, a: Ball, b: Ball) -> Ball:
        """``a - b``."""
        mid = a.mid - b.mid
        return Ball(mid, self.up(self._sum(a, b) + U * self.xp.abs(mid)))

    def _sum(self, a: Ball, b: Ball) -> Array | float:
        if a.rad is None:
            return 0.0 if b.rad is None else b.rad
        return a.rad if b.rad is None else a.rad + b.rad

    def multiply(self, a: Ball, b: Ball) -> Ball:
        """``a b``, elementwise."""
        xp = self.xp
        mid = a.mid * b.mid
        rad = U * xp.abs(mid)
        if b.rad is not None:
            rad = rad + xp.abs(a.mid) * b.rad
        if a.rad is not None:
            rad = rad + a.rad * (xp.abs(b.mid) if b.rad is None else xp.abs(b.mid) + b.rad)
        return Ball(mid, self.up(rad))

    def divide(self, a: Ball, b: Ball) -> Ball:
        """``a / b``; a radius is infinite where the divisor may be 0."""
        xp = self.xp
        mid = a.mid / b.mid
        left = self.radius(b)
        # rounding down, as far as the inflation of the quotient reaches
        room = xp.abs(b.mid) - left * UPWARD
        room = xp.where(room > 0, room * (1 - 2.0**-50), xp.zeros_like(room))
        # a quotient that was flushed is multiplied by all that the divisor's radius is
        rad = (self.radius(a) + (xp.abs(mid) + SLACK) * left * UPWARD + SLACK) / room
        rad = xp.where(room > 0, rad, xp.full_like(rad, float("inf")))
        return Ball(mid, self.up(rad + U * xp.abs(mid)))

    def sqrt(self, a: Ball) -> Ball:
        """The square root of what is not negative, whatever the ball says."""
        xp = self.xp
        mid = xp.sqrt(xp.maximum(a.mid, xp.zeros_like(a.mid)))
        rad = self.radius(a)
        safe = xp.where(mid > 0, mid, xp.ones_like(mid))
        return Ball(mid, self.up(xp.where(mid > 0, rad / safe, xp.sqrt(rad) * UPWARD) + U * mid))

    def total(self, a: Ball) -> Ball:
        """Sums over the last axis, kept as one channel."""
        xp = self.xp
        gamma = self._gamma(a.mid.shape[-1])
        mid = xp.sum(a.mid, axis=-1, keepdims=True)
        rad = xp.sum(self.radius(a) + gamma * xp.abs(a.mid), axis=-1, keepdims=True)
        return self.summed(mid, rad, a.mid.shape[-1])

    def _gamma(self, inner: int) -> float:
        """``gamma_(K+4)``, rounded up: room for weights that are products rounded once."""
        return (inner + 4) * U * (1 + 2.0**-20)

    def weigh(self, a: Ball, weight: Array, absolute: Array) -> Ball:
        """``a W`` for a matrix of weights, in x out, and its magnitudes (:meth:`magnitudes`); each is exact, or rounded
        once."""
        inner = weight.shape[0]
        inward = self._gamma(inner) * self.xp.abs(a.mid) + SLACK
        if a.rad is not None:
            inward = inward + a.rad * UPWARD
        return self.summed(a.mid @ weight, inward @ absolute, inner)

    def magnitudes(self, weight: Array) -> Array:
        """The absolute values of weights, and room for a product that was flushed: times gamma it is above 2^-1022."""
        return self.xp.abs(weight) + 2.0**-960

    def scale(self, a: Ball, value: float) -> Ball:
        """``a`` times a number of which ``value`` has a relative error of at most 3 u."""
        mid = a.mid * value
        return Ball(mid, self.up(self.radius(a) * (abs(value) * UPWARD) + 5 * U * self.xp.abs(mid)))

    def shift(self, a: Ball, value: float) -> Ball:
        """``a`` plus a number that ``value`` is the nearest float64 to."""
        mid = a.mid + value
        return Ball(mid, self.up(self.radius(a) + U * (abs(value) + self.xp.abs(mid))))

    def matmul(self, a: Ball, b: Ball) -> Ball:
        """``a b`` over the last two axes."""
        inner = a.mid.shape[-1]
        left, right = self.xp.abs(a.mid), self.xp.abs(b.mid)
        first, second = self.radius(a), self.radius(b)
        rad = (left + first) @ (second + SLACK) + (first + self._gamma(inner) * left + SLACK) @ right
        return self.summed(a.mid @ b.mid, rad, inner)

    def exp(self, a: Ball) -> Ball:
        """``exp a``; a radius is infinite where that of ``a`` exceeds 1, for ``expm1 r <= r + r^2`` up to there."""
        xp = self.xp
        mid, rad = xp.exp(a.mid), self.radius(a)
        grown = rad * rad + rad
        grown *= 1 + 2 * ULP16
        grown += 2 * ULP16
        grown *= mid + SLACK
        return Ball(mid, self.up(xp.where(rad <= 1, grown, xp.full_like(grown, float("inf")))))

    def tanh(self, a: Ball) -> Ball:
        """``tanh a``; it moves no faster than its argument."""
        mid = self.xp.tanh(a.mid)
        return Ball(mid, self.up(self.radius(a) + ULP16 * self.xp.abs(mid)))

    def activate(self, a: Ball, mid: Array, function: str) -> Ball:
        """An activation whose midpoints were computed: slopes of at most 1.1 (silu) and 1.2 (gelus), and rounding."""
        xp = self.xp
        match function:
            case "relu":
                return Ball(mid, a.rad)
            case "silu":
                return Ball(mid, self.up(1.1 * self.radius(a) + 2 * ULP16 * xp.abs(mid)))
            case _:
                return Ball(mid, self.up(1.2 * self.radius(a) + 2 * ULP16 * xp.abs(a.mid)))

    def select(self, a: Ball, change: Callable[[Array], Array]) -> Ball:
        """Entries moved about: the same change of midpoints and radii."""
        return Ball(change(a.mid), None if a.rad is None else change(a.rad))
