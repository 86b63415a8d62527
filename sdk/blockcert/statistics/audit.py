"""What a sample of rows says that were all confirmed (``spec/10-verification.md``, "What a replay establishes")."""

from __future__ import annotations

import math
from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.statistics.levels import check_level

__all__ = ["audit_bound", "rows_needed", "unseen_at_most"]


def audit_bound(rows: int, sampled: int, beta: Fraction) -> int:
    """The least ``q`` with ``C(N - q, m) / C(N, m) <= beta``.

    All ``m = sampled`` of ``N = rows`` rows, drawn without replacement, were confirmed. Then, at confidence
    ``1 - beta``, fewer than ``q`` rows are false: with ``q`` or more false rows, a sample without any had
    that probability. The quotient decreases with ``q`` and is 0 at ``q = N - m + 1``.

    Raises:
        Refusal: ``statistics.counts`` unless ``1 <= m <= N``, ``statistics.level`` unless ``0 < beta < 1``.
    """
    if not 1 <= sampled <= rows:
        raise Refusal("statistics.counts", "audit", f"{sampled} sampled rows of {rows} are not counts of one sample.")
    return _least(rows, sampled, beta)


def rows_needed(rows: int, below: int, beta: Fraction) -> int:
    """The least ``m`` of ``N = rows`` rows whose confirmation leaves fewer than ``q = below`` false, at ``1 - beta``.

    That is the least ``m`` with ``audit_bound(N, m, beta) <= q``, so with ``C(N - q, m) / C(N, m) <= beta``. The
    quotient is the same with ``m`` and ``q`` exchanged: ``q`` false rows miss ``m`` sampled ones as often as ``m``
    sampled ones miss ``q`` false ones.

    Raises:
        Refusal: ``statistics.counts`` unless ``1 <= q <= N``, ``statistics.level`` unless ``0 < beta < 1``.
    """
    if not 1 <= below <= rows:
        sentence = f"Of {rows} rows fewer than {below} false ones is no goal; it must be from 1 to {rows}."
        raise Refusal("statistics.counts", "audit", sentence)
    return _least(rows, below, beta)


def _least(rows: int, given: int, beta: Fraction) -> int:
    """The least ``x`` with ``C(rows - x, given) / C(rows, given) <= beta``."""
    check_level(beta, "beta")
    # doubling first keeps the products short: where the answer is small, no large one is ever tried
    high = 1
    while not unseen_at_most(rows, given, high, beta):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if unseen_at_most(rows, given, middle, beta):
            high = middle
        else:
            low = middle
    return high


def unseen_at_most(rows: int, sampled: int, false: int, beta: Fraction) -> bool:
    """Whether ``C(N - q, m) / C(N, m) <= beta``: the chance that ``m = sampled`` rows miss all ``q = false`` ones."""
    if false > rows - sampled:
        return True
    # the quotient is symmetric in sampled and false; the shorter product is taken
    factors, gap = min(sampled, false), max(sampled, false)
    return math.perm(rows - gap, factors) * beta.denominator <= beta.numerator * math.perm(rows, factors)
