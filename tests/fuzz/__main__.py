"""``python -m tests.fuzz [TARGET ...] [--seconds N]``: fuzz each target, one after the other, and print the figures.

What broke a target lies in ``build/fuzz/TARGET`` as libFuzzer names it (``crash-``, ``timeout-``, ``oom-``); its corpus
is kept there for the next run. Exit code 1 where something broke.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

MEGABYTES = 256
"""Most resident memory of a target, the fuzzer and its instrumentation included."""


def main() -> int:
    """Run, and print a line for each target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    given = parser.parse_args()
    broken = False
    print(f"{'target':<10}{'executions':>12}{'per second':>12}{'slowest ms':>12}{'peak MB':>9}  result")
    for name in given.targets:
        folder: Path = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures.json").unlink(missing_ok=True)
        words = [sys.executable, "-m", "tests.fuzz.one", name, str(folder), str(given.seconds), str(MEGABYTES)]
        with (folder / "log").open("wb") as log:
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            code = subprocess.run(words, stdout=log, stderr=log, check=False, env=environment).returncode
        figures = json.loads((folder / "figures.json").read_text()) if (folder / "figures.json").exists() else {}
        rate = figures.get("executions", 0) / given.seconds
        result = "nothing broke" if code == 0 else f"BROKE (exit code {code}; see {folder}/log)"
        numbers = [figures.get(key, 0) for key in ("executions", "slowest_ms", "peak_mb")]
        print(f"{name:<10}{numbers[0]:>12}{rate:>12.1f}{numbers[1]:>12}{numbers[2]:>9}  {result}", flush=True)
        broken |= code != 0
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
