"""Reading and writing small files that a person names."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blockcert.bundle import check_in_no_bundle
from blockcert.errors import Refusal

__all__ = ["read", "update_file", "write_new"]

MOST_BYTES = 64 << 20


def read(path: Path) -> bytes:
    """The bytes of a file; refuses ``file.missing`` and ``file.unreadable``."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Refusal("file.missing", str(path), "there is no such file") from None
    except OSError as fault:
        raise Refusal("file.unreadable", str(path), f"it cannot be read: {fault.strerror}") from None
    if len(data) > MOST_BYTES:
        raise Refusal("file.unreadable", str(path), f"it has more than {MOST_BYTES} bytes")
    return data


def write_new(path: Path, data: bytes, what: str) -> None:
    """Writes a file that is not there yet, whole or not at all; refuses ``output.exists`` and ``output.unwritable``."""
    check_in_no_bundle(path)
    if path.is_dir():
        raise Refusal("output.exists", str(path), f"this is a folder; name the file for the {what}")
    temporary = _beside(path)
    try:
        try:
            if not os.path.lexists(path):
                temporary.write_bytes(data)
                if _put(temporary, path, None):
                    return
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as fault:
        raise Refusal("output.unwritable", str(path), f"the {what} cannot be written: {fault.strerror}") from None
    raise Refusal("output.exists", str(path), f"there is a file already, and a {what} is not overwritten")


def update_file(path: Path, make: Callable[[bytes | None], bytes], what: str) -> None:
    """Writes what ``make`` makes of a file's bytes, None where there is none, in one step in the file's place.

    Where ``path`` is a link, what it names is written. Several that do so at once take turns where the system has
    locks, so that each sees what those before it wrote; where it has none, whoever comes second is refused.

    Raises:
        Refusal: ``file.missing``, ``file.unreadable``, ``output.unwritable``, ``output.changed``, and what ``make``
            refuses.
    """
    real = Path(os.path.realpath(path))
    while True:
        with _held(real, path) as file:
            before = None if file is None else _all(file, path)
            data = make(before)
            check_in_no_bundle(path)
            temporary = _beside(real)
            try:
                try:
                    temporary.write_bytes(data)
                    if _put(temporary, real, file):
                        return
                finally:
                    temporary.unlink(missing_ok=True)
            except OSError as fault:
                sentence = f"the {what} cannot be written: {fault.strerror}"
                raise Refusal("output.unwritable", str(path), sentence) from None
        if before is not None:
            sentence = f"another wrote this {what} meanwhile; yours was not put over it: run the command again"
            raise Refusal("output.changed", str(path), sentence)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.urandom(4).hex()}")


@contextmanager
def _held(path: Path, called: Path) -> Generator[BinaryIO | None]:
    """The file at ``path``, open, and locked where the system has locks; None where there is none. ``called`` is what
    whoever named it wrote."""
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            yield None
            return
        except OSError as fault:
            raise Refusal("file.unreadable", str(called), f"it cannot be read: {fault.strerror}") from None
        with file:
            with suppress(ImportError, OSError):  # not every system, nor every file system, has them
                from fcntl import LOCK_EX, flock

                flock(file, LOCK_EX)
            if _is_at(path, file):
                yield file
                return
        # whoever held the lock before put another file in this one's place


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        now, then = path.stat(), os.fstat(file.fileno())
    except OSError:
        return False
    parts = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
    return all(getattr(now, part) == getattr(then, part) for part in parts)


def _put(temporary: Path, path: Path, file: BinaryIO | None) -> bool:
    """Moves a file to ``path`` where what is there is ``file`` still, or nothing still; False where it is not."""
    if file is not None:
        if not _is_at(path, file):
            return False
        if os.name == "nt":  # which replaces no file that is open
            file.close()
        temporary.replace(path)
        return True
    try:
        os.link(temporary, path)  # unlike a rename, never over what another put there meanwhile
    except FileExistsError:
        return False
    except OSError:  # a file system without a second name for a file
        if os.path.lexists(path):
            return False
        temporary.replace(path)
    return True


def _all(file: BinaryIO, path: Path) -> bytes:
    try:
        data = file.read(MOST_BYTES + 1)
    except OSError as fault:
        raise Refusal("file.unreadable", str(path), f"it cannot be read: {fault.strerror}") from None
    if len(data) > MOST_BYTES:
        raise Refusal("file.unreadable", str(path), f"it has more than {MOST_BYTES} bytes")
    return data
