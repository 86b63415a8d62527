"""A buyer's limits, each met to its last digit and each missed by one."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from blockcert_producers.conformance.changes import evidence, model_given, options, policy, replayed
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import Entry, accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.numbers import unit
from blockcert_producers.conformance.repair import restate

__all__ = ["CASES"]


def as_claimed(name: str, change: Callable[[str], str] = lambda value: value) -> Change:
    """A limit that is the claim itself, or a unit of it away."""

    def apply(draft: Draft) -> None:
        claims = draft.predicate["claims"]
        value = claims["end_to_end"][name]
        if name == "relative_drift":
            value = max(value, claims["stages"][-1]["relative_error"], key=Fraction)
        draft.policy["limits"][name] = change(value.lstrip("-"))

    return apply


def drift_alone(draft: Draft) -> None:
    """A limit that is the relative drift after the last block."""
    draft.policy["limits"]["relative_drift"] = draft.predicate["claims"]["end_to_end"]["relative_drift"]


def audited(rows: int) -> Change:
    def apply(draft: Draft) -> None:
        draft.policy["require"] = [*draft.policy["require"], "replay"]
        draft.policy["limits"]["least_audit_rows"] = rows

    return apply


def top1(more: int) -> Change:
    """The share of agreeing positions, of 48; with one more where asked for."""

    def apply(draft: Draft) -> None:
        end = draft.predicate["claims"]["end_to_end"]
        share = Fraction(end["top1_agree"] + more, end["tokens"])
        # forty digits from below still ask for the next whole position
        draft.policy["limits"]["top1_share"] = (str(int(share * 10**30)).rjust(30, "0")).join(["0.", ""]).rstrip("0")

    return apply


def _sizes() -> tuple[Entry, ...]:
    found: list[Entry] = []
    for name, what in (
        ("relative_drift", "relative drift"),
        ("kl_mean", "mean divergence"),
        ("loss_difference", "mean loss difference"),
        ("logit_difference", "logit difference"),
    ):
        found.append(
            case(
                f"limit::{name.replace('_', '-')}-met",
                f"The {what} is exactly the limit",
                "BC-TRU-11",
                accepted("policy.limits"),
                as_claimed(name),
            )
        )
        found.append(
            case(
                f"limit::{name.replace('_', '-')}-missed",
                f"The limit is one unit below the {what}",
                "BC-TRU-11",
                rejected(f"policy.{name}"),
                as_claimed(name, unit(-1)),
            )
        )
    return tuple(found)


ASKED = {"kind": "top1", "share": "0.95", "threshold": None, "at_least": "0.054", "alpha": "0.05"}
"""What the certificates here just meet: 2 of 37 windows."""
MISSED = rejected("policy.population")

CASES = (
    *_sizes(),
    case("limit::top1-met", "As many positions agree as are asked for", "BC-TRU-11", accepted(), top1(0)),
    case(
        "limit::top1-missed",
        "One position less agrees than is asked for",
        "BC-TRU-11",
        rejected("policy.top1_share"),
        top1(1),
    ),
    case(
        "limit::coverage-met",
        "Every stage covers all its tokens",
        "BC-TRU-11",
        accepted(),
        policy("limits.coverage", {"threshold": "0.01", "share": "1"}),
        base="copy",
    ),
    case(
        "limit::coverage-missed",
        "A block covers too few tokens",
        "BC-TRU-11",
        rejected("policy.coverage"),
        policy("limits.coverage", {"threshold": "0.05", "share": "0.95"}),
    ),
    *(
        case(
            f"limit::coverage-of-the-{which}",
            f"The {which} covers a token too few",
            "BC-TRU-11",
            rejected("policy.coverage"),
            evidence("covered", (3, stage), lambda cells: cells - 1),
            restate,
            policy("limits.coverage", {"threshold": "0.01", "share": "1"}),
            base="copy",
        )
        for which, stage in (("embedding", 0), ("head", -1))
    ),
    case(
        "limit::relative-drift-of-the-head",
        "The last state drifts less than the limit, and the head errs more",
        "BC-TRU-11",
        rejected("policy.relative_drift"),
        evidence("relative_error", (3, -1), 0.9),
        restate,
        drift_alone,
        base="copy",
    ),
    case(
        "limit::loss-difference-below",
        "The surrogate's mean loss is smaller by more than the limit",
        "BC-TRU-11",
        rejected("policy.loss_difference"),
        evidence("loss_difference", slice(None), lambda cells: -abs(cells) - 1),
        restate,
        as_claimed("loss_difference", unit(-1)),
    ),
    case(
        "limit::coverage-not-counted",
        "Coverage at a threshold that the certificate does not count",
        "BC-TRU-11",
        rejected("policy.coverage"),
        policy("limits.coverage", {"threshold": "0.03", "share": "0"}),
        base="copy",
    ),
    *(
        case(
            f"limit::population-{name}",
            tests,
            "BC-TRU-11",
            expected,
            policy("limits.population", [{**ASKED, **changes}]),
        )
        for name, tests, expected, changes in (
            ("met", "Every entry has its claim, its share and its level", accepted(), {}),
            ("level", "The bound holds at a level above the one that is asked for", MISSED, {"alpha": "0.0499"}),
            ("share", "Fewer windows are bounded than are asked for", MISSED, {"at_least": "0.0541"}),
            ("absent", "The certificate bounds no such predicate", MISSED, {"share": "0.96"}),
        )
    ),
    case(
        "limit::basis-met",
        "Every claim is a measurement, which is asked for",
        "BC-TRU-11 BC-CLM-14",
        accepted(),
        policy("limits.least_basis", "measurement"),
    ),
    case(
        "limit::basis-missed",
        "Every claim is a measurement, and an enclosure is asked for",
        "BC-TRU-11 BC-CLM-14",
        rejected("policy.basis"),
        policy("limits.least_basis", "enclosure"),
    ),
    case(
        "limit::age-met",
        "A second before it is too old",
        "BC-TRU-11",
        accepted(),
        policy("limits.greatest_age_days", 7),
        options(at="2026-11-29T09:59:59Z"),
    ),
    case(
        "limit::age-missed",
        "Seven days to the second, where less is asked for",
        "BC-TRU-11",
        rejected("policy.age"),
        policy("limits.greatest_age_days", 7),
        options(at="2026-11-29T10:00:00Z"),
    ),
    case(
        "limit::version",
        "A policy that accepts another version",
        "BC-TRU-11",
        rejected("policy.version"),
        policy("accept.versions", ["1.7"]),
    ),
    case(
        "limit::predicate-type",
        "A policy that accepts another type of predicate",
        "BC-TRU-11",
        rejected("policy.predicate_type"),
        policy("accept.predicate_types", ["urn:blockcert:certificate:v9"]),
    ),
    case(
        "limit::audit-of-all",
        "All rows are an audit, whatever seed drew them",
        "BC-TRU-11 BC-VER-06",
        accepted(),
        audited(1000),
        replayed,
    ),
    case(
        "limit::audit-with-a-given-seed",
        "Some rows drawn with a given seed are no audit",
        "BC-TRU-11 BC-VER-06",
        indeterminate("policy.audit_rows"),
        audited(2),
        model_given,
        options(replay=3, seed="07" * 32),
    ),
    case(
        "limit::audit-too-small",
        "Fewer rows than are asked for",
        "BC-TRU-11",
        indeterminate("policy.audit_rows"),
        audited(3),
        model_given,
        options(replay=2),
    ),
    case(
        "limit::audit-not-run",
        "Rows are asked for, and nothing was re-run",
        "BC-TRU-11",
        indeterminate("policy.audit_rows", "replay.not_run"),
        audited(1),
    ),
    case(
        "limit::audit-enough",
        "As many rows with fresh randomness as are asked for",
        "BC-TRU-11 BC-VER-02",
        accepted(),
        audited(2),
        model_given,
        options(replay=2),
    ),
)
