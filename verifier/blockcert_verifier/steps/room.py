"""How many rows at a time fit the limit of memory, by what they are estimated to take."""

from __future__ import annotations

import sys

from blockcert.errors import Refusal
from blockcert_verifier.steps.plan import Plan
from blockcert_verifier.work.estimate import RowWork

__all__ = ["rows_that_fit"]


def rows_that_fit(work: RowWork, plan: Plan) -> int:
    """At least 1 row.

    Raises:
        Refusal: ``limit.memory`` where not even one fits.
    """
    if plan.memory is None:
        return sys.maxsize
    jobs = max(1, min(plan.jobs, plan.asked))  # no more processes are started than there are rows
    room = plan.memory // jobs - work.memory
    if room < 0:
        needed = work.memory * jobs
        sentence = f"measuring one row is estimated to take {needed} bytes of memory, and the limit is {plan.memory}"
        raise Refusal("limit.memory", "evidence.safetensors", sentence)
    return 1 + room // max(1, work.memory_per_row)
