"""A replay against the stage evaluations that it cannot do without, and several processes against one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from blockcert.same_program import same_stages
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.measure import Pair, Settings, measure_resolved
from blockcert_verifier.work.estimate import evaluations
from tests.benchmarks.materials import Materials, materials, random_model
from tests.benchmarks.timing import side_by_side
from tests.support.certificates import rounded_copy

__all__ = ["report"]

LENGTH = 64
LONG = 400
"""Rows that several processes share."""
SETTINGS = Settings((0.01, 0.02, 0.05), (0.001, 0.01, 0.1))


def _pair(model: Path, copy: Path) -> Pair:
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    files = {f"reference/{path.name}": path for path in model.glob("*.safetensors")}
    files |= {f"surrogate/{path.name}": path for path in copy.glob("*.safetensors")}
    return Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(files))


def needed(pair: Pair, tokens: Any, *, attributed: bool) -> None:
    """Every float64 stage evaluation that the rows need, and nothing else: plain calls on one batch per stage.

    Once as they are and once with noise (BC-EVD-08); each stage is loaded for either, as two measurements would.
    """
    backend = Backend()
    for _ in range(2):
        hidden: Any = tokens
        with np.errstate(all="ignore"):
            for index, counts in enumerate(evaluations(pair.same, attributed)):
                output: Any = None
                for program, times in ((pair.reference, counts.reference), (pair.surrogate, counts.surrogate)):
                    if times:
                        stage = LoadedStage(program.stages[index], pair.store, backend, LENGTH)
                        found = stage(np.concatenate([hidden] * times) if times > 1 else hidden)
                        output = found[: len(tokens)] if output is None else output
                hidden = output


def _rows(name: str, pair: Pair, rows: int, rounds: int) -> list[str]:
    tokens = np.random.default_rng(0).integers(0, pair.reference.vocabulary, (rows, LENGTH))
    lines: list[str] = []
    for attributed in (False, True):
        count = rows if attributed else 0
        times = side_by_side(
            {
                "needed": lambda attributed=attributed: needed(pair, tokens, attributed=attributed),
                "replay": lambda count=count: measure_resolved(pair, tokens, SETTINGS, noise=1, attribution=count),
            },
            rounds,
        )
        what = f"{name}, {rows} row{'s' * (rows > 1)}{', attributed' if attributed else ''}"
        ratio = times["replay"] / times["needed"]
        lines.append(f"  {what:46} {times['replay']:7.3f} s   {ratio:5.2f} x the evaluations ({times['needed']:.3f} s)")
    return lines


def _verify(found: Materials, jobs: int, threads: int | None) -> float:
    """Seconds that a whole replay says it took, with ``threads`` for this process' matrix products."""
    words = ("verify", str(found.bundle), "--trust", str(found.trust), "--reference", str(found.model))
    code = "from blockcert_producers.cli import main; main()"
    environment = dict(os.environ)
    if threads is not None:
        environment |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--replay", "all", "--jobs", str(jobs), "--json", "-"],
        check=True,
        capture_output=True,
        env=environment,
    )
    return float(json.loads(done.stdout)["audit"]["cost"]["seconds"])


def report(found: Materials, scratch: Path) -> list[str]:
    """Lines: rows against the evaluations they need (aim: at most 1.2), two processes against one (aim: 1.7)."""
    model = random_model(scratch / "wide", blocks=4, width=512)
    copy = rounded_copy(model, scratch / "wide-copy", "float16")
    lines = ["Replay of rows against the float64 stage evaluations they need (aim: at most 1.2)"]
    lines += _rows("random Llama, width 512, 4 blocks", _pair(model, copy), 1, 7)
    lines += _rows("embedded Llama, width 96, 4 blocks", _pair(found.model, found.copy), 1, 15)
    lines += _rows("embedded Llama, width 96, 4 blocks", _pair(found.model, found.copy), 16, 5)
    if (os.cpu_count() or 1) < 2:
        return [*lines, "Two processes against one: skipped, there is one core"]
    # long enough that the start of a process (0.2 s) is not what is measured
    long = materials(scratch / "long", LONG)
    rounds: list[dict[str, float]] = []
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            beside = max(pool.map(lambda _: _verify(long, 1, 1), range(2)))
        rounds.append(
            {
                "one, one thread": _verify(long, 1, 1),
                "one, all threads": _verify(long, 1, None),
                "two": _verify(long, 2, None),
                "beside": beside,
            }
        )
    times = {name: median(taken[name] for taken in rounds) for name in rounds[0]}
    two, single = times["two"], times["one, one thread"]
    lines.append("Two processes, each with half of the cores, against one (aim: at least 1.7 times as fast)")
    for name in ("one, one thread", "one, all threads"):
        one = times[name]
        lines.append(f"  replay of {LONG} rows, {name:18} {one:7.2f} s   two: {two:.2f} s   {one / two:.2f}")
    ceiling = 2 * single / times["beside"]
    lines.append(f"  this machine's most: two replays that share nothing do {ceiling:.2f} times the work of one")
    return lines
