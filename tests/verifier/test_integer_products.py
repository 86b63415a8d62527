"""Products of balls with weights by float64 products of integers hold every number that they may be (BC-ENC-17)."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flint", reason="python-flint, blockcert[prove], is not installed")

from blockcert.same_program import same_stages
from blockcert_verifier.enclose import integer_products
from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, arb_mat, ctx
from blockcert_verifier.enclose.integer_products import DIGIT, Digits, cut, product, slices
from blockcert_verifier.enclose.interval import Interval
from blockcert_verifier.enclose.rational import interval
from blockcert_verifier.enclose.trajectories import enclose_row
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair
from tests.support.tiny import tiny_pair
from tests.verifier.test_enclosures import THRESHOLDS

ROWS, INNER, OUT = 4, 19, 3
RNG = np.random.default_rng(3)
PLAIN = RNG.standard_normal((ROWS, INNER))
NARROW = RNG.standard_normal((INNER, OUT)).astype(np.float32).astype(np.float64)

ACTIVATIONS: dict[str, Callable[[], Balls]] = {
    "exact": lambda: _balls(PLAIN),
    "rounded": lambda: [[v / 3 for v in row] for row in _balls(PLAIN)],
    "wide": lambda: [[v + arb(0, 1e-9) for v in row] for row in _balls(PLAIN)],
    "wider than they are large": lambda: [[v + arb(0, 1e3) for v in row] for row in _balls(PLAIN)],
    "huge": lambda: [[v * arb(10) ** 250 / 3 for v in row] for row in _balls(PLAIN)],
    "tiny": lambda: [[v / arb(10) ** 250 / 7 for v in row] for row in _balls(PLAIN)],
    "rows of different sizes": lambda: [
        [v * arb(10) ** (9 * t) / 3 for v in row] for t, row in enumerate(_balls(PLAIN))
    ],
    "entries of all sizes": lambda: _balls(PLAIN * np.exp(20 * np.sin(np.arange(PLAIN.size))).reshape(PLAIN.shape)),
    "a row of zeros": lambda: _balls(PLAIN * (np.arange(ROWS) != 1)[:, None]),
    "radii that no float holds": lambda: [[v + arb(0, arb(2) ** -5000) for v in row] for row in _balls(PLAIN)],
    "all at a power of two": lambda: _balls(np.full(PLAIN.shape, -1024.0)),
}
WEIGHTS: dict[str, np.ndarray] = {
    "float32": NARROW,
    "float64": RNG.standard_normal((INNER, OUT)),
    "of all sizes": NARROW * 2.0 ** RNG.integers(-30, 30, NARROW.shape),
    "subnormal": NARROW * 2.0**-1060,
    "huge": NARROW * 2.0**1000,
    "cancelling": np.where(np.arange(INNER)[:, None] % 2, 1e6, -1e6) + NARROW * 1e-9,
    "nothing": np.zeros((INNER, OUT)),
    "integers": np.rint(NARROW * 100),
    "all at a power of two": np.full((INNER, OUT), 0.5),
}


def _balls(x: np.ndarray) -> Balls:
    return [[arb(v) for v in row] for row in x.tolist()]


def ends(v: Ball) -> tuple[Fraction, Fraction]:
    found = interval(v)
    assert found.lower is not None
    assert found.upper is not None
    return found.lower, found.upper


def farthest(x: Balls, weights: np.ndarray) -> list[list[tuple[Fraction, Fraction]]]:
    """The least and the largest that each entry of ``x W`` may be, exactly."""
    columns = [[Fraction(v) for v in column] for column in weights.T.tolist()]
    found: list[list[tuple[Fraction, Fraction]]] = []
    for row in x:
        spans = [ends(v) for v in row]
        found.append(
            [
                (
                    sum(
                        (w * (low if w > 0 else high) for (low, high), w in zip(spans, column, strict=True)), Fraction()
                    ),
                    sum(
                        (w * (high if w > 0 else low) for (low, high), w in zip(spans, column, strict=True)), Fraction()
                    ),
                )
                for column in columns
            ]
        )
    return found


def outside(found: Balls, exact: list[list[tuple[Fraction, Fraction]]]) -> int:
    """How many entries may be what their ball does not hold."""
    count = 0
    for balls, spans in zip(found, exact, strict=True):
        for v, (low, high) in zip(balls, spans, strict=True):
            one: Interval = interval(v)
            assert one.lower is not None
            assert one.upper is not None
            count += not (one.lower <= low and high <= one.upper)
    return count


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_products_hold_every_number_that_they_may_be(name: str, weights: str) -> None:
    for bits in (53, 150):
        with ctx.workprec(bits):
            x, matrix = ACTIVATIONS[name](), WEIGHTS[weights]
            digits, parts = cut(x), slices(matrix)
            if digits is None or parts is None:
                assert weights in REFUSED
                continue
            found = product(digits, parts)
            assert outside(found, farthest(x, matrix)) == 0
            # and no wider than a product of balls, but by a little of the largest in the row
            plain = (arb_mat(x) * arb_mat(matrix.tolist())).tolist()
            for row, other, source in zip(found, plain, x, strict=True):
                size = max((abs(v).upper() for v in source), default=arb(0)) * float(np.abs(matrix).sum(0).max())
                room = size * arb(2) ** (8 - bits)
                assert all(v.rad() <= 4 * w.rad() + room for v, w in zip(row, other, strict=True))


REFUSED = {"of all sizes", "subnormal"}
"""Sizes so different that exact integers would be longer than balls: these go to the product of balls."""


def test_sizes_too_different_are_left_to_balls() -> None:
    with ctx.workprec(100):
        assert slices(NARROW * 2.0 ** RNG.integers(-300, 300, NARROW.shape)) is None
        assert cut(_balls(PLAIN * np.array([[1.0], [1e-200], [1], [1]]))) is None
        assert cut([[arb("nan")] * INNER]) is None
        assert cut([[arb(1) + arb(0, "inf")] * INNER]) is None
        assert cut(_balls(np.zeros((2, 3)))) is None


@pytest.mark.parametrize("inner", [2, 37, 1000, 1 << 13])
def test_no_sum_leaves_the_integers_of_float64(inner: int) -> None:
    """The largest digits times the largest slices, of one sign: every partial sum is at most 2^53."""
    parts = slices(np.full((inner, 1), 1 - 2.0**-53))
    assert parts is not None
    largest = max(float(np.abs(part).max()) for part in parts.parts)
    assert 2.0 ** (DIGIT - 1) * largest * inner <= 2.0**53
    assert (parts.values() == 1 - 2.0**-53).all()


def _without_radius(x: Digits) -> Digits:
    return Digits(x.digits, 0 * x.radius, x.unit)


def test_a_narrowed_radius_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with ctx.workprec(53):
        x, parts = ACTIVATIONS["wide"](), slices(NARROW)
        digits = cut(x)
        assert digits is not None
        assert parts is not None
        exact = farthest(x, NARROW)
        assert outside(product(digits, parts), exact) == 0
        assert outside(product(_without_radius(digits), parts), exact) > 0
        short = Digits(digits.digits, 0.9 * digits.radius, digits.unit)
        monkeypatch.setattr(integer_products, "_GUARD", 40)  # so that what is cut off below does not hide it
        assert outside(product(short, parts), exact) > 0


def test_what_is_cut_off_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact activations have no radius: what is lost of their product is all that the ball has."""
    with ctx.workprec(400):
        x, parts = _balls(PLAIN), slices(NARROW)
        digits = cut(x)
        assert digits is not None
        assert parts is not None
        exact = farthest(x, NARROW)
        monkeypatch.setattr(integer_products, "_GUARD", -400)
        assert outside(product(digits, parts), exact) == 0
        monkeypatch.setattr(integer_products, "_LOST", 0.0)
        assert outside(product(digits, parts), exact) > 0


