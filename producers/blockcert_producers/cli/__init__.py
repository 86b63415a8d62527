"""The `blockcert` command: its sub-commands are imported only when they are invoked."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and leave with its exit code (`spec/09-result-codes.md`)."""
    from blockcert_producers.cli.run import run

    sys.exit(run(sys.argv[1:]))
