"""Every benchmark is known by its name, and a name that is none is told which there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def error(name: str) -> str:
    command = [sys.executable, "-m", "tests.benchmarks", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    return done.stderr


def test_every_benchmark_is_known_by_its_name() -> None:
    folder = ROOT / "tests" / "benchmarks"
    having = {path.stem for path in folder.glob("*.py") if "def report(" in path.read_text(encoding="utf-8")}
    assert {"extraction", "polishing", "scale", "starting_points"} <= having
    listed = error("nonsense").split("no benchmark is called nonsense; there are ")[1].split()
    assert having <= {name.rstrip(",") for name in listed}
    assert "python -m tests.benchmarks.scale FOLDER" in error("scale")
