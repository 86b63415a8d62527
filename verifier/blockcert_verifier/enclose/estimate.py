"""What enclosing rows will cost here: counted work over this machine's rates. An estimate, and called so everywhere."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

import numpy as np

from blockcert_verifier.enclose.arithmetic import arb, arb_mat, ctx
from blockcert_verifier.enclose.integer_products import DIGIT, worthwhile
from blockcert_verifier.enclose.memory import row_bytes
from blockcert_verifier.measure.engine import Pair
from blockcert_verifier.work.estimate import Estimate, stage_work

__all__ = ["estimate_rows"]

_PER_VALUE, _PER_CONVERTED = 9, 24
"""Operations on balls for each value that a step makes: as balls alone, and where products go through integers."""
_SLICES = 2.3
_PER_WEIGHT = 20e-9
_BASE = 110 << 20
"""Memory of the interpreter with numpy and python-flint, in bytes."""


class _Rates(NamedTuple):
    """Seconds of an operation on balls, of a multiply-add of a matrix of balls, and of one of float64."""

    operation: float
    ball_add: float
    float_add: float


def _rates(bits: int) -> _Rates:
    """This machine's rates, from some 20 milliseconds of work."""

    def least(work: object, rounds: int = 3) -> float:
        found: list[float] = []
        for _ in range(rounds):
            begun = perf_counter()
            work()  # type: ignore[operator]
            found.append(perf_counter() - begun)
        return max(min(found), 1e-9)

    with ctx.workprec(bits):
        values = [arb(v) / 3 for v in range(1, 2049)]
        matrix = arb_mat(32, 64, values)
        weights = arb_mat(np.random.default_rng(0).standard_normal((64, 64)).tolist())
        left, right = np.ones((256, 512)), np.ones((512, 128))
        return _Rates(
            least(lambda: [v * v for v in values]) / len(values),
            least(lambda: matrix * weights) / (32 * 64 * 64),
            least(lambda: left @ right) / (256 * 512 * 128),
        )


def estimate_rows(pair: Pair, length: int, bits: int, rows: int, jobs: int = 1) -> Estimate:
    """Seconds and memory of enclosing ``rows`` prompts of ``length`` tokens in ``jobs`` processes, at a precision.

    Raises:
        Refusal: ``tensor.*`` where a program names what its files do not hold.
    """
    first, last = _rates(bits), _rates(min(bits, 96))
    row, stitched = 0.0, False
    stages = list(zip(pair.same, pair.reference.stages, pair.surrogate.stages, strict=True))
    for index, (same, mine, theirs) in enumerate(stages):
        # precision falls from stage to stage as radii grow
        share = 1 - index / max(1, len(stages) - 1)
        speed = _Rates(*(share * a + (1 - share) * b for a, b in zip(first, last, strict=True)))
        depth = share * bits + (1 - share) * min(bits, 96)
        sides = ((mine, 1 + stitched),) if same else ((mine, 1), (theirs, 1 + stitched))
        for stage, times in sides:
            work = stage_work(stage, pair.store, length, pair.reference.hidden_size)
            wide = work.weights // max(1, pair.reference.hidden_size * len(stage.steps))
            if worthwhile(pair.reference.hidden_size, max(1, wide)):
                each = _SLICES * (depth / DIGIT + 1) * speed.float_add
                row += times * (work.multiply_adds * each + work.values * _PER_CONVERTED * speed.operation)
                row += _PER_WEIGHT * work.weights
            else:
                row += times * (work.multiply_adds * speed.ball_add + work.values * _PER_VALUE * speed.operation)
                row += work.weights * speed.operation
        stitched = stitched or not same
    memory = min(jobs, rows) * (_BASE + row_bytes(pair, length, bits))
    return Estimate(rows, -(-rows // jobs) * row, row, memory, "proving")
