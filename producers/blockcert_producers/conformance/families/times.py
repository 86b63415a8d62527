"""Times in other spellings, times that do not exist, and certificates before and after their time."""

from __future__ import annotations

from blockcert_producers.conformance.changes import options, state
from blockcert_producers.conformance.entry import accepted, case, rejected

__all__ = ["CASES"]

SPELLINGS = {
    "offset": ("An offset in the place of Z", "2026-11-22T10:00:00+00:00"),
    "lower-case": ("Lower-case letters", "2026-11-22t10:00:00z"),
    "fraction": ("A fraction of a second", "2026-11-22T10:00:00.0Z"),
    "blank": ("A blank for the T", "2026-11-22 10:00:00Z"),
    "no-seconds": ("No seconds", "2026-11-22T10:00Z"),
    "newline": ("A newline behind it", "2026-11-22T10:00:00Z\n"),
    "five-digit-year": ("A year of five digits", "12026-11-22T10:00:00Z"),
    "a-number": ("Seconds since 1970", 1795341600),
}
CALENDAR = {
    "february-30": ("A day that does not exist", "2026-02-30T10:00:00Z"),
    "leap-day": ("The 29th of February of a year without one", "2026-02-29T10:00:00Z"),
    "leap-second": ("A leap second", "2026-06-30T23:59:60Z"),
    "hour-24": ("Midnight as hour 24", "2026-11-22T24:00:00Z"),
    "before-1970": ("A time before 1970", "1969-12-31T23:59:59Z"),
    "year-0": ("The year 0", "0000-01-01T00:00:00Z"),
}

CASES = (
    *(
        case(f"time::{name}", tests, "BC-NUM-09", rejected("json.type"), state("issued_at", value))
        for name, (tests, value) in SPELLINGS.items()
    ),
    *(
        case(f"time::{name}", tests, "BC-NUM-09", rejected("time.calendar"), state("issued_at", value))
        for name, (tests, value) in CALENDAR.items()
    ),
    case(
        "time::ends-when-issued",
        "A certificate that ends when it is issued",
        "BC-STM-08",
        rejected("statement.times"),
        state("not_after", "2026-11-22T10:00:00Z"),
    ),
    case(
        "time::ends-before-issued",
        "A certificate that ends before it is issued",
        "BC-STM-08",
        rejected("statement.times"),
        state("not_after", "2026-11-22T09:59:59Z"),
    ),
    case(
        "time::expired",
        "A second after its end",
        "BC-TRU-10 BC-VER-02",
        rejected("statement.expired"),
        state("not_after", "2026-12-01T00:00:00Z"),
        options(at="2026-12-01T00:00:01Z"),
    ),
    case(
        "time::last-second",
        "The last second of its validity",
        "BC-TRU-10",
        accepted("authenticity.times"),
        state("not_after", "2026-12-01T00:00:00Z"),
        options(at="2026-12-01T00:00:00Z"),
    ),
    case(
        "time::not-yet",
        "A second before it was issued",
        "BC-TRU-10",
        rejected("statement.not_yet_valid"),
        options(at="2026-11-22T09:59:59Z"),
    ),
    case(
        "time::leap-day-of-2028",
        "A leap day that exists",
        "BC-NUM-09",
        accepted(),
        state("not_after", "2028-02-29T00:00:00Z"),
    ),
)
