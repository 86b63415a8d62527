"""What a head costs and what it would add to the error under each pattern, and when which is worth it.

Nothing is run forward but attention itself, on the cached queries, keys and values of some prompts. A window costs one
attention step for all heads. Offsets and the sink cost less: the errors of all ``T`` of them come together from
correlations of a head's cached output with its cached values, ``O(n head_size log T)`` for ``n`` tokens, where a
forward pass of the block takes ``n`` times all its weights.
"""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.program import (
    Attention,
    MeanPattern,
    OffsetPattern,
    Pattern,
    SinkPattern,
    WindowPattern,
    attends,
)
from blockcert_producers.extract.sensitivity import probe_part
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host
from blockcert_verifier.anatomy import Heads

__all__ = [
    "HeadOptions",
    "attended_pairs",
    "head_options",
    "mean_outputs",
    "single_errors",
    "single_pattern",
    "windows",
]

SINKS = 1


class HeadOptions(Struct, frozen=True):
    """What is tried for every head: its own pattern, windows of halving width, the best offset or the sink, the mean.

    ``errors`` (heads x patterns) is the mean squared relative error that the head adds under the pattern, ``costs``
    (heads x patterns) its multiply-adds on one prompt.
    """

    patterns: tuple[tuple[Pattern, ...], ...]
    costs: Host
    errors: Host


def windows(length: int) -> tuple[WindowPattern, ...]:
    """The windows that are tried, each with one sink: the powers of two below ``length``, but for 1, an offset of 0."""
    widths = [1 << i for i in range(1, max(1, (length - 1).bit_length()))]
    return tuple(WindowPattern(width, SINKS) for width in reversed(widths))


def attended_pairs(pattern: Pattern, length: int) -> int:
    """Pairs of a position and a position it weighs by scores; none where nothing is multiplied."""
    if not attends(pattern):
        return 0
    if isinstance(pattern, WindowPattern):
        width, sinks = pattern.width, pattern.sinks
        return sum(min(t + 1, width) + min(sinks, max(0, t + 1 - width)) for t in range(length))
    return length * (length + 1) // 2


def mean_outputs(study: Study, heads: Heads) -> Host:
    """The average output of every head over all calibration tokens, heads x head_size."""
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    return study.flat(study.values[step.out]).mean(axis=0).reshape(step.heads, step.head_size)


def single_pattern(index: int, length: int) -> Pattern:
    """The pattern of one attended position that stands at ``index`` of ``single_errors``."""
    return SinkPattern() if 0 < index == length - 1 else OffsetPattern(index)


def single_errors(weights: Host, output: Host, value: Host) -> Host:
    """What is left of a head's output when it is the value ``k`` back, for every ``k`` at once.

    Args:
        weights: of the tokens, B x T.
        output: of the head, B x T x c.
        value: what the head moves, in the same space, B x T x c.

    Returns:
        T weighted sums of squares, each about the mean and with the value scaled to fit best, as a refit of the output
        map can do; entry ``k`` for position ``max(0, t - k)``, so the last is always the first position.
    """
    weighted = weights[..., None] * output
    total = weights.sum()
    mean = weighted.sum(axis=(0, 1)) / total
    mass = weights[..., None]
    square = (value**2).sum(axis=2, keepdims=True)
    given = _moved(mass, value)  # T x c
    cross = _moved(weighted, value).sum(axis=1) - given @ mean
    energy = _moved(mass, square)[:, 0] - (given**2).sum(axis=1) / total
    whole = float((weighted * output).sum() - total * mean @ mean)
    # a value that does not vary about its mean explains nothing
    varies = energy > 1e-12 * float((mass * square).sum())
    explained = np.divide(np.maximum(cross, 0) ** 2, energy, out=np.zeros_like(energy), where=varies)
    return np.maximum(whole - explained, 0)


def _moved(left: Host, right: Host) -> Host:
    """``sum over prompts and t of left[t] right[max(0, t - k)]`` for every ``k < T``: T x c.

    Both are B x T x c, or x 1. The sums over ``t >= k`` are a correlation, by the fast Fourier transform.
    """
    length = left.shape[1]
    spectra = np.fft.rfft(left, 2 * length, axis=1) * np.conj(np.fft.rfft(right, 2 * length, axis=1))
    lagged = np.fft.irfft(spectra.sum(axis=0), 2 * length, axis=0)[:length]
    before = np.cumsum((left * right[:, :1]).sum(axis=0), axis=0)[:-1]
    lagged[1:] += before
    return lagged


def head_options(study: Study, heads: Heads, amplification: float) -> HeadOptions:
    """Errors and costs of every head under every pattern, with the bias of the output map refitted.

    A head's error is what its change does to the block's residual sum, times ``amplification`` for what follows.
    """
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    part = probe_part(study)
    weights = study.token_weights.reshape(study.prompts, study.length)[part]
    scale = amplification / weights.size
    values = {name: study.values[name][part] for name in (step.query, step.key, step.value)}
    output = _by_head(study, study.values[step.out][part], step.head_size)
    moved = _by_head(study, values[step.value], step.head_size)
    prompts = int(output.shape[1])
    tried = windows(study.length)
    # a head's own pattern changes nothing
    errors = np.zeros((step.heads, len(tried) + 3))
    changes = [_by_head(study, _under(study, step, pattern, values, prompts), step.head_size) for pattern in tried]
    found: list[tuple[Pattern, ...]] = []
    for h, root in enumerate(_roots(study, heads, step)):
        for k, changed in enumerate(changes):
            errors[h, 1 + k] = scale * _spread(weights, (changed[h] - output[h]) @ root)
        errors[h, -1] = scale * _spread(weights, output[h] @ root)
        own = moved[h * step.key_value_heads // step.heads]
        single = single_errors(weights, output[h] @ root, own @ root)
        best = int(np.argmin(single))
        errors[h, -2] = scale * single[best]
        found.append((step.patterns[h], *tried, single_pattern(best, study.length), MeanPattern()))
    costs = np.array([[2 * step.head_size * attended_pairs(p, study.length) for p in row] for row in found], np.float64)
    return HeadOptions(tuple(found), costs, errors)


def _under(study: Study, step: Attention, pattern: Pattern, values: dict[str, Host], prompts: int) -> Host:
    """The output of attention with one pattern for all heads."""
    replaced = msgspec.structs.replace(step, patterns=(pattern,) * step.heads, means=None)
    return study.run_step(replaced, values, study.store, prompts)


def _by_head(study: Study, value: Host, size: int) -> Host:
    """A value as heads x B x T x head_size, on the host."""
    held = np.asarray(study.backend.numpy(value), dtype=np.float64)
    return np.moveaxis(held.reshape(*held.shape[:2], -1, size), 2, 0)


def _roots(study: Study, heads: Heads, step: Attention) -> list[Host]:
    """For each head a head_size x head_size matrix under which an error of the head's output has the norm that it has
    behind the output map."""
    output = study.matrix(heads.output)
    found: list[Host] = []
    for h in range(step.heads):
        own = output[:, h * step.head_size : (h + 1) * step.head_size]
        squares, axes = np.linalg.eigh(own.T @ own)
        found.append(axes * np.sqrt(np.maximum(squares, 0)))
    return found


def _spread(weights: Host, change: Host) -> float:
    """The weighted sum of squares of a change (B x T x c) about its mean."""
    flat, mass = change.reshape(-1, change.shape[-1]), weights.reshape(-1)
    return float(mass @ ((flat - mass @ flat / mass.sum()) ** 2).sum(axis=1))
