"""Measuring for a certificate: the verifier's engine, then the producer's own replay in another summation order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape, columns
from blockcert.safetensors_file import write
from blockcert_producers.progress import Progress
from blockcert_verifier.evaluate import Backend
from blockcert_verifier.measure import Confirmation, Pair, Settings, confirm, first_not_finite, measure

__all__ = ["evidence_columns", "self_check", "write_evidence"]

Host = np.ndarray[Any, Any]
SAFETY = 100
"""How far inside every tolerance a producer's own replay must stay."""


def evidence_columns(
    pair: Pair, tokens: Host, settings: Settings, *, device: str, attribution: int, progress: Progress
) -> dict[str, Host]:
    """The evidence columns of the listed prompts (N x T token ids), values only.

    Raises:
        Refusal: ``measure.not_finite`` where a program overflows on a prompt, ``measure.unresolved`` where rounding
            could hide a part of what it computes (BC-EVD-08).
    """
    measured = measure(
        pair,
        tokens,
        settings,
        Backend(device),
        attribution=attribution,
        progress=lambda done, total: progress("measuring", done, total),
    )
    bad = first_not_finite(measured)
    if bad is not None:
        name, index = bad
        raise Refusal(
            "measure.not_finite",
            f"{name}{list(index)}",
            "the measurement is not a finite number: one of the two programs overflows on this prompt",
        )
    if measured.unresolved:
        row, stage, reason = measured.unresolved[0]
        raise Refusal(
            "measure.unresolved",
            f"prompt {row}, stage {stage}" if stage >= 0 else f"prompt {row}",
            f"{reason}; float64 does not resolve such a program, and no verifier would confirm it "
            f"({len(measured.unresolved)} of {len(tokens)} prompts)",
        )
    return {name: cells.value for name, cells in measured.items()}


def self_check(
    pair: Pair,
    tokens: Host,
    settings: Settings,
    recorded: Mapping[str, Host],
    *,
    device: str,
    attribution: int,
    progress: Progress,
) -> Confirmation:
    """The replay of all rows with every sum taken from its other end and noise of the size of rounding on every step,
    100 times inside every tolerance.

    Raises:
        Refusal: ``measure.self_check`` where a cell depends on the order of summation more than that.
    """
    narrow = Settings(settings.relative, settings.loss, settings.tolerance.divided_by(SAFETY))
    measured = measure(
        pair,
        tokens,
        narrow,
        Backend(device, reverse=True, noise=0),
        attribution=attribution,
        progress=lambda done, total: progress("measuring in another order", done, total),
    )
    found = confirm(recorded, measured)
    if found.disagreements:
        first = found.disagreements[0]
        raise Refusal(
            "measure.self_check",
            f"{first.column}{list(first.index)}",
            f"measured {first.recorded!r}, and {first.measured!r} with rounding moved: too ill-conditioned "
            "for a certificate, since another machine could honestly refute it",
        )
    return found


def write_evidence(path: Path, shape: EvidenceShape, recorded: Mapping[str, Host]) -> None:
    """Write ``evidence.safetensors``: every column in the spec's order and dtype."""
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for column in columns(shape):
        values = np.ascontiguousarray(recorded[column.name], dtype="<f8" if column.dtype == "F64" else "<i8")
        if values.shape != column.shape:
            raise ValueError(f"{column.name} has shape {values.shape}, not {column.shape}")
        # -0.0 and 0.0 are one value; one spelling keeps the file a function of the values
        tensors[column.name] = (column.dtype, column.shape, (values + 0).tobytes())
    write(path, tensors)
