"""A process that encloses rows: ``python -m blockcert_verifier.enclose.worker``, rows in, cells out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from blockcert.errors import Refusal
from blockcert.same_program import same_stages
from blockcert_verifier.enclose.trajectories import Thresholds, enclose_row
from blockcert_verifier.enclose.wire import Advance, Begin, Enclose, Failed, encode_cells, fraction, receive, send
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair
from blockcert_verifier.work.children import serve_standard_streams

__all__ = ["serve"]


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the input ends."""
    begin = receive(source)
    if not isinstance(begin, Begin):
        return
    weights = {name: Path(one) if isinstance(one, str) else one for name, one in begin.weights.items()}
    same = same_stages(begin.reference, begin.surrogate)
    pair = Pair(begin.reference, begin.surrogate, same, WeightStore(weights))
    thresholds = Thresholds(tuple(map(fraction, begin.relative)), tuple(map(fraction, begin.loss)))
    while isinstance(frame := receive(source), Enclose):
        try:
            cells = enclose_row(pair, frame.tokens, thresholds, frame.bits, _advance(sink))
        except Refusal as refusal:
            send(sink, Failed(refusal.code, refusal.place, refusal.sentence))
        except MemoryError:
            send(sink, Failed())
        else:
            send(sink, encode_cells(cells))


def _advance(sink: BinaryIO) -> Callable[[int], None]:
    """What sends the number of stages that are done, each time it has grown."""
    known = 0

    def tick(done: int) -> None:
        nonlocal known
        if done != known:
            known = done
            send(sink, Advance(done))

    return tick


if __name__ == "__main__":
    serve_standard_streams(serve)
