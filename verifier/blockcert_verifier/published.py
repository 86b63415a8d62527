"""What somebody publishes of a model's files: their SHA-256 and sizes, without the files.

Three forms: a Git LFS pointer that stands in a file's place, lines as ``sha256sum`` writes them, and the JSON list with
which a model hub answers for a tree. Each is read within a bound, and none of it is trusted: it is compared with what
was signed, and a report says that only names were compared.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.printable import plain

__all__ = ["Published", "pointer", "read_published"]

MOST_POINTER_BYTES = 1024
"""What the format's own rule allows a pointer to have."""
MOST_LIST_BYTES = 1 << 24
_POINTER = (
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n?"
)
_LINE = r"\\?([0-9a-fA-F]{64}) [ *](.+)"
_HASH = r"[0-9a-f]{64}"


class Published(Struct, frozen=True):
    """What is said of one file; each is None where nothing is said."""

    sha256: str | None
    size: int | None


class _Lfs(Struct, frozen=True):
    oid: str | None = None
    sha256: str | None = None
    size: int | None = None


class _Entry(Struct, frozen=True):
    path: str
    size: int | None = None
    sha256: str | None = None
    lfs: _Lfs | None = None


def pointer(path: Path) -> Published | None:
    """The Git LFS pointer that the file at ``path`` is, or None; reads no more than a pointer may have."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_POINTER_BYTES + 1)
    except OSError:
        return None
    found = re.fullmatch(_POINTER, data) if len(data) <= MOST_POINTER_BYTES else None
    return None if found is None else Published(found[1].decode(), int(found[2]))


def read_published(path: Path) -> dict[str, Published]:
    """What the list in a file says, by the files' paths inside the model's folder.

    Raises:
        Refusal: ``published.unreadable`` where the file is no such list, or says two things of one file.
    """
    try:
        if not path.is_file():
            what = "this is not a file" if path.exists() else "there is no such file"
            raise _unreadable(path, f"{what}; give a list as sha256sum writes it, or as a model hub does")
        with path.open("rb") as file:
            data = file.read(MOST_LIST_BYTES + 1)
    except OSError as fault:
        raise _unreadable(path, f"it cannot be read: {fault.strerror}") from None
    if len(data) > MOST_LIST_BYTES:
        raise _unreadable(path, f"it has more than {MOST_LIST_BYTES} bytes")
    found: dict[str, Published] = {}
    for name, one in _entries(data, path):
        short = name.removeprefix("./")
        if found.setdefault(short, one) != one:
            raise _unreadable(path, f"it says two things of {plain(short)[:200]}")
    return found


def _entries(data: bytes, path: Path) -> list[tuple[str, Published]]:
    if data.lstrip()[:1] == b"[":
        try:
            entries = msgspec.json.decode(data, type=list[_Entry])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
            raise _unreadable(path, f"this is no list of a model hub's files ({str(fault)[:100]})") from None
        return [(entry.path, _said(entry)) for entry in entries]
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise _unreadable(path, "this is neither JSON nor lines of text") from None
    matches = [re.fullmatch(_LINE, line) for line in lines if line.strip()]
    if not matches or None in matches:
        raise _unreadable(path, "this is neither what sha256sum writes nor a JSON list of a model hub's files")
    return [(match[2], Published(match[1].lower(), None)) for match in matches if match is not None]


def _said(entry: _Entry) -> Published:
    lfs = entry.lfs or _Lfs()
    digest = next((one for one in (lfs.sha256, lfs.oid, entry.sha256) if one is not None), None)
    if digest is not None:
        # the SHA-1 of Git objects stands in a field of its own; an oid of LFS is a SHA-256, with or without its name
        digest = digest.removeprefix("sha256:").lower()
        digest = digest if re.fullmatch(_HASH, digest) else None
    return Published(digest, lfs.size if lfs.size is not None else entry.size)


def _unreadable(path: Path, why: str) -> Refusal:
    return Refusal("published.unreadable", str(path), why)
