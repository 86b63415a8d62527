"""Whole processes: what a person waits for at the prompt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.materials import Materials
from tests.benchmarks.timing import side_by_side

__all__ = ["interpreter", "report"]


def interpreter() -> tuple[str, str]:
    """The base environment's Python where there is one (what a third party has), else this one."""
    base = Path("build/base-env/bin/python")
    return (str(base), "base install") if base.is_file() else (sys.executable, "this environment")


def _process(python: str, *words: str) -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([python, *words], check=False, capture_output=True, env=environment)
    if done.returncode not in (0, 3):  # a refusal would be timed as if it were a verdict
        raise RuntimeError(f"{' '.join(words)[:80]}: {done.stderr.decode(errors='replace')[-300:]}")


def report(found: Materials) -> list[str]:
    """Lines: whole-process times and their ratios to a bare interpreter."""
    bundle, trust, model, _ = found
    python, where = interpreter()
    command = "from blockcert_producers.cli import main; main()"
    verify = ("verify", str(bundle), "--trust", str(trust))
    times = side_by_side(
        {
            "python -c pass": lambda: _process(python, "-c", "pass"),
            "blockcert --help": lambda: _process(python, "-c", command, "--help"),
            "verify, no replay": lambda: _process(python, "-c", command, *verify),
            "verify, replay 16": lambda: _process(python, "-c", command, *verify, "--reference", str(model)),
        },
        rounds=9,
    )
    bare = times["python -c pass"]
    lines = [f"Whole processes, {where}, medians of 9 (aim: verify without replay in 0.15 s)"]
    return lines + [f"  {name:20} {t:7.3f} s   {t / bare:6.1f} x python -c pass" for name, t in times.items()]
