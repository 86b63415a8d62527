"""Enclosures against plain evaluation: float64 balls at stated points, and whole rows in balls of many bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.same_program import same_stages
from blockcert_producers.lift import lift
from blockcert_verifier.enclose.point import PointStage
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.measure import Pair
from tests.benchmarks.materials import Materials

__all__ = ["report"]

PROMPTS, LENGTH = 8, 64


def _files(folder: Path, prefix: str) -> dict[str, Path]:
    return {prefix + path.name: path for path in folder.glob("*.safetensors")}


def _least(run: Callable[[], object], rounds: int = 7) -> float:
    """The least processor time of a few runs: what the work takes where nothing else wants the caches."""
    taken: list[float] = []
    for _ in range(rounds):
        begun = time.process_time()
        run()
        taken.append(time.process_time() - begun)
    return min(taken)


def report(found: Materials) -> list[str]:
    """Lines: each block's enclosure as a ratio to its evaluation, and processor seconds of a proven row."""
    _, _, model, copy = found
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    store = WeightStore({**_files(model, "reference/"), **_files(copy, "surrogate/")})
    backend = Backend()
    tokens = np.random.default_rng(0).integers(0, reference.vocabulary, (PROMPTS, LENGTH))
    stages = [LoadedStage(stage, store, backend, LENGTH, reference) for stage in reference.stages]
    hidden = stages[0](tokens)
    lines = [f"Enclosures, {PROMPTS} prompts of {LENGTH} tokens on the embedded Llama"]
    for index, stage in enumerate(stages[1:], 1):
        point = PointStage(stage)

        def evaluate(run: Any = stage, x: Any = hidden) -> object:
            return run(x)

        def enclose(run: Any = point, x: Any = hidden) -> object:
            return run(x)

        ratio = _least(enclose) / _least(evaluate)
        name = f"block {index}" if index < len(stages) - 1 else "head"
        lines.append(f"  {name:10} float64 balls {ratio:5.2f} x plain evaluation, in processor time")
        hidden = stage(hidden)
    if find_spec("flint") is None:
        return [*lines, "  rows in balls of many bits: python-flint is not installed"]
    from blockcert_verifier.enclose.trajectories import Thresholds, enclose_row, first_bits

    pair = Pair(reference, surrogate, same_stages(reference, surrogate), store)
    thresholds = Thresholds((Fraction(1, 100),), (Fraction(1, 100),))
    bits, begun = first_bits(reference.blocks), time.process_time()
    for row in tokens[:3].tolist():
        enclose_row(pair, row, thresholds, bits)
    each = (time.process_time() - begun) / 3
    return [*lines, f"  a whole row of {LENGTH} tokens, both programs, {bits} bits: {each:.2f} s of processor time"]
