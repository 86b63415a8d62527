"""The columns that every stage has, from norms per token: several stages are judged at once.

A call of numpy costs more than the arithmetic of one prompt, so the norms of some stages wait for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blockcert_verifier.measure.tolerance import Cells, Host, floor, norms, ratio_counts, ratios

if TYPE_CHECKING:
    from blockcert_verifier.measure.engine import Settings

__all__ = ["StageColumns", "StageNorms"]

_WAITING = 1 << 12
"""Tokens of stages, over which norms wait: memory must not grow with the number of stages."""


class StageNorms(NamedTuple):
    """What was measured of one stage, B x T each; ``None`` is 0 by definition (BC-EVD-04 and 05).

    The norm of the reference's output and the largest norm so far; the surrogate's error; the update, which is the
    control's error; both drifts; how far float32 falls from float64.
    """

    norm: Host
    scale: Host
    error: Host | None
    update: Host | None
    drift: Host | None
    identity_drift: Host | None
    float32: Host | None


class StageColumns:
    """Cells of the columns per stage of some prompts, stage after stage."""

    def __init__(self, settings: Settings, *, floor: bool) -> None:
        self._settings = settings
        self._floor = floor
        self._waiting: list[StageNorms] = []
        self._cells: dict[str, list[Cells]] = {}

    def add(self, stage: StageNorms) -> None:
        """Take the norms of the next stage."""
        self._waiting.append(stage)
        if len(self._waiting) * stage.norm.size >= _WAITING:
            self._judge()

    def cells(self) -> dict[str, Cells]:
        """Of each column the cells, B x stages (x thresholds)."""
        self._judge()
        return {
            name: parts[0] if len(parts) == 1 else Cells.concatenate(parts, axis=1)
            for name, parts in self._cells.items()
        }

    def _judge(self) -> None:
        stages, self._waiting = self._waiting, []
        if not stages:
            return
        tolerance = self._settings.tolerance
        zeros = np.zeros_like(stages[0].norm)
        norm = np.stack([stage.norm for stage in stages], axis=1)  # B x stages x T
        tau = tolerance.absolute * np.stack([stage.scale for stage in stages], axis=1)
        sides: list[Sequence[Host | None]] = [
            [stage.error for stage in stages],
            [stage.update for stage in stages],
            [stage.drift for stage in stages],
            [stage.identity_drift for stage in stages],
        ]
        # 4 x B x stages x T
        distance = np.stack([np.stack([zeros if one is None else one for one in side], axis=1) for side in sides])
        size = norms(distance, tau, tolerance)
        ratio = ratios(distance, norm, tau, tolerance)
        covered = ratio_counts(distance[:2], norm, tau, self._settings.relative, tolerance)
        length = norm.shape[-1]
        for number, (side, prefix, name) in enumerate(
            zip(sides, ("", "identity.", "", "identity."), ("error", "error", "drift", "drift"), strict=True)
        ):
            nothing = [i for i, one in enumerate(side) if one is None]
            self._keep(prefix + name, size, number, nothing, 0)
            self._keep(prefix + "relative_" + name, ratio, number, nothing, 0)
            if number < 2:
                self._keep(prefix + "covered", covered, number, nothing, length)
        inner = [i for i, stage in enumerate(stages) if stage.update is not None]
        if inner:
            error, update = distance[0][:, inner], distance[1][:, inner]
            cells = ratios(error, update, tau[:, inner], tolerance)
            nothing = [place for place, i in enumerate(inner) if stages[i].error is None]
            self._keep("relative_update_error", cells, None, nothing, 0)
        if self._floor:
            difference = np.stack([zeros if one.float32 is None else one.float32 for one in stages], axis=1)
            # a token whose norm is 0 has nothing to be relative to
            share = np.where(difference == 0, 0.0, difference / np.where(norm == 0, np.finfo(np.float64).tiny, norm))
            self._keep("float32.relative_error", floor(share.max(axis=-1)), None, [], 0)

    def _keep(self, name: str, cells: Cells, side: int | None, nothing: list[int], exactly: int) -> None:
        """Keep a column, ``exactly`` so at the stages where there is ``nothing`` to measure."""
        found = cells if side is None else cells.map(lambda part: part[side])
        if nothing:
            found = found.map(_exactly(nothing, exactly))
        self._cells.setdefault(name, []).append(found)


def _exactly(stages: list[int], value: int) -> Callable[[Host], Host]:
    def put(part: Host) -> Host:
        part = part.copy()
        part[:, stages] = value
        return part

    return put
