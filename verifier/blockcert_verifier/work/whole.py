"""Prompts that nobody recorded, measured in chunks: their cells, or the fault that keeps them from being measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from blockcert.errors import Refusal
from blockcert_verifier.measure import Measured
from blockcert_verifier.work.chunks import Chunk, ChunkResult, Engine, Host, Stopped, join

__all__ = ["Prompts"]

MOST_ROWS = 16
"""Rows of a chunk."""


class Prompts:
    """Measures prompts with an engine; where ``tick`` stops it, ``ending`` says why and what was done by then counts.

    Args:
        engine: measures chunks.
        noise: the seed of the second measurements.
        tick: called with how many rows are done and how many there are; may raise ``Stopped``.
        catch: take an interruption as an ending.
        most: rows of a chunk.
    """

    def __init__(
        self, engine: Engine, noise: int, tick: Callable[[float, int], None], *, catch: bool, most: int = MOST_ROWS
    ) -> None:
        self._engine, self._noise, self._tick, self._catch, self._most = engine, noise, tick, catch, most
        self.ending: str | None = None

    def __call__(self, tokens: Host) -> Measured:
        """The cells of token ids, int64, rows x T; of the first of them only where the work was stopped.

        Raises:
            Refusal: where a program or a weight file is at fault.
            MemoryError, RuntimeError: where a row could not be measured.
        """
        rows = len(tokens)
        begins = range(0, rows, self._most)
        chunks = [Chunk(np.asarray(tokens[at : at + self._most], dtype=np.int64), 0, self._noise + at) for at in begins]
        done: dict[int, ChunkResult] = {}
        try:
            for number, result in self._engine.run(chunks, lambda more: self._tick(_measured(done) + more, rows)):
                for fault in result.failures:
                    if fault.code is not None and fault.place is not None:
                        raise Refusal(fault.code, fault.place, fault.sentence)
                    raise (MemoryError if fault.kind == "exhausted" else RuntimeError)(fault.sentence)
                done[number] = result
                self._tick(_measured(done), rows)
        except Stopped as stopped:
            self.ending = stopped.reason if len(done) < len(chunks) else None
        except KeyboardInterrupt:
            if not self._catch:
                raise
            self.ending = "interrupted"
        prefix = next((number for number in range(len(chunks)) if number not in done), len(chunks))
        found = join([(begins[number], done[number]) for number in range(prefix)]).measured
        if found is None:
            # the work cannot go on without a row, and nothing is to be refuted for it
            raise Stopped("interrupted" if self.ending == "interrupted" else "time-limit")
        return found


def _measured(done: dict[int, ChunkResult]) -> int:
    return sum(len(result.offsets) for result in done.values())
