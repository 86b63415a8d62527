"""One stage of a program, loaded: its weights in working precision, ready to run on a batch of prompts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

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
    Program,
    RmsNorm,
    Rotary,
    Rows,
    SoftCap,
    Sparse,
    Stage,
    Step,
    Take,
    attends,
)
from blockcert_verifier.evaluate.backend import Array, Backend
from blockcert_verifier.evaluate.magnitude import frobenius, largest_gain, score_bound, step_magnitude
from blockcert_verifier.evaluate.noise import Noise
from blockcert_verifier.evaluate.operations import (
    activate,
    attend,
    attention_mask,
    fastest_angle,
    layer_norm,
    rms_norm,
    rotary_tables,
    rotate,
)
from blockcert_verifier.evaluate.weights import WeightStore, dense_matrix

__all__ = ["LoadedStage", "Traced"]

MOST_VALUES = 1 << 28
"""Elements of one value of one prompt (2 GiB in float64); a program that asks for more is refused (BC-PRG-17)."""
FREE_ENTRIES, LEAST_STORED = 1 << 26, 256
"""Of a stage's sparse and rows maps, entries beyond so many for each that is stored may be no more than the first."""


class Traced(NamedTuple):
    """A stage's output (B x T x width), the largest magnitude inside it and the largest attention score (B x T)."""

    output: Array
    magnitude: Array
    score: Array


