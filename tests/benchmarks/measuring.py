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
from tests.benchmarks.materials import Materials, random_model
from tests.benchmarks.timing import side_by_side
from tests.support.certificates import rounded_copy

__all__ = ["report"]

LENGTH = 64
SETTINGS = Settings((0.01, 0.02, 0.05), (0.001, 0.01, 0.1))


def _files(folder: Path, prefix: str) -> dict[str, Path]:
    return {prefix + path.name: path for path in folder.glob("*.safetensors")}


def _lines(name: str, model: Path, copy: Path, prompts: int, rounds: int) -> list[str]:
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    store = WeightStore({**_files(model, "reference/"), **_files(copy, "surrogate/")})
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), store)
    tokens = np.random.default_rng(0).integers(0, reference.vocabulary, (prompts, LENGTH))
    backend = Backend()

    def three_passes() -> None:
        # X, Y and g at the reference's own input: what the core columns need in any case
        for program in (reference, surrogate, surrogate):
            logits(program, store, tokens, backend)

    plain, three = "transformers, float32, one forward pass", "evaluator, float64, the three passes of the core columns"
    core, attributed = "measure, core and control columns", "measure, attribution on every prompt"
    times = side_by_side(
        {
            plain: lambda: transformers_logits(model, tokens, "float32"),
            "evaluator, float64, one forward pass": lambda: logits(reference, store, tokens, backend),
            three: three_passes,
            core: lambda: measure(pair, tokens, SETTINGS, backend),
            attributed: lambda: measure(pair, tokens, SETTINGS, backend, attribution=prompts),
        },
        rounds,
    )
    lines = [f"  {name}, {prompts} prompts of {LENGTH} tokens"]
    lines += [f"    {which:58} {t:7.3f} s   {t / times[plain]:5.1f} x transformers" for which, t in times.items()]
    return [*lines, f"    core and control columns: {times[core] / times[three]:.2f} x the three float64 passes"]


def report(found: Materials, scratch: Path) -> list[str]:
    """Lines: measuring time against the float64 stage evaluations it cannot do without (aim: at most 1.3)."""
    threads = os.environ.get("OMP_NUM_THREADS", f"{os.cpu_count()} cores")
    wide = random_model(scratch / "measured", blocks=4, width=512)
    copy = rounded_copy(wide, scratch / "measured-copy", "float16")
    return [
        f"Measuring against the evaluations it must do (aim: at most 1.3), threads: {threads}",
        *_lines("embedded Llama, width 96", found.model, found.copy, 64, 5),
        *_lines("random Llama, width 512", wide, copy, 16, 5),
        "  The rest is one float32 pass (the floor), one more head (the identity control), norms, log-softmax, counts.",
        "  transformers is loaded anew in its contender, as it is once per certificate.",
    ]
