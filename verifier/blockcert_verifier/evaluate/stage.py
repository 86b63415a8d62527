"""One stage of a program, loaded: its weights in working precision, ready to run on a batch of prompts."""

from __future__ import annotations

from typing import Any

from blockcert.errors import Refusal
from blockcert.program import (
    Activation,
    Add,
    Attention,
    Constant,
    Embed,
    LayerNorm,
    Linear,
    LowRank,
    MeanPattern,
    Multiply,
    Positions,
    RmsNorm,
    Rotary,
    SoftCap,
    Stage,
    Step,
    Take,
)
from blockcert_verifier.evaluate.backend import Array, Backend
from blockcert_verifier.evaluate.operations import (
    activate,
    attend,
    attention_mask,
    layer_norm,
    rms_norm,
    rotary_tables,
    rotate,
)
from blockcert_verifier.evaluate.weights import WeightStore, dense_matrix

__all__ = ["LoadedStage"]


class LoadedStage:
    """A stage with its weights in memory; calling it runs the stage.

    Args:
        stage: the steps; must be well formed (``blockcert.wellformed``).
        store: where the weights are.
        backend: where and in which precision to evaluate.
        length: tokens per prompt ``T``; every batch has this length.

    Raises:
        Refusal: ``tensor.*`` where a weight is missing or does not fit.
    """

    def __init__(self, stage: Stage, store: WeightStore, backend: Backend, length: int) -> None:
        self._stage = stage
        self.backend = backend
        self._length = length
        self._loaded = [self._load(step, store) for step in stage.steps]

    def _load(self, step: Step, store: WeightStore) -> tuple[Array | None, ...]:
        backend, length = self.backend, self._length

        def vector(reference: Any) -> Array | None:
            return None if reference is None else backend.array(store.floats(reference, (None,)))

        match step:
            case Embed():
                return (backend.array(store.floats(step.weight, (None, None))),)
            case Positions():
                table = store.floats(step.weight, (None, None))
                if table.shape[0] < length:
                    raise Refusal(
                        "program.context",
                        f"{step.weight.file}: {step.weight.tensor}",
                        f"prompts of {length} tokens, but only {table.shape[0]} learned positions",
                    )
                return (backend.array(table[:length]),)
            case RmsNorm():
                gain = backend.array(store.floats(step.weight, (None,)))
                return (gain if step.offset == "0" else gain + backend.number(step.offset),)
            case LayerNorm():
                return (vector(step.weight), vector(step.bias))
            case Linear(map=LowRank() as low_rank):
                right = backend.array(store.floats(low_rank.right, (None, None)).T)
                left = backend.array(store.floats(low_rank.left, (None, right.shape[1])).T)
                return (right, left, vector(step.bias))
            case Linear():
                return (backend.array(dense_matrix(store, step.map).T), None, vector(step.bias))
            case Rotary():
                return rotary_tables(backend, step, length)
            case Attention():
                silent = any(isinstance(pattern, MeanPattern) for pattern in step.patterns)
                if silent and step.means is None:
                    raise Refusal("program.means", step.out, "a mean head without means")
                shape = (step.heads, step.head_size)
                means = backend.array(store.floats(step.means, shape)) if silent and step.means else None
                return (backend.array(attention_mask(step, length)), means)
            case Take():
                return (backend.integers(store.integers(step.indices, (None,))),)
            case Constant():
                return (vector(step.value),)
            case _:
                return ()

    def __call__(self, source: Array) -> Array:
        """The stage's output, B x T x width, from tokens (B x T, int64) or a hidden state (B x T x d).

        Raises:
            Refusal: ``program.shape`` where widths do not fit, ``program.token`` for a token outside the table.
        """
        tokens_in = self._stage.kind == "embedding"
        values: dict[str, Array] = {"tokens" if tokens_in else "hidden": source}
        prompts = source.shape[0]
        for step, loaded in zip(self._stage.steps, self._loaded, strict=True):
            try:
                values[step.out] = self._run(step, loaded, values, prompts)
            except (ValueError, RuntimeError, IndexError) as error:
                raise Refusal(
                    "program.shape",
                    f"{self._stage.kind}: {step.out}",
                    f"the step cannot be evaluated: {error}",
                ) from error
        return values[self._stage.output]

    def _run(self, step: Step, loaded: tuple[Array | None, ...], values: dict[str, Array], prompts: int) -> Array:
        backend, xp = self.backend, self.backend.xp
        match step:
            case Embed():
                rows = xp.take(loaded[0], xp.reshape(values["tokens"], (-1,)), axis=0)
                hidden = xp.reshape(rows, (prompts, self._length, -1))
                return hidden if step.scale is None else hidden * backend.number(step.scale)
            case Positions() | Constant():
                shape = (prompts, self._length, loaded[0].shape[-1])  # type: ignore[union-attr]
                return xp.broadcast_to(loaded[0], shape)
            case Add():
                return _same_width(values[step.left], values[step.right]) + values[step.right]
            case Multiply():
                return _same_width(values[step.left], values[step.right]) * values[step.right]
            case RmsNorm():
                return rms_norm(backend, values[step.input], loaded[0], backend.number(step.eps))
            case LayerNorm():
                return layer_norm(backend, values[step.input], loaded[0], loaded[1], backend.number(step.eps))
            case Linear():
                first, second, bias = loaded
                x = backend.matmul(_flat(xp, values[step.input]), first)
                x = x if second is None else backend.matmul(x, second)
                x = x if bias is None else x + bias
                return xp.reshape(x, (prompts, self._length, x.shape[-1]))
            case Rotary():
                return rotate(backend, values[step.input], loaded[0], loaded[1], step.head_size)
            case Activation():
                return activate(backend, values[step.input], step.function)
            case Attention():
                q, k, v = values[step.query], values[step.key], values[step.value]
                return attend(backend, step, q, k, v, loaded[0], loaded[1])
            case SoftCap():
                cap = backend.number(step.cap)
                return cap * xp.tanh(values[step.input] / cap)
            case Take():
                return xp.take(values[step.input], loaded[0], axis=-1)


def _flat(xp: Any, x: Array) -> Array:
    # one tall matrix: a single BLAS call instead of one per prompt
    return xp.reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))


def _same_width(left: Array, right: Array) -> Array:
    if left.shape != right.shape:
        raise ValueError(f"widths {left.shape[-1]} and {right.shape[-1]} differ")
    return left
