"""The operations of the program language in ball arithmetic: one short function each (``spec/05-programs.md``).

A value is a list of tokens, each a list of balls; ``T`` tokens, ``d`` channels. Numbers of a program are exact
decimals, enclosed at the working precision.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import chain

from blockcert.numbers import parse_decimal
from blockcert.program import (
    Attention,
    DensePattern,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    OffsetPattern,
    Pattern,
    ProportionalScaling,
    Rotary,
    SinkPattern,
    WindowPattern,
    YarnScaling,
    amplitude,
)
from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, arb_mat, fmpq, total

__all__ = ["activation", "attend", "ball", "layer_norm", "rms_norm", "rotary_tables", "rotate", "soft_cap"]


def ball(value: Fraction | str) -> Ball:
    """The ball of a rational number, or of a decimal string's."""
    exact = parse_decimal(value) if isinstance(value, str) else value
    return arb(fmpq(exact.numerator, exact.denominator))


def rms_norm(x: Balls, gain: list[Ball], eps: Ball) -> Balls:
    """``x / sqrt(mean(x^2) + eps) * gain`` in every head of as many channels as gain has."""
    size = len(gain)
    found: Balls = []
    for row in x:
        if len(row) % size:
            raise ValueError(f"heads of {size} in {len(row)} channels")
        normed: list[Ball] = []
        for at in range(0, len(row), size):
            part = row[at : at + size]
            inverse = (total([v * v for v in part]) / size + eps).rsqrt()
            normed += [v * inverse * g for v, g in zip(part, gain, strict=True)]
        found.append(normed)
    return found


def layer_norm(x: Balls, weight: list[Ball], bias: list[Ball] | None, eps: Ball) -> Balls:
    """``(x - mean) / sqrt(variance + eps) * weight + bias``."""
    found: Balls = []
    for row in x:
        mean = total(row) / len(row)
        centred = [v - mean for v in row]
        inverse = (total([v * v for v in centred]) / len(row) + eps).rsqrt()
        normed = [v * inverse * w for v, w in zip(centred, weight, strict=True)]
        found.append(normed if bias is None else [v + b for v, b in zip(normed, bias, strict=True)])
    return found


def activation(name: str) -> Callable[[Ball], Ball]:
    """gelu, gelu_tanh, silu or relu of one ball."""
    half, one, zero = arb(1) / 2, arb(1), arb(0)
    match name:
        case "gelu":
            # x/2 (1 + erf(x/sqrt 2)), written so that nothing cancels far below 0
            scale = -(half.sqrt())
            return lambda v: v * (v * scale).erfc() * half
        case "gelu_tanh":
            # x/2 (1 + tanh y) is x / (1 + exp(-2y)), which cancels nowhere
            linear = -2 * (2 / arb.pi()).sqrt()
            cubic = linear * ball("0.044715")
            return lambda v: v / (one + (v * (linear + cubic * (v * v))).exp())
        case "silu":
            return lambda v: v / (one + (-v).exp())
        case _:
            return lambda v: v.max(zero)


def soft_cap(cap: Ball) -> Callable[[Ball], Ball]:
    """``cap * tanh(x / cap)`` of one ball."""
    return lambda v: cap * (v / cap).tanh()


def _frequencies(step: Rotary, length: int) -> list[Ball]:
    """The rotary frequencies after scaling (BC-PRG-09, 23, 25, 26), in a prompt of ``length`` tokens."""
    half, theta, zero, one = step.size // 2, ball(step.theta), arb(0), arb(1)
    plain = [theta ** ball(Fraction(-2 * j, step.size)) for j in range(half)]
    match step.scaling:
        case None:
            return plain
        case LinearScaling(factor=text):
            factor = ball(text)
            return [w / factor for w in plain]
        case YarnScaling() as yarn:
            first, last, factor = parse_decimal(yarn.ramp_from), parse_decimal(yarn.ramp_to), ball(yarn.factor)
            ramps = [ball(min(Fraction(1), max(Fraction(0), (j - first) / (last - first)))) for j in range(half)]
            return [(one - r) * w + r * w / factor for r, w in zip(ramps, plain, strict=True)]
        case Llama3Scaling() as llama:
            low, high = ball(llama.low_frequency_factor), ball(llama.high_frequency_factor)
            factor, turn = ball(llama.factor), llama.original_context / (2 * arb.pi())
            found: list[Ball] = []
            for w in plain:
                ramp = ((turn * w - low) / (high - low)).max(zero).min(one)
                found.append((one - ramp) * w / factor + ramp * w)
            return found
        case LongRopeScaling() as longrope:
            divisors = longrope.short if length <= longrope.original_context else longrope.long
            return [w / ball(text) for w, text in zip(plain, divisors, strict=True)]
        case ProportionalScaling() as proportional:
            factor = ball(proportional.factor)
            return [w / factor if j < proportional.turned else zero for j, w in enumerate(plain)]


