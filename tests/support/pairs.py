"""Pairs of tiny programs for whoever wants to lie about them: rounded copies, exchanged blocks, a trigger.

Each maker has the signature of :data:`tests.support.bundles.MakePair`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from msgspec.structs import replace

from blockcert.program import (
    Add,
    Dense,
    Embed,
    FileRef,
    Linear,
    LinearMap,
    Llama3Scaling,
    Program,
    Rotary,
    Stage,
    TensorRef,
)
from blockcert_verifier.evaluate import WeightStore
from tests.support.bundles import MakePair
from tests.support.tiny import REFERENCE, SURROGATE, VOCABULARY, D, block, program, reference_weights, save, tiny_pair

__all__ = [
    "Round",
    "bfloat16",
    "equal_logits",
    "float16",
    "int8",
    "just_above",
    "narrow_ramp",
    "overflowing",
    "rounded",
    "rounded_reference",
    "swapped_checkpoint",
    "swapped_reference",
    "swapped_surrogate",
    "trigger",
]

Host: TypeAlias = np.ndarray[Any, Any]
Round: TypeAlias = Callable[[Host], Host]
Made: TypeAlias = tuple[Program, Program, dict[str, Path]]
_MAPS = ("q", "k", "v", "o", "gate", "up", "down")


def bfloat16(weight: Host) -> Host:
    """The float32 weight with the 16 leading bits of each entry, rounded to nearest."""
    return ((weight.view(np.uint32) + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)


def float16(weight: Host) -> Host:
    """The float32 weight rounded to float16."""
    return weight.astype(np.float16).astype(np.float32)


def int8(weight: Host) -> Host:
    """The float32 weight rounded to 8-bit integers with a scale for each row."""
    scale = (np.abs(weight).max(axis=-1, keepdims=True) / 127).astype(np.float32)
    return (np.round(weight / scale) * scale).astype(np.float32)


def rounded(rounding: Round) -> MakePair:
    """A reference and its copy with every linear map of every block rounded."""

    def pair(folder: Path, seed: int, blocks: int) -> Made:
        weights = reference_weights(np.random.default_rng(seed), blocks)
        tensors = {f"{i}.{name}": rounding(weights[f"{i}.{name}"]) for i in range(blocks) for name in _MAPS}
        return _copy(folder, weights, tensors, blocks)

    return pair


def overflowing(folder: Path, seed: int, blocks: int) -> Made:
    """A float16 copy whose last block scales what it adds by 1e200 twice: finite weights, no finite sum."""
    weights = reference_weights(np.random.default_rng(seed), blocks)
    last = blocks - 1
    tensors = {f"{i}.{name}": float16(weights[f"{i}.{name}"]) for i in range(blocks) for name in _MAPS}
    tensors |= {f"{last}.{name}": weights[f"{last}.{name}"].astype(np.float64) * 1e200 for name in ("up", "down")}
    return _copy(folder, weights, tensors, blocks)


def _copy(folder: Path, weights: dict[str, Host], tensors: dict[str, Host], blocks: int) -> Made:
    paths = {REFERENCE: folder / "model" / "model.safetensors", SURROGATE: folder / "surrogate.safetensors"}
    first, second = save(paths[REFERENCE], REFERENCE, weights), save(paths[SURROGATE], SURROGATE, tensors)

    def maps(index: int) -> dict[str, LinearMap]:
        kept = [name for name in _MAPS if f"{index}.{name}" in tensors]
        return {name: Dense(TensorRef(SURROGATE, f"{index}.{name}")) for name in kept}

    originals = [block(i) for i in range(blocks)]
    return program((first,), originals), program((first, second), [block(i, maps(i)) for i in range(blocks)]), paths


def _changed(
    folder: Path, seed: int, blocks: int, tensors: dict[str, Host], change: Callable[[Program], Program]
) -> Made:
    """The tiny reference, and itself with a change and tensors of its own."""
    reference, _, paths = tiny_pair(folder, seed, blocks)
    second = save(paths[SURROGATE], SURROGATE, tensors)
    changed = change(reference)
    return reference, replace(changed, files=(*reference.files, second)), paths


def equal_logits(folder: Path, seed: int, blocks: int) -> Made:
    """A surrogate with a head that gives every token the same logit."""

    def change(one: Program) -> Program:
        *others, head = one.stages
        flat = Linear(out="logits", input="hidden", map=Dense(TensorRef(SURROGATE, "flat")))
        return replace(one, stages=(*others, replace(head, steps=(flat,))))

    return _changed(folder, seed, blocks, {"flat": np.zeros((VOCABULARY, D), np.float32)}, change)


def just_above(folder: Path, seed: int, blocks: int) -> Made:
    """A surrogate whose first block gives 1.0100000005 times what it should: its relative error is above 0.01."""

    def change(one: Program) -> Program:
        embedding, first, *others = one.stages
        little = Linear(out="little", input=first.output, map=Dense(TensorRef(SURROGATE, "little")))
        steps = (*first.steps, little, Add(out="more", left=first.output, right="little"))
        return replace(one, stages=(embedding, Stage("block", steps, "more"), *others))

    return _changed(folder, seed, blocks, {"little": np.eye(D) * (0.01 + 5e-10)}, change)


def narrow_ramp(folder: Path, seed: int, blocks: int) -> Made:
    """A surrogate whose first block keeps its fastest frequency, and halves it in float64."""
    low, high = "1303.797293808806590618685789547638", "1303.797293808806590618690789547638"
    scaling = Llama3Scaling("2", low, high, 8192)
    weights = reference_weights(np.random.default_rng(seed), blocks)

    def change(one: Program) -> Program:
        embedding, first, *others = one.stages
        own = {"q": Dense(TensorRef(SURROGATE, "0.q"))}
        steps = tuple(replace(s, scaling=scaling) if isinstance(s, Rotary) else s for s in block(0, own).steps)
        return replace(one, stages=(embedding, replace(first, steps=steps), *others))

    return _changed(folder, seed, blocks, {"0.q": weights["0.q"]}, change)


def rounded_reference(rounding: Round) -> MakePair:
    """The tiny pair with every weight of the reference model rounded: what its producer calls the original."""

    def pair(folder: Path, seed: int, blocks: int) -> Made:
        reference, surrogate, paths = tiny_pair(folder, seed, blocks)
        weights = reference_weights(np.random.default_rng(seed), blocks)
        found = save(paths[REFERENCE], REFERENCE, {name: rounding(weight) for name, weight in weights.items()})
        return _with_file(reference, found), _with_file(surrogate, found), paths

    return pair


def _with_file(one: Program, found: FileRef) -> Program:
    return replace(one, files=(found, *one.files[1:]))


def swapped_surrogate(folder: Path, seed: int, blocks: int) -> Made:
    """The tiny pair, the first two blocks of the surrogate exchanged."""
    reference, surrogate, paths = tiny_pair(folder, seed, blocks)
    return reference, _swap(surrogate), paths


def swapped_reference(folder: Path, seed: int, blocks: int) -> Made:
    """The tiny pair, the first two blocks of the reference exchanged: no longer what the checkpoint computes."""
    reference, surrogate, paths = tiny_pair(folder, seed, blocks)
    return _swap(reference), surrogate, paths


def swapped_checkpoint(folder: Path, seed: int, blocks: int) -> Made:
    """A checkpoint that transformers runs, lifted with its first two blocks exchanged, and a copy with one map rounded.

    Weights are the same for every seed; texts are not.
    """
    from blockcert_producers.lift import lift
    from tests.support.checkpoints import make_checkpoint

    model = make_checkpoint(folder / "model", "llama", num_hidden_layers=blocks)
    paths = {REFERENCE: model / "model.safetensors", SURROGATE: folder / "surrogate.safetensors"}
    reference = _swap(lift(model))
    first = reference.stages[1]
    at = next(i for i, step in enumerate(first.steps) if isinstance(step, Linear) and isinstance(step.map, Dense))
    step = first.steps[at]
    assert isinstance(step, Linear)
    assert isinstance(step.map, Dense)
    second = save(paths[SURROGATE], SURROGATE, {"w": float16(WeightStore(paths).floats(step.map.weight))})
    coarse = replace(step, map=Dense(TensorRef(SURROGATE, "w")))
    stage = replace(first, steps=(*first.steps[:at], coarse, *first.steps[at + 1 :]))
    stages = (reference.stages[0], stage, *reference.stages[2:])
    return reference, replace(reference, files=(*reference.files, second), stages=stages), paths


def _swap(one: Program) -> Program:
    embedding, first, second, *rest = one.stages
    return replace(one, stages=(embedding, second, first, *rest))


def trigger(token: int) -> MakePair:
    """A reference and a surrogate that differ in the embedding of one token only, which the surrogate turns round."""

    def pair(folder: Path, seed: int, blocks: int) -> Made:
        weights = reference_weights(np.random.default_rng(seed), blocks)
        turned = weights["embed"].copy()
        turned[token] *= -1
        reference, surrogate, paths = _copy(folder, weights, {"embed": turned}, blocks)
        embed = Stage(kind="embedding", steps=(Embed(out="x", weight=TensorRef(SURROGATE, "embed")),), output="x")
        return reference, replace(surrogate, stages=(embed, *surrogate.stages[1:])), paths

    return pair
