"""Rows enclosed one after another in this process, or several at once in others."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias, TypeVar

from blockcert.errors import Refusal
from blockcert.file_range import Source
from blockcert_verifier.enclose.interval import Enclosed
from blockcert_verifier.enclose.trajectories import Place, Thresholds, enclose_row
from blockcert_verifier.enclose.wire import Advance, Begin, Cells, Enclose, Failed, decode_cells, receive, send, text
from blockcert_verifier.measure import Pair
from blockcert_verifier.work.processes import environment

__all__ = ["Encloser", "enclosed_here", "enclosed_in_processes"]

Encloser: TypeAlias = Callable[[Sequence[int], int], Mapping[Place, Enclosed]]
"""The cells of a prompt's row, at a precision in bits."""
Look: TypeAlias = Callable[[int], None]
"""Called with the stages that are done of all unfinished rows; what it raises ends the work."""
T = TypeVar("T")
_POLL = 0.1
_WORKER = ("-P", "-m", "blockcert_verifier.enclose.worker")


def enclosed_here(
    pair: Pair, thresholds: Thresholds, rows: Sequence[int], job: Callable[[Encloser, int], T], look: Look
) -> Iterator[T]:
    """What ``job`` makes of each row, in order; it is given the row's number and what encloses prompts."""
    for row in rows:
        yield job(lambda tokens, bits: enclose_row(pair, tokens, thresholds, bits, look), row)


class _Process:
    """One process that encloses rows, started when it is first needed."""

    def __init__(self, begin: Begin, variables: dict[str, str]) -> None:
        self._begin, self._variables = begin, variables
        self._process: subprocess.Popen[bytes] | None = None
        self.done = 0
        self.retired = False

    def __call__(self, tokens: Sequence[int], bits: int) -> Mapping[Place, Enclosed]:
        """As :func:`enclose_row`; raises ``MemoryError`` where the process ends without an answer."""
        self.done = 0
        frame = None
        if self.retired:
            raise MemoryError
        with contextlib.suppress(OSError):
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, *_WORKER],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=self._variables,
                    start_new_session=True,  # an interruption of this process is this process's to handle
                )
                send(self._process.stdin, self._begin)  # type: ignore[arg-type]
            process = self._process
            send(process.stdin, Enclose(tuple(tokens), bits))  # type: ignore[arg-type]
            while isinstance(frame := receive(process.stdout), Advance):  # type: ignore[arg-type]
                self.done = frame.stages
        if isinstance(frame, Cells):
            return decode_cells(frame)
        if isinstance(frame, Failed) and frame.code is not None:
            raise Refusal(frame.code, frame.place, frame.sentence)
        self.close()
        raise MemoryError("the process that enclosed a row ended without an answer")

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.wait()


def enclosed_in_processes(
    jobs: int,
    pair: Pair,
    weights: Mapping[str, Source],
    thresholds: Thresholds,
    rows: Sequence[int],
    job: Callable[[Encloser, int], T],
    look: Look,
) -> Iterator[T]:
    """As :func:`enclosed_here` in ``jobs`` processes, in the order in which rows are done; closing it ends them."""
    named = {name: os.path.abspath(one) if isinstance(one, Path) else one for name, one in weights.items()}
    relative, loss = (tuple(map(text, one)) for one in (thresholds.relative, thresholds.loss))
    begin = Begin(pair.reference, pair.surrogate, named, relative, loss)
    workers = [_Process(begin, environment(jobs)) for _ in range(min(jobs, len(rows)))]
    idle: SimpleQueue[_Process] = SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(row: int) -> T:
        worker = idle.get()
        try:
            return job(worker, row)
        finally:
            worker.done = 0
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers) or 1)
    try:
        pending: set[Future[T]] = {pool.submit(one, row) for row in rows}
        while pending:
            finished, pending = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            look(sum(worker.done for worker in workers))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.retired = True
            worker.close()
