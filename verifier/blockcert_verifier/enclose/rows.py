"""Rows enclosed one after another in this process, or several at once in others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias, TypeVar

from blockcert.errors import Refusal
from blockcert.file_range import Source
from blockcert_verifier.enclose.interval import Enclosed
from blockcert_verifier.enclose.trajectories import Place, Thresholds, enclose_row
from blockcert_verifier.enclose.wire import Advance, Begin, Cells, Enclose, Failed, decode_cells, receive, send, text
from blockcert_verifier.measure import Pair
from blockcert_verifier.work.children import Child, Worker, environment, shared_out, weight_names

__all__ = ["Encloser", "enclosed_here", "enclosed_in_processes"]

Encloser: TypeAlias = Callable[[Sequence[int], int], Mapping[Place, Enclosed]]
"""The cells of a prompt's row, at a precision in bits."""
Look: TypeAlias = Callable[[int], None]
"""Called with the stages that are done of all unfinished rows; what it raises ends the work."""
T = TypeVar("T")
_WORKER = ("-P", "-m", "blockcert_verifier.enclose.worker")


def enclosed_here(
    pair: Pair, thresholds: Thresholds, rows: Sequence[int], job: Callable[[Encloser, int], T], look: Look
) -> Iterator[T]:
    """What ``job`` makes of each row, in order; it is given the row's number and what encloses prompts."""
    for row in rows:
        yield job(lambda tokens, bits: enclose_row(pair, tokens, thresholds, bits, look), row)


class _Process(Worker):
    """One process that encloses rows; ``done`` are stages of the current row."""

    def __init__(self, begin: Begin, variables: dict[str, str]) -> None:
        super().__init__()
        self._begin, self._variables = begin, variables

    def __call__(self, tokens: Sequence[int], bits: int) -> Mapping[Place, Enclosed]:
        """As :func:`enclose_row`; raises ``MemoryError`` where the process ends without an answer."""
        self.done = 0.0
        frame = None
        with contextlib.suppress(OSError):
            child, new = self.child(lambda: Child(_WORKER, self._variables))
            if new:
                send(child.input, self._begin)
            send(child.input, Enclose(tuple(tokens), bits))
            while isinstance(frame := receive(child.output), Advance):
                self.done = frame.stages
        if isinstance(frame, Cells):
            return decode_cells(frame)
        if isinstance(frame, Failed) and frame.code is not None:
            raise Refusal(frame.code, frame.place, frame.sentence)
        self.close()
        raise MemoryError("the process that enclosed a row ended without an answer")


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
    relative, loss = (tuple(map(text, one)) for one in (thresholds.relative, thresholds.loss))
    begin = Begin(pair.reference, pair.surrogate, weight_names(weights), relative, loss)
    workers = [_Process(begin, environment(jobs)) for _ in range(min(jobs, len(rows)))]
    for _, found in shared_out(workers, rows, job, lambda done: look(int(done))):
        yield found
