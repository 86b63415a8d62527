"""One run at a time for an output: an advisory lock on a file of the work folder.

The lock is the kernel's (``flock``) and ends with the process that holds it, however that ends: a killed run leaves a
file without a lock. Where there is no ``flock``, or the file system has none, nothing is locked.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from blockcert.errors import Refusal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["LOCK", "OutputLock"]

LOCK = "lock"
"""The name of the file."""
_TRIES = 100


class OutputLock:
    """The lock of the output whose work stands in ``folder``."""

    def __init__(self, output: Path, folder: Path) -> None:
        self._output, self._folder = output, folder
        self._descriptor: int | None = None

    def take(self) -> None:
        """Hold the lock, and make the folder for it; nothing where it is held already.

        Raises:
            Refusal: ``output.busy`` where another run holds it.
            OSError: where the folder cannot be made or written.
        """
        if self._descriptor is not None:
            return
        path = self._folder / LOCK
        for _ in range(_TRIES):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            except FileNotFoundError:  # a run that ended removed the folder just now
                continue
            try:
                self._lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            # the file may be one that the run before removed when it ended: then it locks nothing
            if _same(path, descriptor):
                self._descriptor = descriptor
                return
            os.close(descriptor)
        raise self._busy()

    def release(self) -> None:
        """Give the lock back, and remove the folder where nothing else stands in it."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            if os.listdir(self._folder) == [LOCK]:
                (self._folder / LOCK).unlink()
                self._folder.rmdir()
        os.close(self._descriptor)
        self._descriptor = None

    def _lock(self, descriptor: int) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._busy() from None
        except OSError:
            return  # a file system without locks

    def _busy(self) -> Refusal:
        sentence = "Another run is writing this output; wait until it ends, or name another one."
        return Refusal("output.busy", str(self._output), sentence)


def _same(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
