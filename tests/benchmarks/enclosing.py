"""Enclosures against plain evaluation: float64 balls at stated points, and whole rows in balls of many bits.

``python -m tests.benchmarks proving`` takes GPT-2 small's shape: some five minutes of a processor and 1 GB of disk.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.same_program import same_stages
from blockcert_producers.lift import lift
from blockcert_verifier.enclose.point import PointStage
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.measure import Pair
from tests.benchmarks.materials import Materials, checkpoint
from tests.support.certificates import rounded_copy

__all__ = ["gpt2_small", "report"]

PROMPTS, LENGTH = 8, 64
GPT2: dict[str, Any] = {"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
_PARTS = {"cut": "to digits", "product": "products", "_balls": "from digits", "slices": "weights"}


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
    pair = _pair(model, copy)
    reference, store, backend = pair.reference, pair.store, Backend()
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

    thresholds = Thresholds((Fraction(1, 100),), (Fraction(1, 100),))
    bits, begun = first_bits(reference.blocks), time.process_time()
    for row in tokens[:3].tolist():
        enclose_row(pair, row, thresholds, bits)
    each = (time.process_time() - begun) / 3
    return [*lines, f"  a whole row of {LENGTH} tokens, both programs, {bits} bits: {each:.2f} s of processor time"]


def _pair(model: Path, copy: Path) -> Pair:
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    store = WeightStore({**_files(model, "reference/"), **_files(copy, "surrogate/")})
    return Pair(reference, surrogate, same_stages(reference, surrogate), store)


def gpt2_small(folder: Path) -> list[str]:
    """Lines: processor seconds of one proven row of GPT-2 small against its float16 copy, by stage and by kind of work;
    the estimate that a user would see beforehand; every block's float64 balls beside its evaluation."""
    if find_spec("flint") is None:
        return ["Proving GPT-2 small: python-flint is not installed"]
    from blockcert_verifier.enclose.estimate import estimate_rows
    from blockcert_verifier.enclose.trajectories import Place, Thresholds, enclose_row, first_bits

    model = checkpoint(folder / "model", "gpt2", GPT2, "float32")
    pair = _pair(model, rounded_copy(model, folder / "copy", "float16"))
    tokens = np.random.default_rng(0).integers(0, pair.reference.vocabulary, LENGTH)
    bits = first_bits(pair.reference.blocks)
    expected = estimate_rows(pair, LENGTH, bits, 1)
    thresholds = Thresholds((Fraction(1, 100),), (Fraction(1, 100),))
    seen: list[float] = [time.process_time()]

    def tick(done: int) -> None:  # called within a stage too
        if done == len(seen):
            seen.append(time.process_time())

    cells = enclose_row(pair, tokens.tolist(), thresholds, bits, tick)
    # again for the parts: a profiler takes half as long once more, and most of that where calls are many
    profile = cProfile.Profile(time.process_time)
    profile.runcall(enclose_row, pair, tokens.tolist(), thresholds, bits)
    taken = [after - before for before, after in pairwise(seen)]
    difference = cells[Place("logit_difference")].value
    assert difference.lower is not None and difference.upper is not None  # noqa: PT018
    width = float((difference.upper - difference.lower) / difference.upper)
    lines = [
        f"Proving a row of GPT-2 small's shape, random weights, {LENGTH} tokens, {bits} bits, processor time",
        f"  whole row {sum(taken):6.1f} s; estimated {expected.row_seconds:.0f} s; below, by part, under a profiler",
        f"  embedding {taken[0]:.1f} s, blocks {max(taken[1:-1]):.1f} s and less, head {taken[-1]:.1f} s",
        f"  largest logit difference known to a relative {width:.0e}",
    ]
    parts: dict[str, float] = {}
    for (path, _, function), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        name = Path(path).stem
        if name == "integer_products":
            name = _PARTS.get(function, "to digits")
        elif name in ("balls", "logits", "rational", "trajectories", "stage"):
            name = {"balls": "norms, attention, activations", "logits": "logits"}.get(name, "norms and cells")
        else:
            name = "else (sums of balls, numpy)"
        parts[name] = parts.get(name, 0) + own
    lines += [f"    {name:30} {each:5.1f} s" for name, each in sorted(parts.items(), key=lambda one: -one[1])]
    stages = pair.reference.stages
    hidden = LoadedStage(stages[0], pair.store, Backend(), LENGTH, pair.reference)(tokens[None])
    block = LoadedStage(stages[1], pair.store, Backend(), LENGTH, pair.reference)
    point = PointStage(block)
    ratio = _least(lambda: point(hidden)) / _least(lambda: block(hidden))
    return [*lines, f"  float64 balls of a block of width 768: {ratio:.2f} x plain evaluation"]
