"""The operations of the program language in floating point: one short function each, shapes in comments.

``B`` prompts, ``T`` tokens, ``d`` channels. Formulas: ``spec/05-programs.md``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from blockcert.numbers import parse_decimal
from blockcert.program import (
    Attention,
    DensePattern,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    MeanPattern,
    OffsetPattern,
    ProportionalScaling,
    Rotary,
    SinkPattern,
    WindowPattern,
    YarnScaling,
    amplitude,
    attends,
)
from blockcert_verifier.evaluate.backend import Array, Backend

__all__ = [
    "Turns",
    "activate",
    "attend",
    "attention_mask",
    "fastest_angle",
    "layer_norm",
    "rms_norm",
    "rotary_tables",
    "rotate",
    "spread",
]


def rms_norm(backend: Backend, x: Array, gain: Array, eps: Any) -> Array:
    """``x / sqrt(mean(x^2) + eps) * gain`` in every head of as many channels as gain has; x is B x T x heads*size."""
    heads = x.reshape((*x.shape[:2], -1, gain.shape[0]))
    normed = heads / _root_mean_square(backend, heads, eps)
    normed *= gain
    return normed.reshape(x.shape)


def layer_norm(backend: Backend, x: Array, weight: Array, bias: Array | None, eps: Any) -> Array:
    """``(x - mean) / sqrt(variance + eps) * weight + bias``; x is B x T x d."""
    normed = x - backend.total(x, keep=True) / x.shape[-1]
    normed /= _root_mean_square(backend, normed, eps)
    normed *= weight
    if bias is not None:
        normed += bias
    return normed


def _root_mean_square(backend: Backend, x: Array, eps: Any) -> Array:
    """``sqrt(mean(x^2) + eps)`` over the last axis, which is kept; inner products, so that no square is held."""
    xp = backend.xp
    return xp.sqrt(xp.vecdot(x, x, axis=-1) / x.shape[-1] + eps)[..., None]


def activate(backend: Backend, x: Array, function: str) -> Array:
    """gelu, gelu_tanh, silu or relu, elementwise."""
    return backend.elementwise(_ACTIVATIONS[function], x)


def _gelu(backend: Backend, x: Array, out: Array) -> None:
    xp = backend.xp
    xp.divide(x, math.sqrt(2), out=out)
    backend.erf(out, out=out)
    out += 1
    out *= x
    out *= 0.5


def _gelu_tanh(backend: Backend, x: Array, out: Array) -> None:
    xp = backend.xp
    xp.multiply(x, x, out=out)
    out *= x
    out *= 0.044715
    out += x
    out *= math.sqrt(2 / math.pi)
    xp.tanh(out, out=out)
    out += 1
    out *= x
    out *= 0.5


def _silu(backend: Backend, x: Array, out: Array) -> None:
    xp = backend.xp
    xp.negative(x, out=out)
    xp.exp(out, out=out)
    out += 1
    # far below 0 exp overflows to infinity, and the quotient is 0 as it should be
    xp.divide(x, out, out=out)


def _relu(backend: Backend, x: Array, out: Array) -> None:
    xp = backend.xp
    out[...] = xp.where(x > 0, x, xp.zeros_like(x))


_ACTIVATIONS = {"gelu": _gelu, "gelu_tanh": _gelu_tanh, "silu": _silu, "relu": _relu}


def _kept(turns: np.ndarray[Any, Any], low: Any, high: Any) -> np.ndarray[Any, Any]:
    """Llama 3's ramp: 0 up to ``low`` turns, 1 from ``high`` on, even between.

    A step where this float type holds both as one number; no such row is resolved (BC-EVD-08).
    """
    if not low < high:
        return (turns > low).astype(turns.dtype)
    return np.clip((turns - low) / (high - low), 0, 1)


def _slowed(yarn: YarnScaling, half: int, wide: Any) -> np.ndarray[Any, Any]:
    """YaRN's ramp, rounded in the end: a narrow one enlarges what is lost of its decimal ends (BC-PRG-27)."""
    first, last = parse_decimal(yarn.ramp_from), parse_decimal(yarn.ramp_to)
    # in integers of one denominator, since a step may have a million of these and a fraction takes long
    parts = math.lcm(first.denominator, last.denominator)
    begin, span = int(first * parts), int((last - first) * parts)
    return np.array([wide(min(max(j * parts - begin, 0), span)) for j in range(half)], dtype=wide) / wide(span)


