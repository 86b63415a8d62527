"""Claims that the evidence does not give: each off by one unit of its last digit, or said otherwise."""

from __future__ import annotations

import contextlib
from typing import Any

from blockcert.errors import Refusal
from blockcert_producers.conformance.changes import Value, evidence, state
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import Entry, accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.numbers import unit
from blockcert_producers.conformance.repair import restate

__all__ = ["CASES", "with_constants"]

CLAIM, COMPOSITION = "recompute.claim.mismatch", "recompute.composition.mismatch"
POPULATION, CONTROL = "recompute.population.mismatch", "recompute.control.mismatch"

# path below claims, direction, code, requirements
UNITS: tuple[tuple[str, int, str, str], ...] = (
    ("stages[1].error", -1, CLAIM, "BC-CLM-01 BC-NUM-03"),
    ("stages[1].error", 1, CLAIM, "BC-CLM-01 BC-NUM-03"),
    ("stages[1].relative_error", -1, CLAIM, "BC-CLM-01"),
    ("stages[1].relative_update_error", -1, CLAIM, "BC-CLM-01"),
    ("stages[1].tokens", 1, CLAIM, "BC-CLM-01"),
    ("stages[1].covered[2]", 1, CLAIM, "BC-CLM-01"),
    ("stages[1].loss_tokens", 1, CLAIM, "BC-CLM-01"),
    ("stages[1].loss_covered[2]", 1, CLAIM, "BC-CLM-01"),
    ("composition[0].bound", -1, COMPOSITION, "BC-CLM-04"),
    ("composition[0].bound", 1, COMPOSITION, "BC-CLM-04"),
    ("composition[0].measured", -1, COMPOSITION, "BC-CLM-04"),
    ("composition[0].ratio", -1, COMPOSITION, "BC-CLM-04"),
    ("composition[0].rows", 1, COMPOSITION, "BC-CLM-04"),
    ("end_to_end.drift", 1, CLAIM, "BC-CLM-01"),
    ("end_to_end.relative_drift", -1, CLAIM, "BC-CLM-01"),
    ("end_to_end.logit_difference", -1, CLAIM, "BC-CLM-01"),
    ("end_to_end.top1_agree", 1, CLAIM, "BC-CLM-01"),
    ("end_to_end.decided", 1, CLAIM, "BC-CLM-01"),
    ("end_to_end.loss_surrogate", -1, CLAIM, "BC-CLM-02 BC-NUM-02"),
    ("end_to_end.loss_difference", -1, CLAIM, "BC-CLM-02 BC-NUM-02"),
    ("end_to_end.loss_within[2]", 1, CLAIM, "BC-CLM-01"),
    ("end_to_end.kl_mean", -1, CLAIM, "BC-CLM-02 BC-NUM-02"),
    ("end_to_end.kl_max", -1, CLAIM, "BC-CLM-01"),
    ("population.windows", 1, POPULATION, "BC-CLM-07"),
    ("population.trials", 1, POPULATION, "BC-CLM-07"),
    ("population.claims[3].successes", 1, POPULATION, "BC-CLM-07"),
    ("population.claims[0].at_least", 1, POPULATION, "BC-CLM-07"),
    ("population.claims[0].at_least", -1, POPULATION, "BC-CLM-07"),
    ("population.claims[0].at_least_share", -1, POPULATION, "BC-CLM-07"),
    ("population.strata[0].windows", 1, POPULATION, "BC-CLM-17"),
    ("population.strata[1].trials", 1, POPULATION, "BC-CLM-17"),
    ("population.strata[0].successes[0]", 1, POPULATION, "BC-CLM-17"),
    ("population.strata[1].at_least[0]", 1, POPULATION, "BC-CLM-17"),
    ("control.identity.error[1]", 1, CONTROL, "BC-CLM-09"),
    ("control.identity.relative_error[2]", -1, CONTROL, "BC-CLM-09"),
    ("control.identity.covered[1][2]", 1, CONTROL, "BC-CLM-09"),
    ("control.identity.drift", 1, CONTROL, "BC-CLM-09"),
    ("control.identity.logit_difference", 1, CONTROL, "BC-CLM-09"),
    ("control.identity.top1_agree", 1, CONTROL, "BC-CLM-09"),
    ("control.float32_floor.relative_error[1]", 1, CONTROL, "BC-CLM-09"),
)
SAID: tuple[tuple[str, str, tuple[str, Value], str, str], ...] = (
    ("stage-basis", "A measured stage called proven", ("stages[1].basis", "proof"), CLAIM, "BC-CLM-14"),
    ("stage-scope", "A measured stage called one of all inputs", ("stages[1].scope", "all-inputs"), CLAIM, "BC-CLM-14"),
    ("same-program", "A replaced block called the same program", ("stages[1].same_program", True), CLAIM, "BC-PRG-20"),
    (
        "not-same-program",
        "An equal block called another program",
        ("stages[2].same_program", False),
        CLAIM,
        "BC-PRG-20",
    ),
    ("end-to-end-scope", "End to end for all inputs", ("end_to_end.scope", "all-inputs"), CLAIM, "BC-CLM-14"),
    ("population-basis", "A population claim called proven", ("population.basis", "proof"), POPULATION, "BC-CLM-14"),
    (
        "not-vacuous",
        "A vacuous bound not called so",
        ("composition[0].vacuous", lambda v: not v),
        COMPOSITION,
        "BC-CLM-06",
    ),
    (
        "no-composition",
        "No composition where there are attribution rows",
        ("composition", []),
        COMPOSITION,
        "BC-CLM-04",
    ),
    ("composition-twice", "A composition twice", ("composition", lambda c: c * 2), COMPOSITION, "BC-CLM-04"),
    ("true-for-one", "A count of 1 said as true", ("stages[0].index", True), "json.type", "BC-CLM-01"),
    (
        "strata-exchanged",
        "The bounds of two corpus files exchanged",
        ("population.strata", lambda s: s[::-1]),
        POPULATION,
        "BC-CLM-17",
    ),
)


