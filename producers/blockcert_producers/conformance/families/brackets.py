"""Cells near the ends of their brackets, where one part of a tolerance decides.

What is recorded lies between the end of its bracket and the end of another that a verifier could take for it, far
enough from both that no build's float64 decides otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from blockcert_producers.conformance.changes import evidence, replay_required
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.edge_models import (
    FAR,
    NEAR,
    falling,
    fused,
    lost_and_found,
    rounded_off,
    standing,
    tied,
)
from blockcert_producers.conformance.entry import Entry, accepted, case, rejected
from blockcert_producers.conformance.families.evidence import slug
from blockcert_producers.conformance.families.replays import another_pair, measured_on
from blockcert_producers.conformance.models import Pair
from blockcert_producers.conformance.repair import measured, remeasure, restate

__all__ = ["CASES"]

ROWS = accepted("replay.rows")
REFUTED = rejected("replay.cell.refuted")


def moved(column: str, index: Any, share: float) -> Change:
    """A cell moved from what is measured by a share of the way to the upper end, or below 0 to the lower one."""

    def apply(draft: Draft) -> None:
        cells = measured(draft)[column]
        value, low, high = (float(part[index]) for part in (cells.value, cells.low, cells.high))
        where = value + share * (high - value if share > 0 else value - low)
        # as many digits as show a thousandth of a bracket, and fewer than the sums of two machines have in common
        mantissa, exponent = np.frexp(where)
        evidence(column, index, float(np.ldexp(np.rint(np.ldexp(mantissa, 40)), int(exponent) - 40)))(draft)

    return apply


def counted(column: str, end: str, *index: Any) -> Change:
    """A count in every row at the least or the most that its bracket has, which is not what is measured."""
    at = (slice(None), *index)

    def apply(draft: Draft) -> None:
        cells = measured(draft)[column]
        wanted = getattr(cells, end)[at]
        if (wanted == cells.value[at]).all():
            raise AssertionError(f"{column}: the {end} end is what is measured")
        evidence(column, at, wanted)(draft)

    return apply


def thresholds(kind: str, *values: str) -> Change:
    """Other thresholds, the population claims about them, and the mark that they are not listed."""

    def apply(draft: Draft) -> None:
        draft.predicate["thresholds"] |= {kind: list(values), "post_hoc": True}
        for i, claim in enumerate(draft.predicate["claims"]["population"]["claims"]):
            if kind == "relative" and i < len(values):
                claim["predicate"]["threshold"] = values[i]
            if kind == "loss" and claim["predicate"]["kind"] in ("kl", "loss_difference"):
                claim["predicate"]["threshold"] = values[-1]

    return apply


def around_a_ratio(draft: Draft) -> None:
    """Two thresholds half of a tolerance below and above the largest ratio of a row: no other token is near them."""
    largest = float(measured(draft)["relative_error"].value[3, 1])
    thresholds("relative", *(f"{largest * (1 + part):.20f}".rstrip("0") for part in (-5e-7, 5e-7)), "1")(draft)


def infinite(draft: Draft) -> None:
    """A number, however large, where the measured ratio is infinite."""
    evidence("relative_update_error", ..., lambda v: np.where(np.isfinite(v), v, 1e30))(draft)
    draft.precision = False


def beyond_float64(draft: Draft) -> None:
    """A cell at the upper end of the bracket of what is exact, and 2^-36 outside that of what float64 measures."""
    evidence("error", (3, 1), float(measured(draft)["error"].high[3, 1]) + 2.0**-36)(draft)
    draft.precision = True


def floor(factor: float) -> Change:
    """The float32 floors of the first block to three bits, one of them some times what is measured."""

    def apply(draft: Draft) -> None:
        floors = measured(draft)["float32.relative_error"].value[:, 1]
        floors[3] *= factor
        mantissa, exponent = np.frexp(floors)
        evidence("float32.relative_error", (slice(None), 1), np.ldexp(np.rint(mantissa * 8), exponent - 3))(draft)

    return apply


def small() -> Pair:
    """Blocks that add 2^-12, and 1.5 times that: every norm, loss and divergence is small beside the norms."""
    return standing(2.0**-12, 1.5 * 2.0**-12)


def fallen() -> Pair:
    """Norms that fall to a thousandth: the scale is that of an earlier stage."""
    return falling(10)


# column, the pair on which the part of the tolerance that is not relative is the larger, and the cells of two rows
COLUMNS: tuple[tuple[str, str, Callable[[], Pair], Any, Any], ...] = (
    *(
        (f"{name}-{what}", name, pair, (3, *index), (4, *index))
        for what, pair, stage in (("small", small, 2), ("fallen", fallen, 2))
        for name, index in (
            ("error", (stage,)),
            ("relative_error", (stage,)),
            ("relative_update_error", (stage - 1,)),
            ("drift", (stage,)),
            ("relative_drift", (stage,)),
        )
    ),
    ("identity.error", "identity.error", small, (3, 2), (4, 2)),
    ("identity.relative_error", "identity.relative_error", small, (3, 2), (4, 2)),
    ("identity.drift", "identity.drift", small, (3, 2), (4, 2)),
    ("identity.relative_drift", "identity.relative_drift", small, (3, 2), (4, 2)),
    ("final_norm", "final_norm", fallen, (3,), (4,)),
    ("attribution.hybrid_step", "attribution.hybrid_step", small, (0, 1), (1, 1)),
    ("logit_difference", "logit_difference", small, (3,), (4,)),
    ("identity.logit_difference", "identity.logit_difference", small, (3,), (4,)),
    ("loss_difference", "loss_difference", small, (3,), (4,)),
    ("kl_sum", "kl_sum", small, (3,), (4,)),
    ("kl_max", "kl_max", small, (3,), (4,)),
)
COUNTS: tuple[tuple[str, str, Callable[[], Pair], tuple[Change, ...], Change], ...] = (
    (
        "covered-not-certain",
        "A token covered by less than the tolerance, and not counted",
        lambda: falling(0),
        (around_a_ratio,),
        counted("covered", "low", 1, 1),
    ),
    (
        "covered-possible",
        "A token not covered by less than the tolerance, and counted",
        lambda: falling(0),
        (around_a_ratio,),
        counted("covered", "high", 1, 0),
    ),
    (
        "decided-not-certain",
        "A position decided by less than the tolerance, and not counted",
        lambda: tied(NEAR, NEAR),
        (),
        counted("decided", "low"),
    ),
    (
        "decided-possible",
        "A position undecided by less than the tolerance, and counted",
        lambda: tied(NEAR / 2, NEAR),
        (),
        counted("decided", "high"),
    ),
    (
        "top1-not-certain-in-the-reference",
        "A position where the reference has a second token beside its first, which is not counted",
        lambda: tied(NEAR, FAR),
        (),
        counted("top1_agree", "low"),
    ),
    (
        "top1-not-certain-in-the-surrogate",
        "A position where the surrogate has a second token beside its first, which is not counted",
        lambda: tied(FAR, NEAR),
        (),
        counted("top1_agree", "low"),
    ),
    (
        "top1-possible-by-the-reference",
        "A position where the surrogate's first token is the reference's second, beside its first: it is counted",
        lambda: tied(NEAR, -FAR),
        (),
        counted("top1_agree", "high"),
    ),
    (
        "top1-possible-by-the-surrogate",
        "A position where the reference's first token is the surrogate's second, beside its first: it is counted",
        lambda: tied(-FAR, NEAR),
        (),
        counted("top1_agree", "high"),
    ),
)


def _entries() -> tuple[Entry, ...]:
    found: list[Entry] = []
    for name, column, pair, one, other in COLUMNS:
        found.append(
            case(
                f"bracket::{slug(name)}-inside",
                f"A cell of {column} just below the upper end of its bracket, and one just above the lower",
                "BC-EVD-08 BC-VER-09",
                ROWS,
                *measured_on(pair),
                moved(column, one, 0.95),
                moved(column, other, -0.95),
                restate,
                replay_required,
            )
        )
        found.append(
            case(
                f"bracket::{slug(name)}-outside",
                f"A cell of {column} just above the upper end of its bracket",
                "BC-VER-09 BC-VER-10",
                REFUTED,
                *measured_on(pair),
                moved(column, one, 1.05),
                restate,
                replay_required,
            )
        )
    found += [
        case(
            f"bracket::{name}", tests, "BC-VER-09", ROWS, *measured_on(pair, *before), change, restate, replay_required
        )
        for name, tests, pair, before, change in COUNTS
    ]
    return tuple(found)


CASES = (
    *_entries(),
    case(
        "bracket::beyond-float64",
        "A cell outside its bracket in float64, and inside it at higher precision",
        "BC-VER-10",
        ROWS,
        *measured_on(lost_and_found),
        beyond_float64,
        restate,
        replay_required,
    ),
    case(
        "bracket::both-sides-of-a-ratio-small",
        "A block that changes nothing, replaced by one that changes less than the tolerance: a ratio of 0",
        "BC-EVD-08 BC-VER-09",
        ROWS,
        *measured_on(lambda: standing(0, 2.0**-40)),
        restate,
        replay_required,
    ),
    case(
        "bracket::infinite-ratio",
        "A block that changes nothing, replaced by one that does: no number is the ratio",
        "BC-EVD-02 BC-VER-08",
        rejected("replay.cell.refuted replay.row.unresolved"),
        another_pair(lambda: standing(0, 0.5)),
        remeasure,
        infinite,
        restate,
        replay_required,
    ),
    *(
        case(
            f"bracket::float32-floor-{name}",
            f"A float32 floor {tests} what this build measures",
            "BC-EVD-06 BC-VER-09",
            expected,
            *measured_on(rounded_off),
            floor(factor),
            restate,
            replay_required,
        )
        for name, tests, factor, expected in (
            ("larger", "six times", 6, ROWS),
            ("smaller", "a sixth of", 1 / 6, ROWS),
            ("too-large", "a hundred times", 100, REFUTED),
            ("too-small", "a hundredth of", 1 / 100, REFUTED),
        )
    ),
    case(
        "bracket::hybrid-step",
        "A step a thousandth larger than it is",
        "BC-VER-09",
        REFUTED,
        evidence("attribution.hybrid_step", (1, 1), lambda v: v * 1.001),
        restate,
        replay_required,
    ),
    case(
        "bracket::fused",
        "Keys and values in one matrix, head by head: rows with a period",
        "BC-PRG-06",
        ROWS,
        *measured_on(fused),
        restate,
        replay_required,
    ),
)