def _frequencies(step: Rotary, wide: Any, length: int) -> np.ndarray[Any, Any]:
    """The rotary frequencies after scaling, size/2, in a numpy float type, for prompts of ``length`` tokens."""
    half = step.size // 2
    frequency = wide(step.theta) ** (-2 * np.arange(half, dtype=wide) / step.size)
    match step.scaling:
        case None:
            pass
        case LinearScaling():
            frequency = frequency / wide(step.scaling.factor)
        case YarnScaling() as yarn:
            ramp = _slowed(yarn, half, wide)
            frequency = ramp * frequency / wide(yarn.factor) + (1 - ramp) * frequency
        case LongRopeScaling() as longrope:
            divisors = longrope.short if length <= longrope.original_context else longrope.long
            frequency = frequency / np.array([wide(text) for text in divisors])
        case ProportionalScaling() as proportional:
            frequency = frequency / wide(proportional.factor) * (np.arange(half) < proportional.turned)
        case scaling:
            low, high = wide(scaling.low_frequency_factor), wide(scaling.high_frequency_factor)
            turns = scaling.original_context * frequency / (2 * wide(np.pi))
            ramp = _kept(turns, low, high)
            frequency = (1 - ramp) * frequency / wide(scaling.factor) + ramp * frequency
    return frequency


def fastest_angle(step: Rotary, length: int) -> float:
    """The largest angle by which a position is rotated, in radians; a bound from the frequencies.

    With Llama 3's scaling from those before and after the division, times what its ramp enlarges rounding by.
    """
    with np.errstate(all="ignore"):
        if isinstance(step.scaling, Llama3Scaling):
            low, high = (
                parse_decimal(x) for x in (step.scaling.low_frequency_factor, step.scaling.high_frequency_factor)
            )
            before = _frequencies(replace(step, scaling=None), np.float64, length)
            enlarged = max(1.0, 1 / float(step.scaling.factor)) * float(high / (high - low))
            return float(np.max(before, initial=0.0)) * enlarged * length
        return float(np.max(np.abs(_frequencies(step, np.float64, length)), initial=0.0)) * length


def rotary_tables(backend: Backend, step: Rotary, length: int) -> tuple[Array, Array]:
    """Cosines and sines of every position's angles, each T x size/2, times the attention factor of the scaling."""
    wide = np.longdouble if backend.precision == "extended" else np.float64
    frequency = _frequencies(step, wide, length)
    angles = np.arange(length, dtype=wide)[:, None] * frequency
    factor = wide(amplitude(step.scaling) or "1")
    return backend.array(factor * np.cos(angles)), backend.array(factor * np.sin(angles))


_TURNED_AT_ONCE = 256
"""Channels of the spread tables at most, unless a single head has more: short runs cost more than their arithmetic."""


class Turns(NamedTuple):
    """Rotary tables spread over heads, T x run: cosines for both halves, sines with the first half's negated."""

    cos: Array
    sin: Array
    half: int


def spread(backend: Backend, cos: Array, sin: Array, head_size: int, heads: int) -> Turns:
    """The tables of every position (T x half) for as many whole heads at once as divide ``heads``; one, where a head is
    rotated in part."""
    xp, half = backend.xp, int(cos.shape[1])
    at_once = 1
    if 2 * half == head_size:
        at_once = max(n for n in range(1, heads + 1) if heads % n == 0 and (n == 1 or n * head_size <= _TURNED_AT_ONCE))
    return Turns(xp.concat((cos, cos) * at_once, axis=-1), xp.concat((-sin, sin) * at_once, axis=-1), half)


