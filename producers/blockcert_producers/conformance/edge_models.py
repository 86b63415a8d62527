"""Pairs of programs on which one tolerance, or one part of being resolved, decides: what is small in them shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from msgspec.structs import replace

from blockcert.program import (
    Add,
    Attention,
    Constant,
    Dense,
    Embed,
    Linear,
    LowRank,
    Multiply,
    Positions,
    RmsNorm,
    Rotary,
    Stage,
    Step,
    TensorRef,
)
from blockcert_producers.conformance.models import (
    BLOCKS,
    CONTEXT,
    REFERENCE,
    SURROGATE,
    VOCABULARY,
    D,
    Pair,
    block,
    block_weights,
    embedding,
    head,
    put_together,
)
from blockcert_producers.conformance.seeds import grid

__all__ = [
    "FAR",
    "NEAR",
    "amplified",
    "falling",
    "fused",
    "high_magnitude",
    "high_score",
    "lofty",
    "lost_and_found",
    "quick_rotary",
    "rounded_off",
    "standing",
    "tied",
    "towering_alone",
    "two_names",
]

Host: TypeAlias = np.ndarray[Any, Any]
HEIGHT = 2.0**15
"""Of logits: their `c_t` is 3.3e-5."""
NEAR, FAR = 2.0**-14, 2.0**-11
"""Margins of 6.1e-5, below `2 c_t`, and 4.9e-4, above `4 c_t`."""
Adds: TypeAlias = Callable[[str], tuple[Step, ...]]
"""Further steps of a block, from the name of its result; the last one's value is the new result."""


def _own(name: str) -> TensorRef:
    return TensorRef(SURROGATE, name)


def _moved(weights: dict[str, Host], places: int) -> dict[str, Host]:
    """The blocks' tensors, every entry of a matrix moved by up to ``2^-places``."""
    return {
        name: (w + grid(f"near {name}", *w.shape) / 2**places).astype(w.dtype) if w.ndim == 2 else w
        for name, w in weights.items()
        if "." in name
    }


def _then(stage: Stage, more: tuple[Step, ...]) -> Stage:
    return replace(stage, steps=(*stage.steps, *more), output=more[-1].out) if more else stage


def _pair(
    tensors: dict[str, Host],
    first: Stage,
    second: Stage,
    *,
    weights: dict[str, Host] | None = None,
    reference: tuple[Stage, Stage] | None = None,
    heads: tuple[Stage, Stage] | None = None,
) -> Pair:
    f, g = heads or (head(), head())
    honest = reference or (block(0), block(1))
    return put_together(weights or block_weights(), tensors, (embedding(), *honest, f), (embedding(), first, second, g))


def falling(places: int) -> Pair:
    """Both programs end their last block by multiplying with ``2^-places``: the norms fall that far."""
    weights = block_weights()
    weights["small"] = np.full(D, 2.0**-places)
    more = (Constant("small", TensorRef(REFERENCE, "small")), Multiply("fallen", "result", "small"))
    return _pair(
        _moved(weights, 5),
        block(0, file=SURROGATE),
        _then(block(1, file=SURROGATE), more),
        weights=weights,
        reference=(block(0), _then(block(1), more)),
    )


def lofty(height: float) -> Pair:
    """Logits that all stand near `height`."""
    weights = block_weights()
    weights["matrix"] = weights["embed"].copy()
    weights["bias"] = np.full(VOCABULARY, float(height))
    high = _biased(TensorRef(REFERENCE, "bias"))
    return _pair(
        _moved(weights, 5), block(0, file=SURROGATE), block(1, file=SURROGATE), weights=weights, heads=(high, high)
    )


