"""Proven ends and the claims that follow: off by one unit, beyond what is measured, beyond what is exact."""

from __future__ import annotations

from typing import Any

from blockcert_producers.conformance.changes import DROP, Value, bundle, evidence, policy, replayed, state
from blockcert_producers.conformance.changes import options as given
from blockcert_producers.conformance.draft import EVIDENCE, Change
from blockcert_producers.conformance.entry import Entry, accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.claims import slug
from blockcert_producers.conformance.families.evidence import without
from blockcert_producers.conformance.families.numbers import unit
from blockcert_producers.conformance.repair import enclose, restate
from blockcert_verifier.conformance.index import Expected

__all__ = ["CASES"]

CLAIM, COLUMNS, CELL = "recompute.claim.mismatch", "evidence.columns", "proof.cell.refuted"
ROWS = 3

# path below claims.enclosures, direction
UNITS: tuple[tuple[str, int], ...] = (
    ("bits", -1),
    ("stages[1].error", -1),
    ("stages[1].error", 1),
    ("stages[1].relative_error", -1),
    ("stages[1].relative_update_error", -1),
    ("stages[1].covered[2]", 1),
    ("drift", -1),
    ("drift", 1),
    ("relative_drift", -1),
    ("logit_difference", -1),
    ("tokens", 1),
    ("top1_agree", 1),
    ("top1_agree", -1),
    ("decided", 1),
    ("loss_tokens", 1),
    ("loss_within[2]", 1),
    ("kl_max", -1),
)
SAID: tuple[tuple[str, str, str, Value, str, str], ...] = (
    ("called-proof", "Enclosures called a closed form", "basis", "proof", CLAIM, "BC-CLM-14 BC-CLM-18"),
    ("called-measured", "Enclosures called measured", "basis", "measurement", CLAIM, "BC-CLM-14 BC-CLM-18"),
    ("for-all-inputs", "Enclosures called those of all inputs", "scope", "all-inputs", CLAIM, "BC-CLM-14 BC-CLM-18"),
    ("of-the-population", "Enclosures called those of all windows", "scope", "population", CLAIM, "BC-CLM-18"),
    ("update-of-the-head", "An update of the head", "stages[3].relative_update_error", "0", CLAIM, "BC-CLM-18"),
    ("of-fewer-rows", "One row fewer than the evidence proves", "rows", ROWS - 1, COLUMNS, "BC-EVD-01 BC-CLM-18"),
    ("of-more-rows", "One row more than the evidence proves", "rows", ROWS + 1, COLUMNS, "BC-EVD-01 BC-CLM-18"),
    ("of-no-row", "Enclosures of no row", "rows", 0, "json.type", "BC-CLM-18"),
    ("of-more-rows-than-there-are", "More proven rows than rows", "rows", 7, "statement.rows", "BC-STM-12"),
    ("a-stage-fewer", "A stage left out", "stages", lambda s: s[:-1], "statement.lengths", "BC-STM-16"),
    ("stages-exchanged", "The stages in reverse", "stages", lambda s: s[::-1], "statement.lengths", "BC-STM-16"),
    ("a-threshold-fewer", "A count fewer", "stages[1].covered", lambda c: c[:-1], "statement.lengths", "BC-STM-16"),
    ("a-loss-fewer", "A loss count fewer", "loss_within", lambda c: c[:-1], "statement.lengths", "BC-STM-16"),
    ("field-left-out", "A field left out", "kl_max", DROP, "json.type", "BC-CLM-18"),
)
LOWER: tuple[tuple[str, Any], ...] = (
    ("error", (1, 1)),
    ("relative_error", (1, 1)),
    ("relative_update_error", (1, 0)),
    ("drift", (1, 2)),
    ("relative_drift", (1, 2)),
    ("logit_difference", (1,)),
    ("kl_max", (1,)),
)
COUNTS: tuple[tuple[str, Any], ...] = (
    ("covered", (1, 1, 2)),
    ("top1_agree", (1,)),
    ("decided", (1,)),
    ("loss_within", (1, 2)),
)


def inside(cells: Any) -> Any:
    """From a millionth above what is exact to below it, by half of what a replay tolerates."""
    return cells * (1 - 1.5e-6)


def enclosed(id_: str, tests: str, requirements: str, expected: Expected, *changes: Change, rows: int = ROWS) -> Entry:
    """A case about a certificate with enclosures of so many rows."""
    return case(f"enclosure::{id_}", tests, requirements, expected, enclose(rows), *changes)


def _false() -> tuple[Entry, ...]:
    found = [
        enclosed(
            f"{slug(name)}-below-what-is-measured",
            f"A proven end of {name} below the bracket around what is measured, claims put right",
            "BC-VER-09 BC-EVD-10",
            rejected("replay.cell.refuted"),
            evidence(f"enclosure.{name}", index, lambda v: v * (1 - 1e-5)),
            restate,
            replayed,
        )
        for name, index in LOWER
    ]
    found += [
        enclosed(
            f"{slug(name)}-one-too-many",
            f"A proven count of {name} one above what is measured, claims put right",
            "BC-VER-09 BC-EVD-10",
            rejected("replay.cell.refuted"),
            evidence(f"enclosure.{name}", index, lambda v: v + 1),
            restate,
            replayed,
        )
        for name, index in COUNTS
    ]
    found += [
        enclosed(
            f"{slug(name)}-inside-the-tolerance",
            f"A proven end of {name} that the exact value exceeds by less than a replay tolerates",
            "BC-ENC-15 BC-ENC-16",
            rejected(CELL, "replay.rows"),
            evidence(f"enclosure.{name}", index, inside),
            restate,
            replayed,
            given(prove=6),
        )
        for name, index in LOWER
    ]
    return tuple(found)


