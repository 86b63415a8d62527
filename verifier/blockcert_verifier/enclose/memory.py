"""What enclosing a row takes of memory, estimated from programs and shapes before it is begun (BC-VER-29)."""

from __future__ import annotations

from blockcert_verifier.enclose.maps import MOST_ENTRIES
from blockcert_verifier.measure.engine import Pair
from blockcert_verifier.work.estimate import stage_work

__all__ = ["row_bytes"]

_BALL = 100
"""Bytes of one of python-flint's objects and its place in a list, beside its digits."""


def row_bytes(pair: Pair, length: int, bits: int) -> int:
    """Bytes that a row of ``length`` tokens takes at a precision, about: those of its largest stage.

    Raises:
        Refusal: ``tensor.*`` where a program names what its files do not hold.
    """
    most = 0
    for program in (pair.reference, pair.surrogate):
        for stage in program.stages:
            work = stage_work(stage, pair.store, length, program.hidden_size)
            # two trajectories at once; of weights a float64 each, and balls of as many as are kept
            kept = min(work.weights, MOST_ENTRIES * len(stage.steps))
            most = max(most, 2 * (_BALL + bits // 8) * work.values + 8 * work.weights + 60 * kept)
    return most
