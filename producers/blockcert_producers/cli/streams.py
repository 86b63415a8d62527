"""Standard streams that end no command: closed ones, readers that went away, full disks, narrow encodings.

An exit code is a verdict, and must stay one whatever becomes of the words. Called once for a process, at its start.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from blockcert.errors import Refusal

if TYPE_CHECKING:
    from typing import TextIO

    from _typeshed import ReadableBuffer

__all__ = ["settle"]


class _Out(io.RawIOBase):
    """A descriptor that is written to until that fails, and swallows what comes then.

    A reader that went away is no fault: whoever pipes into ``head`` has seen what they wanted. Any other is refused
    once, as ``output.unwritable``, where ``refuses``; standard error has nobody to tell.
    """

    def __init__(self, descriptor: int, *, refuses: bool) -> None:
        self._descriptor, self._refuses, self._lost = descriptor, refuses, False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self._lost:
            return size
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            raise
        except OSError as fault:
            self._lost = True
            if self._refuses and not isinstance(fault, BrokenPipeError):
                sentence = f"it cannot be written: {fault.strerror}; what the command itself wrote is written"
                raise Refusal("output.unwritable", "standard output", sentence) from None
            return size


def settle() -> None:
    """Puts streams of this kind in the place of ``sys.stdout`` and ``sys.stderr``; nothing else is changed.

    Descriptors 0 to 2 that are closed are opened on the null device first: the next file that is opened would get
    their number, and a library's word on standard error would end up in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where descriptor 0 was closed
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = _text(1, sys.stdout, refuses=True)
    sys.stderr = _text(2, sys.stderr, refuses=False)


def _text(descriptor: int, before: TextIO | None, *, refuses: bool) -> io.TextIOWrapper:
    """The text stream of a descriptor; what its encoding cannot say is escaped, as nobody's name may end a command."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    line = not refuses or os.isatty(descriptor)
    buffer = io.BufferedWriter(_Out(descriptor, refuses=refuses))
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=line)
