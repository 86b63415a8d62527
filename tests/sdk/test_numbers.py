"""Decimal strings: the refused spellings by name, and rounding against independent definitions.

Requirements: BC-NUM-01 to 05, BC-NUM-08.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockcert import program
from blockcert.errors import Refusal
from blockcert.numbers import (
    exact,
    format_decimal,
    parse_decimal,
    round_bound,
    round_down_share,
    round_nearest,
    round_up,
)

MISSPELLED: dict[str, str] = {
    "empty": "",
    "minus alone": "-",
    "minus zero": "-0",
    "minus zero with decimals": "-0.0",
    "leading plus": "+1",
    "leading zero": "01",
    "no whole digit": ".5",
    "no decimals after the point": "1.",
    "trailing zero": "1.50",
    "zero decimals": "1.0",
    "exponent": "1e5",
    "capital exponent": "1E5",
    "comma": "1,5",
    "two points": "1.2.3",
    "underscore": "1_000",
    "leading space": " 1",
    "trailing newline": "1\n",
    "inner newline": "1\n2",
    "Arabic digits": "١٢",
    "full-width digits": "１",
    "fraction": "1/2",
    "hexadecimal": "0x1",
    "NaN": "NaN",
    "infinity": "inf",
    "41 whole digits": "1" * 41,
    "41 decimals": "0." + "1" * 41,
    "a megabyte of digits": "1" * 1_000_000,
}


@pytest.mark.parametrize("case", MISSPELLED)
def test_misspelled_decimals_are_refused(case: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_decimal(MISSPELLED[case], "statement.json: $.x")
    assert refused.value.code == "number.grammar"
    assert refused.value.place == "statement.json: $.x"
    assert len(refused.value.sentence) < 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Fraction(0)),
        ("-1", Fraction(-1)),
        ("10", Fraction(10)),
        ("0.5", Fraction(1, 2)),
        ("-0.05", Fraction(-1, 20)),
        ("9" * 40 + "." + "9" * 40, Fraction(10**80 - 1, 10**40)),
        ("0." + "0" * 39 + "1", Fraction(1, 10**40)),
    ],
)
def test_values_of_well_spelled_decimals(text: str, value: Fraction) -> None:
    assert parse_decimal(text) == value
    assert format_decimal(value) == text


DECIMALS = st.builds(Fraction, st.integers(-(10**80) + 1, 10**80 - 1), st.just(10**40)) | st.builds(
    lambda units, places: Fraction(units, 10**places), st.integers(-(10**9), 10**9), st.integers(0, 40)
)
RATIONALS = (
    st.fractions()
    | st.fractions(-2, 2)
    | st.builds(Fraction, st.floats(-1e38, 1e38))
    | st.builds(lambda m, e: m * Fraction(10) ** e, st.integers(-(10**7), 10**7), st.integers(-45, 30))
)


@given(DECIMALS)
def test_format_then_parse_is_the_value(value: Fraction) -> None:
    assert parse_decimal(format_decimal(value)) == value


@given(st.from_regex(re.compile(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]{0,39}[1-9])?", re.ASCII), fullmatch=True))
def test_parse_then_format_is_the_text(text: str) -> None:
    if text != "-0":
        assert format_decimal(parse_decimal(text)) == text


@given(st.text("0123456789.-e+ \n", max_size=12))
def test_one_spelling_for_each_value(text: str) -> None:
    try:
        value = parse_decimal(text)
    except Refusal:
        return
    assert format_decimal(value) == text
    assert Fraction(text) == value


@pytest.mark.parametrize(
    "value", [Fraction(1, 3), Fraction(1, 10**41), Fraction(10**40), Fraction(-(10**40)), Fraction(1, 2**60)]
)
def test_values_without_a_decimal_string_are_refused(value: Fraction) -> None:
    with pytest.raises(Refusal) as refused:
        format_decimal(value)
    assert refused.value.code == "number.not_decimal"


# --- rounding ------------------------------------------------------------------------------------------------------


def ceiling_by_decimal(value: Fraction, digits: int, places: int) -> Fraction:
    """``round_up``'s definition by the standard library's decimal arithmetic, from 400 digits."""
    with localcontext(Context(prec=400, rounding=ROUND_CEILING)):
        wide = Decimal(value.numerator) / Decimal(value.denominator)
        short = Context(prec=digits, rounding=ROUND_CEILING).create_decimal(wide)
        return Fraction(short.quantize(Decimal(1).scaleb(-places)))


@given(RATIONALS, st.integers(1, 12), st.integers(0, 40))
@example(Fraction(9999995, 10), 6, 30)
@example(Fraction(-1, 10**35), 6, 30)
@example(Fraction(1, 10**35), 6, 30)
@example(Fraction(10**6), 6, 30)
@example(Fraction(10**6 + 1), 6, 30)
@example(Fraction(-(10**6) - 1), 6, 30)
def test_round_up_is_the_smallest_short_decimal_above(value: Fraction, digits: int, places: int) -> None:
    text = round_up(value, digits, places)
    rounded = parse_decimal(text)
    assert rounded >= value
    assert rounded == ceiling_by_decimal(value, digits, places)
    assert len(re.sub(r"[-.]", "", text).strip("0")) <= digits
    assert len(text.partition(".")[2]) <= places
    assert round_up(rounded, digits, places) == text


@given(RATIONALS, RATIONALS)
def test_round_up_is_monotone(a: Fraction, b: Fraction) -> None:
    low, high = sorted((a, b))
    assert parse_decimal(round_up(low)) <= parse_decimal(round_up(high))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(1, 3), "0.333334"),
        (Fraction(-1, 3), "-0.333333"),
        (Fraction(123456), "123456"),
        (Fraction(1234561), "1234570"),
        (Fraction(999999), "999999"),
        (Fraction(9999991), "10000000"),
        (exact(0.1), "0.100001"),
        (exact(5e-324), "0." + "0" * 29 + "1"),
        (Fraction(-1, 10**31), "0"),
        (Fraction(15, 10**31), "0." + "0" * 29 + "2"),
    ],
)
def test_round_up_of(value: Fraction, text: str) -> None:
    assert round_up(value) == text


@pytest.mark.parametrize("value", [exact(1.7e308), Fraction(10**40), -Fraction(10**40), Fraction(10**40) - 1])
def test_values_too_large_to_print_are_refused(value: Fraction) -> None:
    with pytest.raises(Refusal) as refused:
        round_up(value)
    assert refused.value.code == "number.not_decimal"


def test_a_bound_is_zero_only_between_one_program_and_itself() -> None:
    assert round_bound(Fraction(0), same=True) == "0"
    assert round_bound(Fraction(0), same=False) == "0." + "0" * 29 + "1"
    assert parse_decimal(round_bound(Fraction(0), same=False)) == Fraction(1, 10**30)


@given(RATIONALS, st.booleans())
def test_a_bound_is_a_round_up_and_idempotent(value: Fraction, same: bool) -> None:
    text = round_bound(value, same)
    assert parse_decimal(text) >= value
    assert text == round_up(value) or (not same and round_up(value) == "0")
    assert round_bound(parse_decimal(text), same) == text


@given(RATIONALS)
def test_share_is_the_largest_six_place_decimal_below(value: Fraction) -> None:
    rounded = parse_decimal(round_down_share(value))
    assert rounded <= value < rounded + Fraction(1, 10**6)
    assert round_down_share(rounded) == round_down_share(value)


@given(RATIONALS, st.integers(0, 12))
@example(Fraction(25, 10), 0)
@example(Fraction(-25, 10), 0)
@example(Fraction(5, 10**10), 9)
@example(Fraction(15, 10**10), 9)
def test_nearest_agrees_with_decimal_arithmetic(value: Fraction, places: int) -> None:
    rounded = parse_decimal(round_nearest(value, places))
    assert abs(rounded - value) <= Fraction(1, 2 * 10**places)
    assert round_nearest(rounded, places) == round_nearest(value, places)
    scaled = value * 10**places
    if scaled.denominator == 2:
        assert (rounded * 10**places) % 2 == 0
    with localcontext(Context(prec=400)):
        wide = Decimal(value.numerator) / Decimal(value.denominator)
        assert Fraction(wide.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)) == rounded


@given(RATIONALS)
def test_everything_printed_fits_the_statement_type(value: Fraction) -> None:
    pattern = program.Decimal.__metadata__[0].pattern
    for text in (round_up(value), round_bound(value, same=False), round_down_share(value), round_nearest(value)):
        assert re.search(pattern, text)
        assert text != "-0"


@pytest.mark.parametrize(("digits", "places"), [(0, 30), (6, 41), (6, -1)])
def test_round_up_takes_only_sizes_that_can_be_printed(digits: int, places: int) -> None:
    with pytest.raises(ValueError, match="digits"):
        round_up(Fraction(1), digits, places)


def test_round_nearest_takes_only_places_that_can_be_printed() -> None:
    with pytest.raises(ValueError, match="places"):
        round_nearest(Fraction(1), 41)


# --- floats --------------------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_exact_is_the_float(value: float) -> None:
    assert float(exact(value)) == value
    assert exact(value).denominator.bit_count() == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_floats_are_refused(value: float) -> None:
    with pytest.raises(Refusal) as refused:
        exact(value, "evidence.safetensors: error[3, 1]")
    assert refused.value.code == "number.not_finite"
    assert refused.value.place == "evidence.safetensors: error[3, 1]"
