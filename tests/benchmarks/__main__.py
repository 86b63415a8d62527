"""Run every benchmark and print its ratios."""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import enclosing, hashing, measuring, processes, red_team, statistics
from tests.benchmarks.materials import materials


def main() -> None:
    """Print all reports."""
    today = datetime.now(UTC).date()
    print(f"{today}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as scratch:
        found = materials(Path(scratch))
        timed = (processes.report(found), measuring.report(found), enclosing.report(found))
        for lines in (*timed, hashing.report(), statistics.report()):
            print("\n" + "\n".join(lines))
    print("\n" + "\n".join(red_team.report()))


if __name__ == "__main__":
    main()