def predicates(change: Value) -> Change:
    """The list of population claims changed."""
    return state("claims.population.claims", change)


def with_constants(constant: str, basis: str, scope: str = "all-inputs", stages: slice = slice(1, -1)) -> Change:
    """Every block with this constant, and the composition put right where there is one."""

    def apply(draft: Draft) -> None:
        for stage in draft.predicate["claims"]["stages"][stages]:
            stage["lipschitz"] = {"constant": constant, "scope": scope, "basis": basis}
        with contextlib.suppress(Refusal):
            restate(draft)

    return apply


def predicate(position: int, **fields: Any) -> Change:
    def apply(draft: Draft) -> None:
        draft.predicate["claims"]["population"]["claims"][position]["predicate"].update(fields)

    return apply


def add_logit_predicate(threshold: str, *, marked: bool) -> Change:
    """A predicate for which the spec has no list, with everything put right around it."""

    def apply(draft: Draft) -> None:
        claims = draft.predicate["claims"]["population"]["claims"]
        chosen = {"kind": "logit_difference", "share": None, "threshold": threshold}
        claims.append({**claims[0], "predicate": chosen})
        draft.predicate["thresholds"]["post_hoc"] = marked
        restate(draft)

    return apply


def slug(path: str) -> str:
    return path.replace("[", "-").replace("]", "").replace("_", "-").replace(".", "-")


def _units() -> tuple[Entry, ...]:
    return tuple(
        case(
            f"claim::{slug(path)}-{'more' if sign > 0 else 'less'}",
            f"{path}, one unit {'more' if sign > 0 else 'less'}",
            requirements,
            rejected(code),
            state(f"claims.{path}", unit(sign)),
            base="copy" if "population" in path else "every-map",
        )
        for path, sign, code, requirements in UNITS
    )


