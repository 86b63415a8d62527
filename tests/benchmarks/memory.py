"""Peak memory of a verification against the size of the model: flat in its depth."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, compare_bundle
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.work.estimate import stage_work
from tests.benchmarks.materials import random_model
from tests.support.certificates import corpus_for, rounded_copy, sign_and_trust

__all__ = ["report"]

WIDTH = 512
_CHILD = """
import json, sys
from pathlib import Path
from blockcert_verifier import verify
report = verify(Path(sys.argv[1]), Path(sys.argv[2]), reference=Path(sys.argv[3]), replay=1)
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
print(json.dumps([report.verdict, peak, report.audit.cost.seconds, report.audit.cost.expected_memory]))
"""


def _one(scratch: Path, blocks: int) -> str:
    model = random_model(scratch / f"deep-{blocks}", blocks=blocks, width=WIDTH)
    copy = rounded_copy(model, scratch / f"copy-{blocks}", "float16")
    corpus = corpus_for(model, scratch)
    job = Job((corpus,), scratch / f"bundle-{blocks}", count=2, calibration=0, attribution=0)
    compare_bundle(model, copy, job, now=datetime.now(UTC).replace(microsecond=0))
    trust = sign_and_trust(job.out, scratch / f"trust-{blocks}.json")
    program = lift(model)
    store = WeightStore({f"reference/{path.name}": path for path in model.glob("*.safetensors")})
    sizes = [8 * stage_work(stage, store, 1, program.hidden_size).weights for stage in program.stages]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(job.out), str(trust), str(model)], check=True, capture_output=True
    )
    verdict, peak, seconds, expected = json.loads(done.stdout)
    whole, block = sum(sizes), max(sizes[1:-1])
    return (
        f"  {blocks:3} blocks: {whole >> 20:5} MiB in float64, {whole / block:4.1f} x a block of {block >> 20} MiB; "
        f"peak {peak >> 10} MiB (estimated {expected >> 20}), {seconds} s a row, {verdict}"
    )


def report(scratch: Path) -> list[str]:
    """Lines: resident memory of a verification with one row replayed, for models of several depths and one width."""
    if not Path("/proc/self/status").is_file():
        return ["Peak memory: skipped, it is read from /proc"]
    lines = [f"Peak memory of verify --replay 1, random Llama of width {WIDTH}, 64 tokens (aim: flat in blocks)"]
    return lines + [_one(scratch, blocks) for blocks in (10, 20, 40)]
