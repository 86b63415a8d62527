"""Digests of bytes and of files.

Every artifact of a certificate has a BLAKE3 digest, which verification checks, and a SHA-256 digest, which
is what other supply-chain tools know (``spec/02-bundle.md``).
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3
from msgspec import Struct

from blockcert.errors import Refusal

__all__ = ["FileDigests", "Progress", "blake3_bytes", "digest_file", "digest_open_file"]

Progress = Callable[[int], None]
"""Called with the number of bytes of this file that are done so far."""

CHUNK = 1 << 25
"""Bytes mapped at a time, and between two progress calls; large enough for BLAKE3 to use every thread."""


class FileDigests(Struct, frozen=True):
    """Size in bytes and lower-case hexadecimal digests of one file, all of the same bytes."""

    size: int
    blake3: str
    sha256: str | None


def blake3_bytes(data: bytes | memoryview) -> str:
    """The BLAKE3 digest of ``data``, 64 lower-case hexadecimal digits."""
    return blake3(data).hexdigest()


def digest_file(path: str | Path, sha256: bool = False, progress: Progress | None = None) -> FileDigests:
    """The size and digests of the file at ``path``; SHA-256 only where asked for, in the same pass.

    Raises:
        Refusal: ``file.missing``, ``file.unreadable``, or ``file.not_regular`` for a folder, pipe or device.
    """
    with _open_regular(Path(path)) as descriptor:
        return digest_open_file(descriptor, sha256, progress, str(path))


def digest_open_file(
    descriptor: int, sha256: bool = False, progress: Progress | None = None, place: str = "file"
) -> FileDigests:
    """The size and digests of an open regular file, from its first byte, without moving its position.

    The file is mapped :data:`CHUNK` bytes at a time and never loaded, so that memory does not grow with it; BLAKE3 uses
    as many threads as there are cores.

    Raises:
        Refusal: ``file.unreadable`` where the file becomes shorter while it is read.
    """
    size = os.fstat(descriptor).st_size
    fast = blake3(max_threads=blake3.AUTO if size > CHUNK // 16 else 1)
    slow = hashlib.sha256() if sha256 else None
    for start in range(0, size, CHUNK):
        length = min(CHUNK, size - start)
        try:
            mapping = mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, offset=start)
        except (OSError, ValueError):
            sentence = f"The file cannot be mapped at byte {start}; did it change while it was read?"
            raise Refusal("file.unreadable", place, sentence) from None
        with mapping, memoryview(mapping) as chunk:
            fast.update(chunk)
            if slow is not None:
                slow.update(chunk)
            if progress is not None:
                progress(start + length)
    return FileDigests(size, fast.hexdigest(), slow.hexdigest() if slow is not None else None)


@contextmanager
def _open_regular(path: Path) -> Generator[int]:
    # O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise Refusal("file.missing", str(path), "There is no such file.") from None
    except OSError as error:
        raise Refusal("file.unreadable", str(path), f"The file cannot be read: {error.strerror}.") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refusal("file.not_regular", str(path), "This is not a regular file.")
        yield descriptor
    finally:
        os.close(descriptor)