CASES = (
    *_units(),
    *(
        case(f"claim::{name}", tests, requirements, rejected(code), state(f"claims.{change[0]}", change[1]))
        for name, tests, change, code, requirements in SAID
    ),
    case(
        "claim::a-cell-alone",
        "A cell of the evidence changed, and no claim",
        "BC-CLM-01",
        rejected(CLAIM),
        evidence("error", (slice(None), 1), lambda e: e * 2),
    ),
    case(
        "claim::thresholds-unordered",
        "Thresholds that do not increase",
        "BC-STM-11",
        rejected("thresholds.order"),
        state("thresholds.relative", ["0.02", "0.01", "0.05"]),
        predicates(lambda c: c),
    ),
    case(
        "claim::threshold-of-zero",
        "A threshold of 0",
        "BC-STM-11",
        rejected("thresholds.order thresholds.post_hoc"),
        state("thresholds.loss", ["0", "0.01", "0.1"]),
    ),
    case(
        "claim::post-hoc-unmarked",
        "A threshold outside the list, not marked",
        "BC-STM-11 BC-CLM-08",
        rejected("thresholds.post_hoc"),
        state("thresholds.relative", ["0.01", "0.02", "0.0731"]),
        predicate(2, threshold="0.0731"),
        restate,
    ),
    case(
        "claim::post-hoc-marked",
        "A threshold outside the list, marked",
        "BC-STM-11",
        accepted(),
        state("thresholds.relative", ["0.01", "0.02", "0.0731"]),
        predicate(2, threshold="0.0731"),
        state("thresholds.post_hoc", True),
        restate,
    ),
    case(
        "claim::post-hoc-for-nothing",
        "All thresholds are listed, and the mark is set",
        "BC-STM-11",
        rejected("thresholds.post_hoc"),
        state("thresholds.post_hoc", True),
    ),
    case(
        "claim::logit-predicate-marked",
        "A predicate about logits, marked",
        "BC-STM-11 BC-CLM-08",
        accepted(),
        add_logit_predicate("0.5", marked=True),
    ),
    case(
        "claim::logit-predicate-unmarked",
        "A predicate about logits, not marked",
        "BC-STM-11 BC-CLM-08",
        rejected("thresholds.post_hoc"),
        add_logit_predicate("0.5", marked=False),
    ),
    case(
        "claim::alpha-of-zero",
        "An alpha of 0",
        "BC-CLM-08",
        rejected("population.alpha"),
        state("claims.population.alpha", "0"),
    ),
    case(
        "claim::alpha-of-one",
        "An alpha of 1",
        "BC-CLM-08",
        rejected("population.alpha"),
        state("claims.population.alpha", "1"),
    ),
    case(
        "claim::another-alpha",
        "Another alpha, and the bounds of the first",
        "BC-CLM-07",
        rejected(POPULATION),
        state("claims.population.alpha", "0.2"),
        base="copy",
    ),
    case(
        "claim::predicate-left-out",
        "A predicate left out, and the others as they were",
        "BC-CLM-07 BC-CLM-08",
        rejected(POPULATION),
        predicates(lambda c: c[:-1]),
        state(
            "claims.population.strata",
            lambda strata: [{**s, "successes": s["successes"][:-1], "at_least": s["at_least"][:-1]} for s in strata],
        ),
        base="copy",
    ),
    case(
        "claim::predicate-twice",
        "One predicate twice",
        "BC-CLM-08",
        rejected("population.duplicate"),
        lambda d: predicate(1, **d.predicate["claims"]["population"]["claims"][0]["predicate"])(d),
    ),
    case(
        "claim::share-of-another-size",
        "A share of 90 %",
        "BC-CLM-08",
        rejected("population.share"),
        predicate(0, share="0.9"),
    ),
    case(
        "claim::population-of-blocks-alone",
        "Embedding and head cover no token of a prompt, which its blocks cover",
        "BC-CLM-07",
        accepted(),
        evidence("covered", (slice(None), 0), 0),
        evidence("covered", (slice(None), -1), 0),
        restate,
        base="copy",
    ),
    case(
        "claim::threshold-unlisted",
        "A divergence at a threshold that is not counted",
        "BC-CLM-08",
        rejected("population.threshold"),
        predicate(4, threshold="0.02"),
    ),
    case(
        "claim::threshold-below-zero",
        "A logit difference below 0",
        "BC-CLM-08",
        rejected("population.threshold thresholds.post_hoc"),
        predicate(4, kind="logit_difference", threshold="-1"),
    ),
    case(
        "claim::coverage-unlisted",
        "Coverage at a threshold that is not counted",
        "BC-CLM-08",
        rejected("claims.threshold"),
        predicate(0, threshold="0.03"),
    ),
    case(
        "claim::share-missing",
        "Coverage without a share",
        "BC-CLM-08",
        rejected("claims.predicate"),
        predicate(0, share=None),
    ),
    case(
        "claim::threshold-of-top1",
        "Top-1 agreement with a threshold",
        "BC-CLM-08",
        rejected("claims.predicate"),
        predicate(3, threshold="0.01"),
    ),
    case(
        "claim::constants-estimated",
        "Lipschitz constants of basis estimate",
        "BC-CLM-03 BC-CLM-04 BC-VER-05",
        accepted(),
        with_constants("1000000", "estimate"),
    ),
    case(
        "claim::constants-proven",
        "Lipschitz constants of basis proof, which nobody confirms",
        "BC-CLM-03 BC-VER-05",
        indeterminate("lipschitz.unverified"),
        with_constants("1000000", "proof"),
    ),
    case(
        "claim::constant-negative",
        "A Lipschitz constant below 0",
        "BC-CLM-03",
        rejected("lipschitz.negative"),
        with_constants("-1", "estimate"),
    ),
    case(
        "claim::constants-refuted",
        "Constants whose bound is below the measured drift",
        "BC-CLM-16",
        rejected("composition.below_measured"),
        with_constants("0", "estimate"),
    ),
    case(
        "claim::constants-of-points",
        "Constants of another scope than can be composed",
        "BC-CLM-05 BC-CLM-14",
        rejected("claims.scope"),
        with_constants("1000000", "estimate", "stated-points"),
    ),
    case(
        "claim::constant-of-one-block",
        "A constant of one block alone, of any scope, composes nothing",
        "BC-CLM-05",
        accepted(),
        with_constants("1", "estimate", "stated-points", slice(1, 2)),
    ),
    case(
        "claim::constant-of-the-head",
        "A constant of the head composes nothing",
        "BC-CLM-05",
        accepted(),
        with_constants("1", "estimate", "population", slice(-1, None)),
    ),
    case(
        "claim::constants-not-composed",
        "Constants of every block, and no composition of them",
        "BC-CLM-04",
        rejected(COMPOSITION),
        with_constants("1000000", "estimate"),
        state("claims.composition", lambda c: c[1:]),
    ),
    case(
        "claim::composition-of-a-proof",
        "A composition stronger than its weakest part",
        "BC-CLM-14",
        rejected(COMPOSITION),
        with_constants("1000000", "estimate"),
        state("claims.composition[0].basis", "measurement"),
    ),
    case(
        "claim::composition-unmixed-order",
        "The telescoping entry before the Lipschitz one",
        "BC-CLM-04",
        rejected(COMPOSITION),
        with_constants("1000000", "estimate"),
        state("claims.composition", lambda c: c[::-1]),
    ),
)
