"""The operations of the program language in floating point: one short function each, shapes in comments.

``B`` prompts, ``T`` tokens, ``d`` channels. Formulas: ``spec/05-programs.md``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from blockcert.program import (
    Attention,
    DensePattern,
    LinearScaling,
    MeanPattern,
    OffsetPattern,
    Rotary,
    SinkPattern,
    WindowPattern,
    YarnScaling,
    attends,
)
from blockcert_verifier.evaluate.backend import Array, Backend

__all__ = ["activate", "attend", "attention_mask", "fastest_angle", "layer_norm", "rms_norm", "rotary_tables", "rotate"]


def rms_norm(backend: Backend, x: Array, gain: Array, eps: Any) -> Array:
    """``x / sqrt(mean(x^2) + eps) * gain`` in every head of as many channels as gain has; x is B x T x heads*size."""
    xp = backend.xp
    heads = xp.reshape(x, (*x.shape[:2], -1, gain.shape[0]))
    normed = heads / xp.sqrt(xp.mean(heads * heads, axis=-1, keepdims=True) + eps) * gain
    return xp.reshape(normed, x.shape)


def layer_norm(backend: Backend, x: Array, weight: Array, bias: Array | None, eps: Any) -> Array:
    """``(x - mean) / sqrt(variance + eps) * weight + bias``; x is B x T x d."""
    xp = backend.xp
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    normed = centred / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + eps) * weight
    return normed if bias is None else normed + bias


def activate(backend: Backend, x: Array, function: str) -> Array:
    """gelu, gelu_tanh, silu or relu, elementwise."""
    xp = backend.xp
    match function:
        case "gelu":
            return 0.5 * x * (1 + backend.erf(x / math.sqrt(2)))
        case "gelu_tanh":
            return 0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
        case "silu":
            # far below 0 exp overflows to infinity, and the quotient is 0 as it should be
            return x / (1 + xp.exp(-x))
        case _:
            return xp.where(x > 0, x, xp.zeros_like(x))


def _frequencies(step: Rotary, wide: Any) -> np.ndarray[Any, Any]:
    """The rotary frequencies after scaling, size/2, in a numpy float type."""
    half = step.size // 2
    frequency = wide(step.theta) ** (-2 * np.arange(half, dtype=wide) / step.size)
    match step.scaling:
        case None:
            pass
        case LinearScaling():
            frequency = frequency / wide(step.scaling.factor)
        case YarnScaling() as yarn:
            first, last = wide(yarn.ramp_from), wide(yarn.ramp_to)
            ramp = np.clip((np.arange(half, dtype=wide) - first) / (last - first), 0, 1)
            frequency = ramp * frequency / wide(yarn.factor) + (1 - ramp) * frequency
        case scaling:
            low, high = wide(scaling.low_frequency_factor), wide(scaling.high_frequency_factor)
            turns = scaling.original_context * frequency / (2 * wide(np.pi))
            ramp = np.clip((turns - low) / (high - low), 0, 1)
            frequency = (1 - ramp) * frequency / wide(scaling.factor) + ramp * frequency
    return frequency


def fastest_angle(step: Rotary, length: int) -> float:
    """The largest angle by which a position is rotated, in radians; a bound from the frequencies."""
    with np.errstate(all="ignore"):
        return float(np.max(np.abs(_frequencies(step, np.float64)), initial=0.0)) * length


def rotary_tables(backend: Backend, step: Rotary, length: int) -> tuple[Array, Array]:
    """Cosines and sines of every position's angles, each T x size/2, times YaRN's attention factor."""
    wide = np.longdouble if backend.precision == "extended" else np.float64
    frequency = _frequencies(step, wide)
    angles = np.arange(length, dtype=wide)[:, None] * frequency
    factor = wide(step.scaling.attention_factor) if isinstance(step.scaling, YarnScaling) else wide(1)
    return backend.array(factor * np.cos(angles)), backend.array(factor * np.sin(angles))


def rotate(backend: Backend, x: Array, cos: Array, sin: Array, head_size: int) -> Array:
    """``x`` (B x T x heads*head_size) with the first ``2 * half`` channels of every head rotated, half-split."""
    xp = backend.xp
    prompts, length, width = x.shape
    half = cos.shape[1]
    heads = xp.reshape(x, (prompts, length, width // head_size, head_size))
    first, second, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
    cos, sin = cos[None, :, None, :], sin[None, :, None, :]  # 1 x T x 1 x half
    turned = xp.concat((first * cos - second * sin, second * cos + first * sin, rest), axis=-1)
    return xp.reshape(turned, (prompts, length, width))


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
        return xp.permute_dims(xp.reshape(x, (prompts, length, heads, size)), (0, 2, 1, 3))

    q, k, v = split(q, step.heads), split(k, step.key_value_heads), split(v, step.key_value_heads)
    weighing = [h for h, pattern in enumerate(step.patterns) if attends(pattern)]
    if len(weighing) == step.heads:
        q = xp.reshape(q, (prompts, step.key_value_heads, groups, length, size))
        mask = xp.reshape(mask, (1, step.key_value_heads, groups, length, length))
        out = xp.reshape(_weighted(backend, step, q, k, v, mask), (prompts, step.heads, length, size))
        return xp.reshape(xp.permute_dims(out, (0, 2, 1, 3)), (prompts, length, step.heads * size))
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
        weights = xp.tanh(weights)
        weights *= cap
    weights += mask
    weights -= xp.max(weights, axis=-1, keepdims=True)
    weights = xp.exp(weights)
    return backend.matmul(weights, v) / xp.sum(weights, axis=-1, keepdims=True)


def _moved(xp: Any, x: Array, back: int) -> Array:
    """``x[max(0, t - back)]`` at every position ``t``; x is B x T x size."""
    prompts, length, size = x.shape
    first = xp.broadcast_to(x[:, :1], (prompts, min(back, length), size))
    return xp.concat((first, x[:, : max(0, length - back)]), axis=1)
