"""Processes of this installation that answer frames on their standard input and output, several at once.

A frame is msgpack after its length. What the frames of one kind of process say stands beside that kind (``wire.py``).
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from blockcert.file_range import FileRange, Source

__all__ = ["Child", "Worker", "environment", "receive", "send", "serve_standard_streams", "shared_out", "weight_names"]

T = TypeVar("T")
Item = TypeVar("Item")
Works = TypeVar("Works", bound="Worker")

_POLL = 0.1
"""Seconds between two looks at the clock while processes work."""
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_LENGTH = struct.Struct("<Q")


def send(stream: BinaryIO, message: Struct) -> None:
    """Write one frame and flush; raises ``OSError`` where nobody reads any more."""
    data = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO, decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    """The next frame, or None at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return None if len(data) < length else decoder.decode(data)


def environment(jobs: int) -> dict[str, str]:
    """This environment, where each process takes its share of the cores and imports what this one imports."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    found = {**os.environ, **dict.fromkeys(_THREADS, threads)}
    # -P below keeps the current folder, which may be anybody's, out of the path; this names what is in it here
    found["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    return found


def weight_names(weights: Mapping[str, Source]) -> dict[str, str | FileRange]:
    """Where weight files are, in words that another process understands."""
    return {name: os.path.abspath(one) if isinstance(one, Path) else one for name, one in weights.items()}


class Child:
    """A running Python process, given the ``words`` of its command line."""

    def __init__(self, words: Sequence[str], variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
            start_new_session=True,  # an interruption of this process is this process's to handle
        )

    @property
    def input(self) -> BinaryIO:
        """What it reads."""
        return self._process.stdin  # type: ignore[return-value]

    @property
    def output(self) -> BinaryIO:
        """What it says."""
        return self._process.stdout  # type: ignore[return-value]

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        for stream in (self.input, self.output):
            with contextlib.suppress(OSError):
                stream.close()
        self._process.wait()


class Worker:
    """Whoever has a process to work with, which is started when it is first needed, and again where it was lost.

    A worker is used by one thread and retired by another: starting a process and retiring exclude each other, so that
    no process is left over.
    """

    def __init__(self) -> None:
        self.done = 0.0
        """How much of its present item is done."""
        self.retired = False
        """Whether the work has ended, so that nothing is to be started again."""
        self._child: Child | None = None
        self._turn = Lock()

    def child(self, start: Callable[[], Child]) -> tuple[Child, bool]:
        """The process, and whether it was started just now.

        Raises:
            ChildProcessError: where the worker is retired.
        """
        with self._turn:
            if self.retired:
                raise ChildProcessError("the work has ended")
            if self._child is not None:
                return self._child, False
            self._child = start()
            return self._child, True

    def close(self) -> None:
        """End the process, whatever it is doing."""
        with self._turn:
            self._end()

    def retire(self) -> None:
        """End the process for good."""
        with self._turn:
            self.retired = True
            self._end()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


def shared_out(
    workers: Sequence[Works],
    items: Sequence[Item],
    job: Callable[[Works, Item], T],
    look: Callable[[float], None],
) -> Iterator[tuple[int, T]]:
    """The number of each item and what ``job`` makes of it with whichever worker is idle, as they are finished.

    ``look`` is called now and then with what is done of all unfinished items; what it raises ends the work. Closing the
    iterator ends the workers.
    """
    idle: SimpleQueue[Works] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(item: Item) -> T:
        worker = idle.get()
        try:
            return job(worker, item)
        finally:
            worker.done = 0
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers) or 1)
    try:
        pending: dict[Future[T], int] = {pool.submit(one, item): i for i, item in enumerate(items)}
        while pending:
            finished, _ = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                yield pending.pop(future), future.result()
            look(sum(worker.done for worker in workers))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.retire()


def serve_standard_streams(serve: Callable[[BinaryIO, BinaryIO], None]) -> None:
    """Serve on standard input and output; whatever else writes to standard output goes to standard error.

    Ends with the verifier, also in the middle of a long computation.
    """
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(select, "poll"):
        Thread(target=_end_with_the_verifier, daemon=True).start()
    try:
        serve(sys.stdin.buffer, sink)
    except BrokenPipeError:
        os._exit(0)  # the verifier is gone, and there is nobody left to tell


def _end_with_the_verifier() -> None:
    """End this process once nobody holds the other end of its standard input: nobody waits for an answer any more."""
    hangup = select.poll()
    hangup.register(0, 0)  # of no event but the end, which needs no asking for
    hangup.poll()
    os._exit(0)
