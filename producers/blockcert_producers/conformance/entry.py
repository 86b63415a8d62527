"""One case as it is written down: an entry of a family's table."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from blockcert_producers.conformance.draft import Change
from blockcert_verifier.conformance.index import Expected

__all__ = ["Entry", "accepted", "case", "indeterminate", "refused", "rejected"]


class Entry(Struct, frozen=True):
    """What a case tests, what it starts from, what is changed, in order, and what every verifier must say."""

    id: str
    tests: str
    requirements: tuple[str, ...]
    expected: Expected
    changes: tuple[Change, ...]
    base: str = "every-map"


def case(
    name: str, tests: str, requirements: str, expected: Expected, *changes: Change, base: str = "every-map"
) -> Entry:
    """An entry; `requirements` are ids separated by blanks, `changes` are applied one after another to the base."""
    return Entry(name, tests, tuple(requirements.split()), expected, changes, base)


def _expected(verdict: Literal["accepted", "rejected", "indeterminate"], codes: str, notes: str) -> Expected:
    return Expected(verdict, tuple(sorted(codes.split())), tuple(sorted(notes.split())))


def accepted(notes: str = "") -> Expected:
    """Accepted, with these codes among the findings that passed or were skipped."""
    return _expected("accepted", "", notes)


def rejected(codes: str, notes: str = "") -> Expected:
    """Rejected, with exactly these codes among failed and inconclusive findings."""
    return _expected("rejected", codes, notes)


def indeterminate(codes: str = "", notes: str = "") -> Expected:
    """Indeterminate, with exactly these codes among inconclusive findings."""
    return _expected("indeterminate", codes, notes)


def refused(code: str) -> Expected:
    """Refused: nothing was decided."""
    return Expected("refused", (code,))
