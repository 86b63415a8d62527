"""Counts in sentences: of one thing as of several."""

from __future__ import annotations

__all__ = ["all_rows", "counted_rows", "verb"]


def counted_rows(count: int) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} row" if count == 1 else f"{count} rows"


def all_rows(count: int) -> str:
    """`the one row`, `all 2 rows`."""
    return "the one row" if count == 1 else f"all {count} rows"


def verb(count: int, one: str, several: str) -> str:
    """The form of a verb that goes with so many: `1 of 200 rows was`, `2 of 200 rows were`."""
    return one if count == 1 else several
