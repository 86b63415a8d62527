"""Chunks measured by several processes at once, each with its share of the cores."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue

from blockcert.errors import Refusal
from blockcert_verifier.measure import Pair
from blockcert_verifier.work.chunks import Chunk, ChunkResult, Engine, RowFailure, Task, Tick, join
from blockcert_verifier.work.local import LocalEngine
from blockcert_verifier.work.wire import Advance, Begin, Done, decode_result, encode_chunk, receive, send

__all__ = ["ProcessEngine", "environment", "open_engine"]

_POLL = 0.1
"""Seconds between two looks at the clock while processes work."""
_WORKER = ("-P", "-m", "blockcert_verifier.work.worker")
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def open_engine(task: Task, jobs: int, pair: Pair | None = None) -> Engine:
    """The engine for ``jobs`` processes; this one alone where that is 1.

    Raises:
        Refusal: ``usage.jobs`` for a number below 1, or for several processes on one GPU.
    """
    if jobs < 1:
        raise Refusal("usage.jobs", "--jobs", f"{jobs} processes cannot measure anything; give 1 or more")
    if jobs == 1:
        return LocalEngine(task, pair)
    if task.device.startswith("cuda"):
        sentence = f"{jobs} processes would share one GPU and be slower for it; leave out --jobs"
        raise Refusal("usage.jobs", "--jobs", sentence)
    return ProcessEngine(task, jobs)


class _Lost(Exception):  # noqa: N818 - the caller decides what it means
    """The process ended without an answer."""


def environment(jobs: int) -> dict[str, str]:
    """This environment, where each process takes its share of the cores and imports what this one imports."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    found = {**os.environ, **dict.fromkeys(_THREADS, threads)}
    # -P below keeps the current folder, which may be anybody's, out of the path; this names what is in it here
    found["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    return found


class _Worker:
    """One worker process, started when it is first needed or before, and again where it was lost."""

    def __init__(self, task: Task, environment: dict[str, str]) -> None:
        self._task, self._environment = task, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False
        self.done = 0.0
        """Rows' worth of the current chunk that is done."""
        self.retired = False
        """Whether the work has ended, so that nothing is to be started again."""

    def start(self) -> None:
        """Start the process, which then imports what it needs while this one goes on."""
        self._told = False
        self._process = subprocess.Popen(
            [sys.executable, *_WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,  # an interruption of this process is this process's to handle
        )

    def _begin(self) -> None:
        """Say what is to be measured; the process reads it as soon as it can."""
        self._told = True
        task, process = self._task, self._process
        weights = {name: os.path.abspath(one) if isinstance(one, Path) else one for name, one in task.weights.items()}
        settings = task.settings
        begin = Begin(task.reference, task.surrogate, weights, settings.relative, settings.loss, task.device)
        send(process.stdin, begin)  # type: ignore[arg-type,union-attr]

    def measure(self, chunk: Chunk) -> ChunkResult:
        """The result of a chunk; raises ``_Lost`` where the process dies over it."""
        self.done = 0.0
        if self.retired:
            raise _Lost
        try:
            if self._process is None:
                self.start()
            if not self._told:
                self._begin()
            process = self._process
            send(process.stdin, encode_chunk(chunk))  # type: ignore[arg-type,union-attr]
            while isinstance(frame := receive(process.stdout), Advance):  # type: ignore[arg-type,union-attr]
                self.done = frame.rows
        except OSError:
            frame = None
        if isinstance(frame, Done):
            return decode_result(frame)
        self.close()
        raise _Lost

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


def _measure(worker: _Worker, chunk: Chunk) -> ChunkResult:
    """A chunk's result; where the process dies over it, row by row, and a row that kills it again has failed."""
    with contextlib.suppress(_Lost):
        return worker.measure(chunk)
    parts: list[tuple[int, ChunkResult]] = []
    lost = 0
    for offset in range(chunk.rows):
        try:
            parts.append((offset, worker.measure(chunk.row(offset))))
        except _Lost:
            lost += 1
            sentence = "the process that measured it ended without an answer; it may have run out of memory"
            parts.append((offset, ChunkResult(None, (), (RowFailure(0, "exhausted", sentence),))))
        if lost > 1 or worker.retired:
            break
    return join(parts)


class ProcessEngine:
    """Measures in ``jobs`` processes of the same installation."""

    def __init__(self, task: Task, jobs: int) -> None:
        self._task, self._jobs, self._environment = task, jobs, environment(jobs)
        self._prepared: list[_Worker] = []

    def prepare(self, rows: int) -> None:
        """Start the processes for so many rows, so that they are ready when the work is; :meth:`close` ends them."""
        self._prepared = [self._worker() for _ in range(min(self._jobs, rows))]
        for worker in self._prepared:
            worker.start()

    def close(self) -> None:
        """End the processes that were prepared and never used."""
        for worker in self._prepared:
            worker.close()
        self._prepared = []

    def _worker(self) -> _Worker:
        return _Worker(self._task, self._environment)

    def run(self, chunks: Sequence[Chunk], tick: Tick) -> Iterator[tuple[int, ChunkResult]]:
        """Each chunk's number and result, as they are finished; closing the iterator ends the processes."""
        wanted = min(self._jobs, len(chunks))
        workers, self._prepared = self._prepared[:wanted], self._prepared[wanted:]
        workers += [self._worker() for _ in range(wanted - len(workers))]
        idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def job(chunk: Chunk) -> ChunkResult:
            worker = idle.get()
            try:
                return _measure(worker, chunk)
            finally:
                worker.done = 0.0
                idle.put(worker)

        pool = ThreadPoolExecutor(len(workers) or 1)
        try:
            pending: dict[Future[ChunkResult], int] = {pool.submit(job, chunk): i for i, chunk in enumerate(chunks)}
            while pending:
                finished, _ = wait(pending, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield pending.pop(future), future.result()
                tick(sum(worker.done for worker in workers))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.retired = True
                worker.close()
