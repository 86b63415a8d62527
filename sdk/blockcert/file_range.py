"""Where the bytes of one file of a bundle are: a whole file of a folder, or a range of a packed bundle.

Whoever reads such bytes opens them here, so that a file put in the place of the one that was listed is refused
wherever it is read.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

from msgspec import Struct

from blockcert.errors import Refusal

__all__ = [
    "FileRange",
    "Identity",
    "Source",
    "Span",
    "check_unchanged",
    "identity",
    "opened",
    "pieces",
    "pinned",
    "read_into",
]

# Windows has none of the three, and opens no links or pipes by name this way.
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class Identity(NamedTuple):
    """What tells a file from another put in its place."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    """What a writer that puts the time of modification back does not put back; on Windows, when the file was made."""


def identity(status: os.stat_result) -> Identity:
    """The identity of the file that has this status."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class FileRange(Struct, frozen=True):
    """``size`` bytes from ``begin`` of the regular file ``path``, which must still be the one that was listed.

    ``crc32`` is the checksum that a packed bundle states of them; None in a folder, which states none.
    """

    path: str
    begin: int
    size: int
    listed: Identity
    crc32: int | None = None


Source: TypeAlias = Path | FileRange
"""A file by its path, or a file of a bundle."""


class Span(NamedTuple):
    """An open file and the part of it that counts; ``size`` is 0 for what is no regular file."""

    descriptor: int
    begin: int
    size: int
    regular: bool
    crc32: int | None


def pinned(path: Path) -> Source:
    """The regular file at ``path``, links followed, as it is now; the path itself where there is none to read.

    What reads it later reads this file, and is refused where another was put in its place or anything was written.
    """
    try:
        real = os.path.realpath(path)
        status = os.stat(real)
    except (OSError, ValueError):
        return path
    return FileRange(real, 0, status.st_size, identity(status)) if stat.S_ISREG(status.st_mode) else path


@contextmanager
def opened(source: Source, place: str) -> Generator[Span]:
    """``source``, open for reading and never waited for; closed at the end of the block.

    A file of a bundle is compared with what was listed when it is opened, and again when the block has read it: what a
    block took from a file that was written meanwhile is refused.

    Raises:
        OSError: where it cannot be opened.
        Refusal: ``bundle.changed`` where a file of a bundle is no longer the one that was listed.
    """
    whole = isinstance(source, Path)
    # a pipe put in a file's place must be refused, not waited for
    descriptor = os.open(source if whole else source.path, os.O_RDONLY | _FLAGS | (0 if whole else _NO_LINK))
    try:
        status = os.fstat(descriptor)
        regular = stat.S_ISREG(status.st_mode)
        if whole:
            yield Span(descriptor, 0, status.st_size if regular else 0, regular, None)
            return
        if identity(status) != source.listed:
            raise _changed(place)
        yield Span(descriptor, source.begin, source.size, regular, source.crc32)
        if identity(os.fstat(descriptor)) != source.listed:
            raise _changed(place)
    finally:
        os.close(descriptor)


def check_unchanged(source: Source, place: str) -> None:
    """Returns None where the file is still there and, of a bundle or looked at before, still as it was.

    Raises:
        Refusal: ``bundle.changed``.
    """
    try:
        with opened(source, place):
            pass
    except OSError:
        raise _changed(place) from None


def _changed(place: str) -> Refusal:
    return Refusal("bundle.changed", place, "The file changed after it was first looked at; begin again.")


def read_into(span: Span, begin: int, buffer: memoryview) -> None:
    """Fill ``buffer`` with the bytes of a span from ``begin``.

    Raises:
        OSError, EOFError: where the file cannot be read, or has become too short.
    """
    at, done = span.begin + begin, 0
    while done < len(buffer):
        if hasattr(os, "preadv"):
            got = os.preadv(span.descriptor, [buffer[done:]], at + done)
        else:
            with open(span.descriptor, "rb", buffering=0, closefd=False) as file:
                file.seek(at + done)
                got = file.readinto(buffer[done:])
        if not got:
            raise EOFError("it has become shorter")
        done += got


def pieces(span: Span, most: int, ahead: bool = True) -> Iterator[memoryview]:
    """The bytes of a span in order, at most ``most`` of them at a time; each piece is gone with the next.

    Read and not mapped, which is faster, as the pages of a map come in one by one, and a file that is cut meanwhile
    ends in an error and not in a signal. With ``ahead``, a thread reads the next piece while the caller works on this.

    Raises:
        OSError, ValueError: where the file cannot be read, or has become too short.
    """
    with open(span.descriptor, "rb", buffering=0, closefd=False) as file:
        file.seek(span.begin)

        def fill(buffer: memoryview, size: int) -> memoryview:
            done = 0
            while done < size:
                got = file.readinto(buffer[done:size])
                if not got:
                    raise ValueError("the file has become shorter")
                done += got
            return buffer[:size]

        sizes = [min(most, span.size - begin) for begin in range(0, span.size, most)]
        if not ahead or len(sizes) < 2:
            buffer = _room(max(sizes, default=0))
            yield from (fill(buffer, size) for size in sizes)
            return
        from concurrent.futures import ThreadPoolExecutor

        buffers = [_room(most) for _ in range(2)]
        with ThreadPoolExecutor(1) as reader:
            following = reader.submit(fill, buffers[0], sizes[0])
            for number in range(len(sizes)):
                piece = following.result()
                if number + 1 < len(sizes):
                    following = reader.submit(fill, buffers[(number + 1) % 2], sizes[number + 1])
                yield piece


def _room(size: int) -> memoryview:
    """At least ``size`` bytes of memory that begin at a page.

    A system copies what it has of a file into such memory more than twice as fast as behind the header of an object,
    which is where the bytes of a ``bytearray`` begin.
    """
    return memoryview(mmap.mmap(-1, max(size, 1)))
