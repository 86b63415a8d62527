"""A stage that torch can differentiate: the evaluator's own steps, with attention and silu written so that gradients
exist and are finite everywhere.

The evaluator's attention works in place, which autograd refuses, and its silu overflows inside, which only its
gradient notices. What is trained here is measured by the evaluator afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from blockcert.program import Activation, Attention, MeanPattern, OffsetPattern, SinkPattern, Stage, WindowPattern
from blockcert_producers.extract.tensors import Host
from blockcert_verifier.evaluate import Array, Backend, LoadedStage, WeightStore

__all__ = ["Differentiable", "Loaded"]

Loaded: TypeAlias = tuple[Array | None, ...]
"""The weights of one step, as ``LoadedStage.loaded`` holds them."""


class Differentiable(LoadedStage):
    """A stage on a torch back end; its weights are given with every run."""

    def __init__(self, stage: Stage, store: WeightStore, backend: Backend, length: int) -> None:
        super().__init__(stage, store, backend, length)
        self._masks = {
            i: backend.array(_mask(step, length)) for i, step in enumerate(stage.steps) if isinstance(step, Attention)
        }

    def run(self, hidden: Array, weights: Sequence[Loaded]) -> Array:
        """The stage's output (B x T x width) from a hidden state (B x T x d), with these weights of its steps."""
        values: dict[str, Array] = {"hidden": hidden}
        for i, (step, loaded) in enumerate(zip(self.stage.steps, weights, strict=True)):
            match step:
                case Attention():
                    values[step.out] = self._attended(i, step, loaded[1], values)
                case Activation(function="silu"):
                    import torch

                    values[step.out] = torch.nn.functional.silu(values[step.input])
                case _:
                    values[step.out] = self._run(step, loaded, values, int(hidden.shape[0]))
        return values[self.stage.output]

    def _attended(self, index: int, step: Attention, means: Any, values: dict[str, Array]) -> Array:
        import torch

        q, k, v = values[step.query], values[step.key], values[step.value]
        prompts, length, size = int(q.shape[0]), self.length, step.head_size
        groups = step.heads // step.key_value_heads
        q = q.reshape(prompts, length, step.key_value_heads, groups, size).permute(0, 2, 3, 1, 4)
        k = k.reshape(prompts, length, step.key_value_heads, 1, size).permute(0, 2, 3, 4, 1)
        v = v.reshape(prompts, length, step.key_value_heads, 1, size).permute(0, 2, 3, 1, 4)
        scores = (q @ k) * float(step.denominator_squared) ** -0.5  # B x kv x groups x T x T
        if step.cap is not None:
            scores = float(step.cap) * torch.tanh(scores / float(step.cap))
        mask = self._masks[index].reshape(step.key_value_heads, groups, length, length)
        out = torch.softmax(scores + mask, dim=-1) @ v
        out = out.permute(0, 3, 1, 2, 4).reshape(prompts, length, step.heads, size)
        silent = [isinstance(pattern, MeanPattern) for pattern in step.patterns]
        if means is not None and any(silent):
            chosen = torch.tensor(silent, device=out.device)[:, None]
            out = torch.where(chosen, means, out)
        return out.reshape(prompts, length, step.heads * size)


def _mask(step: Attention, length: int) -> Host:
    """What is added to every head's scores, heads x T x T: 0 or minus infinity. A head that looks at one position has
    that one alone, so that its softmax is 1 there whatever the score; a silent head's scores are not used."""
    t, s = np.arange(length)[:, None], np.arange(length)[None, :]
    rows: list[Host] = []
    for pattern in step.patterns:
        match pattern:
            case WindowPattern():
                rows.append((s <= t) & ((t - s < pattern.width) | (s < pattern.sinks)))
            case OffsetPattern():
                rows.append(s == np.maximum(0, t - pattern.back))
            case SinkPattern():
                rows.append(np.broadcast_to(s == 0, (length, length)))
            case _:
                rows.append(s <= t)
    return np.where(np.stack(rows), 0.0, -np.inf)
