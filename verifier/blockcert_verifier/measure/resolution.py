"""Measuring as a verifier measures: every row a second time with noise of the size of rounding (BC-EVD-08)."""

from __future__ import annotations

from blockcert_verifier.evaluate import Backend, Precision
from blockcert_verifier.measure.confirm import moved_rows
from blockcert_verifier.measure.engine import Measured, Pair, Progress, Settings, measure_twice
from blockcert_verifier.measure.tolerance import Host

__all__ = ["measure_resolved"]


def measure_resolved(
    pair: Pair,
    tokens: Host,
    settings: Settings,
    *,
    noise: int,
    device: str = "cpu",
    precision: Precision = "float64",
    attribution: int = 0,
    progress: Progress | None = None,
) -> Measured:
    """The cells of some prompts, rows x T token ids, with every row that float64 does not resolve in ``unresolved``.

    ``noise`` is the verifier's own randomness: nobody can fit a program to it. Raises as :func:`measure`.
    """
    found, noisy = measure_twice(
        pair, tokens, settings, Backend(device, precision), noise=noise, attribution=attribution, progress=progress
    )
    return Measured(found, (*found.unresolved, *moved_rows(found, noisy)))
