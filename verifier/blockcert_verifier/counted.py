"""Counts in sentences: of one thing as of several."""

from __future__ import annotations

__all__ = ["all_rows", "counted", "verb"]


def counted(count: int, one: str) -> str:
    """`1 row`, `2 rows`: a number of what ``one`` is one of."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


def all_rows(count: int) -> str:
    """`the one row`, `all 2 rows`."""
    return "the one row" if count == 1 else f"all {count} rows"


def verb(count: int, one: str, several: str) -> str:
    """The form of a verb that goes with so many: `1 of 200 rows was`, `2 of 200 rows were`."""
    return one if count == 1 else several
