"""Times: one spelling, refused spellings by name.

Requirements: BC-NUM-09.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.times import format_time, parse_time

REFUSED: dict[str, tuple[str, str]] = {
    "empty": ("time.grammar", ""),
    "no zone": ("time.grammar", "2026-01-31T10:00:00"),
    "offset": ("time.grammar", "2026-01-31T10:00:00+00:00"),
    "lower case": ("time.grammar", "2026-01-31t10:00:00z"),
    "space for T": ("time.grammar", "2026-01-31 10:00:00Z"),
    "fraction": ("time.grammar", "2026-01-31T10:00:00.5Z"),
    "no seconds": ("time.grammar", "2026-01-31T10:00Z"),
    "short month": ("time.grammar", "2026-1-31T10:00:00Z"),
    "five-digit year": ("time.grammar", "12026-01-31T10:00:00Z"),
    "negative year": ("time.grammar", "-026-01-31T10:00:00Z"),
    "trailing newline": ("time.grammar", "2026-01-31T10:00:00Z\n"),
    "leading space": ("time.grammar", " 2026-01-31T10:00:00Z"),
    "Arabic digits": ("time.grammar", "٢٠٢٦-01-31T10:00:00Z"),
    "compact": ("time.grammar", "20260131T100000Z"),
    "month 13": ("time.calendar", "2026-13-01T00:00:00Z"),
    "month 0": ("time.calendar", "2026-00-01T00:00:00Z"),
    "30 February": ("time.calendar", "2026-02-30T00:00:00Z"),
    "29 February of a common year": ("time.calendar", "2026-02-29T00:00:00Z"),
    "29 February 2100": ("time.calendar", "2100-02-29T00:00:00Z"),
    "hour 24": ("time.calendar", "2026-01-31T24:00:00Z"),
    "leap second": ("time.calendar", "2016-12-31T23:59:60Z"),
    "year 0": ("time.calendar", "0000-01-01T00:00:00Z"),
    "before 1970": ("time.calendar", "1969-12-31T23:59:59Z"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    code, text = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        parse_time(text, "statement.json: $.predicate.issued_at")
    assert refused.value.code == code
    assert refused.value.place == "statement.json: $.predicate.issued_at"


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda time: time.year >= 1970))
def test_round_trip_to_the_second(time: datetime) -> None:
    text = format_time(time)
    assert len(text) == 20
    assert parse_time(text) == time.replace(microsecond=0)
    assert format_time(parse_time(text)) == text


def test_ends_of_the_range_and_leap_days() -> None:
    assert parse_time("1970-01-01T00:00:00Z").timestamp() == 0
    assert parse_time("9999-12-31T23:59:59Z").year == 9999
    assert parse_time("2024-02-29T12:00:00Z").day == 29
    assert parse_time("2000-02-29T12:00:00Z").tzinfo is UTC


def test_other_zones_are_written_in_utc() -> None:
    time = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(time) == "2025-12-31T22:30:00Z"


def test_times_without_a_spelling_are_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001 - the naive time is the case
    with pytest.raises(ValueError, match="1970"):
        format_time(datetime(1969, 12, 31, tzinfo=UTC))
