"""A stage that torch can differentiate: the evaluator's steps, written so that gradients exist and are finite
everywhere.

The evaluator works in place, which autograd refuses, and its silu overflows inside, which only its gradient notices.
What is trained here is measured by the evaluator afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from blockcert.program import (
    Activation,
    Attention,
    LayerNorm,
    Linear,
    MeanPattern,
    OffsetPattern,
    RmsNorm,
    Rotary,
    SinkPattern,
    Stage,
    WindowPattern,
)
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
            if isinstance(step, Attention):
                values[step.out] = self._attended(i, step, loaded[1], values)
            elif isinstance(step, RmsNorm | LayerNorm | Linear | Rotary | Activation):
                values[step.out] = self._applied(step, loaded, values[step.input])
            else:
                values[step.out] = self._run(step, loaded, values, int(hidden.shape[0]))
        return values[self.stage.output]

    def _applied(self, step: RmsNorm | LayerNorm | Linear | Rotary | Activation, loaded: Any, x: Any) -> Array:
        """A step of one input, B x T x width."""
        import torch

        match step:
            case RmsNorm():
                size = x.shape[-1] if step.head_size is None else step.head_size
                heads = x.unflatten(-1, (-1, size))
                mean_square = (heads * heads).mean(-1, keepdim=True)
                return (heads / torch.sqrt(mean_square + float(step.eps)) * loaded[0]).reshape(x.shape)
            case LayerNorm():
                centred = x - x.mean(-1, keepdim=True)
                variance = (centred * centred).mean(-1, keepdim=True)
                normed = centred / torch.sqrt(variance + float(step.eps)) * loaded[0]
                return normed if loaded[1] is None else normed + loaded[1]
            case Linear():
                first, second, bias = loaded
                y = x @ first if second is None else x @ first @ second
                return y if bias is None else y + bias
            case Rotary():
                cos, sin = loaded[0][:, None, :], loaded[1][:, None, :]  # T x 1 x half
                heads = x.unflatten(-1, (-1, step.head_size))
                half = cos.shape[-1]
                first, second, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
                turned = (first * cos - second * sin, second * cos + first * sin, rest)
                return torch.cat(turned, dim=-1).reshape(x.shape)
            case Activation():
                gelu = torch.nn.functional.gelu
                match step.function:
                    case "gelu":
                        return gelu(x)
                    case "gelu_tanh":
                        return gelu(x, approximate="tanh")
                    case "silu":
                        return torch.nn.functional.silu(x)
                    case "relu":
                        return torch.relu(x)

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
            chosen = self.backend.integers(np.array(silent)).bool()[:, None]
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
