"""Chunks measured by several processes at once, each with its share of the cores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from blockcert.errors import Refusal
from blockcert_verifier.measure import Pair
from blockcert_verifier.work.children import Child, Worker, environment, shared_out, weight_names
from blockcert_verifier.work.chunks import Chunk, ChunkResult, Engine, RowFailure, Task, Tick, join
from blockcert_verifier.work.local import LocalEngine
from blockcert_verifier.work.wire import Advance, Begin, Done, decode_result, encode_chunk, receive, send

__all__ = ["ProcessEngine", "open_engine"]

_WORKER = ("-P", "-m", "blockcert_verifier.work.worker")


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


class _Worker(Worker):
    """One worker process; ``done`` are rows' worth of the current chunk."""

    def __init__(self, task: Task, variables: dict[str, str]) -> None:
        super().__init__()
        self._task, self._variables = task, variables
        self._told = False

    def start(self) -> Child:
        """The process, started if it is not running; it then imports what it needs while this one goes on."""
        child, new = self.child(lambda: Child(_WORKER, self._variables))
        self._told = self._told and not new
        return child

    def _begin(self, child: Child) -> None:
        """Say what is to be measured; the process reads it as soon as it can."""
        self._told = True
        task, settings = self._task, self._task.settings
        weights = weight_names(task.weights)
        send(
            child.input,
            Begin(task.reference, task.surrogate, weights, settings.relative, settings.loss, task.device),
        )

    def measure(self, chunk: Chunk) -> ChunkResult:
        """The result of a chunk; raises ``_Lost`` where the process dies over it."""
        self.done = 0.0
        try:
            child = self.start()
            if not self._told:
                self._begin(child)
            send(child.input, encode_chunk(chunk))
            while isinstance(frame := receive(child.output), Advance):
                self.done = frame.rows
        except OSError:
            frame = None
        if isinstance(frame, Done):
            return decode_result(frame)
        self.close()
        raise _Lost


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
        yield from shared_out(workers, chunks, _measure, tick)
