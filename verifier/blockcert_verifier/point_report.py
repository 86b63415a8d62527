"""What enclosures at stated points established: every stage at float64 activations, and no trajectory (BC-ENC-18)."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["PointClaim", "PointVerdict", "Points", "PointsEnding"]

PointVerdict: TypeAlias = Literal["confirmed", "exceeded", "inconclusive"]
PointsEnding: TypeAlias = Literal["time-limit", "interrupted", "no-point"]
"""Why not every stage was enclosed; ``no-point``: the stage before gave a value that is no finite float64."""


class PointClaim(Struct, frozen=True):
    """One stage: an enclosure of the largest error over the points, beside the certificate's bound.

    An end that no decimal string states is null. ``confirmed`` says that the error is at most what is
    stated at every point, ``exceeded`` that at one it is certainly more than a replay tolerates.
    """

    stage: int
    at_least: str | None
    at_most: str | None
    stated: str
    verdict: PointVerdict


class Points(Struct, frozen=True):
    """Every stage at the activations that float64 reaches on some rows: the first that the audit's seed draws.

    ``rows`` are all of the certificate's. ``stages`` are those that were done when it ended, ``device`` is where the
    activations were reached.
    """

    rows: int
    drawn: tuple[int, ...]
    seed: str
    repeatable: bool
    device: str
    ending: PointsEnding | None
    stages: tuple[PointClaim, ...]
    seconds: str
    scope: Literal["stated-points"] = "stated-points"
    basis: Literal["enclosure"] = "enclosure"
