"""Compositions at their edges: what is vacuous, and a ratio too large to be stated."""

from __future__ import annotations

from blockcert_producers.conformance.changes import evidence
from blockcert_producers.conformance.draft import Change
from blockcert_producers.conformance.entry import accepted, case
from blockcert_producers.conformance.repair import restate

__all__ = ["CASES"]

ALL = slice(None)
ONE: tuple[Change, ...] = (
    evidence("attribution.hybrid_step", (ALL, 1), 1.0),
    evidence("drift", (ALL, 2), 0.5),
)
"""Evidence, which nobody replays, of a bound of exactly 1 on a drift of a half."""
HIGH = 2.0**20

CASES = (
    case(
        "composition::lower-median",
        "A bound between the lower median of the norms and the next norm: vacuous",
        "BC-CLM-06",
        accepted("recompute.claims"),
        *ONE,
        evidence("final_norm", ALL, lambda v: v * 0 + [HIGH, 0.75, HIGH, 0.75, 0.75, HIGH]),
        evidence("identity.drift", (ALL, 2), HIGH),
        restate,
    ),
    case(
        "composition::equal-to-the-median",
        "A bound that is the lower median of the norms: vacuous",
        "BC-CLM-06",
        accepted("recompute.claims"),
        *ONE,
        evidence("final_norm", ALL, 1.0),
        evidence("identity.drift", (ALL, 2), HIGH),
        restate,
    ),
    case(
        "composition::equal-to-the-control",
        "A bound that is the largest drift of the control, in one row of six: vacuous",
        "BC-CLM-06",
        accepted("recompute.claims"),
        *ONE,
        evidence("final_norm", ALL, HIGH),
        evidence("identity.drift", (ALL, 2), lambda v: v * 0 + [0.5, 0.5, 0.5, 1, 0.5, 0.5]),
        restate,
    ),
    case(
        "composition::below-both",
        "A bound below the lower median and below the control: not vacuous",
        "BC-CLM-06",
        accepted("recompute.claims"),
        *ONE,
        evidence("final_norm", ALL, lambda v: v * 0 + [0.5, 0.5, 1.25, 1.25, 1.25, 1.25]),
        evidence("identity.drift", (ALL, 2), lambda v: v * 0 + [0.5, 0.5, 0.5, 1.25, 0.5, 0.5]),
        restate,
    ),
    case(
        "composition::ratio-too-large",
        "A bound more than 10^30 times what is measured: no ratio",
        "BC-CLM-04",
        accepted("recompute.claims"),
        *ONE,
        evidence("drift", (ALL, 2), 2.0**-100),
        restate,
    ),
    case(
        "composition::ratio-large",
        "A bound just below 10^30 times what is measured",
        "BC-CLM-04",
        accepted("recompute.claims"),
        *ONE,
        evidence("drift", (ALL, 2), 2.0**-99),
        restate,
    ),
)