def rotary_tables(step: Rotary, length: int) -> list[list[tuple[Ball, Ball]]]:
    """Sine and cosine of every position's angles, T x size/2, times the attention factor of the scaling."""
    frequencies = _frequencies(step, length)
    text = amplitude(step.scaling)
    factor = None if text is None else ball(text)
    found: list[list[tuple[Ball, Ball]]] = []
    for t in range(length):
        turned = [(w * t).sin_cos() for w in frequencies]
        found.append(turned if factor is None else [(factor * s, factor * c) for s, c in turned])
    return found


def rotate(x: Balls, tables: list[list[tuple[Ball, Ball]]], head_size: int) -> Balls:
    """``x`` with the first channels of every head rotated, half-split."""
    half = len(tables[0])
    found: Balls = []
    for row, table in zip(x, tables, strict=True):
        if len(row) % head_size:
            raise ValueError(f"heads of {head_size} in {len(row)} channels")
        turned = list(row)
        for at in range(0, len(row), head_size):
            for j, (sin, cos) in enumerate(table):
                first, second = row[at + j], row[at + half + j]
                turned[at + j] = first * cos - second * sin
                turned[at + half + j] = second * cos + first * sin
        found.append(turned)
    return found


def attend(
    step: Attention,
    query: Balls,
    key: Balls,
    value: Balls,
    means: Balls | None,
    look: Callable[[], None] = lambda: None,
) -> Balls:
    """Causal attention with grouped heads on one prompt: T x heads*head_size (BC-PRG-10, 21, 24).

    ``look`` is called before each head; what it raises ends the work.
    """
    size, groups = step.head_size, step.heads // step.key_value_heads
    length = len(query)
    scale = ball(step.denominator_squared).rsqrt()
    cap = None if step.cap is None else soft_cap(ball(step.cap))
    heads: list[Balls] = []
    for h, pattern in enumerate(step.patterns):
        look()
        own = _head(value, h // groups, size)
        match pattern:
            case DensePattern() | WindowPattern():
                turned = arb_mat(_head(key, h // groups, size)).transpose()
                scores = (arb_mat(_head(query, h, size)) * scale * turned).tolist()
                weights = [_softmax(row, t, pattern, cap) for t, row in enumerate(scores)]
                heads.append((arb_mat(weights) * arb_mat(own)).tolist())
            case OffsetPattern():
                heads.append([own[max(0, t - pattern.back)] for t in range(length)])
            case SinkPattern():
                heads.append([own[0]] * length)
            case _:
                if means is None:
                    raise ValueError("a mean head without means")
                heads.append([means[h]] * length)
    return [list(chain(*parts)) for parts in zip(*heads, strict=True)]


def _head(x: Balls, head: int, size: int) -> Balls:
    return [row[head * size : (head + 1) * size] for row in x]


def _softmax(scores: list[Ball], t: int, pattern: Pattern, cap: Callable[[Ball], Ball] | None) -> list[Ball]:
    """The weights of position ``t``, 0 where its pattern does not look."""
    if isinstance(pattern, WindowPattern):
        seen = [s for s in range(t + 1) if t - s < pattern.width or s < pattern.sinks]
    else:
        seen = list(range(t + 1))
    chosen = [scores[s] for s in seen] if cap is None else [cap(scores[s]) for s in seen]
    # the same number taken from every score changes no weight, and keeps the exponentials near 1
    shift = max((one.mid() for one in chosen), default=arb(0))
    raised = [(one - shift).exp() for one in chosen]
    whole = total(raised)
    weights = [arb(0)] * len(scores)
    for s, one in zip(seen, raised, strict=True):
        weights[s] = one / whole
    return weights
