"""A worker process: ``python -m blockcert_verifier.work.worker``, chunks in, results out, until its input ends."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import BinaryIO

from blockcert_verifier.measure import Settings
from blockcert_verifier.work.children import serve_standard_streams
from blockcert_verifier.work.chunks import Task, measure_chunk
from blockcert_verifier.work.wire import Advance, Begin, Measure, decode_chunk, encode_result, receive, send

__all__ = ["serve"]

_EVERY = 0.1
"""Seconds between two words about how far a chunk has come."""


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the input ends."""
    begin = receive(source)
    if not isinstance(begin, Begin):
        return
    weights = {name: Path(one) if isinstance(one, str) else one for name, one in begin.weights.items()}
    settings = Settings(begin.relative, begin.loss)
    task = Task(begin.reference, begin.surrogate, weights, settings, begin.device)
    pair = task.pair()
    while isinstance(frame := receive(source), Measure):
        told = monotonic()

        def tick(rows: float) -> None:
            nonlocal told
            if monotonic() - told > _EVERY:
                told = monotonic()
                send(sink, Advance(rows))

        send(sink, encode_result(measure_chunk(pair, decode_chunk(frame), settings, task.device, tick)))


if __name__ == "__main__":
    serve_standard_streams(serve)
