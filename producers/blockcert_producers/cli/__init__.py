"""The `blockcert` command: its sub-commands are imported only when they are invoked."""

from __future__ import annotations

import gc
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and leave with its exit code (`spec/09-result-codes.md`)."""
    # a tenth of a short command's time was garbage collection among modules, which are no garbage
    gc.set_threshold(50_000)
    from blockcert_producers.cli.run import run

    sys.exit(run(sys.argv[1:]))