def rotate(backend: Backend, x: Array, turns: Turns, head_size: int) -> Array:
    """``x`` (B x T x heads*head_size) with the first ``2 * half`` channels of every head rotated, half-split."""
    half = turns.half
    prompts, length, width = x.shape
    run = turns.cos.shape[1]
    unit = max(run, head_size)
    shape = (prompts, length, width // unit, unit)
    turned = backend.empty(x.shape)
    source, target = x.reshape(shape), turned.reshape(shape)
    if run < unit:
        target[..., run:] = source[..., run:]
        source, target = source[..., :run], target[..., :run]
    halves = (*shape[:3], run // (2 * half), 2, half)
    mine, theirs = target.reshape(halves), source.reshape(halves)
    mine[..., 0, :] = theirs[..., 1, :]
    mine[..., 1, :] = theirs[..., 0, :]
    target *= turns.sin[:, None, :]
    target += source * turns.cos[:, None, :]
    return turned


def attention_mask(step: Attention, length: int) -> np.ndarray[Any, Any] | None:
    """Which positions each head that weighs positions attends to, as an addend: such heads x T x T, 0 or minus
    infinity; None where there is none."""
    t, s = np.arange(length)[:, None], np.arange(length)[None, :]
    causal = s <= t
    rows: list[np.ndarray[Any, Any]] = []
    for pattern in step.patterns:
        match pattern:
            case DensePattern():
                rows.append(causal)
            case WindowPattern():
                rows.append(causal & ((t - s < pattern.width) | (s < pattern.sinks)))
            case _:
                pass
    return np.where(np.stack(rows), 0.0, -np.inf) if rows else None


def attend(
    backend: Backend, step: Attention, q: Array, k: Array, v: Array, mask: Array | None, means: Array | None
) -> Array:
    """Causal attention with grouped heads; q is B x T x heads*head_size, k and v B x T x kv*head_size.

    Scores are computed only for the heads that weigh positions (BC-PRG-21).
    """
    xp = backend.xp
    prompts, length, _ = q.shape
    groups, size = step.heads // step.key_value_heads, step.head_size

    def split(x: Array, heads: int) -> Array:  # B x heads x T x size
        return xp.permute_dims(x.reshape((prompts, length, heads, size)), (0, 2, 1, 3))

    q, k, v = split(q, step.heads), split(k, step.key_value_heads), split(v, step.key_value_heads)
    weighing = [h for h, pattern in enumerate(step.patterns) if attends(pattern)]
    if mask is not None and len(weighing) == step.heads:
        q = q.reshape((prompts, step.key_value_heads, groups, length, size))
        mask = mask.reshape((1, step.key_value_heads, groups, length, length))
        out = _weighted(backend, step, q, k, v, mask).reshape((prompts, step.heads, length, size))
        return xp.permute_dims(out, (0, 2, 1, 3)).reshape((prompts, length, step.heads * size))
    parts: dict[int, Array] = {}
    if weighing:
        q = xp.stack([q[:, h] for h in weighing], axis=1)[:, :, None]
        k = xp.stack([k[:, h // groups] for h in weighing], axis=1)
        own = xp.stack([v[:, h // groups] for h in weighing], axis=1)
        out = _weighted(backend, step, q, k, own, mask[None, :, None])  # type: ignore[index]
        parts = {h: out[:, i, 0] for i, h in enumerate(weighing)}
    for h, pattern in enumerate(step.patterns):
        match pattern:
            case OffsetPattern():
                parts[h] = _moved(xp, v[:, h // groups], pattern.back)
            case SinkPattern():
                parts[h] = _moved(xp, v[:, h // groups], length)
            case MeanPattern():
                parts[h] = xp.broadcast_to(means[h], (prompts, length, size))  # type: ignore[index]
            case _:
                pass
    return xp.concat([parts[h] for h in range(step.heads)], axis=-1)


def _weighted(backend: Backend, step: Attention, q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Values averaged by the softmax of the scores, B x kv x groups x T x size like q; k and v are B x kv x T x size,
    the mask broadcasts to B x kv x groups x T x T."""
    xp = backend.xp
    q = q * backend.number(step.denominator_squared) ** -0.5
    k, v = k[:, :, None], v[:, :, None]
    weights = backend.matmul(q, xp.permute_dims(k, (0, 1, 2, 4, 3)))  # B x kv x groups x T x T
    # in place: these T x T arrays are the largest of a stage
    if step.cap is not None:
        cap = backend.number(step.cap)
        weights /= cap
        xp.tanh(weights, out=weights)
        weights *= cap
    weights += mask
    weights -= backend.largest(weights, keep=True)
    xp.exp(weights, out=weights)
    averaged = backend.matmul(weights, v)
    averaged /= backend.total(weights, keep=True)
    return averaged


def _moved(xp: Any, x: Array, back: int) -> Array:
    """``x[max(0, t - back)]`` at every position ``t``; x is B x T x size."""
    prompts, length, size = x.shape
    first = xp.broadcast_to(x[:, :1], (prompts, min(back, length), size))
    return xp.concat((first, x[:, : max(0, length - back)]), axis=1)
