"""One stage of a program in ball arithmetic, on several trajectories of one prompt at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    Multiply,
    Positions,
    RmsNorm,
    Rotary,
    SoftCap,
    Stage,
    Step,
    Take,
)
from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb
from blockcert_verifier.enclose.balls import (
    activation,
    attend,
    ball,
    layer_norm,
    rms_norm,
    rotary_tables,
    rotate,
    soft_cap,
)
from blockcert_verifier.enclose.maps import Maps, vector
from blockcert_verifier.evaluate.weights import WeightStore

__all__ = ["run_stage"]


def run_stage(
    stage: Stage, store: WeightStore, maps: Maps, tokens: Sequence[int], hidden: Sequence[Balls]
) -> list[Balls]:
    """The stage's output for each of some trajectories of one prompt, as balls.

    Args:
        stage: well-formed steps.
        store: where the weights are.
        maps: its linear maps, shared by both sides.
        tokens: the prompt's ``T`` token ids.
        hidden: the stage's inputs, each T x d; for the embedding one empty entry.

    Raises:
        Refusal: ``tensor.*`` where a weight does not fit, ``program.shape`` where widths do not.
    """
    length = len(tokens)
    # all trajectories as one tall value: one product for each map
    values: dict[str, Balls] = {"hidden": [row for one in hidden for row in one]}
    for step in stage.steps:
        maps.look()
        try:
            values[step.out] = _run(step, store, maps, tokens, values, len(hidden))
        except (ValueError, IndexError) as error:
            place = f"{stage.kind}: {step.out}"
            raise Refusal("program.shape", place, f"the step cannot be evaluated: {error}") from error
    output = values[stage.output]
    return [output[at : at + length] for at in range(0, len(output), length)]


def _run(
    step: Step, store: WeightStore, maps: Maps, tokens: Sequence[int], values: dict[str, Balls], times: int
) -> Balls:
    length = len(tokens)

    def parts(name: str) -> list[Balls]:
        return [values[name][at : at + length] for at in range(0, times * length, length)]

    match step:
        case Embed():
            rows = _table(store.floats(step.weight, (None, None))[np.asarray(tokens)])
            if step.scale is None:
                return rows * times
            scale = ball(step.scale)
            return [[v * scale for v in row] for row in rows] * times
        case Positions():
            return _table(store.floats(step.weight, (None, None))[:length]) * times
        case Constant():
            return [vector(store, step.value)] * (times * length)
        case Add():
            return _together(values[step.left], values[step.right], arb.__add__)
        case Multiply():
            return _together(values[step.left], values[step.right], arb.__mul__)
        case RmsNorm():
            offset, x = ball(step.offset), values[step.input]
            gain = [offset + w for w in vector(store, step.weight)]
            if len(gain) != (len(x[0]) if step.head_size is None else step.head_size):
                raise ValueError(f"a weight of {len(gain)} for {len(x[0])} channels")
            return rms_norm(x, gain, ball(step.eps))
        case LayerNorm():
            bias = None if step.bias is None else vector(store, step.bias)
            return layer_norm(values[step.input], vector(store, step.weight), bias, ball(step.eps))
        case Linear():
            product = maps.apply(step.map, values[step.input])
            if step.bias is None:
                return product
            bias = vector(store, step.bias)
            return [[v + b for v, b in zip(row, bias, strict=True)] for row in product]
        case Rotary():
            tables = rotary_tables(step, length)
            return [row for part in parts(step.input) for row in rotate(part, tables, step.head_size)]
        case Activation():
            return _each(values[step.input], activation(step.function))
        case SoftCap():
            return _each(values[step.input], soft_cap(ball(step.cap)))
        case Attention():
            means = None
            if step.means is not None:
                means = _table(store.floats(step.means, (step.heads, step.head_size)))
            sides = zip(parts(step.query), parts(step.key), parts(step.value), strict=True)
            return [row for q, k, v in sides for row in attend(step, q, k, v, means, maps.look)]
        case Take():
            indices = store.integers(step.indices, (None,)).tolist()
            return [[row[i] for i in indices] for row in values[step.input]]


def _table(rows: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Balls:
    return [[arb(v) for v in row] for row in rows.astype(np.float64).tolist()]


def _each(x: Balls, function: Callable[[Ball], Ball]) -> Balls:
    return [[function(v) for v in row] for row in x]


def _together(left: Balls, right: Balls, function: Callable[[Ball, Ball], Ball]) -> Balls:
    return [
        [function(a, b) for a, b in zip(first, second, strict=True)] for first, second in zip(left, right, strict=True)
    ]
