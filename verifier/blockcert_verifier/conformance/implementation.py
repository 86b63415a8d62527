"""An implementation behind the protocol: a process that is asked, waited for, ended, and started again.

Whatever it does (nothing, a crash, garbage, more than a line, an endless line) costs the case that it was asked, and
never the run (BC-CNF-10).
"""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any

from blockcert.errors import Refusal
from blockcert.printable import plain
from blockcert_verifier.conformance.messages import MOST_BYTES, Answer, Request, encode_line, parse_answer
from blockcert_verifier.conformance.score import NoAnswer

__all__ = ["Implementation", "split_command"]

_LAST = 2000
"""Bytes of standard error that are looked at to say how a process ended."""


def split_command(command: str) -> list[str]:
    """The words of a command, as a shell splits them; no shell runs it.

    Raises:
        Refusal: ``conformance.implementation`` where there is no word, or a quotation is not closed.
    """
    try:
        words = shlex.split(command)
    except ValueError as fault:
        raise Refusal("conformance.implementation", command[:100], f"the command cannot be read: {fault}") from None
    if not words:
        raise Refusal("conformance.implementation", "--implementation", "the command is empty")
    return words


class _Process:
    """One process, its answers read by a thread so that waiting for one can end."""

    def __init__(self, words: Sequence[str]) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                bufsize=0,
                start_new_session=True,  # what it starts is ended with it
            )
        except OSError as fault:
            self.errors.close()
            sentence = f"the command cannot be started: {fault.strerror or fault}"
            raise Refusal("conformance.implementation", words[0], sentence) from None
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("a process without the pipes that were asked for")
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.lines: queue.Queue[bytes] = queue.Queue(4)
        self._rest = b""
        self._closing = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self._closing:
                line = self._line(self.stdout)
                while not self._closing:
                    with contextlib.suppress(queue.Full):
                        self.lines.put(line, timeout=0.1)
                        break
                if not line.endswith(b"\n"):
                    return

    def _line(self, stream: Any) -> bytes:
        """A line, or what there was of it where it ended or grew too long."""
        parts: list[bytes] = []
        size = 0
        while size <= MOST_BYTES:
            part = self._rest or stream.read(1 << 16)
            self._rest = b""
            if not part:
                break
            line, newline, rest = part.partition(b"\n")
            parts.append(line + newline)
            size += len(line) + len(newline)
            if newline:
                self._rest = rest
                break
        return b"".join(parts)

    def pending(self) -> bool:
        """Whether it has said something that nobody asked for."""
        return bool(self._rest) or not self.lines.empty()

    def end(self) -> str:
        """End the process and all that it started; the last line it wrote to standard error."""
        self._closing = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:  # no groups of processes on this system
                self.process.kill()
        self.process.wait()
        for stream in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - _LAST))
        lines = self.errors.read().decode(errors="replace").split("\n")
        self.errors.close()
        return next((plain(line.strip())[:300] for line in reversed(lines) if line.strip()), "")


class Implementation:
    """A verifier in any language that speaks the protocol on its standard input and output.

    A context manager; leaving it ends the process.

    Args:
        words: the command.
        timeout: seconds that one answer may take.

    Raises:
        Refusal: ``conformance.implementation`` where the command cannot be started at all.
    """

    def __init__(self, words: Sequence[str], timeout: float = 60.0) -> None:
        self._words, self._timeout = list(words), timeout
        self._running: _Process | None = _Process(words)

    def __enter__(self) -> Implementation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, request: Request) -> Answer | NoAnswer:
        """The answer to one request, or why there is none; a process that gave none is started again for the next."""
        if self._running is None:
            try:
                self._running = _Process(self._words)
            except Refusal as refusal:
                return NoAnswer(refusal.sentence)
        running = self._running
        if running.pending():
            self._end()
            return NoAnswer("it wrote a line that no request asked for")
        try:
            running.stdin.write(encode_line(request))
            running.stdin.flush()
            line = running.lines.get(timeout=self._timeout)
        except queue.Empty:
            self._end()
            return NoAnswer(f"no answer within {self._timeout:g} s")
        except OSError:  # it is gone, perhaps with a last word
            line = b""
        return self._answer(request, line)

    def _answer(self, request: Request, line: bytes) -> Answer | NoAnswer:
        if not line.endswith(b"\n"):
            too_long = len(line) > MOST_BYTES
            code = self._exit_code()
            said = self._end()
            if too_long:
                return NoAnswer(f"a line of more than {MOST_BYTES} bytes")
            tail = f": {said}" if said else ""
            return NoAnswer(f"it ended without an answer (exit code {code}){tail}")
        try:
            answer = parse_answer(line)
        except Refusal as refusal:
            self._end()
            return NoAnswer(f"no answer of the protocol: {plain(refusal.sentence)[:300]}")
        if answer.case != request.case:
            self._end()
            return NoAnswer(f"an answer to {answer.case}")
        return answer

    def _exit_code(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return None if self._running is None else self._running.process.wait(timeout=1)
        return None

    def _end(self) -> str:
        running, self._running = self._running, None
        return "" if running is None else running.end()
