"""The front that several budgets give: measured beside plain rounding, as a table, as JSON and as a plot."""

from __future__ import annotations

from pathlib import Path

from blockcert.bundle import STATEMENT

__all__ = ["FRONT", "is_front"]

FRONT = "front.json"
"""The name of a front's table in its folder."""


def is_front(path: Path) -> bool:
    """Whether the folder holds a front, and is no bundle itself."""
    return (path / FRONT).is_file() and not (path / STATEMENT).exists()
