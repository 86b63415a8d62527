"""Exact bounds: seconds at sizes from a typical certificate to the largest that is accepted."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from statistics import median

from blockcert.statistics import (
    MOST_DRAWS,
    audit_bound,
    disagrees,
    population_bound,
    population_upper_bound,
    proportion_lower_bound,
    rows_needed,
)

__all__ = ["report"]

ALPHA = Fraction(1, 1000)
ROUNDS = 5
_LARGEST = 1 << 47

_CASES: dict[str, Callable[[], object]] = {
    "population, 200 of M = 30 000": lambda: population_bound(30_000, 200, 190, ALPHA),
    "population, 10^4 of M = 10^7": lambda: population_bound(10**7, 10**4, 9_900, ALPHA),
    "  the same, half of them good": lambda: population_bound(10**7, 10**4, 5_000, ALPHA),
    "  the same, from above": lambda: population_upper_bound(10**7, 10**4, 9_900, ALPHA),
    "  at alpha = 10^-30": lambda: population_bound(10**7, 10**4, 9_900, Fraction(1, 10**30)),
    "population, 2^20 of M = 2^47": lambda: population_bound(_LARGEST, MOST_DRAWS, MOST_DRAWS // 2, ALPHA),
    "proportion, 10^4 draws": lambda: proportion_lower_bound(10**4, 9_900, ALPHA),
    "proportion, 2^20 draws": lambda: proportion_lower_bound(MOST_DRAWS, MOST_DRAWS // 2, ALPHA),
    "audit, 10^3 of 2^20 rows": lambda: audit_bound(1 << 20, 1000, ALPHA),
    "rows needed, below 10^3 of 2^20": lambda: rows_needed(1 << 20, 1000, ALPHA),
    "disagreement of 10^4 and 10^4 rows": lambda: disagrees(10**4, 9_900, 10**4, 9_850, ALPHA),
}


def report() -> list[str]:
    """Lines: the median milliseconds of each bound."""
    lines = [f"Exact bounds, alpha = {ALPHA} where none is stated"]
    for name, run in _CASES.items():
        taken: list[float] = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
        lines.append(f"  {name:36} {1000 * median(taken):9.2f} ms")
    return lines