def test_a_radius_is_at_least_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-ENC-17, step 4, before Arb rounds anything outward: a tiny radius is not lost beside the unit for what was cut
    off."""
    handed_on: list[list[float]] = []

    def matrix(*arguments: Any) -> Any:
        if isinstance(arguments[-1], list):
            handed_on.append(arguments[-1])
        return arb_mat(*arguments)

    monkeypatch.setattr(integer_products, "arb_mat", matrix)
    with ctx.workprec(150):
        digits, parts = cut(ACTIVATIONS["rounded"]()), slices(WEIGHTS["float64"])
        assert digits is not None
        assert parts is not None
        digits = Digits(digits.digits, np.full_like(digits.radius, 2.0**-100), digits.unit)
        product(digits, parts)
    [radii] = handed_on
    carried = [
        sum((Fraction(r) * Fraction(w) for r, w in zip(row, column, strict=True)), Fraction())
        for row in digits.radius.tolist()
        for column in parts.absolute.T.tolist()
    ]
    # every entry loses digits, and so has the same unit; in float64 nothing of what is carried is left beside it
    unit = Fraction(2) ** math.floor(math.log2(min(radii)))
    assert all(0 < one < unit * Fraction(2) ** -53 for one in carried)
    assert all(Fraction(found) >= one + unit for found, one in zip(radii, carried, strict=True))


def test_longer_slices_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a sum of products to exceed 2^53 it would be rounded, and no radius holds that."""
    monkeypatch.setattr(integer_products, "_EXACT", 62)
    with ctx.workprec(150):
        x, parts = ACTIVATIONS["rounded"](), slices(WEIGHTS["float64"])
        digits = cut(x)
        assert digits is not None
        assert parts is not None
        assert outside(product(digits, parts), farthest(x, WEIGHTS["float64"])) > 0


def test_a_row_is_the_same_whichever_products_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    tokens = [1, 5, 9, 2, 2, 7, 3, 0, 4]
    plain = enclose_row(pair, tokens, THRESHOLDS, 144)
    used: list[int] = []

    def always(inner: int, out: int) -> bool:
        used.append(inner * out)
        return True

    monkeypatch.setattr("blockcert_verifier.enclose.maps.worthwhile", always)
    monkeypatch.setattr("blockcert_verifier.enclose.maps._COLUMNS", 5)
    found = enclose_row(pair, tokens, THRESHOLDS, 144)
    assert used
    for place, cell in found.items():
        first, second = cell.value, plain[place].value
        assert first.lower is not None and first.upper is not None  # noqa: PT018
        assert second.lower is not None and second.upper is not None  # noqa: PT018
        assert first.lower <= second.upper
        assert second.lower <= first.upper
        assert first.upper - first.lower < Fraction(1, 10**12)
