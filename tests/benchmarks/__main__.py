"""Run every benchmark, or those named, and print the ratios: ``python -m tests.benchmarks [NAME ...]``.

Those in ``ALONE`` run only where they are named: they take minutes, or need models and texts beside the project.
``tests.benchmarks.scale`` is a command of its own, since it needs a folder with 9 GB of room.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from tests.benchmarks import (
    against_hooks,
    against_signing,
    decoding,
    enclosing,
    extraction,
    gpu,
    hashing,
    measuring,
    memory,
    polishing,
    processes,
    red_team,
    replaying,
    scaling,
    starting_points,
    statistics,
)
from tests.benchmarks.materials import Materials, materials

ALONE: dict[str, Callable[[], Iterable[str]]] = {
    "extraction": extraction.report,
    "polishing": polishing.report,
    "starting_points": starting_points.report,
}
"""Benchmarks that ``make bench`` leaves out."""


def main() -> None:
    """Print the reports."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        @cache
        def found() -> Materials:
            return materials(folder)

        reports: dict[str, Callable[[], Iterable[str]]] = {
            "processes": lambda: processes.report(found()),
            "measuring": lambda: measuring.report(found(), folder),
            "replaying": lambda: replaying.report(found(), folder),
            "enclosing": lambda: enclosing.report(found()),
            "proving": lambda: enclosing.gpt2_small(folder / "proving"),
            "scaling": scaling.report,
            "memory": lambda: memory.report(folder),
            "hashing": hashing.report,
            "decoding": lambda: decoding.report(folder),
            "statistics": statistics.report,
            "against_hooks": against_hooks.report,
            "against_signing": lambda: against_signing.report(folder / "signing"),
            "gpu": lambda: gpu.report(folder / "gpu"),
            "red_team": red_team.report,
        }
        words = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
        words.add_argument(
            "names", nargs="*", metavar="NAME", help=f"{', '.join(reports)}; only if named: {', '.join(ALONE)}"
        )
        asked: list[str] = words.parse_args().names
        unknown = [name for name in asked if name not in reports and name not in ALONE]
        if unknown == ["scale"]:
            words.error("scale runs by itself: python -m tests.benchmarks.scale FOLDER")
        if unknown:
            words.error(f"no benchmark is called {unknown[0]}; there are {', '.join((*reports, *ALONE, 'scale'))}")
        today = datetime.now(UTC).date()
        print(f"{today}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
        for name in asked or reports:
            print()
            for line in (reports | ALONE)[name]():
                print(line, flush=True)


if __name__ == "__main__":
    main()