CASES = (
    enclosed(
        "honest",
        "Enclosures of three rows, recomputed without any ball arithmetic",
        "BC-CLM-18 BC-EVD-10 BC-EVD-01",
        accepted("recompute.claims"),
    ),
    enclosed("of-every-row", "Enclosures of every row", "BC-CLM-18", accepted("recompute.claims"), rows=6),
    case(
        "enclosure::of-one-program",
        "Enclosures of a surrogate that is the reference: every end is exact",
        "BC-CLM-18 BC-EVD-10 BC-NUM-04",
        accepted("recompute.claims"),
        enclose(2),
        base="same",
    ),
    case(
        "enclosure::null",
        "Enclosures that are null, as if they were absent",
        "BC-STM-14 BC-CLM-18",
        accepted("recompute.claims"),
        state("claims.enclosures", None),
    ),
    enclosed(
        "replayed",
        "A replay holds proven ends against what it measures",
        "BC-VER-07 BC-VER-09",
        accepted("replay.rows"),
        replayed,
    ),
    enclosed(
        "proven-again",
        "Every row enclosed again: each end holds",
        "BC-ENC-14 BC-ENC-15 BC-ENC-16",
        accepted("proof.rows replay.rows"),
        replayed,
        given(prove=6),
    ),
    enclosed(
        "first-proven-row",
        "One row is proven: the one that the certificate encloses, in which an end is false",
        "BC-ENC-02 BC-ENC-15",
        rejected(CELL, "replay.rows"),
        evidence("enclosure.error", (0, 1), inside),
        restate,
        replayed,
        given(prove=1),
        rows=1,
    ),
    enclosed(
        "larger-ends",
        "Proven ends ten times what is exact: they hold, and say less",
        "BC-ENC-15 BC-VER-09",
        accepted("proof.rows replay.rows"),
        evidence("enclosure.drift", (slice(None), 2), lambda v: v * 10),
        restate,
        replayed,
        given(prove=2),
    ),
    enclosed(
        "columns-without-claims",
        "Proven ends in the evidence, and no claim of any",
        "BC-EVD-01 BC-CLM-18",
        rejected(COLUMNS),
        state("claims.enclosures", DROP),
    ),
    enclosed(
        "column-left-out",
        "A column of proven ends left out",
        "BC-EVD-01",
        rejected(COLUMNS),
        bundle(EVIDENCE, without("enclosure.decided")),
    ),
    enclosed(
        "a-cell-alone",
        "A proven end changed, and no claim",
        "BC-CLM-01 BC-CLM-18",
        rejected(CLAIM),
        evidence("enclosure.error", (slice(None), 1), lambda e: e / 2),
    ),
    enclosed(
        "unknown-field",
        "A field that nobody knows",
        "BC-NUM-12 BC-CLM-18",
        rejected("json.type"),
        state("claims.enclosures", lambda e: {**e, "kl_mean": "0"}),
    ),
    enclosed(
        "count-above-positions",
        "A proven count above the number of positions",
        "BC-EVD-03 BC-EVD-10",
        rejected("evidence.count"),
        evidence("enclosure.top1_agree", (0,), 9),
        restate,
    ),
    enclosed(
        "end-below-zero",
        "A proven end below 0",
        "BC-EVD-02",
        rejected("evidence.negative"),
        evidence("enclosure.drift", (0, 1), -1.0),
    ),
    enclosed(
        "end-infinite",
        "A proven end that is infinite",
        "BC-EVD-02 BC-ENC-14",
        rejected("evidence.not_finite"),
        evidence("enclosure.drift", (0, 1), float("inf")),
    ),
    enclosed(
        "equal-programs-differ",
        "A proven error where both sides are one program",
        "BC-EVD-04 BC-EVD-10",
        rejected("evidence.definition"),
        evidence("enclosure.error", (0, 2), 0.5),
        restate,
    ),
    enclosed(
        "equal-programs-cover-less",
        "A token less proven to be covered where both sides are one program",
        "BC-EVD-04 BC-EVD-10",
        rejected("evidence.definition"),
        evidence("enclosure.covered", (0, 2, 0), 7),
        restate,
    ),
    enclosed(
        "least-basis-proof",
        "A policy that asks for proofs, and enclosures among the weaker claims",
        "BC-TRU-11",
        rejected("policy.basis"),
        policy("limits.least_basis", "proof"),
    ),
    enclosed(
        "replaces-no-measured-claim",
        "A policy that asks for enclosures everywhere, and measured claims beside the enclosed ones",
        "BC-TRU-11 BC-CLM-18",
        rejected("policy.basis"),
        policy("limits.least_basis", "enclosure"),
        rows=6,
    ),
    enclosed(
        "least-basis-measurement",
        "A policy that is content with measured claims",
        "BC-TRU-11",
        accepted("policy.limits"),
        policy("limits.least_basis", "measurement"),
    ),
    enclosed(
        "no-model",
        "Enclosures, and a proof that is asked for without the model",
        "BC-ENC-02 BC-ENC-16",
        indeterminate(notes="proof.not_run"),
        given(prove=1),
    ),
    *(
        enclosed(
            f"{slug(path)}-{'more' if sign > 0 else 'less'}",
            f"{path} of the enclosures, one unit {'more' if sign > 0 else 'less'}",
            "BC-CLM-18 BC-CLM-01",
            rejected(CLAIM),
            state(f"claims.enclosures.{path}", unit(sign)),
        )
        for path, sign in UNITS
    ),
    *(
        enclosed(name, tests, requirements, rejected(code), state(f"claims.enclosures.{path}", value))
        for name, tests, path, value, code, requirements in SAID
    ),
    *_false(),
)
