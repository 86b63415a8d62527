"""The engine of fresh prompts: the same chunks, processes and limits as a replay's."""

from __future__ import annotations

from collections.abc import Mapping

from blockcert.file_range import Source
from blockcert.program import Program
from blockcert.statement import Thresholds
from blockcert_verifier.measure import Settings
from blockcert_verifier.steps.plan import Plan, Progress
from blockcert_verifier.steps.room import rows_that_fit
from blockcert_verifier.work import Prompts, Stopped, Task, open_engine, row_work
from blockcert_verifier.work.chunks import CRASHES
from blockcert_verifier.work.whole import MOST_ROWS

__all__ = ["measurer"]


def measurer(
    programs: tuple[Program, Program],
    weights: Mapping[str, Source],
    thresholds: Thresholds,
    plan: Plan,
    length: int,
    progress: Progress,
) -> Prompts:
    """What measures fresh prompts of ``length`` tokens under a plan: its processes, device, memory and deadline.

    Raises:
        Refusal: ``usage.jobs``, ``device.*``, and ``limit.memory``.
    """
    settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
    task = Task(*programs, dict(weights), settings, plan.device)
    stages = len(programs[0].stages)

    def tick(rows: float, total: int) -> None:
        progress(min(total * stages, int(rows * stages)), total * stages)
        if plan.deadline is not None and plan.clock() >= plan.deadline:
            raise Stopped("time-limit")

    most = MOST_ROWS
    if plan.memory is not None:
        try:
            work = row_work(task.pair(), length)
        except CRASHES:
            work = None  # a program or weight file at fault: measuring says which
        most = most if work is None else min(most, rows_that_fit(work, plan))
    noise = int.from_bytes(plan.seed, "little") << 32
    return Prompts(open_engine(task, plan.jobs), noise, tick, catch=plan.catch, most=most)
