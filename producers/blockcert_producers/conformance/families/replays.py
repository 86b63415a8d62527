"""Lies that only a replay sees: every digest, claim and signature is put right around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from blockcert import strict_json
from blockcert.program import Add, Constant, Dense, Linear
from blockcert_producers.conformance.base import round_evidence
from blockcert_producers.conformance.changes import cell, evidence, model_given, options, policy, replayed, state, step
from blockcert_producers.conformance.draft import EVIDENCE, REFERENCE_PREFIX, Change, Draft, program_name
from blockcert_producers.conformance.entry import Entry, accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.evidence import slug
from blockcert_producers.conformance.models import REFERENCE, SURROGATE, Pair, appended, equal_logits
from blockcert_producers.conformance.repair import recount, redraw, remeasure, repoint, restate, statement
from blockcert_verifier.steps.recompute import evidence_shape

__all__ = ["CASES", "another_pair", "measured_on", "unresolved"]

SMALLER: tuple[tuple[str, Any], ...] = (
    ("error", (3, 1)),
    ("relative_error", (3, 1)),
    ("relative_update_error", (3, 0)),
    ("drift", (3, 2)),
    ("relative_drift", (3, 3)),
    ("final_norm", (3,)),
    ("logit_difference", (3,)),
    ("loss_reference", (3,)),
    ("loss_surrogate", (3,)),
    ("loss_difference", (3,)),
    ("kl_sum", (3,)),
    ("kl_max", (3,)),
    ("identity.error", (3, 1)),
    ("identity.relative_error", (3, 1)),
    ("identity.drift", (3, 2)),
    ("identity.relative_drift", (3, 2)),
    ("identity.logit_difference", (3,)),
    ("attribution.hybrid_step", (1, 1)),
)
COUNTS: tuple[tuple[str, Any, int], ...] = (
    ("covered", (3, 1, 2), 8),
    ("identity.covered", (3, 1, 2), 8),
    ("top1_agree", (3,), 8),
    ("decided", (3,), 8),
    ("loss_within", (3, 2), 7),
    ("identity.top1_agree", (3,), 8),
    ("identity.decided", (3,), 8),
    ("attribution.loss_within", (1, 1, 2), 7),
)


def one_off(most: int) -> Callable[[int], int]:
    return lambda count: count + 1 if count < most else count - 1


def costs(side: str, field: str) -> Change:
    return state(f"surrogate.kept.{side}[1].{field}", lambda n: n - 1)


def another_pair(pair: Any) -> Change:
    """Other programs and weights of both sides, in every part but the evidence."""

    def apply(draft: Draft) -> None:
        made = pair()
        draft.files[program_name("reference")] = strict_json.encode(made.reference)
        draft.files[program_name("surrogate")] = strict_json.encode(made.surrogate)
        draft.files[SURROGATE] = made.files[SURROGATE]
        draft.model = draft.model | {REFERENCE.removeprefix(REFERENCE_PREFIX): made.files[REFERENCE]}
        redraw(draft)
        recount(draft)

    return apply


def measured_on(pair: Callable[[], Pair], *before: Change) -> tuple[Change, ...]:
    """Other programs and weights of both sides, `before`, and the evidence that is true of them."""

    def rounded(draft: Draft) -> None:
        draft.files[EVIDENCE] = round_evidence(draft.files[EVIDENCE], evidence_shape(statement(draft)))

    return another_pair(pair), *before, remeasure, rounded


def unresolved() -> Any:
    """A surrogate whose first block adds 2^100 and takes it away again: what it computed is lost in float64 only."""
    big = np.full(8, 2.0**100)

    def steps(ref: Any, output: str) -> tuple[Any, ...]:
        return (
            Constant("up_there", ref("big")),
            Constant("down_here", ref("small")),
            Add("lifted", output, "up_there"),
            Add("lowered", "lifted", "down_here"),
        )

    return appended(steps, {"big": big, "small": -big})


def at_the_threshold() -> Any:
    """A surrogate whose first block gives 1.0100000005 times what it should: no ratio is at most 0.01, by little."""
    little = np.eye(8) * (0.01 + 5e-10)

    def steps(ref: Any, output: str) -> tuple[Any, ...]:
        return Linear("little", output, Dense(ref("little"))), Add("more", output, "little")

    return appended(steps, {"little": little})


LLAMA3 = {
    "kind": "llama3",
    "factor": "2",
    "low_frequency_factor": "1303.797293808806590618685789547638",
    "high_frequency_factor": "1303.797293808806590618690789547638",
    "original_context": 8192,
}
"""The fastest frequency turns 1303.79729380880659061869578… times in the context: it is kept, by 5e-21. In float64 both
ends are one number, and it is halved."""


def narrow_ramp(draft: Draft) -> None:
    for out in ("q_rotated", "k_rotated"):
        step("surrogate", 1, out, "scaling", LLAMA3)(draft)


YARN = {
    "kind": "yarn",
    "factor": "4",
    "ramp_from": f"0.{'9' * 30}",
    "ramp_to": f"1.{'0' * 29}1",
    "attention_factor": "1",
}
"""Half way between two ends that are 1 in float64, the second frequency is half slowed (BC-PRG-27)."""


def eps(draft: Draft) -> None:
    document = draft.program("surrogate")
    document["stages"][1]["steps"][0]["eps"] = "0.00002"
    draft.set_program("surrogate", document)


def heavier(draft: Draft) -> None:
    """One percent more of a tensor of the surrogate."""
    cell(SURROGATE, "v.left", slice(None), lambda v: v * np.float32(1.01))(draft)
    repoint(draft)


def _entries() -> tuple[Entry, ...]:
    found = [
        case(
            f"replay::{slug(name)}-smaller",
            f"A cell of {name} made smaller",
            "BC-VER-09 BC-VER-10 BC-VER-11",
            rejected("replay.cell.refuted"),
            evidence(name, index, lambda v: v / 32),
            restate,
            replayed,
        )
        for name, index in SMALLER
    ]
    found += [
        case(
            f"replay::{slug(name)}-one-off",
            f"A count of {name} changed by one",
            "BC-VER-09 BC-EVD-07",
            rejected("replay.cell.refuted"),
            evidence(name, index, one_off(most)),
            restate,
            replayed,
        )
        for name, index, most in COUNTS
    ]
    found += [
        case(
            f"replay::kept-{side}-{slug(field)}",
            f"One less of the {side}'s {field.replace('_', ' ')}",
            requirement,
            rejected("replay.kept.mismatch"),
            costs(side, field),
            replayed,
        )
        for side in ("reference", "surrogate")
        for field, requirement in (
            ("parameters", "BC-CLM-10 BC-CLM-13"),
            ("bits", "BC-CLM-11"),
            ("multiply_adds", "BC-CLM-12"),
        )
    ]
    return tuple(found)


CASES = (
    *_entries(),
    case(
        "replay::float32-floor",
        "A float32 floor that no build would measure",
        "BC-EVD-06 BC-VER-09",
        rejected("replay.cell.refuted"),
        evidence("float32.relative_error", (3, 1), 1e-3),
        restate,
        replayed,
    ),
    case(
        "replay::float32-floor-of-another-build",
        "A float32 floor four times another build's",
        "BC-EVD-06 BC-VER-09",
        accepted("replay.rows"),
        evidence("float32.relative_error", (3, 1), 2.0**-22),
        restate,
        replayed,
    ),
    case(
        "replay::larger-than-measured",
        "An error twice what it is: no smaller claim, and false",
        "BC-VER-09 BC-VER-11",
        rejected("replay.cell.refuted"),
        evidence("error", (3, 1), lambda v: v * 2),
        restate,
        replayed,
    ),
    case(
        "replay::just-outside-the-tolerance",
        "A norm off by three millionths",
        "BC-VER-09",
        rejected("replay.cell.refuted"),
        evidence("error", (3, 1), lambda v: v * (1 - 3e-6)),
        restate,
        replayed,
    ),
    case(
        "replay::two-false-rows",
        "Two false rows: the first is refuted, the other need not be decided",
        "BC-VER-10 BC-VER-11",
        rejected("replay.cell.refuted replay.cell.inconclusive"),
        evidence("error", ([2, 4], [1, 1]), lambda v: v / 2),
        restate,
        replayed,
    ),
    case(
        "replay::unseen-without-the-model",
        "A false cell that nobody replays",
        "BC-VER-04",
        accepted("replay.not_run"),
        evidence("error", (3, 1), lambda v: v / 32),
        restate,
    ),
    case(
        "replay::another-surrogate",
        "A surrogate changed after it was measured, prompts and claims put right",
        "BC-VER-07 BC-PRM-10",
        rejected("replay.cell.refuted replay.cell.inconclusive"),
        eps,
        redraw,
        restate,
        replayed,
    ),
    case(
        "replay::frequencies-of-a-shorter-prompt",
        "Measured with LongRoPE's frequencies of the shorter prompts, everything else put right",
        "BC-VER-07 BC-PRG-25",
        rejected("replay.cell.refuted replay.cell.inconclusive"),
        step("surrogate", 2, "ql", "scaling.original_context", 8),
        redraw,
        restate,
        replayed,
        base="language",
    ),
    case(
        "replay::other-weights",
        "Weights changed after they were measured, everything else put right",
        "BC-VER-07 BC-BND-05",
        rejected("replay.cell.refuted replay.cell.inconclusive"),
        heavier,
        redraw,
        restate,
        replayed,
    ),
    case(
        "replay::evidence-of-a-better-copy",
        "The evidence of a copy nearer to the reference",
        "BC-VER-07 BC-VER-09",
        rejected("replay.cell.refuted replay.cell.inconclusive"),
        evidence("error", (slice(None), 1), lambda v: v / 4),
        restate,
        replayed,
        base="copy",
    ),
    case(
        "replay::unresolved",
        "A block whose result is lost in float64 and not in exact numbers",
        "BC-EVD-08 BC-VER-08",
        indeterminate("replay.row.unresolved"),
        another_pair(unresolved),
        remeasure,
        restate,
        replayed,
        policy("require", lambda steps: [*steps, "replay"]),
    ),
    case(
        "replay::equal-logits",
        "All logits of the surrogate are equal, and top-1 is said to agree everywhere",
        "BC-EVD-08 BC-VER-08",
        indeterminate("replay.row.unresolved"),
        another_pair(equal_logits),
        remeasure,
        evidence("top1_agree", slice(None), 8),
        restate,
        replayed,
        policy("require", lambda steps: [*steps, "replay"]),
    ),
    case(
        "replay::at-the-threshold",
        "Every ratio lies above its threshold by less than the tolerance, and all tokens are said to be covered",
        "BC-EVD-08 BC-VER-08",
        indeterminate("replay.row.unresolved"),
        another_pair(at_the_threshold),
        remeasure,
        evidence("covered", (slice(None), 1, 0), 8),
        restate,
        replayed,
        policy("require", lambda steps: [*steps, "replay"]),
    ),
    case(
        "replay::ramp-between-two-numbers",
        "A ramp of Llama 3's scaling that lies between two float64 numbers, beside the fastest frequency",
        "BC-EVD-08 BC-PRG-09",
        indeterminate("replay.row.unresolved"),
        narrow_ramp,
        redraw,
        remeasure,
        recount,
        restate,
        replayed,
        policy("require", lambda steps: [*steps, "replay"]),
    ),
    case(
        "replay::ramp-in-decimals",
        "A ramp of YaRN whose ends are one number in float64, and whose middle is not",
        "BC-PRG-23 BC-PRG-27",
        accepted("replay.rows"),
        step("surrogate", 1, "q_rotated", "scaling", YARN),
        redraw,
        remeasure,
        recount,
        restate,
        replayed,
    ),
    case(
        "replay::measured-anew",
        "The same lie with cells measured anew is the truth",
        "BC-VER-07",
        accepted("replay.rows"),
        heavier,
        redraw,
        remeasure,
        recount,
        restate,
        replayed,
    ),
    case(
        "replay::some-rows",
        "Three rows of six, drawn with a given seed",
        "BC-PRM-11 BC-VER-06 BC-VER-13",
        accepted("replay.rows"),
        model_given,
        options(replay=3, seed="2a" * 32),
    ),
)
