"""Digests of bytes and of files.

Every artifact of a certificate has a BLAKE3 digest, which verification checks, and a SHA-256 digest, which
is what other supply-chain tools know (``spec/02-bundle.md``).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.file_range import Source, Span, opened, pieces

__all__ = ["FileDigests", "Progress", "blake3_bytes", "check_crc32", "digest_file"]

Progress = Callable[[int], None]
"""Called with the number of bytes of this file that are done so far."""

CHUNK = 1 << 22
"""Bytes read at a time, and between two progress calls: enough for BLAKE3 to use every thread, little enough to stay in
the processor's cache."""


class FileDigests(Struct, frozen=True):
    """Size in bytes and lower-case hexadecimal digests of one file, all of the same bytes."""

    size: int
    blake3: str
    sha256: str | None


def blake3_bytes(data: bytes | memoryview) -> str:
    """The BLAKE3 digest of ``data``, 64 lower-case hexadecimal digits."""
    return blake3(data).hexdigest()


def digest_file(source: str | Source, sha256: bool = False, progress: Progress | None = None) -> FileDigests:
    """The size and digests of a file, by its path or in a bundle; SHA-256 only where asked for, in the same pass.

    The file is read :data:`CHUNK` bytes at a time, so that memory does not grow with it; BLAKE3 uses as many threads as
    there are cores.

    Raises:
        Refusal: ``file.missing``, ``file.unreadable`` (also where the file becomes shorter while it is read),
            ``file.not_regular`` for a folder, pipe or device, ``bundle.changed`` where it is no longer the bundle's, or
            ``bundle.zip.crc32`` where a packed bundle states another checksum.
    """
    source = Path(source) if isinstance(source, str) else source
    place = str(source) if isinstance(source, Path) else source.path
    try:
        with opened(source, place) as span:
            if not span.regular:
                raise Refusal("file.not_regular", place, "This is not a regular file.")
            return _digest(span, sha256, progress, place)
    except FileNotFoundError:
        raise Refusal("file.missing", place, "There is no such file.") from None
    except OSError as error:
        raise Refusal("file.unreadable", place, f"The file cannot be read: {error.strerror}.") from None


def _digest(span: Span, sha256: bool, progress: Progress | None, place: str) -> FileDigests:
    fast = blake3(max_threads=blake3.AUTO if span.size > CHUNK // 4 else 1)
    slow = hashlib.sha256() if sha256 else None
    crc32 = done = 0
    try:
        for piece in pieces(span, CHUNK):
            fast.update(piece)
            if slow is not None:
                slow.update(piece)
            if span.crc32 is not None:
                crc32 = zlib.crc32(piece, crc32)
            done += len(piece)
            if progress is not None:
                progress(done)
    except (OSError, ValueError):
        sentence = f"The file cannot be read at byte {done}; did it change meanwhile?"
        raise Refusal("file.unreadable", place, sentence) from None
    if span.crc32 is not None:
        check_crc32(crc32, span.crc32, place)
    return FileDigests(span.size, fast.hexdigest(), slow.hexdigest() if slow is not None else None)


def check_crc32(found: int, stated: int, place: str) -> None:
    """Returns None where a file of a packed bundle has the checksum that the bundle states.

    Raises:
        Refusal: ``bundle.zip.crc32``.
    """
    if found != stated:
        sentence = f"The file's CRC-32 is {found:08x}, and the packed bundle states {stated:08x}: it was altered."
        raise Refusal("bundle.zip.crc32", place, sentence)
