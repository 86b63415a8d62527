"""A model of TinyLlama's configuration with random weights, certified and replayed: time and peak memory.

Takes 7 GB of disk and some minutes, so it is no part of ``make bench``: ``python -m tests.benchmarks.scale FOLDER``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from blockcert_producers import embedded
from tests.support.certificates import corpus_for, rounded_copy

__all__ = ["TINYLLAMA", "checkpoint"]

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
_CHILD = """
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
begin = time.perf_counter()
job, arguments = sys.argv[1], [Path(word) for word in sys.argv[2:]]
if job == "compare":
    from blockcert_producers.produce import Job, compare_bundle
    model, copy, corpus, out = arguments
    wanted = Job((corpus,), out, count=2, calibration=0, attribution=0)
    compare_bundle(model, copy, wanted, now=datetime.now(UTC).replace(microsecond=0))
    said = {}
else:
    from blockcert_verifier import verify
    bundle, trust, model = arguments
    report = verify(bundle, trust, reference=model, replay=1)
    cost = report.audit.cost
    said = {"verdict": report.verdict, "replay": cost.seconds, "expected": cost.expected_seconds}
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(json.dumps({"seconds": round(time.perf_counter() - begin, 1), "peak MiB": peak >> 10, **said}))
"""


def checkpoint(folder: Path, options: dict[str, Any]) -> Path:
    """A Llama checkpoint with random weights in bfloat16, and the embedded model's tokenizer."""
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="1GB")
    shutil.copyfile(embedded.path("llama") / "tokenizer.json", folder / "tokenizer.json")
    return folder


def _run(job: str, *words: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, job, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print what certifying and verifying take."""
    from tests.support.certificates import sign_and_trust

    folder = Path(sys.argv[1])
    model, copy, out = folder / "model", folder / "copy", folder / "bundle"
    if not model.is_dir():
        checkpoint(model, TINYLLAMA)
    if not copy.is_dir():
        rounded_copy(model, copy, "float16")
    if not out.is_dir():
        print("compare, 2 prompts:", _run("compare", model, copy, corpus_for(embedded.path("llama"), folder), out))
    trust = sign_and_trust(out, folder / "trust.json")
    begin = time.perf_counter()
    print("verify, 1 row:", _run("verify", out, trust, model), f"{time.perf_counter() - begin:.1f} s in all")


if __name__ == "__main__":
    main()
