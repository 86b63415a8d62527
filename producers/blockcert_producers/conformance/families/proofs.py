"""Rows that a verifier encloses in exact arithmetic beside a replay."""

from __future__ import annotations

from typing import Any

import numpy as np

from blockcert_producers.conformance.changes import evidence, model_given, options, replayed
from blockcert_producers.conformance.entry import accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.replays import another_pair, unresolved
from blockcert_producers.conformance.repair import remeasure, restate

__all__ = ["CASES"]

ALL: Any = ...


def shaved(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """To just below the decimal under it, by less than a replay tolerates."""
    return np.where(cells > 0, cells * (1 - 9e-7), cells)


CASES = (
    case(
        "proof::honest",
        "What is claimed holds of the exact programs on the rows that are proven",
        "BC-ENC-01 BC-ENC-02 BC-ENC-05 BC-ENC-07",
        accepted("proof.rows replay.rows"),
        replayed,
        options(prove=2),
    ),
    case(
        "proof::inside-the-tolerance",
        "Bounds that exact values exceed by less than a replay tolerates",
        "BC-ENC-05 BC-ENC-08",
        indeterminate("proof.cell.inconclusive", "replay.rows"),
        *(evidence(column, ALL, shaved) for column in ("error", "relative_error", "drift", "relative_drift")),
        restate,
        replayed,
        options(prove=6),
    ),
    case(
        "proof::lost-in-float64",
        "Cells measured where float64 loses a block's result: not what the exact programs give",
        "BC-ENC-05 BC-ENC-08",
        rejected("proof.cell.refuted replay.row.unresolved"),
        another_pair(unresolved),
        remeasure,
        restate,
        replayed,
        options(prove=2),
    ),
    case(
        "proof::no-model",
        "A proof is asked for, and there is no model",
        "BC-ENC-02",
        indeterminate(notes="proof.not_run"),
        options(prove=1),
    ),
    case(
        "proof::no-replay",
        "A proof is asked for, and no row is replayed",
        "BC-ENC-02 BC-ENC-09",
        indeterminate(notes="proof.not_run"),
        model_given,
        options(prove=1),
    ),
    case(
        "proof::refuted-by-the-replay",
        "A lie that the replay refutes is not enclosed any more",
        "BC-ENC-02 BC-VER-11",
        rejected("replay.cell.refuted"),
        evidence("kl_max", (3,), lambda v: v / 32),
        restate,
        replayed,
        options(prove=2),
    ),
)
