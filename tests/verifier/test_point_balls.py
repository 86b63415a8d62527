"""Each operation on float64 balls, narrow and wide, at all sizes: what any numbers in the operands exactly give lies in
the result (BC-ENC-11, 12)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from blockcert_verifier.enclose.point_balls import Ball, BallMath
from blockcert_verifier.evaluate import Backend
from blockcert_verifier.evaluate.operations import activate
from tests.support.exact_oracle import fraction

COUNT = 400
MATH = BallMath(Backend())
Exact = Callable[..., Fraction]


def balls(rng: np.random.Generator, shape: tuple[int, ...], most: float = 1e150) -> Ball:
    """Midpoints of all sizes, zeros and subnormal numbers among them; radii from none to wider than the midpoint."""
    power = math.log10(most)
    mid = rng.standard_normal(shape) * 10.0 ** rng.uniform(-power, power, shape)
    mid = np.where(rng.random(shape) < 0.05, rng.choice([0.0, 5e-324, -3e-310, 1.0, -1.0], shape), mid)
    rad = np.abs(mid) * 10.0 ** rng.uniform(-20, 1, shape)
    rad = np.where(rng.random(shape) < 0.2, 0.0, np.where(rng.random(shape) < 0.2, rng.random(shape) * 3, rad))
    return Ball(mid, rad)


def inside(rng: np.random.Generator, ball: Ball) -> list[Fraction]:
    """A number of each ball: an end of it as a rule, since that is where a radius may be too small."""
    where = rng.choice([-1.0, 1.0, -1.0, 1.0, 0.0, 0.5], ball.mid.shape)
    return [
        Fraction(float(m)) + Fraction(float(w)) * Fraction(float(r))
        for m, w, r in zip(ball.mid.flat, where.flat, MATH.radius(ball).flat, strict=True)
    ]


def assert_inside(found: Ball, values: Sequence[Fraction | None]) -> None:
    """Every value lies in its ball. A radius that is not finite holds everything, and None lies in no other; nor does a
    midpoint that is not finite have another."""
    pairs = zip(found.mid.flat, MATH.radius(found).flat, values, strict=True)
    for i, (m, r, value) in enumerate(pairs):
        if math.isfinite(r):
            assert r >= 0, i
            assert math.isfinite(m), i
            assert value is not None, i
            assert abs(Fraction(float(m)) - value) <= Fraction(float(r)), (i, float(m), float(r), float(value))


def exact(values: np.ndarray) -> np.ndarray:
    """The same numbers as fractions."""
    return np.array([Fraction(v.item()) for v in values.flat], dtype=object).reshape(values.shape)


def quotient(a: Fraction, b: Fraction) -> Fraction | None:
    return None if b == 0 else a / b


ARITHMETIC: dict[str, tuple[Callable[[Ball, Ball], Ball], Callable[[Fraction, Fraction], Fraction | None]]] = {
    "add": (MATH.add, lambda a, b: a + b),
    "subtract": (MATH.subtract, lambda a, b: a - b),
    "multiply": (MATH.multiply, lambda a, b: a * b),
    "divide": (MATH.divide, quotient),
}


def without(ball: Ball, side: str, which: str) -> Ball:
    return Ball(ball.mid, None) if which in (side, "both") else ball


@pytest.mark.parametrize("alone", ["none", "left", "right", "both"])
@pytest.mark.parametrize("operation", ARITHMETIC)
def test_arithmetic_on_balls(operation: str, alone: str) -> None:
    found, exactly_so = ARITHMETIC[operation]
    rng = np.random.default_rng(7)
    a, b = balls(rng, (COUNT,)), balls(rng, (COUNT,))
    # of like sizes too, where neither side is lost in the other
    near = Ball(np.where(rng.random(COUNT) < 0.5, a.mid * rng.uniform(-2, 2, COUNT), b.mid), b.rad)
    a, near = without(a, "left", alone), without(near, "right", alone)
    with np.errstate(all="ignore"):
        result = found(a, near)
    assert np.isfinite(MATH.radius(result)).mean() > 0.3
    for _ in range(4):
        assert_inside(result, [exactly_so(x, y) for x, y in zip(inside(rng, a), inside(rng, near), strict=True)])


def exactly(function: Callable[[Any], Any]) -> Exact:
    def value(x: Fraction) -> Fraction:
        return fraction(function(mpf(x.numerator) / x.denominator))

    return value


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "gelu": lambda x: x / 2 * mpmath.erfc(-x / mpmath.sqrt(2)),
    "gelu_tanh": lambda x: x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3))),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "relu": lambda x: max(x, mpf(0)),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_of_balls(function: str) -> None:
    rng = np.random.default_rng(8)
    a = balls(rng, (COUNT,), 30.0 if function == "exp" else 1e3)
    # where a slope is steepest, and where a sum with 1 cancels
    a = Ball(np.concatenate([a.mid, rng.uniform(-9, 9, COUNT)]), np.concatenate([MATH.radius(a), rng.random(COUNT)]))
    with np.errstate(all="ignore"):
        if function in ("exp", "tanh"):
            found = getattr(MATH, function)(a)
        else:
            found = MATH.activate(a, activate(MATH.backend, a.mid, function), function)
    assert np.isfinite(MATH.radius(found)).mean() > 0.5
    with mp.workdps(60):
        for _ in range(2):
            assert_inside(found, [exactly(FUNCTIONS[function])(x) for x in inside(rng, a)])


def test_the_root_of_what_is_not_negative() -> None:
    """Whatever the ball says: of a ball around 0, and of one below it, that reaches above."""
    rng = np.random.default_rng(9)
    a = balls(rng, (4 * COUNT,))
    with np.errstate(all="ignore"):
        found = MATH.sqrt(a)
    seen = 0
    with mp.workdps(60):
        for _ in range(3):
            values = [max(Fraction(0), x) for x in inside(rng, a)]
            reached = [m + r >= 0 for m, r in zip(a.mid, MATH.radius(a), strict=True)]
            kept = [i for i, (x, reach) in enumerate(zip(values, reached, strict=True)) if x > 0 or reach]
            seen += len(kept)
            part = Ball(found.mid[kept], MATH.radius(found)[kept])
            assert_inside(part, [exactly(mpmath.sqrt)(values[i]) for i in kept])
    assert seen > 5 * COUNT


def test_sums_and_products_of_balls() -> None:
    rng = np.random.default_rng(10)
    for inner in (1, 2, 7, 33):
        a, b = balls(rng, (40, inner)), balls(rng, (inner, 9))
        total = MATH.total(a)
        products = {
            "matmul": MATH.matmul(a, b),
            "matmul, exact left": MATH.matmul(Ball(a.mid, None), b),
            "weigh": MATH.weigh(a, b.mid, MATH.magnitudes(b.mid)),
            "weigh, exact left": MATH.weigh(Ball(a.mid, None), b.mid, MATH.magnitudes(b.mid)),
        }
        for _ in range(2):
            x, y = (np.array(inside(rng, one), dtype=object).reshape(one.mid.shape) for one in (a, b))
            assert_inside(total, list(x.sum(axis=1)))
            own, weights = exact(a.mid), exact(b.mid)
            assert_inside(products["matmul"], list((x @ y).flat))
            assert_inside(products["matmul, exact left"], list((own @ y).flat))
            assert_inside(products["weigh"], list((x @ weights).flat))
            assert_inside(products["weigh, exact left"], list((own @ weights).flat))


@pytest.mark.parametrize("function", [None, "relu", "tanh", "silu", "gelu", "gelu_tanh", "exp", "sqrt"])
@pytest.mark.parametrize("operation", ["weigh", "matmul", "total"])
def test_a_sum_that_overflows_on_its_way_is_not_known(operation: str, function: str | None) -> None:
    """Minus infinity in float64, 4e307 exactly: a relu would make 0 of the one, and nothing of the other."""
    ones = np.ones((4, 1))
    a = MATH.exactly(np.array([[-1.5e308, -1.5e308, 1.7e308, 1.7e308]]))
    with np.errstate(all="ignore"):
        match operation:
            case "weigh":
                found = MATH.weigh(a, ones, MATH.magnitudes(ones))
            case "matmul":
                found = MATH.matmul(a, MATH.exactly(ones))
            case _:
                found = MATH.total(a)
        match function:
            case None:
                pass
            case "exp" | "tanh" | "sqrt":
                found = getattr(MATH, function)(found)
            case _:
                found = MATH.activate(found, activate(MATH.backend, found.mid, function), function)
    assert not np.isfinite(MATH.radius(found)).any()


def test_weights_that_are_products_rounded_once() -> None:
    """A map of integers and scales: the product that is stored for it may be off by half a unit in the last place."""
    rng = np.random.default_rng(11)
    for size in (1.0, 1e-300):
        integers, scale = rng.integers(-(1 << 30), 1 << 30, (5, 9)), rng.random((5, 9)) * size
        weight = integers * scale
        a = Ball(rng.standard_normal((40, 5)) / size, None)
        found = MATH.weigh(a, weight, MATH.magnitudes(weight))
        assert_inside(found, list((exact(a.mid) @ (exact(integers) * exact(scale))).flat))


@pytest.mark.parametrize("text", ["0.1", "0.3", "1.4142135623730951", "0.0000000001", "96"])
def test_constants_that_are_no_floats(text: str) -> None:
    """A constant is within three roundings; what is added is rounded once."""
    rng = np.random.default_rng(12)
    a, value = balls(rng, (COUNT,)), float(text)
    own = Ball(a.mid, None)
    for ball in (a, own):
        values = inside(rng, ball)
        assert_inside(MATH.shift(ball, value), [x + Fraction(text) for x in values])
        for sign in (-1, 0, 1):
            stated = Fraction(value) * (1 + Fraction(sign * 299, 100 << 53))
            assert_inside(MATH.scale(ball, value), [x * stated for x in values])


@contextlib.contextmanager
def flushed() -> Iterator[None]:
    """A machine that flushes what is below 2^-1022 to 0, operands and results, as BC-ENC-10 admits."""
    torch = pytest.importorskip("torch", reason="torch switches this machine's underflow")
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine does not flush")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def test_a_quotient_that_is_flushed_before_a_divisor_that_nearly_reaches_0() -> None:
    a = MATH.exactly(np.array([0.5e30 * 2.0**-1022]))
    b = Ball(np.array([1e30]), np.array([1e30 * (1 - 2.0**-35)]))
    with flushed():
        found = MATH.divide(a, b)
    least = Fraction(float(b.mid[0])) - Fraction(float(b.rad[0]))  # type: ignore[index]
    assert_inside(found, [Fraction(float(a.mid[0])) / least])


def test_a_weight_that_is_flushed() -> None:
    """A product of an integer and a scale below 2^-1022 is 0 there, and may meet a large activation."""
    scale = np.array([[2.0**-1022]])
    a = MATH.exactly(np.array([[2.0**900]]))
    with flushed():
        weight = scale * 0.75
        found = MATH.weigh(a, weight, MATH.magnitudes(weight))
    assert weight[0, 0] == 0
    assert_inside(found, [Fraction(2**900) * Fraction(3, 4) / (1 << 1022)])


def test_operations_where_what_is_small_is_flushed() -> None:
    rng = np.random.default_rng(13)
    a, b = (_normal(balls(rng, (2 * COUNT,), 1e300)) for _ in range(2))
    with np.errstate(all="ignore"), flushed():
        found = {name: operation(a, b) for name, (operation, _) in ARITHMETIC.items()}
        total, product = (
            MATH.total(Ball(a.mid[:, None], a.rad[:, None])),
            MATH.matmul(*(_square(one) for one in (a, b))),
        )  # type: ignore[index]
    for _ in range(2):
        x, y = inside(rng, a), inside(rng, b)
        for name, result in found.items():
            assert_inside(result, [ARITHMETIC[name][1](p, q) for p, q in zip(x, y, strict=True)])
        assert_inside(total, x)
        left, right = (np.array(one[:400], dtype=object).reshape(20, 20) for one in (x, y))
        assert_inside(product, list((left @ right).flat))


def _normal(ball: Ball) -> Ball:
    """Without subnormal numbers, which no operand is where every result is flushed."""
    mid, rad = (np.where(np.abs(x) < 2.0**-1022, 0.0, x) for x in (ball.mid, MATH.radius(ball)))
    return Ball(mid, rad)


def _square(ball: Ball) -> Ball:
    return Ball(ball.mid[:400].reshape(20, 20), MATH.radius(ball)[:400].reshape(20, 20))
