"""Names of files inside a bundle (``spec/02-bundle.md``): safe everywhere, one spelling for each file.

A name that breaks a rule is refused, never repaired: a repaired name is not the name that was signed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from blockcert.errors import Refusal
from blockcert.printable import INVISIBLE

__all__ = ["MAX_NAME", "MAX_SEGMENT", "check_name", "check_names", "shown"]

MAX_NAME = 512
"""Most characters of a whole name."""
MAX_SEGMENT = 255
"""Most UTF-8 bytes of one segment: what common file systems hold."""
_BELOW = "\0"
"""Stands for ``/`` in folded names: less than every character that a name has."""

# a name with one of these can print as another name
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# The superscript digits count as digits for Windows.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])[ ]*(?:\..*)?\Z", re.IGNORECASE)


def shown(text: str, most: int = 80) -> str:
    """``text`` quoted for a sentence, cut after ``most`` characters; nothing in it moves a terminal."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}..."


def _unsafe(name: str) -> str | None:
    """Why ``name`` is unsafe, or None."""
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME:
        return f"it has {len(name)} characters and at most {MAX_NAME} are allowed"
    if _SURROGATE.search(name):
        return "it is not Unicode text"
    if _INVISIBLE.search(name):
        return "it contains a control or invisible character"
    if unicodedata.normalize("NFC", name) != name:
        return "it is not in Unicode normal form C"
    if "\\" in name:
        return "it contains a backslash; folders are separated by /"
    if bad := next((c for c in ':<>"|?*' if c in name), None):
        return f"it contains {bad}, which not every file system can store"
    if name.startswith("/"):
        return "it is an absolute path; names are relative to the bundle"
    for segment in name.split("/"):
        if not segment:
            return "it has an empty segment (two / in a row, or one at the end)"
        if segment in {".", ".."}:
            return f"it contains the segment {segment}; every segment must be a plain name"
        if segment[-1] in ". ":
            return "a segment ends with a dot or a space, which Windows drops"
        if len(segment.encode()) > MAX_SEGMENT:
            return f"a segment is longer than {MAX_SEGMENT} bytes"
        if _DEVICE.match(segment):
            return f"{segment} is a device name on Windows"
    return None


def check_name(name: str, place: str) -> None:
    """Returns None where ``name`` is a safe name of a file in a bundle.

    Relative, ``/`` between segments, NFC, no ``.``, ``..`` or empty segment, no backslash, no control or
    invisible character, no character, ending or device name that Windows reserves.

    Raises:
        Refusal: ``name.unsafe``.
    """
    reason = _unsafe(name)
    if reason is not None:
        raise Refusal("name.unsafe", place, f"The name {shown(name)} is not safe: {reason}.")


def _folded(name: str) -> str:
    # Canonical caseless matching, Unicode 3.13 D145: folding may undo normal form, so normalize after it too.
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def check_names(names: Iterable[str], place: str) -> int:
    """The number of folders that the names are in, where every name is safe and no two would meet on a file system that
    ignores case.

    Two names meet where they are equal after case folding, where one is a folder of the other, or where they
    spell a shared folder in two ways.

    Raises:
        Refusal: ``name.unsafe`` or ``name.collision``.
    """
    listed = list(names)
    for name in listed:
        check_name(name, place)
    # With a separator below every character of a name, what is in a folder stands together, directly behind a file of
    # the folder's name: neighbours tell everything, and the many folders that names can have are never held at once.
    ordered = sorted((_folded(name).replace("/", _BELOW), name) for name in listed)
    folders, before = 0, ("", "")
    for key, name in ordered:
        shared = _shared(before[0], key)
        if shared is None or before[1].split("/")[:shared] != name.split("/")[:shared]:
            raise _collision(place, name, before[1])
        folders += key.count(_BELOW) - shared
        before = (key, name)
    return folders


def _shared(first: str, second: str) -> int | None:
    """How many folders two folded names have in common; None where they are one name, or the first is a folder."""
    if first == second or second.startswith(first + _BELOW):
        return None
    shared = 0
    for mine, other in zip(first.split(_BELOW)[:-1], second.split(_BELOW)[:-1], strict=False):
        if mine != other:
            break
        shared += 1
    return shared


def _collision(place: str, name: str, other: str) -> Refusal:
    if name == other:
        return Refusal("name.collision", place, f"The name {shown(name)} stands there twice.")
    sentence = f"The names {shown(other)} and {shown(name)} meet on a file system that ignores case."
    return Refusal("name.collision", place, sentence)
