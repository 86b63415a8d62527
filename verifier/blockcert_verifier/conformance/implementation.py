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
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import IO

from blockcert.errors import Refusal
from blockcert.names import shown
from blockcert.printable import plain
from blockcert_verifier.conformance.messages import MOST_BYTES, Answer, Request, encode_line, parse_answer
from blockcert_verifier.conformance.score import NoAnswer

__all__ = ["Implementation", "split_command"]

_LAST = 2000
"""Last bytes of standard error that are kept to say how a process ended."""
_LINES = 3
"""Last lines of them that are said."""


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
    """One process; its answers are read by a thread so that waiting for one can end, and what it says beside them too,
    so that no amount of it blocks the process or fills a disk."""

    def __init__(self, words: Sequence[str]) -> None:
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # what it starts is ended with it
            )
        except OSError as fault:
            sentence = f"the command cannot be started: {fault.strerror or fault}"
            raise Refusal("conformance.implementation", words[0], sentence) from None
        if self.process.stdin is None or self.process.stdout is None or self.process.stderr is None:
            raise RuntimeError("a process without the pipes that were asked for")
        self.stdin, self._stdout, self._stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.lines: queue.Queue[bytes] = queue.Queue(4)
        """What it wrote, line by line; at the end what there was of one, which has no line feed."""
        self.answers = 0
        self._rest = self._last = b""
        self._closing = False
        self._reads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for thread in self._reads:
            thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while not self._closing:
                line = self._line(self._stdout)
                while not self._closing:
                    with contextlib.suppress(queue.Full):
                        self.lines.put(line, timeout=0.1)
                        break
                if not line.endswith(b"\n"):
                    return

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while part := self._stderr.read(1 << 16):
                self._last = (self._last + part)[-_LAST:]

    def _line(self, stream: IO[bytes]) -> bytes:
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

    def unasked(self) -> bytes | None:
        """What it wrote that nobody asked for, empty where it only ended; None where it waits to be asked."""
        with contextlib.suppress(queue.Empty):
            return self.lines.get_nowait()
        return self._rest or None

    def status(self) -> str | None:
        """How it ended; None where it runs on after a moment."""
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return None
        if code >= 0:
            return f"exit status {code}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"

    def end(self) -> str:
        """End the process and all that it started; the last lines that it wrote to standard error."""
        self._closing = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:  # no groups of processes on this system
                self.process.kill()
        self.process.wait()
        self._reads[1].join(1)  # longer only where something that left its group still has the pipe
        for stream in (self.stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()
        lines = [line.strip() for line in self._last.decode(errors="replace").split("\n")]
        return plain(" / ".join([line for line in lines if line][-_LINES:])[-600:])


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
        before = running.unasked()
        if before:
            self._end()
            return NoAnswer(f"it wrote a line that no request asked for: {_quoted(before)}")
        if before is not None:
            return self._ended()
        try:
            running.stdin.write(encode_line(request))
            running.stdin.flush()
            line = running.lines.get(timeout=self._timeout)
        except queue.Empty:
            gone = running.process.poll() is not None
            what = f", and it ended ({running.status()}), but something that it started did not" if gone else ""
            return NoAnswer(f"no answer within {self._timeout:g} s{what}{_said(self._end())}")
        except OSError:  # it is gone, perhaps with a last word
            line = b""
        return self._answer(request, line)

    def _answer(self, request: Request, line: bytes) -> Answer | NoAnswer:
        if len(line) > MOST_BYTES:
            self._end()
            return NoAnswer(f"a line of more than {MOST_BYTES} bytes, which begins {_quoted(line)}")
        if not line.endswith(b"\n"):
            return self._ended(line)
        try:
            answer = parse_answer(line)
        except Refusal as refusal:
            self._end()
            return NoAnswer(f"no answer of the protocol: {plain(refusal.sentence)[:300]} It wrote {_quoted(line)}")
        if answer.case != request.case:
            self._end()
            return NoAnswer(f"an answer to {answer.case}")
        if self._running is not None:
            self._running.answers += 1
        return answer

    def _ended(self, line: bytes = b"") -> NoAnswer:
        """That there is nobody to ask any more: how it ended, with what last words."""
        status, answers = (None, 0) if self._running is None else (self._running.status(), self._running.answers)
        said = self._end()
        how = "it closed its standard output" if status is None else "it ended"
        what = f"without a line feed behind {_quoted(line)}" if line else "without an answer"
        hint = "; a verifier reads requests until its input ends" if answers and status == "exit status 0" else ""
        return NoAnswer(f"{how} {what} ({status or 'and ran on'}){hint}{_said(said)}")

    def _end(self) -> str:
        running, self._running = self._running, None
        return "" if running is None else running.end()


def _quoted(line: bytes) -> str:
    """The beginning of a line, as a person may read it."""
    return shown(line[:200].decode(errors="replace").rstrip("\r\n"), 60)


def _said(last: str) -> str:
    return f"; its standard error ends: {last}" if last else "; it wrote nothing to its standard error"