def tied(reference: float, surrogate: float) -> Pair:
    """Two tokens whose logits stand above all others, and blocks that do nothing.

    At the first position the one leads the other by these margins, at every other by `FAR`: one position of a row is
    all that rounding could decide.
    """
    places = np.zeros((CONTEXT, D))
    places[0, -1] = 2.0**10  # beside which the rest of the first state is nothing: normed, it is sqrt(D)
    weights = block_weights() | {"places": places, "even": np.ones(D), "bias": np.full(VOCABULARY, HEIGHT)}
    weights["embed"][:, -1] = 0
    weights["bias"][[2, 5]] += 64
    weights["bias"][2] += FAR

    def matrix(margin: float) -> Host:
        found = np.where(np.arange(D) < D - 1, weights["embed"], 0.0)
        found[[2, 5]] = 0
        found[2, -1] = (margin - FAR) / np.sqrt(D)
        return found

    def over(logits: TensorRef) -> Stage:
        steps = (
            RmsNorm(out="normed", input="hidden", weight=TensorRef(REFERENCE, "even"), eps="0.00001"),
            Linear(out="logits", input="normed", map=Dense(logits), bias=TensorRef(REFERENCE, "bias")),
        )
        return Stage(kind="head", steps=steps, output="logits")

    begin = (
        Embed(out="token", weight=TensorRef(REFERENCE, "embed")),
        Positions(out="place", weight=TensorRef(REFERENCE, "places")),
        Add(out="x", left="token", right="place"),
    )
    same = (
        Stage(kind="embedding", steps=begin, output="x"),
        *[Stage(kind="block", steps=(), output="hidden")] * BLOCKS,
    )
    weights["matrix"] = matrix(reference)
    return put_together(
        weights,
        {"matrix": matrix(surrogate)},
        (*same, over(TensorRef(REFERENCE, "matrix"))),
        (*same, over(_own("matrix"))),
    )


def _biased(bias: TensorRef) -> Stage:
    logits = Linear(out="logits", input="normed", map=Dense(TensorRef(REFERENCE, "matrix")), bias=bias)
    return replace(head(), steps=(*head().steps[:-1], logits))


def standing(reference: float, surrogate: float) -> Pair:
    """Blocks that do nothing but add a number to the first channel; where it is 0, not even that."""

    def first(value: float) -> Host:
        return np.array([value] + [0.0] * (D - 1))

    def stage(value: float, step: TensorRef) -> Stage:
        still = Stage(kind="block", steps=(), output="hidden")
        return _then(still, (Constant("step", step), Add("moved", "hidden", "step"))) if value else still

    weights = block_weights() | {"step": first(reference)}
    honest = stage(reference, TensorRef(REFERENCE, "step"))
    other = stage(surrogate, _own("step"))
    return _pair({"step": first(surrogate)}, other, other, weights=weights, reference=(honest, honest))


def rounded_off() -> Pair:
    """Both programs add 2^10 to every channel of the first block's result and take it away: float32 shows it."""
    weights = block_weights() | {"up": np.full(D, 2.0**10), "down": np.full(D, -(2.0**10))}
    adds = (
        Constant("up_there", TensorRef(REFERENCE, "up")),
        Constant("down_here", TensorRef(REFERENCE, "down")),
        Add("lifted", "result", "up_there"),
        Add("lowered", "lifted", "down_here"),
    )
    return _pair(
        _moved(weights, 5),
        _then(block(0, file=SURROGATE), adds),
        block(1, file=SURROGATE),
        weights=weights,
        reference=(_then(block(0), adds), block(1)),
    )


def _appended(adds: tuple[Step, ...], tensors: dict[str, Host], places: int = 5) -> Pair:
    """A surrogate whose first block has further steps."""
    moved = _moved(block_weights(), places)
    return _pair(moved | tensors, _then(block(0, file=SURROGATE), adds), block(1, file=SURROGATE))


def _with_steps(changed: Callable[[Step], Step]) -> Pair:
    """A surrogate whose first block has its steps changed."""
    first = block(0, file=SURROGATE)
    first = replace(first, steps=tuple(map(changed, first.steps)))
    return _pair(_moved(block_weights(), 5), first, block(1, file=SURROGATE))


def high_score() -> Pair:
    """The surrogate's first block divides its scores by a millionth, so that each head reads one token."""

    def steps(step: Step) -> Step:
        return replace(step, denominator_squared="0.0000000000001") if isinstance(step, Attention) else step

    return _with_steps(steps)


def quick_rotary() -> Pair:
    """The surrogate's first block turns its queries and keys hundreds of thousands of radians from token to token."""

    def steps(step: Step) -> Step:
        return replace(step, theta="0.00000000001") if isinstance(step, Rotary) else step

    return _with_steps(steps)


