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
    Dense,
    Embed,
    Integer,
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
from blockcert_verifier.evaluate.blocks import MatrixInBlocks, TableInBlocks, in_blocks
from blockcert_verifier.evaluate.magnitude import (
    Gains,
    frobenius,
    largest_gain,
    linear_magnitude,
    score_bound,
    step_magnitude,
)
from blockcert_verifier.evaluate.noise import Noise
from blockcert_verifier.evaluate.operations import (
    Turns,
    activate,
    attend,
    attention_mask,
    fastest_angle,
    layer_norm,
    rms_norm,
    rotary_tables,
    rotate,
    spread,
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
        whole: hold every weight in working precision; otherwise very large ones are read in blocks where they are used.

    Raises:
        Refusal: ``tensor.*`` where a weight is missing or does not fit, ``program.memory`` where a value would be huge.
    """

    def __init__(
        self,
        stage: Stage,
        store: WeightStore,
        backend: Backend,
        length: int,
        program: Program | None = None,
        *,
        whole: bool = True,
    ) -> None:
        self._stage = stage
        self._whole = whole
        self.backend = backend
        self._length = length
        self._program = program
        self._unstored = 0
        self._loaded = [self._load(step, store) for step in stage.steps]
        self._footprint = self._largest_value()
        self._in_blocks = any(isinstance(loaded[0], MatrixInBlocks) for loaded in self._loaded if loaded)
        self._gains: dict[int, Gains] = {}
        self._turns: dict[tuple[str, int], Turns] = {}

    def _load(self, step: Step, store: WeightStore) -> tuple[Array | None, ...]:
        backend, length = self.backend, self._length

        def vector(reference: Any) -> Array | None:
            return None if reference is None else backend.array(store.floats(reference, (None,)))

        match step:
            case Embed():
                rows = None if self._program is None else self._program.vocabulary
                if not self._whole and in_blocks(store, step.weight, backend):
                    return (TableInBlocks(store, step, rows, backend),)
                return (backend.array(store.floats(step.weight, (rows, None), precision=backend.host)),)
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
                right = backend.array(store.floats(low_rank.right, (None, None), precision=backend.host)).T
                left = backend.array(store.floats(low_rank.left, (None, right.shape[1]), precision=backend.host)).T
                return (_some(step, right), _some(step, left), vector(step.bias))
            case Linear():
                self._check_size(step, store)
                if isinstance(step.map, Dense | Integer) and not self._whole and in_blocks(store, step.map, backend):
                    return (MatrixInBlocks(store, step.map, backend), None, vector(step.bias))
                # a transposed view: copying row by row is several times faster than across rows
                matrix = backend.array(dense_matrix(store, step.map, precision=backend.host)).T
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
        """Each step with its weights in working precision; the matrices of a linear map are ``in x out``.

        Of a stage that is not ``whole``, very large ones are :class:`MatrixInBlocks` and :class:`TableInBlocks`.
        """
        return tuple(zip(self._stage.steps, self._loaded, strict=True))

    @property
    def in_blocks(self) -> bool:
        """Whether weights are read in blocks, each time anew: better for many prompts at once than for few."""
        return self._in_blocks

    @property
    def footprint(self) -> int:
        """Elements of the largest value that one prompt makes here, attention scores included."""
        return self._footprint

    def _largest_value(self) -> int:
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

    @property
    def width(self) -> int | None:
        """Channels of the output, where the program or the last step says it."""
        if self._program is not None:
            return self._program.vocabulary if self._stage.kind == "head" else self._program.hidden_size
        return None

    def __call__(self, source: Array) -> Array:
        """The stage's output, B x T x width, from tokens (B x T, int64) or a hidden state (B x T x d).

        Raises:
            Refusal: ``program.shape`` where widths do not fit, or a token lies outside the table.
        """
        return self.traced(source, 0).output

    def traced(
        self,
        source: Array,
        traced: int | None = None,
        noise: Noise | None = None,
        first: int = 0,
        out: Array | None = None,
    ) -> Traced:
        """The stage's output and how large the values inside it became; raises as calling it does.

        Sizes are those of the first ``traced`` prompts, of all where it is ``None``. ``noise`` moves every step's
        result on the prompts from ``first`` on. The output is put into ``out`` where that is given.
        """
        with np.errstate(all="ignore"):  # what is not finite is judged where it is measured
            return self._steps(source, source.shape[0] if traced is None else traced, noise, first, out)

    def _steps(self, source: Array, traced: int, noise: Noise | None, first: int, out: Array | None) -> Traced:
        backend, xp = self.backend, self.backend.xp
        values: dict[str, Array] = {"tokens" if self._stage.kind == "embedding" else "hidden": source}
        prompts = source.shape[0]
        magnitude = xp.zeros((traced, self._length), dtype=backend.dtype, device=getattr(source, "device", None))
        score = magnitude
        norms: dict[str, Array] = {}
        rows = prompts if noise is not None else traced  # noise is as large as the terms of a linear step
        for index, (step, loaded) in enumerate(zip(self._stage.steps, self._loaded, strict=True)):
            last = out if step.out == self._stage.output else None
            try:
                values[step.out] = self._run(step, loaded, values, prompts, last)
            except (ValueError, RuntimeError, IndexError) as error:
                raise Refusal(
                    "program.shape", f"{self._stage.kind}: {step.out}", f"the step cannot be evaluated: {error}"
                ) from error
            bound = None
            if rows and isinstance(step, Linear):
                bound = linear_magnitude(backend, step, self._gain(index), values[step.input][:rows], norms)
            if traced:
                size = step_magnitude(backend, step, values[step.out][:traced]) if bound is None else bound[:traced]
                magnitude = magnitude if size is None else xp.maximum(magnitude, size)
                if isinstance(step, Attention):
                    query, key = values[step.query][:traced], values[step.key][:traced]
                    score = xp.maximum(score, score_bound(backend, step, query, key))
                if isinstance(step, Rotary):
                    score = xp.maximum(score, xp.zeros_like(score) + fastest_angle(step, self._length))
            if noise is not None and first < prompts:
                if isinstance(step, Positions | Constant):
                    values[step.out] = values[step.out] + xp.zeros_like(values[step.out])  # noise needs its own
                values[step.out] = noise.add(step, bound, values, first)
        output = values[self._stage.output]
        self._check_output(output, prompts)
        if out is not None and not np.may_share_memory(output, out):
            out[...] = output
            output = out
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

    def _gain(self, index: int) -> Gains:
        """What bounds the products of a linear step's one or two matrices, computed once."""
        if index not in self._gains:
            first, second, bias = self._loaded[index]
            if isinstance(first, MatrixInBlocks):
                product = first.gain()
            elif second is None:
                product = largest_gain(self.backend, first)
            else:  # of the product of both, hence of either
                product = frobenius(self.backend, first) * largest_gain(self.backend, second)
            self._gains[index] = Gains(product, None if bias is None else self.backend.xp.max(abs(bias)))
        return self._gains[index]

    def _turned(self, step: Rotary, loaded: tuple[Array | None, ...], width: int) -> Turns:
        """A rotary step's tables for values of ``width`` channels, spread once."""
        if (step.out, width) not in self._turns:
            heads = max(1, width // step.head_size)
            self._turns[step.out, width] = spread(self.backend, loaded[0], loaded[1], step.head_size, heads)
        return self._turns[step.out, width]

    def _run(
        self,
        step: Step,
        loaded: tuple[Array | None, ...],
        values: dict[str, Array],
        prompts: int,
        out: Array | None = None,
    ) -> Array:
        """A step's result, put into ``out`` where it is given and the step can."""
        backend, xp = self.backend, self.backend.xp
        match step:
            case Embed():
                tokens, table = values["tokens"].reshape((-1,)), loaded[0]
                rows = table.taken(tokens) if isinstance(table, TableInBlocks) else xp.take(table, tokens, axis=0)
                hidden = rows.reshape((prompts, self._length, -1))
                return hidden if step.scale is None else hidden * backend.number(step.scale)
            case Positions() | Constant():
                shape = (prompts, self._length, loaded[0].shape[-1])  # type: ignore[union-attr]
                return xp.broadcast_to(loaded[0], shape)
            case Add():
                left, right = _same_width(values[step.left], values[step.right]), values[step.right]
                return left + right if out is None or out.shape != left.shape else xp.add(left, right, out=out)
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
                return self._linear(loaded, values[step.input], out)
            case Rotary():
                x = values[step.input]
                return rotate(backend, x, self._turned(step, loaded, x.shape[-1]), step.head_size)
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

    def _linear(self, loaded: tuple[Any, ...], x: Array, out: Array | None) -> Array:
        """``x`` (B x T x in) through one or two matrices, and the bias added."""
        backend = self.backend
        first, second, bias = loaded
        shape = (x.shape[0], self._length, (first if second is None else second).shape[1])
        flat = _flat(x)
        if second is not None:
            flat, first = backend.matmul(flat, first), second
        y = None if out is None or tuple(out.shape) != shape else _flat(out)
        if isinstance(first, MatrixInBlocks):
            y = backend.empty((flat.shape[0], shape[2])) if y is None else y
            first.multiplied(flat, y)
        else:
            y = backend.matmul(flat, first, out=y)
        if bias is not None:
            y += _as_wide(bias, y)
        return y.reshape(shape)


def _flat(x: Array) -> Array:
    # one tall matrix: a single BLAS call instead of one per prompt
    return x.reshape((x.shape[0] * x.shape[1], x.shape[2]))


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
