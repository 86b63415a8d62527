"""What a head costs and what it would add to the error under each pattern, and when which is worth it."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.program import (
    Attention,
    DensePattern,
    MeanPattern,
    OffsetPattern,
    Pattern,
    SinkPattern,
    WindowPattern,
)
from blockcert_producers.extract.sensitivity import probe_part
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host
from blockcert_verifier.anatomy import Heads

__all__ = ["HeadOptions", "attended_pairs", "head_options", "mean_outputs", "patterns_for"]

SINKS = 1


class HeadOptions(Struct, frozen=True):
    """For every head and pattern: ``errors`` (heads x patterns) is the mean squared relative error that the head adds
    under the pattern, ``costs`` (patterns) its multiply-adds on one prompt. The last pattern is ``mean``."""

    patterns: tuple[Pattern, ...]
    costs: Host
    errors: Host


def patterns_for(length: int) -> tuple[Pattern, ...]:
    """The patterns that are tried, from the whole past to none of it: windows of halving width with one sink, the
    current position alone, and the mean."""
    found: list[Pattern] = [DensePattern()]
    width = 1 << max(0, (length - 1).bit_length() - 1)
    while width >= 1:
        if width < length:
            found.append(WindowPattern(width, SINKS if width > 1 else 0))
        width //= 2
    return (*found, MeanPattern())


def attended_pairs(pattern: Pattern, length: int) -> int:
    """Pairs of a position and a position it attends to."""
    match pattern:
        case MeanPattern() | OffsetPattern() | SinkPattern():
            return 0  # nothing is weighed by scores
        case DensePattern():
            return length * (length + 1) // 2
        case WindowPattern(width=width, sinks=sinks):
            return sum(min(t + 1, width) + min(sinks, max(0, t + 1 - width)) for t in range(length))


def mean_outputs(study: Study, heads: Heads) -> Host:
    """The average output of every head over all calibration tokens, heads x head_size."""
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    return study.flat(study.values[step.out]).mean(axis=0).reshape(step.heads, step.head_size)


def head_options(study: Study, heads: Heads, amplification: float) -> HeadOptions:
    """Errors and costs of every head under every pattern, with the bias of the output map refitted.

    A head's error is what its change does to the block's residual sum, times ``amplification`` for what follows.
    """
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    part = probe_part(study)
    weights = study.token_weights.reshape(study.prompts, study.length)[part].reshape(-1)
    share = weights / weights.sum()
    output = study.matrix(heads.output)
    before = study.flat(study.values[step.out][part])
    values = {name: study.values[name][part] for name in (step.query, step.key, step.value)}
    prompts = int(values[step.query].shape[0])
    patterns = patterns_for(study.length)
    errors = np.zeros((step.heads, len(patterns)))
    for k, pattern in enumerate(patterns):
        if isinstance(pattern, DensePattern):
            continue
        if isinstance(pattern, MeanPattern):
            change = before
        else:
            replaced = msgspec.structs.replace(step, patterns=(pattern,) * step.heads, means=None)
            change = study.flat(study.run_step(replaced, values, study.store, prompts)) - before
        for h in range(step.heads):
            channels = slice(h * step.head_size, (h + 1) * step.head_size)
            effect = change[:, channels] @ output[:, channels].T
            effect = effect - share @ effect
            errors[h, k] = float(weights @ (effect**2).sum(axis=1)) / weights.size * amplification
    costs = np.array([2 * step.head_size * attended_pairs(p, study.length) for p in patterns], dtype=np.float64)
    return HeadOptions(patterns, costs, errors)
