"""One target under atheris, in a process of its own: ``python -m tests.fuzz.one TARGET FOLDER SECONDS MEGABYTES``.

libFuzzer ends the process itself, so that figures are written to ``FOLDER/figures.json`` while it runs.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import atheris

__all__ = ["main"]

EVERY = 2.0
"""Seconds between two writings of the figures."""


def main(name: str, folder: Path, seconds: int, megabytes: int) -> None:
    """Fuzz one target; does not return."""
    with atheris.instrument_imports(include=["blockcert", "blockcert_verifier"]):
        from tests.fuzz.targets import TARGETS, seeds
        from tests.support.bundles import make_bundle

    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"blockcert-fuzz-{name}-"))
    for number, data in enumerate(seeds(name, make_bundle(scratch / "seeds"), scratch)):
        (corpus / f"seed-{number}").write_bytes(data)
    target = TARGETS[name](scratch / "target")
    figures = {"executions": 0, "slowest_ms": 0.0, "peak_mb": 0}
    told = perf_counter()

    def one(data: bytes) -> None:
        nonlocal told
        begun = process_time()  # not the time of others on the machine
        target(data)
        took = (process_time() - begun) * 1000
        now = perf_counter()
        figures["executions"] += 1
        if took > figures["slowest_ms"]:
            figures["slowest_ms"] = round(took, 1)
            (folder / "slowest").write_bytes(data)
        if now - told > EVERY:
            told = now
            figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            (folder / "figures.json").write_text(json.dumps(figures))

    options = (
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={megabytes}",
        "-timeout=20",
        "-print_final_stats=0",
        f"-artifact_prefix={folder}/",
        "-max_len=20000",
    )
    (scratch / "target").mkdir(exist_ok=True)
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