class LoadedStage:
    """A stage with its weights in memory; calling it runs the stage.

    Args:
        stage: the steps; must be well formed (``blockcert.wellformed``).
        store: where the weights are.
        backend: where and in which precision to evaluate.
        length: tokens per prompt ``T``; every batch has this length.
        program: the program whose hidden size and vocabulary the stage must keep; not checked where it is not given.

    Raises:
        Refusal: ``tensor.*`` where a weight is missing or does not fit, ``program.memory`` where a value would be huge.
    """

    def __init__(
        self, stage: Stage, store: WeightStore, backend: Backend, length: int, program: Program | None = None
    ) -> None:
        self._stage = stage
        self.backend = backend
        self._length = length
        self._program = program
        self._unstored = 0
        self._loaded = [self._load(step, store) for step in stage.steps]
        self._gains: dict[int, Any] = {}

    def _load(self, step: Step, store: WeightStore) -> tuple[Array | None, ...]:
        backend, length = self.backend, self._length

        def vector(reference: Any) -> Array | None:
            return None if reference is None else backend.array(store.floats(reference, (None,)))

        match step:
            case Embed():
                rows = None if self._program is None else self._program.vocabulary
                return (backend.array(store.floats(step.weight, (rows, None))),)
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
                right = backend.array(store.floats(low_rank.right, (None, None))).T
                left = backend.array(store.floats(low_rank.left, (None, right.shape[1]))).T
                return (_some(step, right), _some(step, left), vector(step.bias))
            case Linear():
                self._check_size(step, store)
                # a transposed view: copying row by row is several times faster than across rows
                matrix = backend.array(dense_matrix(store, step.map)).T
                return (_some(step, matrix), None, vector(step.bias))
            case Rotary():
                return rotary_tables(backend, step, length)
            case Attention():
                if step.heads * length * length > MOST_VALUES:
                    raise _too_large(step.out, f"{step.heads} heads over {length} tokens")
                silent = any(isinstance(pattern, MeanPattern) for pattern in step.patterns)
                if silent and step.means is None:
                    raise Refusal("program.means", step.out, "a mean head without means")
                shape = (step.heads, step.head_size)
                means = backend.array(store.floats(step.means, shape)) if silent and step.means else None
                mask = attention_mask(step, length)
                return (None if mask is None else backend.array(mask), means)
            case Take():
                indices = store.integers(step.indices, (None,))
                return (backend.integers(indices), indices)
            case Constant():
                return (vector(step.value),)
            case _:
                return ()

    @property
    def length(self) -> int:
        """Tokens per prompt."""
        return self._length

    @property
    def stage(self) -> Stage:
        """The steps."""
        return self._stage

    @property
    def loaded(self) -> tuple[tuple[Step, tuple[Array | None, ...]], ...]:
        """Each step with its weights in working precision; the matrices of a linear map are ``in x out``."""
        return tuple(zip(self._stage.steps, self._loaded, strict=True))

    @property
    def footprint(self) -> int:
        """Elements of the largest value that one prompt makes here, attention scores included."""
        length, most = self._length, 1
        for step, loaded in zip(self._stage.steps, self._loaded, strict=True):
            if isinstance(step, Attention):
                most = max(most, sum(map(attends, step.patterns)) * length)
            elif isinstance(step, Linear):
                most = max(most, int((loaded[0] if loaded[1] is None else loaded[1]).shape[1]))  # type: ignore[union-attr]
        return most * length

    def _check_size(self, step: Linear, store: WeightStore) -> None:
        """Refuse a map whose matrix is out of proportion to what is stored of it, before it is made."""
        match step.map:
            case Rows(size=out):
                stored, width = store.shape(step.map.weight, 2)
            case Sparse(shape=(out, width)):
                stored = -(-store.shape(step.map.values, 1)[0] // width)
            case _:
                return
        self._unstored += max(0, out - stored * LEAST_STORED) * width
        if self._unstored > FREE_ENTRIES:
            raise _too_large(step.out, "matrices of which almost nothing is stored")
        if out * self._length > MOST_VALUES:
            raise _too_large(step.out, f"{out} channels over {self._length} tokens")

    def __call__(self, source: Array) -> Array:
        """The stage's output, B x T x width, from tokens (B x T, int64) or a hidden state (B x T x d).

        Raises:
            Refusal: ``program.shape`` where widths do not fit, ``program.token`` for a token outside the table.
        """
        return self._evaluate(source, trace=False).output

    def traced(self, source: Array, noise: Noise | None = None, first: int = 0) -> Traced:
        """The stage's output and how large the values inside it became; raises as calling it does.

        ``noise`` moves every step's result on the prompts from ``first`` on.
        """
        return self._evaluate(source, trace=True, noise=noise, first=first)

    def _evaluate(self, source: Array, *, trace: bool, noise: Noise | None = None, first: int = 0) -> Traced:
        with np.errstate(all="ignore"):  # what is not finite is judged where it is measured
            return self._steps(source, trace=trace, noise=noise, first=first)

    def _steps(self, source: Array, *, trace: bool, noise: Noise | None, first: int) -> Traced:
        backend, xp = self.backend, self.backend.xp
        values: dict[str, Array] = {"tokens" if self._stage.kind == "embedding" else "hidden": source}
        prompts = source.shape[0]
        zero = xp.zeros((prompts, self._length), dtype=backend.dtype, device=getattr(source, "device", None))
        magnitude, score = zero, zero
        norms: dict[str, Array] = {}
        for index, (step, loaded) in enumerate(zip(self._stage.steps, self._loaded, strict=True)):
            try:
                values[step.out] = self._run(step, loaded, values, prompts)
            except (ValueError, RuntimeError, IndexError) as error:
                raise Refusal(
                    "program.shape", f"{self._stage.kind}: {step.out}", f"the step cannot be evaluated: {error}"
                ) from error
            if trace:
                bound = step_magnitude(backend, step, loaded, self._gain(index), values, norms)
                magnitude = magnitude if bound is None else xp.maximum(magnitude, bound)
                if isinstance(step, Attention):
                    score = xp.maximum(score, score_bound(backend, step, values))
                if isinstance(step, Rotary):
                    score = xp.maximum(score, zero + fastest_angle(step, self._length))
                if noise is not None:
                    if isinstance(step, Positions | Constant):
                        values[step.out] = values[step.out] + zero[..., None]  # one row for all: noise needs its own
                    values[step.out] = noise.add(step, bound, values, first)
        output = values[self._stage.output]
        self._check_output(output, prompts)
        return Traced(output, magnitude, score)

    def _check_output(self, output: Array, prompts: int) -> None:
        if self._program is None:
            return
        width = self._program.vocabulary if self._stage.kind == "head" else self._program.hidden_size
        if tuple(output.shape) != (prompts, self._length, width):
            found = output.shape[-1]
            raise Refusal(
                "program.shape", f"{self._stage.kind}: {self._stage.output}", f"width {found}, the program says {width}"
            )

    def _gain(self, index: int) -> Any:
        """What bounds the products of a linear step's one or two matrices, computed once."""
        step = self._stage.steps[index]
        if not isinstance(step, Linear):
            return None
        if index not in self._gains:
            first, second, _ = self._loaded[index]
            gain = largest_gain(self.backend, first) if second is None else frobenius(self.backend, first)
            self._gains[index] = (gain, None if second is None else largest_gain(self.backend, second))
        return self._gains[index]

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
                x = values[step.input]
                gain = _as_wide(loaded[0], x) if step.head_size is None else _as_heads(loaded[0], x, step.head_size)
                return rms_norm(backend, x, gain, backend.number(step.eps))
            case LayerNorm():
                x = values[step.input]
                bias = None if loaded[1] is None else _as_wide(loaded[1], x)
                return layer_norm(backend, x, _as_wide(loaded[0], x), bias, backend.number(step.eps))
            case Linear():
                first, second, bias = loaded
                x = backend.matmul(_flat(xp, values[step.input]), first)
                x = x if second is None else backend.matmul(x, second)
                x = x if bias is None else x + _as_wide(bias, x)
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
                x = values[step.input]
                chosen: Any = loaded[1]  # on the host
                if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= x.shape[-1]:
                    raise ValueError(f"it takes channels outside the {x.shape[-1]} there are, or none")
                return xp.take(x, loaded[0], axis=-1)


def _flat(xp: Any, x: Array) -> Array:
    # one tall matrix: a single BLAS call instead of one per prompt
    return xp.reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))


def _as_wide(vector: Any, x: Array) -> Array:
    # without this, a vector of one element would be broadcast
    if vector.shape[0] != x.shape[-1]:
        raise ValueError(f"a vector of {vector.shape[0]} for {x.shape[-1]} channels")
    return vector


def _as_heads(vector: Any, x: Array, size: int) -> Array:
    if vector.shape[0] != size or x.shape[-1] % size:
        raise ValueError(f"a vector of {vector.shape[0]} for heads of {size} in {x.shape[-1]} channels")
    return vector


def _some(step: Linear, matrix: Array) -> Array:
    if 0 in matrix.shape:
        raise Refusal("tensor.shape", step.out, "a matrix without rows, columns or rank computes nothing")
    return matrix


def _too_large(place: str, what: str) -> Refusal:
    return Refusal("program.memory", place, f"{what}: more than a verifier is asked to hold")


def _same_width(left: Array, right: Array) -> Array:
    if left.shape != right.shape:
        raise ValueError(f"widths {left.shape[-1]} and {right.shape[-1]} differ")
    return left
