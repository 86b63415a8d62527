"""Digests of bytes and of files.

Every artifact of a certificate has a BLAKE3 digest, which verification checks, and a SHA-256 digest, which
is what other supply-chain tools know (``spec/02-bundle.md``).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event, Lock

from blake3 import blake3
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.file_range import Source, Span, opened, pieces

__all__ = ["FileDigests", "Progress", "blake3_bytes", "check_crc32", "digest_file", "digest_files"]

Progress = Callable[[int], None]
"""Called with the number of bytes that are done so far, of this file or of all these files."""

CHUNK = 1 << 22
"""Bytes read at a time, and between two progress calls: enough for BLAKE3 to use every thread, little enough to stay in
the processor's cache."""
CHUNK_OF_MANY = 1 << 21
"""The same where each of several files has one thread: what was read is still in its core's own cache when hashed."""
LARGE = 8 << 20
"""Bytes from which a file is worth a thread."""


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
    return _digest(Path(source) if isinstance(source, str) else source, sha256, progress or _silent, alone=True)


def digest_files(
    sources: Sequence[Source], sha256: bool = False, progress: Progress | None = None
) -> Iterator[FileDigests | Refusal]:
    """For each file in order its size and digests, or the refusal of :func:`digest_file`, with whatever else
    ``progress`` raises for it.

    Several large files are hashed side by side, a thread each, which on two cores takes three quarters of the time that
    one after the other needs. ``progress`` is called by one thread at a time. Abandoned before its end, it stops within
    a piece of each file.
    """
    large = [number for number, source in enumerate(sources) if _size(source) >= LARGE]
    threads = min(_cores(), len(large))
    # nothing runs beside the last of an odd number for long
    last = large[-1:] if threads and len(large) % threads == 1 else []
    done = 0
    turn, stop = Lock(), Event()

    def attempt(source: Source, alone: bool) -> FileDigests | Refusal:
        before = 0

        def tell(now: int) -> None:
            nonlocal before, done
            if stop.is_set():
                raise Refusal("file.unreadable", str(source), "The reading was abandoned.")
            with turn:
                done += now - before
                before = now
                if progress is not None:
                    progress(done)

        try:
            return _digest(source, sha256, tell, alone)
        except Refusal as refusal:
            return refusal

    if threads < 2:
        yield from (attempt(source, True) for source in sources)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(attempt, sources, [number in last for number in range(len(sources))])
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(source: Source) -> int:
    """The size of a file, as far as it is known without opening it; 0 where it is not."""
    if not isinstance(source, Path):
        return source.size
    try:
        return source.stat().st_size
    except (OSError, ValueError):
        return 0


def _silent(_done: int) -> None:
    pass


def _digest(source: Source, sha256: bool, progress: Progress, alone: bool) -> FileDigests:
    place = str(source) if isinstance(source, Path) else source.path
    try:
        with opened(source, place) as span:
            if not span.regular:
                raise Refusal("file.not_regular", place, "This is not a regular file.")
            return _digest_span(span, sha256, progress, place, alone)
    except (FileNotFoundError, ValueError):  # a path with a NUL in it names nothing
        raise Refusal("file.missing", place, "There is no such file.") from None
    except OSError as error:
        raise Refusal("file.unreadable", place, f"The file cannot be read: {error.strerror}.") from None


def _digest_span(span: Span, sha256: bool, progress: Progress, place: str, alone: bool) -> FileDigests:
    fast = blake3(max_threads=blake3.AUTO if alone and span.size > CHUNK // 4 else 1)
    slow = None
    if sha256:
        import hashlib  # here, since it loads OpenSSL

        slow = hashlib.sha256()
    crc32 = done = 0
    try:
        for piece in pieces(span, CHUNK if alone else CHUNK_OF_MANY, ahead=alone):
            fast.update(piece)
            if slow is not None:
                slow.update(piece)
            if span.crc32 is not None:
                crc32 = zlib.crc32(piece, crc32)
            done += len(piece)
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
