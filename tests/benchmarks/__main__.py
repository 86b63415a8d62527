"""Run every benchmark, or those named, and print the ratios: ``python -m tests.benchmarks [NAME ...]``.

By themselves run ``tests.benchmarks.scale`` (large models, 9 GB of disk) and ``tests.benchmarks.gpu`` (a GPU); so do
``tests.benchmarks.polishing`` and ``tests.benchmarks.starting_points``, which need the models beside the project.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
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
    processes,
    red_team,
    replaying,
    scaling,
    statistics,
)
from tests.benchmarks.materials import Materials, materials


def main() -> None:
    """Print the reports."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        @cache
        def found() -> Materials:
            return materials(folder)

        reports: dict[str, Callable[[], list[str]]] = {
            "processes": lambda: processes.report(found()),
            "measuring": lambda: measuring.report(found(), folder),
            "replaying": lambda: replaying.report(found(), folder),
            "enclosing": lambda: enclosing.report(found()),
            "proving": lambda: enclosing.gpt2_small(folder / "proving"),
            "extraction": extraction.report,
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
        words.add_argument("names", nargs="*", metavar="NAME", help=", ".join(reports))
        asked: list[str] = words.parse_args().names
        unknown = [name for name in asked if name not in reports]
        if unknown:
            words.error(f"no benchmark is called {unknown[0]}; there are {', '.join(reports)}")
        today = datetime.now(UTC).date()
        print(f"{today}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
        for name in asked or reports:
            print("\n" + "\n".join(reports[name]()), flush=True)


if __name__ == "__main__":
    main()
