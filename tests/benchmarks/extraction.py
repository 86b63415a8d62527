"""What scoring the patterns of heads costs: nothing is run forward, and a candidate is far below a forward pass.

Measured 2026-11-25 on an x86-64 machine that did other work too, one thread, 16 prompts, float64. A candidate is one
pattern for one head; a forward pass is that of its block on the same prompts. The embedded GPT-2 (64 tokens): 50 ms a
pass, 16 us an offset or the sink (1/3100), 280 us on average with windows, which weigh positions again (1/180). A block
of GPT-2 small's shape (256 tokens): 3.2 s a pass, 80 us (1/39000), 1.2 ms on average (1/2700).

``python -m tests.benchmarks.extraction`` prints it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from blockcert.program import Attention
from blockcert_producers.embedded import path
from blockcert_producers.extract.patterns import head_options, single_errors, windows
from blockcert_producers.extract.study import Study
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore

__all__ = ["report"]

PROMPTS = 16
SMALL: dict[str, Any] = {"n_embd": 768, "n_head": 12, "n_layer": 1, "vocab_size": 256, "n_positions": 256}


def _best(work: object, rounds: int = 3) -> float:
    found: list[float] = []
    for _ in range(rounds):
        begin = perf_counter()
        work()  # type: ignore[operator]
        found.append(perf_counter() - begin)
    return min(found)


def _one(name: str, folder: Path, length: int) -> list[str]:
    program = lift(folder)
    store = WeightStore({file.name: folder / file.name.removeprefix("reference/") for file in program.files})
    backend = Backend()
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (PROMPTS, length))
    hidden = LoadedStage(program.stages[0], store, backend, length)(backend.integers(tokens))
    stage = program.stages[1]
    study = Study(stage, hidden, store, backend)
    heads = study.anatomy.heads
    step = next(step for step in stage.steps if isinstance(step, Attention))
    assert heads is not None
    block = LoadedStage(stage, store, backend, length)
    value = np.random.default_rng(1).standard_normal((PROMPTS, length, step.head_size))
    weights = np.ones((PROMPTS, length))
    forward = _best(lambda: block(hidden))
    singles = _best(lambda: single_errors(weights, value, value)) / length
    # all offsets, the sink, the mean and every window, for all heads
    count = step.heads * (length + 1 + len(windows(length)))
    every = _best(lambda: head_options(study, heads, 1.0)) / count
    return [
        f"{name}, {length} tokens, {step.heads} heads: a forward pass of the block {1e3 * forward:.1f} ms",
        f"  an offset or the sink, one head: {1e6 * singles:.1f} us, 1/{forward / singles:.0f} of it",
        f"  the mean over all {count} candidates, windows too: {1e6 * every:.1f} us, 1/{forward / every:.0f} of it",
    ]


def report() -> list[str]:
    """Lines: times per candidate beside a forward pass, on an embedded model and on a block of GPT-2 small's shape."""
    from tests.support.checkpoints import make_checkpoint

    lines = _one("the embedded GPT-2", path("gpt2"), 64)
    with tempfile.TemporaryDirectory() as scratch:
        lines += _one("a block of GPT-2 small's shape", make_checkpoint(Path(scratch), "gpt2", **SMALL), 256)
    return lines


if __name__ == "__main__":
    print("\n".join(report()))
