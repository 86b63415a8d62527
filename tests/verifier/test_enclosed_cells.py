"""Cells of balls against their definitions in fractions: whatever numbers the balls hold, a verdict is true of them.

The second implementation here reads BC-VER-09's brackets and `spec/07-evidence.md` as they stand, on exact numbers.
Each number is hidden in a ball, narrow or wide; a recorded cell that is refuted must lie outside the bracket around the
exact one, and one that is confirmed inside it (BC-ENC-05).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import product
from random import Random
from typing import Any, NamedTuple

import mpmath
import pytest
from mpmath import mp, mpf

from blockcert_verifier.enclose.interval import Enclosed, Interval, largest
from blockcert_verifier.enclose.judge import COUNTS, judge
from tests.support.exact_oracle import fraction

pytest.importorskip("flint", reason="python-flint, blockcert[prove], is not installed")

from blockcert_verifier.enclose import cells, rational
from blockcert_verifier.enclose.arithmetic import arb, ctx
from blockcert_verifier.enclose.logits import _within, logit_cells

D, TENTH_OF_9 = Fraction(1, 10**6), Fraction(1, 10**9)
BITS = 200
SLIGHT = Fraction(1, 1 << 100)
"""Far above what rounding at these bits does, far below every tolerance."""
Inside = Callable[[Fraction], bool]


class Known(NamedTuple):
    """A cell as its definition has it: the value, and whether a recorded one lies in its bracket."""

    value: Fraction
    inside: Inside


def ball(random: Random, value: Fraction, wide: bool) -> Any:
    """A ball that holds a number, which is a multiple of 2^-40: the number itself, or off its middle."""
    radius = random.choice((0, 0, 1, 4, 16, 96)) if wide else 0
    middle = value + Fraction(random.randint(-radius, radius), 16)
    assert middle.denominator <= 1 << 40
    numerator, shift = int(middle * (1 << 40)), 1 << 40
    return (arb(numerator) / shift) + arb(0, radius / 16)


def check(found: Enclosed, known: Known, column: str, recorded: Iterable[Fraction], *, narrow: bool) -> None:
    """Every verdict is true; of numbers that stand in balls of no width, none but the very ends is left open."""
    assert found.value.lower is None or found.value.lower <= known.value
    assert found.value.upper is None or known.value <= found.value.upper
    ends = [end for one in (found.value, found.low, found.high) if one is not None for end in (one.lower, one.upper)]
    near = [end + shift for end in ends if end is not None for shift in (-2 * SLIGHT, 0, 2 * SLIGHT)]
    # no cell but a difference of losses is negative (BC-EVD-02)
    for r in (r for r in {*recorded, *near} if r >= 0 or column == "loss_difference"):
        for claim in (None, known.value, known.value + Fraction(1, 16), known.value - Fraction(1, 16)):
            verdict = judge(found, r, column=column, claim=claim)
            inside = known.inside(r)
            holds = known.value >= r if column in COUNTS else claim is None or known.value <= claim
            if verdict.verdict == "refuted":
                assert not inside, r
            elif verdict.verdict == "confirmed":
                assert inside, r
                assert holds, (r, claim)
            elif verdict.beyond:
                assert inside, r
                assert not holds, (r, claim)
            # a count, or two steps from an end and a claim that is not the value itself: nothing is left to decide
            apart = claim != known.value and known.inside(r + SLIGHT) == inside == known.inside(r - SLIGHT)
            if narrow and (column in COUNTS or apart):
                assert not verdict.open, (r, claim)


def around(value: Fraction, *steps: Fraction) -> list[Fraction]:
    return [value + sign * step for step in steps for sign in (-1, 0, 1)]


def numbers(random: Random, count: int) -> list[Fraction]:
    """Quarters, so that conditions are met with equality, and some off by half of what BC-VER-09 allows."""
    slight = Fraction(1, 1 << 21)
    return [
        Fraction(random.choice((0, 0, 1, 2, 3, 4, 8, 9, 33)), 4) * (1 + random.choice((0, 0, slight, -slight)))
        for _ in range(count)
    ]


def largest_ratio(a: list[Fraction], b: list[Fraction], tau: list[Fraction]) -> Fraction | None:
    """None where one of them divides by 0: such a row is not finite and is never certified."""
    found: list[Fraction] = []
    for x, y, t in zip(a, b, tau, strict=True):
        if x <= t and y <= t:
            found.append(Fraction(0))
        elif y == 0:
            return None
        else:
            found.append(x / y)
    return max(found)


def within_ratios(r: Fraction, a: list[Fraction], b: list[Fraction], tau: list[Fraction]) -> bool:
    parts = list(zip(a, b, tau, strict=True))
    if r < (1 - D) * max(Fraction(0) if x <= t else (x - t) / (y + t) for x, y, t in parts):
        return False
    return any(y <= t for _, y, t in parts) or r <= (1 + D) * max((x + t) / (y - t) for x, y, t in parts)


@pytest.mark.parametrize("narrow", [True, False], ids=["narrow", "wide"])
@pytest.mark.parametrize("seed", range(4))
def test_norms_ratios_and_their_counts(seed: int, narrow: bool) -> None:
    random = Random(seed)
    seen = 0
    with ctx.workprec(BITS):
        for _ in range(60):
            count = random.randint(1, 3)
            a, b = numbers(random, count), numbers(random, count)
            tau = [Fraction(random.choice((0, 1, 2, 4)), 4) for _ in range(count)]
            x, y, t = ([ball(random, v, not narrow) for v in values] for values in (a, b, tau))
            value, slack = max(a), max(tau)
            known = Known(value, lambda r, v=value, s=slack: abs(r - v) <= D * max(abs(r), abs(v)) + s)
            steps = [slack, slack + value * D / 2, slack + 2 * value * D, Fraction(1, 2)]
            check(cells.norms(x, t), known, "error", around(value, *steps), narrow=narrow)
            ratio = largest_ratio(a, b, tau)
            if ratio is not None:
                seen += 1
                known = Known(ratio, lambda r, p=(a, b, tau): within_ratios(r, *p))
                trials = [ratio * (1 + k * D) for k in (-2, -1, 0, 1, 2)] + around(ratio, Fraction(1, 4), Fraction(2))
                # a token whose tolerance may be 0 beside a norm that may be 0 is open however narrow the balls
                check(cells.ratios(x, y, t), known, "relative_error", trials, narrow=narrow and min(tau) > 0)
            for theta in (Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3)):
                parts = list(zip(a, b, tau, strict=True))
                exact = sum((p <= s and q <= s) or p <= theta * q for p, q, s in parts)
                least = sum(p + s <= theta * (1 - D) * (q - s) for p, q, s in parts)
                most = sum(p - s <= theta * (1 + D) * (q + s) for p, q, s in parts)
                known = Known(Fraction(exact), lambda r, lo=least, hi=most: lo <= r <= hi)
                check(cells.ratio_counts(x, y, t, theta), known, "covered", map(Fraction, range(5)), narrow=narrow)
    assert seen > 30


@pytest.mark.parametrize("narrow", [True, False], ids=["narrow", "wide"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "not negative"])
def test_sums(signed: bool, narrow: bool) -> None:
    random = Random(5)
    with ctx.workprec(BITS):
        for _ in range(60):
            value = Fraction(random.randint(-40 if signed else 0, 40), random.choice((4, 1 << 30, 1 << 40)))
            length = random.randint(2, 9)
            slack = TENTH_OF_9 * length
            known = Known(
                value,
                lambda r, v=value, s=slack: abs(r - v) <= D * max(abs(r), abs(v)) + s,
            )
            trials = around(value, slack, 2 * slack, abs(value) * D, 2 * abs(value) * D)
            found = cells.sums(ball(random, value, not narrow), length, signed=signed)
            check(found, known, "loss_difference" if signed else "kl_sum", trials, narrow=narrow)


# --- logits -----------------------------------------------------------------------------------------------------


def top(logits: list[Fraction]) -> int:
    return logits.index(max(logits))  # among equal logits the lowest token id


def near(logits: list[Fraction], distance: Fraction) -> set[int]:
    return {v for v, one in enumerate(logits) if one >= max(logits) - distance}


def number(value: Fraction) -> Any:
    return mpf(value.numerator) / value.denominator


def log_softmax(logits: list[Fraction]) -> list[Any]:
    shifted = [number(v - max(logits)) for v in logits]
    whole = mpmath.log(mpmath.fsum(map(mpmath.exp, shifted)))
    return [v - whole for v in shifted]


def losses(logits: list[list[Fraction]], tokens: list[int]) -> list[Fraction]:
    return [
        fraction(mpmath.chop(-log_softmax(row)[token], 1e-60))
        for row, token in zip(logits[:-1], tokens[1:], strict=True)
    ]


def divergence(x: list[Fraction], y: list[Fraction]) -> Fraction:
    p, q = log_softmax(x), log_softmax(y)
    # e^-1e9 is no fraction that fits a memory, and here none that is worth one
    return fraction(mpmath.chop(mpmath.fsum(mpmath.exp(a) * (a - b) for a, b in zip(p, q, strict=True)), 1e-60))


def logits_near_ties(random: Random, positions: int, vocabulary: int) -> list[list[Fraction]]:
    """Logits of 1e9, so that ``c_t`` is about 1, and steps of about as much between them."""
    base = 10**9
    return [
        [Fraction(random.choice((0, base, base, base))) + Fraction(random.randint(0, 20), 4) for _ in range(vocabulary)]
        for _ in range(positions)
    ]


@pytest.mark.parametrize("narrow", [True, False], ids=["narrow", "wide"])
@pytest.mark.parametrize("seed", range(3))
def test_logits(seed: int, narrow: bool) -> None:
    random = Random(seed)
    thresholds = (Fraction(1, 1000), Fraction(2), Fraction(3), Fraction(5))
    with ctx.workprec(BITS), mp.workdps(80):
        for _ in range(40):
            length, vocabulary = random.randint(2, 3), random.randint(1, 3)
            x = logits_near_ties(random, length, vocabulary)
            y = [[v + Fraction(random.randint(-2, 2), 4) * random.randint(0, 2) for v in row] for row in x]
            tokens = [random.randrange(vocabulary) for _ in range(length)]
            y = logits_near_ties(random, length, vocabulary) if random.random() < 0.4 else y
            same = random.random() < 0.3
            y = x if same else y
            hidden = [[[ball(random, v, not narrow) for v in row] for row in side] for side in (x, y)]
            found = logit_cells(hidden[0], None if same else hidden[1], tokens, thresholds)
            for column, known in expected(x, y, tokens, thresholds, same).items():
                # which of two equal logits is the larger is decided by no precision
                tied = column == "top1_agree" and any(row.count(max(row)) > 1 for row in (*x, *y))
                for one, exact in zip(found[column], known, strict=True):
                    check(one, exact, column, trials(column, exact, length), narrow=narrow and not tied)


def trials(column: str, exact: Known, length: int) -> list[Fraction]:
    if column in COUNTS:
        return [Fraction(r) for r in range(length + 2)]
    return around(exact.value, Fraction(1), Fraction(2), TENTH_OF_9 * length, 2 * TENTH_OF_9 * length)


def expected(
    x: list[list[Fraction]], y: list[list[Fraction]], tokens: list[int], thresholds: Iterable[Fraction], same: bool
) -> dict[str, list[Known]]:
    length = len(tokens)
    c = [TENTH_OF_9 * max(map(abs, (*a, *b))) for a, b in zip(x, y, strict=True)]
    apart = [max(abs(p - q) for p, q in zip(a, b, strict=True)) for a, b in zip(x, y, strict=True)]
    first, second = losses(x, tokens), losses(y, tokens)
    deltas = [b - a for a, b in zip(first, second, strict=True)]
    divergences = [divergence(a, b) for a, b in zip(x[:-1], y[:-1], strict=True)]
    slack = TENTH_OF_9 * length

    def norm(value: Fraction) -> Known:
        return Known(value, lambda r: abs(r - value) <= D * max(abs(r), abs(value)) + max(c))

    def total(value: Fraction) -> Known:
        return Known(value, lambda r: abs(r - value) <= D * max(abs(r), abs(value)) + slack)

    def count(value: int, least: int, most: int) -> Known:
        return Known(Fraction(value), lambda r: least <= r <= most)

    def exactly(value: int) -> Known:
        return Known(Fraction(value), lambda r: r == value)

    gaps: list[Fraction | None] = []
    for row, far in zip(x, apart, strict=True):
        ordered = sorted(row, reverse=True)
        gaps.append(None if len(row) == 1 else ordered[0] - ordered[1] - 2 * far)

    def decided(level: int) -> int:
        return sum(gap is None or gap > level * t for gap, t in zip(gaps, c, strict=True))

    found = {
        "decided": [count(decided(0), decided(4), decided(-4))],
        "loss_reference": [total(sum(first, Fraction(0)))],
        "loss_surrogate": [total(sum(second, Fraction(0)))],
    }
    if same:
        zero = [exactly(0)]
        found |= {"logit_difference": zero, "loss_difference": zero, "kl_sum": zero, "kl_max": zero}
        found["top1_agree"] = [exactly(length)]
        found["loss_within"] = [exactly(length - 1) for _ in thresholds]
        return found
    found["logit_difference"] = [norm(max(apart))]
    found["loss_difference"] = [total(sum(deltas, Fraction(0)))]
    found["kl_sum"] = [total(sum(divergences, Fraction(0)))]
    found["kl_max"] = [total(max(divergences, default=Fraction(0)))]
    pairs = list(zip(x, y, c, strict=True))
    sure = sum(
        len(near(a, 2 * t)) == len(near(b, 2 * t)) == 1 and near(a, 2 * t) == near(b, 2 * t) for a, b, t in pairs
    )
    maybe = sum(bool(near(a, 2 * t) & near(b, 2 * t)) for a, b, t in pairs)
    found["top1_agree"] = [count(sum(top(a) == top(b) for a, b, _ in pairs), sure, maybe)]
    found["loss_within"] = []
    for h in thresholds:
        of = [(abs(d), TENTH_OF_9 + 2 * t) for d, t in zip(deltas, c[:-1], strict=True)]
        least = sum(d * (1 + D) + s <= h for d, s in of)
        most = sum(d * (1 - D) - s <= h for d, s in of)
        found["loss_within"].append(count(sum(d <= h for d, _ in of), least, most))
    return found


@pytest.mark.parametrize("threshold", [Fraction(1), Fraction(1, 100)])
def test_losses_at_the_edge_of_a_threshold(threshold: Fraction) -> None:
    """Each part of the bracket alone moves the edge: a part in a million, `10^-9`, twice `c_t`."""
    with ctx.workprec(BITS):
        for c in (Fraction(0), Fraction(1, 1 << 30)):
            slack = TENTH_OF_9 + 2 * c
            ends = [(threshold - slack) / (1 + D), threshold, (threshold + slack) / (1 - D)]
            for end, shift in product(ends, (-1, 1)):
                for sign in (-1, 1):
                    d = sign * (end + shift * Fraction(1, 10**12))
                    least, most = abs(d) * (1 + D) + slack <= threshold, abs(d) * (1 - D) - slack <= threshold
                    known = Known(Fraction(abs(d) <= threshold), lambda r, lo=least, hi=most: lo <= r <= hi)
                    found = _within([exactly(d)], [exactly(c)], threshold)
                    check(found, known, "loss_within", map(Fraction, range(2)), narrow=True)


def exactly(value: Fraction) -> Any:
    return arb(value.numerator) / value.denominator


# --- intervals --------------------------------------------------------------------------------------------------


def test_the_largest_of_numbers_in_intervals() -> None:
    one, two, open_ = Interval(Fraction(1), Fraction(5)), Interval(Fraction(2), Fraction(3)), Interval(None, None)
    assert largest([one, two]) == Interval(Fraction(2), Fraction(5))
    assert largest([one, open_]) == Interval(Fraction(1), None)
    assert largest([open_]) == Interval(None, None)


# --- truth about balls ------------------------------------------------------------------------------------------

SPANS = [(low, high) for low in range(-2, 4) for high in range(low, 4)]


def span(ends: tuple[int, int]) -> Any:
    """The ball of the numbers from one whole number to another."""
    low, high = ends
    return arb(low + high) / 2 + arb(0, (high - low) / 2)


def test_an_order_of_balls_is_certain_only_where_it_holds_of_all_their_numbers() -> None:
    for first, second in product(SPANS, SPANS):
        pairs = list(product(range(first[0], first[1] + 1), range(second[0], second[1] + 1)))
        for found, holds in (
            (rational.at_most(span(first), span(second)), {a <= b for a, b in pairs}),
            (rational.more_than(span(first), span(second)), {a > b for a, b in pairs}),
        ):
            # the radius itself was rounded up: where two balls touch, no order is certain
            touching = first[1] == second[0] or second[1] == first[0]
            expected = {None} if len(holds) == 2 else holds | {None} if touching else holds
            assert found in expected, (first, second)


def test_truths_are_joined_as_what_they_may_be() -> None:
    may_be = {True: (True,), False: (False,), None: (True, False)}
    for first, second in product(may_be, may_be):
        for join, plain in ((rational.both, all), (rational.either, any)):
            possible = {plain(pair) for pair in product(may_be[first], may_be[second])}
            assert join(first, second) is (possible.pop() if len(possible) == 1 else None), (join, first, second)


def test_roots_and_hulls_hold_every_number() -> None:
    with ctx.workprec(53):
        for first, second in product(SPANS, SPANS):
            whole = rational.interval(rational.hull(span(first), span(second)))
            assert holds(whole, Fraction(min(first[0], second[0])))
            assert holds(whole, Fraction(max(first[1], second[1])))
        for ends in SPANS:
            for value in range(max(0, ends[0]), ends[1] + 1):
                root = rational.interval(rational.root(span(ends)))
                assert root.lower is not None
                assert root.upper is not None
                assert max(root.lower, Fraction(0)) ** 2 <= value <= root.upper**2, ends
    assert rational.interval(rational.root(arb(float("nan")))) == Interval(None, None)


def holds(one: Interval, value: Fraction) -> bool:
    return (one.lower is None or one.lower <= value) and (one.upper is None or value <= one.upper)


def test_ends_too_small_to_write_move_outward_on_both_sides() -> None:
    tiny = Fraction(1, 1 << 5000)
    for sign in (-1, 1):
        number = arb(sign) / (1 << 5000)
        assert holds(rational.interval(number), sign * tiny)
        assert holds(rational.interval(arb(1) + number), 1 + sign * tiny)
