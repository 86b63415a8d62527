"""Chunks measured one after another in this process, on numpy or a torch device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blockcert_verifier.measure import Pair
from blockcert_verifier.work.chunks import Chunk, ChunkResult, Task, Tick, measure_chunk

__all__ = ["LocalEngine"]


class LocalEngine:
    """Measures in this process. ``pair``: both programs of ``task`` over an open store, where the caller has one."""

    def __init__(self, task: Task, pair: Pair | None = None) -> None:
        self._task = task
        self._pair = task.pair() if pair is None else pair

    def prepare(self, rows: int) -> None:
        """Nothing: this process runs already."""

    def close(self) -> None:
        """Nothing: there is nothing to end."""

    def run(self, chunks: Sequence[Chunk], tick: Tick) -> Iterator[tuple[int, ChunkResult]]:
        """Each chunk's number and result, in order."""
        for number, chunk in enumerate(chunks):
            yield number, measure_chunk(self._pair, chunk, self._task.settings, self._task.device, tick)
