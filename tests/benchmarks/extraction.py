"""What candidates cost, in forward passes of their block: ordering them, and realising the few that are tried.

Ordering scores the patterns of heads from cached contributions: nothing is run forward, and a candidate is far below a
forward pass. Realising refits, rounds, stores and runs the block: two to three passes each, for what the search tries.

Measured 2026-11-25 on an x86-64 machine that did other work too, one thread, 16 prompts, float64. A candidate is one
pattern for one head; a forward pass is that of its block on the same prompts. The embedded GPT-2 (64 tokens): 50 ms a
pass, 16 us an offset or the sink (1/3100), 280 us on average with windows, which weigh positions again (1/180). A block
of GPT-2 small's shape (256 tokens): 3.2 s a pass, 80 us (1/39000), 1.2 ms on average (1/2700).

``python -m tests.benchmarks extraction`` prints it, and how long an embedded model takes at one budget.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from blockcert.program import Attention
from blockcert_producers.embedded import NAMES, Name, path
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract import front
from blockcert_producers.extract.budget import AIMS, Aim
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


def _whole(name: Name, aim: Aim, prompts: int = 100, length: int = 64) -> str:
    """One extraction at 0.05: its processor time, and how many candidates it realised at what price."""
    from tokenizers import Tokenizer

    folder = path(name)
    program = lift(folder)
    files = {file.name: folder / file.name.removeprefix("reference/") for file in program.files}
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(generate(11, 60_000)).ids
    tokens = np.array(ids[: prompts * length]).reshape(prompts, length)
    backend, store = Backend(), WeightStore(files)
    hidden = LoadedStage(program.stages[0], store, backend, length)(tokens)
    block = LoadedStage(program.stages[1], store, backend, length)
    begin = process_time()
    block(hidden)
    forward = process_time() - begin
    module: Any = sys.modules["blockcert_producers.extract.candidates"]
    plain, spent = module.realise, list[float]()

    def timed(*words: Any) -> Any:
        begin = process_time()
        made = plain(*words)
        spent.append(process_time() - begin)
        return made

    module.realise = timed
    try:
        begin = process_time()
        front(program, files, tokens).choose("0.05", aim)
        whole = process_time() - begin
    finally:
        module.realise = plain
    each = sum(spent) / len(spent)
    return (
        f"  {name}, --aim {aim}: {whole:.1f} s of processor time; {len(spent)} candidates realised at "
        f"{1e3 * each:.0f} ms, {each / forward:.2f} forward passes of a block, {100 * sum(spent) / whole:.0f} % of it"
    )


def report() -> list[str]:
    """Lines: times per candidate beside a forward pass, on an embedded model and on a block of GPT-2 small's shape; and
    whole extractions of the embedded models."""
    from tests.support.checkpoints import make_checkpoint

    lines = _one("the embedded GPT-2", path("gpt2"), 64)
    with tempfile.TemporaryDirectory() as scratch:
        lines += _one("a block of GPT-2 small's shape", make_checkpoint(Path(scratch), "gpt2", **SMALL), 256)
    lines.append("extraction at 0.05, 100 calibration prompts of 64 tokens, 4 blocks:")
    return [*lines, *(_whole(name, aim) for name in NAMES for aim in AIMS)]


if __name__ == "__main__":
    print("\n".join(report()))
