"""The caller's own limits on a verification, beside the caps of the standard (BC-VER-29).

What exceeds one is left undecided: the bundle may be good, and this verifier would not take the trouble to see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from blockcert import strict_json
from blockcert.bundle import MAX_FILES
from blockcert.errors import Refusal
from blockcert.statement import Statement
from blockcert.wellformed import REFERENCE_PREFIX

__all__ = ["DEFAULT", "Limits", "Watch", "as_own", "check_bytes", "check_document", "check_memory", "read_limits"]


class Limits(Struct, frozen=True):
    """Most that one verification may take; what exceeds a limit is an inconclusive finding ``limit.*``.

    Attributes:
        bytes: of all files of the bundle and, where it is given, of the reference model, hashed in windows.
        members: files and folders of the bundle; the standard's cap is 10,000.
        depth: levels of nesting of a JSON document; the standard's cap is 64.
        seconds: of the whole verification, counted by the caller's clock. Measuring ends at it as at a time limit and
            reports what is done.
        memory: bytes that a JSON document may be estimated to take while it is parsed, that the columns of prompts and
            evidence may have together, and that measuring may be estimated to take; None is what this machine has,
            where it says so.

    Raises:
        ValueError: where a limit is not positive, or the seconds are negative; 0 of them are no time for anything.
    """

    bytes: int = 1 << 42
    members: int = MAX_FILES
    depth: int = strict_json.DEFAULT.nesting
    seconds: float = 86_400
    memory: int | None = None

    def __post_init__(self) -> None:
        values = (self.bytes, self.members, self.depth, 1 if self.memory is None else self.memory)
        if not all(value > 0 for value in values) or not self.seconds >= 0:
            raise ValueError("every limit must be positive, and the seconds not negative")

    def most_memory(self) -> int | None:
        """The limit of memory in bytes; None where none was given and the machine does not say what it has."""
        return _physical() if self.memory is None else self.memory


def _physical() -> int | None:
    """Bytes of memory of this machine, or of the container in which this runs where that has less."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except (OSError, ValueError):
        return found
    return min(found, int(allowed)) if allowed.isascii() and allowed.isdigit() else found


DEFAULT = Limits()


def read_limits(words: Sequence[str], names: Sequence[str] = Limits.__struct_fields__) -> Limits:
    """Limits out of words such as `seconds=60` and `memory=2GiB`, each of one of ``names``.

    Raises:
        Refusal: ``usage.limit``.
    """
    from blockcert_verifier.amounts import amount_of_bytes, amount_of_seconds

    read = {"bytes": amount_of_bytes, "memory": amount_of_bytes, "seconds": amount_of_seconds}
    found: dict[str, Any] = {}
    for word in words:
        name, _, number = word.partition("=")
        if name not in names or name in found:
            listed = ", ".join(names)
            raise Refusal("usage.limit", "--limit", f"{word!r} is no limit; give one of {listed} and =N, each once")
        try:
            found[name] = read.get(name, _count)(number)
        except ValueError as fault:
            raise Refusal("usage.limit", "--limit", f"{word!r}: {fault}") from None
    return Limits(**found)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise ValueError("the limit is no whole number from 1 on")
    return int(text)


class Watch:
    """The seconds of one verification."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self.end = clock() + limits.seconds

    def look(self, _: int = 0) -> None:
        """Returns None while there is time; every step that may take long calls it every now and then.

        Raises:
            Refusal: ``limit.seconds``.
        """
        if self._clock() >= self.end:
            sentence = f"the verification took {self._limits.seconds:g} seconds, and your limit allows no more"
            raise Refusal("limit.seconds", "verification", sentence)


def as_own(refusal: Refusal, limits: Limits) -> Refusal:
    """A refusal of too many files as one of the caller's limit, where that is below the standard's cap."""
    if refusal.code != "bundle.too_many_files" or limits.members >= MAX_FILES:
        return refusal
    sentence = f"the bundle has more than {limits.members} files and folders, and your limit allows no more"
    return Refusal("limit.members", refusal.place, sentence)


def check_bytes(sizes: dict[str, int], statement: Statement | None, limits: Limits) -> None:
    """Returns None where the bundle's files, with those of the reference model that ``statement`` states, are within.

    Raises:
        Refusal: ``limit.bytes``.
    """
    total = sum(sizes.values())
    if statement is not None:
        total += sum(file.size for file in statement.predicate.files if file.name.startswith(REFERENCE_PREFIX))
    if total > limits.bytes:
        what = "the bundle" if statement is None else "the bundle and the reference model"
        sentence = f"the files of {what} have {total} bytes, and your limit allows {limits.bytes}"
        raise Refusal("limit.bytes", "bundle", sentence)


_TEXT, _VALUE = 8, 300
"""Bytes of memory for each byte of a JSON text, and for each value in it: more than parsing one was seen to take."""


def check_document(data: bytes, place: str, limits: Limits) -> None:
    """Returns None where parsing the document is estimated to take no more memory than allowed, and where it nests
    within a limit that is below the standard's; other faults are left alone.

    Raises:
        Refusal: ``limit.memory``, ``limit.depth``.
    """
    values = sum(map(data.count, (b",", b"[", b"{")))
    check_memory(_TEXT * len(data) + _VALUE * min(values, strict_json.DEFAULT.nodes), place, limits)
    if limits.depth >= strict_json.DEFAULT.nesting:
        return
    room = len(data) + 1
    try:
        strict_json.check(data, place, strict_json.Limits(room, limits.depth, room, room))
    except Refusal as refusal:
        if refusal.code == "json.limit":
            sentence = f"the JSON text nests deeper than the {limits.depth} levels that your limit allows"
            raise Refusal("limit.depth", place, sentence) from None


def check_memory(needed: int, place: str, limits: Limits) -> None:
    """Returns None where ``needed`` bytes may be held.

    Raises:
        Refusal: ``limit.memory``.
    """
    most = limits.most_memory()
    if most is not None and needed > most:
        sentence = f"{needed} bytes would be held in memory, and the limit is {most}"
        raise Refusal("limit.memory", place, sentence)
