"""Measuring against plain transformers forward passes, and against the float64 stage evaluations it must do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from blockcert.same_program import same_stages
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, WeightStore, logits
from blockcert_verifier.fidelity import transformers_logits
from blockcert_verifier.measure import Pair, Settings, measure
from tests.benchmarks.materials import Materials
from tests.benchmarks.timing import side_by_side

__all__ = ["report"]

PROMPTS, LENGTH = 64, 64


def _files(folder: Path, prefix: str) -> dict[str, Path]:
    return {prefix + path.name: path for path in folder.glob("*.safetensors")}


def report(found: Materials) -> list[str]:
    """Lines: measuring time with what it is made of, as ratios to a float32 forward pass of transformers."""
    _, _, model, copy = found
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    store = WeightStore({**_files(model, "reference/"), **_files(copy, "surrogate/")})
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), store)
    tokens = np.random.default_rng(0).integers(0, reference.vocabulary, (PROMPTS, LENGTH))
    settings = Settings((0.01, 0.02, 0.05), (0.001, 0.01, 0.1))
    backend = Backend()

    def three_passes() -> None:
        # X, Y and g at the reference's own input: what the core columns need in any case
        for program in (reference, surrogate, surrogate):
            logits(program, store, tokens, backend)

    times = side_by_side(
        {
            "transformers, float32, one forward pass": lambda: transformers_logits(model, tokens, "float32"),
            "evaluator, float64, one forward pass": lambda: logits(reference, store, tokens, backend),
            "evaluator, float64, the three passes the core columns need": three_passes,
            "measure, core and control columns": lambda: measure(pair, tokens, settings, backend),
            "measure, attribution on every prompt": lambda: measure(
                pair, tokens, settings, backend, attribution=PROMPTS
            ),
        },
        rounds=5,
    )
    base = times["transformers, float32, one forward pass"]
    core = times["evaluator, float64, the three passes the core columns need"]
    threads = os.environ.get("OMP_NUM_THREADS", f"{os.cpu_count()} cores")
    lines = [f"Measuring {PROMPTS} prompts of {LENGTH} tokens on the embedded Llama, threads: {threads}"]
    lines += [f"  {name:60} {t:7.3f} s   {t / base:5.1f} x transformers" for name, t in times.items()]
    ratio = times["measure, core and control columns"] / core
    return [
        *lines,
        f"  core and control columns cost {ratio:.2f} x the three float64 passes: the rest is one float32 pass (the",
        "  floor), one more head (the identity control), norms, log-softmax and counts. transformers is loaded anew",
        "  in its contender, as it is once per certificate.",
    ]
