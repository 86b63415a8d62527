"""The plain oracle in arithmetic of hundreds of digits: what a step exactly is, for all that an enclosure can tell.

``mpmath`` computes; nothing of the verifier's enclosures is used, and no interval. Weights are read as the plain oracle
reads them, and enter exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from blockcert.program import (
    Activation,
    Attention,
    Embed,
    Integer,
    LayerNorm,
    LinearMap,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    MeanPattern,
    ProportionalScaling,
    RmsNorm,
    Rotary,
    SoftCap,
    Step,
    TensorRef,
    YarnScaling,
)
from tests.support.oracle import Oracle, Value, Vector, _sees

__all__ = ["DIGITS", "ExactOracle", "fraction"]

DIGITS = 700
"""Enough to keep what is added to a number 10^600 times larger."""


def fraction(value: Any) -> Fraction:
    """The rational number that a multiprecision one is."""
    sign, mantissa, exponent, _ = mpf(value)._mpf_
    whole = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return -whole if sign else whole


def _exact(text: str) -> Any:
    value = Fraction(text)
    return mpf(value.numerator) / value.denominator


def _objects(values: Any) -> Vector:
    flat = np.asarray(values)
    found = np.empty(flat.shape, dtype=object)
    for index, value in np.ndenumerate(flat):
        found[index] = mpf(value)
    return found


class ExactOracle(Oracle):
    """Runs stages on inputs that are float64 numbers; values are arrays of multiprecision numbers."""

    def run(self, stage: Any, tokens: Sequence[int], hidden: Sequence[Vector]) -> list[list[Fraction]]:
        """The stage's output as rational numbers, correct to hundreds of digits."""
        with mp.workdps(DIGITS):
            found = self.stage(stage, tokens, [_objects(row) for row in hidden])
            return [[fraction(value) for value in row] for row in found]

    def tensor(self, reference: TensorRef) -> np.ndarray:
        return _objects(super().tensor(reference))

    def matrix(self, linear: LinearMap) -> np.ndarray:
        if not isinstance(linear, Integer):
            return super().matrix(linear)  # products of stored float32 scales are exact in float64
        values, scale = self.tensor(linear.values), self.tensor(linear.scale)
        zero = _objects(np.zeros(scale.shape)) if linear.zero_point is None else self.tensor(linear.zero_point)
        found = np.empty(values.shape, dtype=object)
        for o, i in np.ndindex(*values.shape):
            where = o if linear.group is None else (o, i // linear.group)
            found[o, i] = scale[where] * (values[o, i] - zero[where])
        return found

    def step(self, step: Step, tokens: Sequence[int], length: int, values: dict[str, Value]) -> Value:
        match step:
            case Embed():
                weight = self.tensor(step.weight)
                scale = mpf(1) if step.scale is None else _exact(step.scale)
                return [scale * weight[token] for token in tokens]
            case Rotary():
                return [_rotate(x, t, step, length) for t, x in enumerate(values[step.input])]
            case Activation():
                return [_objects([_FUNCTIONS[step.function](c) for c in x]) for x in values[step.input]]
            case SoftCap():
                cap = _exact(step.cap)
                return [_objects([cap * mpmath.tanh(c / cap) for c in x]) for x in values[step.input]]
            case _:
                return super().step(step, tokens, length, values)

    @staticmethod
    def _rms_norm(x: Vector, weight: Vector, step: RmsNorm) -> Vector:
        root = mpmath.sqrt(mpmath.fsum(c * c for c in x) / len(x) + _exact(step.eps))
        return x / root * (_exact(step.offset) + weight)

    @staticmethod
    def _layer_norm(x: Vector, weight: Vector, bias: Vector | None, step: LayerNorm) -> Vector:
        mean = mpmath.fsum(x) / len(x)
        root = mpmath.sqrt(mpmath.fsum((c - mean) ** 2 for c in x) / len(x) + _exact(step.eps))
        scaled = (x - mean) / root * weight
        return scaled if bias is None else scaled + bias

    def _attention(self, step: Attention, values: dict[str, Value], length: int) -> Value:
        size, share = step.head_size, step.heads // step.key_value_heads
        root = mpmath.sqrt(_exact(step.denominator_squared))
        out: Value = []
        for t in range(length):
            heads: list[Vector] = []
            for h, pattern in enumerate(step.patterns):
                if isinstance(pattern, MeanPattern):
                    assert step.means is not None
                    heads.append(self.tensor(step.means)[h])
                    continue
                g = h // share
                query = values[step.query][t][h * size : (h + 1) * size]
                seen = [s for s in range(t + 1) if _sees(pattern, t, s)]
                scores = [(query @ values[step.key][s][g * size : (g + 1) * size]) / root for s in seen]
                if step.cap is not None:
                    cap = _exact(step.cap)
                    scores = [cap * mpmath.tanh(score / cap) for score in scores]
                top = max(scores)
                exponentials = [mpmath.exp(score - top) for score in scores]
                whole = mpmath.fsum(exponentials)
                parts = [
                    e / whole * values[step.value][s][g * size : (g + 1) * size]
                    for s, e in zip(seen, exponentials, strict=True)
                ]
                heads.append(sum(parts[1:], parts[0]))
            out.append(np.concatenate(heads))
        return out


def _frequency(j: int, step: Rotary, length: int) -> Any:
    frequency = _exact(step.theta) ** (mpf(-2 * j) / step.size)
    match step.scaling:
        case None:
            return frequency
        case LinearScaling():
            return frequency / _exact(step.scaling.factor)
        case Llama3Scaling() as scaling:
            low, high = _exact(scaling.low_frequency_factor), _exact(scaling.high_frequency_factor)
            turns = scaling.original_context * frequency / (2 * mp.pi)
            kept = min(mpf(1), max(mpf(0), (turns - low) / (high - low)))
            return (1 - kept) * frequency / _exact(scaling.factor) + kept * frequency
        case YarnScaling() as scaling:
            first, last = _exact(scaling.ramp_from), _exact(scaling.ramp_to)
            slowed = min(mpf(1), max(mpf(0), (j - first) / (last - first)))
            return slowed * frequency / _exact(scaling.factor) + (1 - slowed) * frequency
        case LongRopeScaling() as scaling:
            return frequency / _exact((scaling.long if length > scaling.original_context else scaling.short)[j])
        case ProportionalScaling() as scaling:
            return frequency / _exact(scaling.factor) if j < scaling.turned else mpf(0)


def _rotate(x: Vector, t: int, step: Rotary, length: int) -> Vector:
    rotated = x.copy()
    half = step.size // 2
    stretched = isinstance(step.scaling, YarnScaling | LongRopeScaling)
    factor = _exact(step.scaling.attention_factor) if stretched else mpf(1)
    for start in range(0, len(x), step.head_size):
        for j in range(half):
            angle = t * _frequency(j, step, length)
            a, b = x[start + j], x[start + j + half]
            rotated[start + j] = factor * (a * mpmath.cos(angle) - b * mpmath.sin(angle))
            rotated[start + j + half] = factor * (b * mpmath.cos(angle) + a * mpmath.sin(angle))
    return rotated


def _gelu_tanh(x: Any) -> Any:
    return x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mp.pi) * (x + _exact("0.044715") * x**3)))


def _silu(x: Any) -> Any:
    return x / (1 + mpmath.exp(-x))


_FUNCTIONS: dict[str, Any] = {
    # far beyond 0 the complement is smaller than any number of digits shows
    "gelu": lambda x: x / 2 * mpmath.erfc(-x / mpmath.sqrt(2)) if abs(x) < 1000 else max(x, mpf(0)),
    "gelu_tanh": lambda x: _gelu_tanh(x) if abs(x) < 1000 else max(x, mpf(0)),
    "silu": lambda x: _silu(x) if abs(x) < 10**5 else max(x, mpf(0)),
    "relu": lambda x: max(x, mpf(0)),
}
