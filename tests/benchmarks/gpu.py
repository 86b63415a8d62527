"""Certifying on a GPU: tokens per second against a plain float64 forward pass, and rows that numpy on CPU confirms.

``python -m tests.benchmarks.gpu FOLDER`` where there is a GPU (31 GB of disk, 80 GB of GPU memory for the largest);
``--device torch --tiny`` takes the same way on any machine with tiny models.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from blockcert.same_program import same_stages
from blockcert_producers import embedded
from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, compare_bundle
from blockcert_verifier import verify
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.measure import Pair, Settings, measure
from tests.benchmarks.materials import checkpoint
from tests.benchmarks.scale import LLAMA32_3B, TINYLLAMA
from tests.support.certificates import corpus_for, rounded_copy, sign_and_trust

__all__ = ["report"]

LENGTH = 64
SETTINGS = Settings((0.01, 0.02, 0.05), (0.001, 0.01, 0.1))
GPT2: dict[str, Any] = {"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
_SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3}
# name: family, options, dtype, prompts of the timing, prompts of the bundle, rows that numpy measures again
CASES: dict[str, tuple[str, dict[str, Any], str, int, int, int]] = {
    "GPT-2 small": ("gpt2", GPT2, "float32", 256, 32, 8),
    "TinyLlama": ("llama", TINYLLAMA, "bfloat16", 256, 16, 2),
    "Llama-3.2-3B": ("llama", LLAMA32_3B, "bfloat16", 128, 8, 1),
}
TINY: dict[str, tuple[str, dict[str, Any], str, int, int, int]] = {
    "GPT-2, tiny": ("gpt2", {**GPT2, "vocab_size": 512, "n_embd": 48, "n_layer": 3, "n_head": 3}, "float32", 16, 8, 4),
    "TinyLlama, tiny": ("llama", {**TINYLLAMA, **_SMALL, "num_attention_heads": 8}, "bfloat16", 16, 8, 4),
    "Llama-3.2, tiny": ("llama", {**LLAMA32_3B, **_SMALL, "num_attention_heads": 8}, "bfloat16", 16, 8, 4),
}


def _forward(model: Path, tokens: np.ndarray[Any, Any], device: str, batch: int) -> Callable[[], object]:
    """A plain float64 forward pass of ``transformers`` over all prompts, the weights on the device already."""
    import torch
    import transformers

    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        str(model), dtype=torch.float64, attn_implementation="eager", local_files_only=True
    )
    loaded = loaded.to(device).eval()  # pyright: ignore[reportArgumentType]
    ids = torch.from_numpy(tokens).to(device)

    def run() -> None:
        with torch.inference_mode():
            for begin in range(0, len(ids), batch):
                loaded(input_ids=ids[begin : begin + batch], use_cache=False)
        _wait(device)

    return run


def _wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


class _Counting(Backend):
    """A back end that counts how often the host waits for values."""

    fetched = 0

    def numpy(self, values: Any) -> np.ndarray[Any, Any]:
        self.fetched += 1
        return super().numpy(values)


def _median(run: Callable[[], object], rounds: int) -> float:
    taken: list[float] = []
    for turn in range(rounds + 1):
        begin = time.perf_counter()
        run()
        if turn:
            taken.append(time.perf_counter() - begin)
    return median(taken)


def _case(folder: Path, name: str, device: str, case: tuple[str, dict[str, Any], str, int, int, int]) -> list[str]:
    family, options, dtype, prompts, drawn, replayed = case
    place = folder / name.replace(" ", "-")
    model, copy = place / "model", place / "copy"
    if not copy.is_dir():
        checkpoint(model, family, options, dtype)
        rounded_copy(model, copy, "float16")
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    files = {f"reference/{path.name}": path for path in model.glob("*.safetensors")}
    files |= {f"surrogate/{path.name}": path for path in copy.glob("*.safetensors")}
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(files))
    tokens = np.random.default_rng(0).integers(0, reference.vocabulary, (prompts, LENGTH))

    torch_device = "cpu" if device == "torch" else device
    forward = _forward(model, tokens, torch_device, 16)
    plain = _median(forward, 3)
    del forward  # and the weights with it
    backend = _Counting(device)

    def whole() -> None:
        measure(pair, tokens, SETTINGS, backend)

    measured = _median(whole, 3)
    fetched = backend.fetched / 4
    rate = prompts * LENGTH / measured
    lines = [
        f"  {name}: {prompts} prompts of {LENGTH} tokens",
        f"    measured, weights read and moved too {rate:10.0f} tokens/s   {measured:8.2f} s",
        f"    plain float64 forward pass           {prompts * LENGTH / plain:10.0f} tokens/s   {plain:8.2f} s   "
        f"(measuring takes {measured / plain:.2f} times as long)",
        f"    the host waited {fetched:.0f} times for values: {fetched / prompts:.2f} a prompt",
    ]
    out = place / "bundle"
    job = Job(
        (corpus_for(embedded.path("llama"), place),), out, count=drawn, calibration=0, attribution=2, device=device
    )
    begin = time.perf_counter()
    compare_bundle(model, copy, job, now=datetime.now(UTC).replace(microsecond=0))
    seconds = time.perf_counter() - begin
    trust = sign_and_trust(out, place / "trust.json")
    report = verify(out, trust, reference=model, replay=replayed)
    audit = report.audit
    if audit is None:
        raise SystemExit(f"{name}: nothing was replayed: {report.verdict}")
    lines.append(
        f"    bundle of {drawn} prompts in {seconds:.1f} s; numpy on CPU confirms {audit.confirmed} of {audit.sampled} "
        f"rows in every cell ({report.verdict}), at most {audit.largest_disagreement} of a cell's tolerance away"
    )
    if audit.confirmed != audit.sampled or report.verdict != "accepted":
        raise SystemExit("\n".join([*lines, *(f"{one.code} {one.message}" for one in report.findings)]))
    return lines


def report(folder: Path, device: str = "cuda", *, tiny: bool = False) -> list[str]:
    """Lines: per configuration the rate, its ratio to a plain forward pass, and what numpy says of sampled rows."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        return ["On a GPU: skipped, there is none here"]
    what = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"CPU {platform.machine()}"
    head = f"On {what}, {datetime.now(UTC).date()}, torch {torch.__version__}, float64, medians of 3"
    lines = [head]
    for name, case in (TINY if tiny else CASES).items():
        lines += _case(folder, name, device, case)
    return lines


def main() -> None:
    """Print the report."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--device", default="cuda")
    words.add_argument("--tiny", action="store_true")
    asked = words.parse_args()
    print("\n".join(report(asked.folder, asked.device, tiny=asked.tiny)))


if __name__ == "__main__":
    main()
