"""Rows that are not resolved, each for one reason alone: true in every cell, and confirmed by nobody."""

from __future__ import annotations

from collections.abc import Callable

from blockcert_producers.conformance.changes import evidence, replay_required
from blockcert_producers.conformance.edge_models import (
    amplified,
    falling,
    high_magnitude,
    high_score,
    lofty,
    quick_rotary,
    towering_alone,
)
from blockcert_producers.conformance.entry import accepted, case, indeterminate
from blockcert_producers.conformance.families.replays import measured_on
from blockcert_producers.conformance.models import Pair
from blockcert_producers.conformance.repair import restate

__all__ = ["CASES"]

UNRESOLVED = indeterminate("replay.row.unresolved")
ROWS: tuple[tuple[str, str, Callable[[], Pair]], ...] = (
    ("norms", "Norms that fall below a ten thousandth of what they were", lambda: falling(14)),
    ("logits", "Logits tens of thousands of times higher than they differ", lambda: lofty(180_000)),
    ("logits-of-one-stage", "Logits that are high where one stage alone is replaced", towering_alone),
    ("scores", "Scores above a million", high_score),
    ("rotary", "Angles above a million", quick_rotary),
    ("constant", "A constant of 2^40, which moves nothing", lambda: high_magnitude("constant")),
    ("linear", "A matrix of 2^40 that gives 0", lambda: high_magnitude("linear")),
    ("low-rank", "A matrix of low rank and 2^40 that gives 0", lambda: high_magnitude("low_rank")),
    ("noise", "What rounding leaves, amplified until it shows", amplified),
)

CASES = (
    *(
        case(
            f"resolution::{name}",
            tests,
            "BC-EVD-08 BC-VER-08",
            UNRESOLVED,
            *measured_on(pair),
            restate,
            replay_required,
        )
        for name, tests, pair in ROWS
    ),
    case(
        "resolution::norms-met",
        "Norms that fall to a thousandth of what they were",
        "BC-EVD-08",
        accepted("replay.rows"),
        *measured_on(lambda: falling(10)),
        restate,
        replay_required,
    ),
    case(
        "resolution::logits-met",
        "Logits a thousand times higher than they differ",
        "BC-EVD-08",
        accepted("replay.rows"),
        *measured_on(lambda: lofty(2.0**13)),
        restate,
        replay_required,
    ),
    case(
        "resolution::not-refuted",
        "A cell far outside its bracket in rows that are not resolved: nothing refutes it",
        "BC-EVD-08 BC-VER-08 BC-VER-10",
        indeterminate("replay.cell.inconclusive replay.row.unresolved"),
        *measured_on(lambda: falling(14)),
        evidence("error", (3, 1), lambda v: v / 2),
        restate,
        replay_required,
    ),
)
