"""Times (``spec/03-numbers.md``): UTC, to the second, in one spelling."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from blockcert.errors import Refusal
from blockcert.names import shown

__all__ = ["format_time", "parse_time"]

_GRAMMAR = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z", re.ASCII)
_FIRST_YEAR = 1970


def parse_time(text: str, place: str = "") -> datetime:
    """The time that ``YYYY-MM-DDTHH:MM:SSZ`` says, aware and in UTC; years 1970 to 9999.

    Raises:
        Refusal: ``time.grammar`` for another spelling, ``time.calendar`` for a time that does not exist.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise Refusal(
            "time.grammar",
            place,
            f"{shown(text)} is not a time of the form 2026-01-31T23:59:59Z (UTC, no fractions).",
        )
    year, month, day, hour, minute, second = map(int, match.groups())
    if year < _FIRST_YEAR:
        raise Refusal("time.calendar", place, f"The time {text} is before {_FIRST_YEAR}.")
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise Refusal("time.calendar", place, f"The time {text} does not exist: {error}.") from None


def format_time(time: datetime) -> str:
    """The spelling of an aware time, in UTC; fractions of a second are dropped."""
    if time.tzinfo is None:
        raise ValueError("a time without a zone cannot be written as UTC")
    utc = time.astimezone(UTC)
    if utc.year < _FIRST_YEAR:
        raise ValueError(f"times before {_FIRST_YEAR} have no spelling")
    # strftime's %Y does not pad on every platform; isoformat does
    return utc.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
