"""Cells with the bracket a recorded value must lie in to be confirmed (``spec/10-verification.md``, Replay).

Arrays here are numpy, float64 unless said otherwise; ``B`` prompts, ``T`` tokens. A bracket is closed at both ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

__all__ = [
    "Cells",
    "Tolerance",
    "counted",
    "floor",
    "norms",
    "ratio_counts",
    "ratios",
    "sums",
    "token_ratios",
]

Host: TypeAlias = np.ndarray[Any, Any]


class Tolerance(Struct, frozen=True):
    """The verifier's tolerances; nothing in a bundle can widen them.

    ``relative`` is of the larger value, ``absolute`` of a token's scale. A producer's self-check divides both by 100.
    """

    relative: float = 1e-6
    absolute: float = 1e-9

    def divided_by(self, factor: float) -> Tolerance:
        """The same tolerance, ``factor`` times narrower."""
        return Tolerance(self.relative / factor, self.absolute / factor)


class Cells(Struct, frozen=True):
    """Values of one column for some rows, and the brackets in which a recorded value is confirmed."""

    value: Host
    low: Host
    high: Host

    @classmethod
    def exactly(cls, value: Host) -> Cells:
        """Cells that are what they are by definition: no tolerance."""
        return cls(value, value, value)

    @classmethod
    def stack(cls, cells: list[Cells], axis: int) -> Cells:
        """Cells joined along a new axis, as ``numpy.stack``."""
        return cls(*(np.stack([getattr(c, part) for c in cells], axis=axis) for part in ("value", "low", "high")))

    @classmethod
    def concatenate(cls, cells: list[Cells], axis: int = 0) -> Cells:
        """Cells joined along an axis; of consecutive rows, along the first."""
        if len(cells) == 1:
            return cells[0]
        return cls(*(np.concatenate([getattr(c, part) for c in cells], axis) for part in ("value", "low", "high")))

    def map(self, function: Callable[[Host], Host]) -> Cells:
        """The cells with ``function`` of their values and of both ends of their brackets."""
        return Cells(function(self.value), function(self.low), function(self.high))


def _near(value: Host, absolute: Host | float, relative: float) -> Cells:
    """``|recorded - value| <= relative * max(|recorded|, |value|) + absolute``, as a bracket."""

    def upper(x: Host) -> Host:
        return np.maximum(x + relative * np.abs(x) + absolute, (x + absolute) / (1 - relative))

    return Cells(value, -upper(-value), upper(value))


def norms(per_token: Host, tau: Host, tolerance: Tolerance) -> Cells:
    """The largest norm over tokens: from B x T norms and token tolerances to B cells."""
    cells = _near(per_token.max(axis=-1), tau.max(axis=-1), tolerance.relative)
    return Cells(cells.value, np.maximum(cells.low, 0), cells.high)


def sums(value: Host, length: int, tolerance: Tolerance) -> Cells:
    """Sums of losses or divergences over a prompt of ``length`` tokens: ``relative |value| + absolute T``."""
    return _near(value, tolerance.absolute * length, tolerance.relative)


def token_ratios(numerator: Host, denominator: Host, tau: Host) -> Host:
    """Per-token ratios; 0 where both parts are below the token's tolerance."""
    silent = (numerator <= tau) & (denominator <= tau)
    return np.where(silent, 0.0, numerator / np.where(silent, 1.0, denominator))


def ratios(numerator: Host, denominator: Host, tau: Host, tolerance: Tolerance) -> Cells:
    """The largest per-token ratio and its bracket: from B x T parts to B cells."""
    value = token_ratios(numerator, denominator, tau).max(axis=-1)
    low = (np.maximum(0, numerator - tau) / (denominator + tau + np.finfo(np.float64).tiny)).max(axis=-1)
    open_end = denominator <= tau
    high = np.where(open_end, np.inf, (numerator + tau) / np.where(open_end, 1.0, denominator - tau)).max(axis=-1)
    return Cells(value, (1 - tolerance.relative) * low, (1 + tolerance.relative) * high)


def ratio_counts(
    numerator: Host, denominator: Host, tau: Host, thresholds: tuple[float, ...], tolerance: Tolerance
) -> Cells:
    """Tokens whose ratio is at most each threshold: from B x T parts to B x R counts (int64)."""
    ratio = token_ratios(numerator, denominator, tau)
    delta = tolerance.relative

    def at(theta: float) -> Cells:
        sure = numerator + tau <= theta * (1 - delta) * (denominator - tau)
        maybe = numerator - tau <= theta * (1 + delta) * (denominator + tau)
        return counted(sure, ratio <= theta, maybe)

    return Cells.stack([at(theta) for theta in thresholds], axis=-1)


def counted(sure: Host, value: Host, maybe: Host) -> Cells:
    """Counts over the last axis of three truth values per position: certainly, as computed, possibly."""
    low, mid, high = (x.sum(axis=-1, dtype=np.int64) for x in (sure, value, maybe))
    # rounding at a threshold must never put the computed count outside its own bracket
    return Cells(mid, np.minimum(low, mid), np.maximum(high, mid))


def floor(value: Host) -> Cells:
    """Float32 rounding of one build: confirmed within a factor of 16 and 1e-7, whatever the tolerance."""
    return Cells(value, np.maximum(0, value / 16 - 1e-7), value * 16 + 1e-7)
