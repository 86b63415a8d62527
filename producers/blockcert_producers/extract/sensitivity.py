"""How much a squared error in one row of a linear map adds to the block's squared relative error.

These figures order the simplifications; what a simplified block really does is measured afterwards.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from blockcert.program import Attention
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host
from blockcert_verifier.anatomy import Heads, Neurons
from blockcert_verifier.evaluate import Array

__all__ = ["Sensitivity", "measure_sensitivity", "probe_part"]

_PROBE_PROMPTS = 16
_PROBE = 1e-2
_DERIVATIVE = 1e-4


class Sensitivity(Struct, frozen=True):
    """For one linear map: ``tokens`` (n) weighs the tokens, ``rows`` (out) the rows, so that an error ``E`` (n x out)
    of the map's output adds about ``mean_t tokens_t sum_o rows_o E_to^2`` to the mean squared relative error."""

    tokens: Host
    rows: Host


def probe_part(study: Study) -> slice:
    """The prompts on which probes are run: evenly spaced, at most sixteen."""
    return slice(None, None, max(1, -(-study.prompts // _PROBE_PROMPTS)))


def measure_sensitivity(study: Study) -> tuple[dict[int, Sensitivity], float]:
    """The sensitivity of every linear map by position, and by how much the rest of the block amplifies a squared
    error of the attention's output map."""
    found = {i: Sensitivity(study.token_weights, np.ones(study.matrix(i).shape[0])) for i in study.anatomy.linears}
    amplification = 1.0
    heads, neurons = study.anatomy.heads, study.anatomy.neurons
    if neurons is not None:
        found.update(_neuron_rows(study, neurons))
    if heads is not None:
        rows, amplification = _attention_rows(study, heads)
        for i, values in rows.items():
            found[i] = Sensitivity(study.token_weights, values)
    return found, amplification


def _neuron_rows(study: Study, neurons: Neurons) -> dict[int, Sensitivity]:
    """By the derivative of the neurons with respect to each map's output, and the norms of their output columns."""
    columns = (study.matrix(neurons.output) ** 2).sum(axis=0)
    read = study.linear(neurons.output).input
    everything = slice(None)
    neuron = study.flat(study.values[read])
    found: dict[int, Sensitivity] = {}
    for i in neurons.inputs:
        out = study.linear(i).out
        value = study.values[out]
        step = _DERIVATIVE * float(np.sqrt(np.mean(study.flat(value) ** 2))) or _DERIVATIVE
        moved = study.flat(study.propagate({out: value + step}, everything, read))
        slope = ((moved - neuron) / step) ** 2 * columns * study.token_weights[:, None]  # n x neurons
        tokens = slope.mean(axis=1)
        total = float(tokens.sum())
        if not np.isfinite(total) or total <= 0:
            continue
        found[i] = Sensitivity(tokens, slope.sum(axis=0) / total)
    return found


def _attention_rows(study: Study, heads: Heads) -> tuple[dict[int, Host], float]:
    """By moving queries, keys and values a little, each on their own, and looking at every head's output."""
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    part = probe_part(study)
    weights = study.token_weights.reshape(study.prompts, study.length)[part].reshape(-1)
    output = study.matrix(heads.output)
    before = study.flat(study.values[step.out][part])
    rows: dict[int, Host] = {}
    last = np.zeros((before.shape[0], output.shape[0]))
    for i in (heads.query, heads.key, heads.value):
        out = study.linear(i).out
        moved, size = _nudge(study, out, part)
        change = study.flat(study.propagate({out: moved}, part, step.out)) - before
        local = study.flat(size) ** 2  # n x width
        effects = np.empty(step.heads)
        total = np.zeros_like(last)
        for h in range(step.heads):
            channels = slice(h * step.head_size, (h + 1) * step.head_size)
            effect = change[:, channels] @ output[:, channels].T
            effects[h] = weights @ (effect**2).sum(axis=1)
            total += effect
        width = local.shape[1] // step.head_size
        summed = effects.reshape(width, -1).sum(axis=1)
        given = (weights @ local).reshape(width, step.head_size).sum(axis=1)
        rows[i] = np.repeat(np.divide(summed, given, out=np.zeros_like(summed), where=given > 0), step.head_size)
        last = total
    amplification = _amplification(study, heads, part, last, weights)
    rows = {i: values * amplification for i, values in rows.items()}
    rows[heads.output] = np.full(output.shape[0], amplification)
    return rows, amplification


def _nudge(study: Study, name: str, part: slice) -> tuple[Array, Array]:
    """A value moved by a hundredth of its spread in a fixed pattern of signs, and by how much."""
    value: Host = np.asarray(study.backend.numpy(study.values[name][part]), dtype=np.float64)
    spread = np.sqrt(np.mean((value - value.mean(axis=(0, 1))) ** 2, axis=(0, 1)))
    # a fixed, unstructured pattern: nothing here is random
    phase = np.linspace(0.0, float(value.size), value.size, endpoint=False).reshape(value.shape)
    signs = np.where(np.sin(phase * 12.9898 + 78.233) >= 0, 1.0, -1.0)
    size = _PROBE * spread * signs
    return study.backend.array(value + size), study.backend.array(size)


def _amplification(study: Study, heads: Heads, part: slice, error: Host, weights: Host) -> float:
    """The block's squared error over the squared error of the attention's output map, both relative."""
    out = study.linear(heads.output).out
    value = study.values[out][part]
    moved = value + study.backend.array(error.reshape(value.shape))
    result = study.flat(study.propagate({out: moved}, part, study.stage.output))
    change = result - study.flat(study.values[study.stage.output][part])
    given = float(weights @ (error**2).sum(axis=1))
    got = float(weights @ (change**2).sum(axis=1))
    return got / given if given > 0 and np.isfinite(got) and got > 0 else 1.0
