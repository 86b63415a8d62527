"""The engine of fresh prompts: the same chunks, processes and limits as a replay's."""

from __future__ import annotations

from collections.abc import Mapping

from blockcert.file_range import Source
from blockcert.program import Program
from blockcert.statement import Thresholds
from blockcert_verifier.measure import Settings
from blockcert_verifier.steps.plan import Plan, Progress
from blockcert_verifier.work import Prompts, Stopped, Task, open_engine

__all__ = ["measurer"]


def measurer(
    programs: tuple[Program, Program],
    weights: Mapping[str, Source],
    thresholds: Thresholds,
    plan: Plan,
    progress: Progress,
) -> Prompts:
    """What measures fresh prompts under a plan: its processes, device and deadline.

    Raises:
        Refusal: ``usage.jobs`` and ``device.*``.
    """
    settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
    task = Task(*programs, dict(weights), settings, plan.device)
    stages = len(programs[0].stages)

    def tick(rows: float, total: int) -> None:
        progress(min(total * stages, int(rows * stages)), total * stages)
        if plan.deadline is not None and plan.clock() >= plan.deadline:
            raise Stopped("time-limit")

    return Prompts(open_engine(task, plan.jobs), int.from_bytes(plan.seed, "little") << 32, tick, catch=plan.catch)