def high_magnitude(kind: str) -> Pair:
    """The surrogate's first block computes with 2^40, and multiplies what it has by 2^-60.

    In `constant` the result is as large; in `linear` and `low_rank` it is 0, and no bound without cancellation is.
    """
    unit, wide = np.zeros(D), np.zeros((D, D))
    unit[-1] = 1
    wide[:, 0] = 2.0**40
    tensors: dict[str, Host] = {"little": np.full(D, 2.0**-60)}
    if kind == "constant":
        tensors["big"] = np.full(D, 2.0**40)
        before: tuple[Step, ...] = (Constant("big", _own("big")),)
    else:
        tensors["unit"] = unit
        tensors |= {"wide": wide} if kind == "linear" else {"left": wide[:, :1], "right": np.eye(1, D)}
        map_ = Dense(_own("wide")) if kind == "linear" else LowRank(_own("left"), _own("right"))
        before = (Constant("unit", _own("unit")), Linear(out="big", input="unit", map=map_))
    adds = (
        *before,
        Constant("little", _own("little")),
        Multiply("hardly", "big", "little"),
        Add("almost", "result", "hardly"),
    )
    return _appended(adds, tensors)


def amplified() -> Pair:
    """The surrogate's first block multiplies by 2^17 what is lost when 2^19 is added and taken away: 0, were it exact.

    No magnitude is high. Noise of the size of rounding moves what it computes a hundred times out of every bracket.
    """
    adds = (
        Constant("up_there", _own("up")),
        Constant("down_here", _own("down")),
        Constant("minus", _own("minus")),
        Constant("gain", _own("gain")),
        Add("lifted", "result", "up_there"),
        Add("lowered", "lifted", "down_here"),
        Multiply("negative", "result", "minus"),
        Add("lost", "lowered", "negative"),
        Multiply("grown", "lost", "gain"),
        Add("sum", "result", "grown"),
    )
    tensors = {"up": 2.0**19, "down": -(2.0**19), "minus": -1.0, "gain": 2.0**17}
    return _appended(adds, {name: np.full(D, value) for name, value in tensors.items()})


def lost_and_found() -> Pair:
    """A surrogate that adds 1 + 2^-35 to the first channel after its first block; float64 loses the 2^-35."""

    def first(value: float) -> Host:
        return np.array([value] + [0.0] * (D - 1))

    adds = (
        Constant("one", _own("one")),
        Constant("tiny", _own("tiny")),
        Constant("up_there", _own("up")),
        Constant("down_here", _own("down")),
        Add("lifted", "up_there", "tiny"),
        Add("lowered", "lifted", "down_here"),
        Add("step", "one", "lowered"),
        Add("sum", "result", "step"),
    )
    tensors = {"one": 1.0, "tiny": 2.0**-35, "up": 2.0**19, "down": -(2.0**19)}
    return _pair(
        {name: first(value) for name, value in tensors.items()},
        _then(block(0), adds),
        block(1),
    )


def towering_alone() -> Pair:
    """The surrogate's first block lifts a channel by 2^20 and its second takes it away: one alone has high logits.

    The head has no norm, so that with only one of the two blocks replaced all logits stand near 2^20.
    """
    weights = block_weights()
    weights["matrix"] = np.concatenate([np.ones((VOCABULARY, 1)), weights["embed"][:, 1:]], axis=1)
    lift = np.array([2.0**20] + [0.0] * (D - 1))
    tensors = _moved(weights, 5) | {"up": lift, "down": -lift}
    plain = Stage(
        kind="head",
        steps=(Linear(out="logits", input="hidden", map=Dense(TensorRef(REFERENCE, "matrix"))),),
        output="logits",
    )
    return _pair(
        tensors,
        _then(block(0, file=SURROGATE), (Constant("tower", _own("up")), Add("lifted", "result", "tower"))),
        _then(block(1, file=SURROGATE), (Constant("pit", _own("down")), Add("lowered", "result", "pit"))),
        weights=weights,
        heads=(plain, plain),
    )


def two_names() -> Pair:
    """A surrogate that reads a copy of the reference's weights under another name, its first block with another eps."""
    first, second = block(0, file=SURROGATE), block(1, file=SURROGATE)
    steps = tuple(replace(step, eps="0.0001") if isinstance(step, RmsNorm) else step for step in first.steps)
    weights = block_weights()
    return _pair(weights, replace(first, steps=steps), second, weights=weights)


def fused() -> Pair:
    """A surrogate that keeps keys and values in one matrix, head by head: rows with a period."""
    weights = block_weights()
    moved = _moved(weights, 5)
    halves = [moved.pop(f"0.{name}").reshape(2, 4, D) for name in ("k", "v")]
    moved["0.kv"] = np.concatenate(halves, axis=1).reshape(-1, D)
    maps = {
        name: Dense(TensorRef(SURROGATE, "0.kv", rows=rows, period=8)) for name, rows in (("k", (0, 4)), ("v", (4, 8)))
    }
    return _pair(moved, block(0, file=SURROGATE, maps=maps), block(1, file=SURROGATE))
