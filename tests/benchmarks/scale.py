"""Models as large as are used, streamed: TinyLlama's configuration whole, single blocks and the head of Llama-3.2-3B's.

Weights are random, in bfloat16. Takes 9 GB of disk and some minutes, so it is no part of ``make bench``:
``python -m tests.benchmarks.scale FOLDER``, and ``--tiny`` to see whether it works. What lies in FOLDER is used again.
"""

from __future__ import annotations

import argparse
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blockcert_producers import embedded
from tests.benchmarks import fresh_process
from tests.benchmarks.materials import checkpoint
from tests.support.certificates import corpus_for, rounded_copy, sign_and_trust

__all__ = ["LLAMA32_3B", "TINYLLAMA", "certify", "replay", "report", "stages"]

TINYLLAMA: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
LLAMA32_3B: dict[str, Any] = {
    "vocab_size": 128256,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
_TINY = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "head_dim": 16}
_TINY |= {"num_attention_heads": 8}
PROMPTS, LENGTH = 2, 64
SINGLE = 2
"""Blocks of the larger configuration that are made: every one costs the same."""


def certify(model: str, copy: str, corpus: str, out: str) -> None:
    """Compare on a few prompts, the cross-check with ``transformers`` included."""
    from blockcert_producers.produce import Job, compare_bundle

    job = Job((Path(corpus),), Path(out), count=PROMPTS, calibration=0, length=LENGTH, attribution=0)
    compare_bundle(Path(model), Path(copy), job, now=datetime.now(UTC).replace(microsecond=0))


def replay(bundle: str, trust: str, model: str) -> dict[str, Any]:
    """Verify with one row measured again."""
    from blockcert_verifier import verify

    report = verify(Path(bundle), Path(trust), reference=Path(model), replay=1)
    return {"verdict": report.verdict, "confirmed": 0 if report.audit is None else report.audit.confirmed}


def stages(model: str) -> list[tuple[str, float, float]]:
    """Of each stage in float64 on the prompts: its kind, seconds to load it, seconds to run it."""
    import numpy as np

    from blockcert_producers.lift import lift
    from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore

    program = lift(Path(model))
    store = WeightStore({f"reference/{path.name}": path for path in Path(model).glob("*.safetensors")})
    value: Any = np.random.default_rng(0).integers(0, program.vocabulary, (PROMPTS, LENGTH))
    found: list[tuple[str, float, float]] = []
    for stage in program.stages:
        begin = time.perf_counter()
        loaded = LoadedStage(stage, store, Backend(), LENGTH, program)
        ready = time.perf_counter()
        value = loaded(value)
        found.append((stage.kind, ready - begin, time.perf_counter() - ready))
    return found


def _said(what: str, taken: fresh_process.Taken) -> str:
    own, resident = taken.own / 1024, taken.resident / 1024
    return (
        f"    {what:34} {taken.seconds:7.1f} s, {taken.processor:7.1f} s of a processor; at the peak {own:5.2f} GiB "
        f"of its own, {resident:5.2f} with mapped files"
    )


def _whole(folder: Path, name: str, options: dict[str, Any]) -> list[str]:
    """Certify and replay one row; checkpoints that are there already are used again."""
    model, copy, out = folder / "model", folder / "copy", folder / "bundle"
    if not model.is_dir():
        checkpoint(model, "llama", options)
    if not copy.is_dir():
        rounded_copy(model, copy, "float16")
    shutil.rmtree(out, ignore_errors=True)
    gib = sum(path.stat().st_size for path in model.glob("*.safetensors")) / (1 << 30)
    lines = [f"  {name}: {options['num_hidden_layers']} blocks, {gib:.2f} GiB in bfloat16, copy in float16"]
    corpus = str(corpus_for(embedded.path("llama"), folder))
    taken = fresh_process.run("tests.benchmarks.scale", "certify", str(model), str(copy), corpus, str(out))
    lines.append(_said(f"compare, {PROMPTS} prompts", taken))
    trust = sign_and_trust(out, folder / "trust.json")
    taken = fresh_process.run("tests.benchmarks.scale", "replay", str(out), str(trust), str(model))
    lines.append(_said(f"verify, 1 row: {taken.returned['verdict']}", taken))
    return lines


def report(folder: Path, *, tiny: bool = False) -> list[str]:
    """Lines: time and peak memory (aim: 8 GiB for TinyLlama's configuration)."""
    if not fresh_process.readable():
        return ["Streaming: skipped, peak memory is read from /proc"]
    smaller = _TINY if tiny else {}
    lines = [f"Streaming, {datetime.now(UTC).date()}"]
    lines += _whole(folder / "tinyllama", "TinyLlama", {**TINYLLAMA, **smaller})
    options = {**LLAMA32_3B, "num_hidden_layers": SINGLE, **smaller}
    lines += _whole(folder / "llama-3.2-3b", "Llama-3.2-3B, single blocks and the head", options)
    taken = fresh_process.run("tests.benchmarks.scale", "stages", str(folder / "llama-3.2-3b" / "model"))
    lines.append(_said(f"one float64 pass, {PROMPTS} prompts", taken))
    lines += [f"      {kind:10} loaded in {load:6.2f} s, run in {run:6.2f} s" for kind, load, run in taken.returned]
    return lines


def main() -> None:
    """Print the report."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--tiny", action="store_true")
    asked = words.parse_args()
    print("\n".join(report(asked.folder, tiny=asked.tiny)))


if __name__ == "__main__":
    main()
