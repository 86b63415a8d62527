"""Decimal strings with a second spelling, and claims rounded otherwise than the standard says."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from blockcert_producers.conformance.changes import DROP, evidence, state
from blockcert_producers.conformance.draft import EVIDENCE, Change, Draft
from blockcert_producers.conformance.entry import accepted, case, rejected
from blockcert_producers.conformance.repair import restate
from blockcert_producers.conformance.tensors import read_column

__all__ = ["CASES", "unit"]

DRIFT = "claims.end_to_end.drift"
SPELLINGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "trailing-zero": ("A trailing zero behind the point", lambda s: s + "0"),
    "plus-sign": ("A plus sign", lambda s: "+" + s),
    "leading-zero": ("A leading zero", lambda s: "0" + s),
    "exponent": ("An exponent", lambda s: s + "e0"),
    "no-whole-part": ("Nothing before the point", lambda _: ".5"),
    "no-fraction": ("Nothing behind the point", lambda _: "1."),
    "minus-zero": ("Minus zero", lambda _: "-0"),
    "newline": ("A newline behind the number", lambda s: s + "\n"),
    "blank": ("A blank before the number", lambda s: " " + s),
    "other-digits": ("Arabic-Indic digits", lambda _: "\u0661"),
    "comma": ("A comma for the point", lambda s: s.replace(".", ",")),
    "forty-one-digits": ("41 digits before the point", lambda _: "1" * 41),
    "forty-one-decimals": ("41 digits behind the point", lambda _: "0." + "0" * 40 + "1"),
    "nan": ("The word NaN", lambda _: "NaN"),
    "underscore": ("An underscore between digits", lambda _: "1_0"),
}


def unit(sign: int) -> Any:
    """The number one unit in its last place away, in its one spelling."""

    def change(value: Any) -> Any:
        if isinstance(value, int):
            return value + sign
        places = len(value.partition(".")[2])
        moved = format(Decimal(value) + sign * Decimal(1).scaleb(-places), "f")
        return moved.rstrip("0").rstrip(".") if "." in moved else moved

    return change


def as_float(draft: Draft) -> None:
    """The mean of a column as a floating sum gives it: another number in the last of 40 digits."""
    cells = read_column(draft.files[EVIDENCE], "kl_sum")
    tokens = draft.predicate["claims"]["end_to_end"]["loss_tokens"]
    exact = sum((Fraction(float(cell)) for cell in cells), Fraction(0)) / tokens
    draft.predicate["claims"]["end_to_end"]["kl_mean"] = format(
        Decimal(exact.numerator) / Decimal(exact.denominator), "f"
    )


def said(path: str, value: str) -> Change:
    """What stands at a place of the statement, which must be this."""

    def check(found: Any) -> Any:
        if found != value:
            raise ValueError(f"{path} is {found} and not {value}")
        return found

    return state(path, check)


CASES = (
    *(
        case(f"number::{name}", f"{tests}, in a claim", "BC-NUM-01", rejected("json.type"), state(DRIFT, change))
        for name, (tests, change) in SPELLINGS.items()
    ),
    case("number::a-json-number", "A claim that is a JSON number", "BC-NUM-01", rejected("json.type"), state(DRIFT, 1)),
    case(
        "number::bound-rounded-down",
        "A bound rounded to nearest and not up",
        "BC-NUM-03",
        rejected("recompute.claim.mismatch"),
        state(DRIFT, unit(-1)),
    ),
    case(
        "number::bound-of-seven-digits",
        "A bound of seven significant digits, and true",
        "BC-NUM-03 BC-CLM-01",
        rejected("recompute.claim.mismatch"),
        state(DRIFT, lambda s: s + "1"),
    ),
    case(
        "number::zero-between-two-programs",
        "A bound printed as 0 between programs that are not the same",
        "BC-NUM-04",
        rejected("recompute.claim.mismatch"),
        evidence("error", (slice(None), 1), 0.0),
        restate,
        state("claims.stages[1].error", "0"),
    ),
    case(
        "number::one-unit-between-equal-programs",
        "A bound of one unit between equal programs",
        "BC-NUM-04",
        rejected("recompute.claim.mismatch"),
        state("claims.stages[1].error", "0." + "0" * 29 + "1"),
        base="same",
    ),
    case(
        "number::share-rounded-up",
        "A share rounded up",
        "BC-NUM-05",
        rejected("recompute.population.mismatch"),
        state("claims.population.claims[0].at_least_share", "0.513514"),
        base="copy",
    ),
    case(
        "number::mean-not-rounded",
        "A mean that is not rounded",
        "BC-NUM-02 BC-CLM-02",
        rejected("recompute.claim.mismatch"),
        as_float,
    ),
    case(
        "number::bound-of-thirty-decimals",
        "A bound so small that thirty decimals are fewer than six digits",
        "BC-NUM-03",
        accepted(),
        evidence("error", (slice(None), 1), 1.23e-28),
        restate,
    ),
    case(
        "number::mean-halfway",
        "A mean halfway between two: to the even one",
        "BC-NUM-02",
        accepted(),
        evidence("kl_sum", slice(None), 7 / 1024),  # of 7 positions each: 0.0009765625
        restate,
        said("claims.end_to_end.kl_mean", "0.000976562"),
    ),
    case(
        "number::mean-one-unit-off",
        "A mean rounded away from nearest",
        "BC-NUM-02",
        rejected("recompute.claim.mismatch"),
        state("claims.end_to_end.loss_reference", unit(1)),
    ),
    case(
        "number::count-a-string",
        "A count that is a string",
        "BC-NUM-06",
        rejected("json.type"),
        state("claims.end_to_end.tokens", "48"),
    ),
    case(
        "number::count-missing",
        "A count that is not there",
        "BC-NUM-12",
        rejected("json.type"),
        state("claims.end_to_end.tokens", DROP),
    ),
    case(
        "number::largest-decimal",
        "A value of 10^40 and more, which no decimal string states",
        "BC-CLM-04",
        rejected("number.not_decimal"),
        evidence("attribution.hybrid_step", (0, 1), 1e41),
    ),
)
