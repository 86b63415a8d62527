"""Every stage at stated points: float64 activations in, an enclosure of both sides' difference out (BC-ENC-18).

For models that are too large to be enclosed from end to end. The points are what float64 reaches here; nothing is
composed, and nothing is said of the exact trajectory.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.numbers import exact, parse_decimal, round_up
from blockcert.program import Stage
from blockcert.same_program import same_stages
from blockcert_verifier.enclose.interval import Interval, ends
from blockcert_verifier.enclose.order import rows_to_prove
from blockcert_verifier.enclose.point import PointStage, distances
from blockcert_verifier.enclose.point_balls import Ball
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.measure import Pair
from blockcert_verifier.point_report import PointClaim, Points, PointsEnding, PointVerdict
from blockcert_verifier.steps.outcome import capped, inconclusive
from blockcert_verifier.steps.plan import Plan, Progress, ReplayInputs
from blockcert_verifier.work import Stopped, estimate, rates, row_work
from blockcert_verifier.work.estimate import stage_work

if TYPE_CHECKING:
    from blockcert_verifier.work import Estimate

__all__ = ["prove_points"]

PLACE = "evidence.safetensors"
_RELATIVE, _ABSOLUTE = Fraction(1, 10**6), Fraction(1, 10**9)
_MOST_VALUES = 1 << 23
"""Numbers in the widest value of the rows that are enclosed together: 64 MiB."""
_WHY: dict[PointsEnding, str] = {
    "time-limit": "the time limit was reached",
    "interrupted": "it was interrupted",
    "no-point": "what float64 reaches on one of these rows is no finite number, and so no point,",
}
_TIMES = 5
"""An enclosure takes at most so many plain evaluations, and holds so many times their values."""


def prove_points(inputs: ReplayInputs, plan: Plan, progress: Progress) -> tuple[Points | None, list[Finding]]:
    """Enclosures of every stage's error at the activations of ``plan.asked`` rows, in the order of BC-ENC-02.

    Raises:
        Refusal: ``tensor.*`` or ``program.*`` where a program cannot be evaluated with these weights, ``limit.memory``
            where a stage is estimated to take more than the plan's.
    """
    begun = plan.clock()
    rows = inputs.table.shape.rows
    order = rows_to_prove(inputs.certificate, plan.seed, inputs.table.shape, plan.asked)
    walk = _Walk(inputs, plan, [inputs.tokens[row] for row in order])
    if plan.announce is not None:
        plan.announce(walk.estimate())
    ending: PointsEnding | None = None
    try:
        ending = None if walk.run(progress) else "no-point"
    except Stopped as stopped:
        ending = stopped.reason
    except MemoryError:
        return None, [inconclusive("replay", "proof.partial", PLACE, "it does not fit in this machine's memory")]
    except KeyboardInterrupt:
        if not plan.catch:
            raise
        ending = "interrupted"
    progress(1, 1)
    findings = capped(_finding(one) for one in walk.done if one.verdict == "exceeded")
    if ending is not None:
        sentence = f"{_WHY[ending]} after {len(walk.done)} of the {len(inputs.reference.stages)} stages"
        findings.append(inconclusive("replay", "proof.partial", PLACE, f"{sentence} that were to be enclosed"))
    points = Points(
        rows=rows,
        drawn=tuple(order),
        seed=plan.seed.hex(),
        repeatable=plan.repeatable,
        device=plan.device,
        ending=ending,
        stages=tuple(walk.done),
        seconds=round_up(exact(max(0.0, plan.clock() - begun)), digits=3),
    )
    return points, findings


class _Walk:
    """From stage to stage with the activations of every row, in float64; one stage's weights at a time."""

    def __init__(self, inputs: ReplayInputs, plan: Plan, tokens: list[Any]) -> None:
        self._inputs, self._plan = inputs, plan
        self._backend = Backend(plan.device)
        same = same_stages(inputs.reference, inputs.surrogate)
        self._pair = Pair(inputs.reference, inputs.surrogate, same, WeightStore(dict(inputs.weights)))
        self._points: Any = self._backend.integers(np.array(tokens, dtype=np.int64))
        self._length = len(tokens[0])
        self._largest = 0.0
        self.done: list[PointClaim] = []

    def estimate(self) -> Estimate:
        """What it will cost here."""
        work = row_work(self._pair, self._length)
        rows = int(self._points.shape[0])
        found = estimate(work, rates(self._backend), rows=rows, attributed=0, chunk=rows)
        # measuring a row takes two times three evaluations of a stage, and here are two enclosures
        factor = _TIMES / 3
        memory = max(self._memory(stage, rows) for program in self._programs() for stage in program.stages)
        seconds, each = found.seconds * factor, found.row_seconds * factor
        return type(found)(rows, seconds, each, (100 << 20) + memory, "enclosing every stage at the points of")

    def _programs(self) -> tuple[Any, Any]:
        return self._pair.reference, self._pair.surrogate

    def _together(self, stage: Stage, rows: int) -> int:
        work = stage_work(stage, self._pair.store, self._length, self._pair.reference.hidden_size)
        return max(1, min(rows, _MOST_VALUES // max(1, work.widest)))

    def _memory(self, stage: Stage, rows: int) -> int:
        work = stage_work(stage, self._pair.store, self._length, self._pair.reference.hidden_size)
        # weights and their magnitudes on both sides; midpoints, radii and what they are made from
        return 32 * work.weights + 8 * self._together(stage, rows) * (2 * work.values + 2 * _TIMES * work.widest)

    def run(self, progress: Progress) -> bool:
        """All stages; False where one has no point, because a stage before it gave a value that is not finite.

        Raises ``Stopped`` where the time is up.
        """
        plan, rows, stages = self._plan, int(self._points.shape[0]), len(self._pair.same)
        for index in range(stages):
            if index and not bool(self._backend.xp.all(self._backend.xp.isfinite(self._points))):
                return False
            mine, theirs = (program.stages[index] for program in self._programs())
            needed = max(self._memory(mine, rows), self._memory(theirs, rows))
            if plan.memory is not None and needed > plan.memory:
                sentence = f"enclosing a stage is estimated to take {needed} bytes, and the limit is {plan.memory}"
                raise Refusal("limit.memory", PLACE, sentence)
            lower, upper = 0.0, 0.0
            outputs: list[Any] = []
            f = self._point(mine, self._pair.reference)
            g = None if self._pair.same[index] else self._point(theirs, self._pair.surrogate)
            size = min(self._together(mine, rows), self._together(theirs, rows))
            for at in range(0, rows, size):
                source = self._points[at : at + size]
                ball = f(source)
                if g is not None:
                    ends = distances(f.math, ball, g(source))
                    least, most = (float(self._backend.numpy(end).max()) for end in ends)
                    lower, upper = max(lower, least), max(upper, most)
                self._largest = max(self._largest, _largest_norm(self._backend.xp, ball.mid))
                outputs.append(_kept(ball, last=index == stages - 1))
                progress(index * rows + at, stages * rows)
                if plan.deadline is not None and plan.clock() >= plan.deadline:
                    raise Stopped("time-limit")
            self._points = self._backend.xp.concat(outputs, axis=0)
            self.done.append(self._claim(index, lower, upper))
        return True

    def _point(self, stage: Stage, program: Any) -> PointStage:
        return PointStage(LoadedStage(stage, self._pair.store, self._backend, self._length, program))

    def _claim(self, index: int, lower: float, upper: float) -> PointClaim:
        stated = self._inputs.statement.predicate.claims.stages[index].error
        bound = parse_decimal(stated)
        low, high = Fraction(lower), Fraction(upper) if upper < float("inf") else None
        verdict: PointVerdict = "inconclusive"
        if high is not None and high <= bound:
            verdict = "confirmed"
        # beside a norm that no float64 holds, no error is certainly beyond the tolerance
        elif math.isfinite(self._largest) and low > bound * (1 + _RELATIVE) + _ABSOLUTE * Fraction(self._largest):
            verdict = "exceeded"
        at_least, at_most = ends(Interval(low, high))
        return PointClaim(index, at_least, at_most, stated, verdict)


def _largest_norm(xp: Any, points: Any) -> float:
    """The largest norm of a token, rows x T x width; infinite where one is no number or its square too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(xp.max(xp.vecdot(points, points, axis=-1)))
    return math.sqrt(square) if math.isfinite(square) else math.inf


def _kept(ball: Ball, *, last: bool) -> Any:
    """The midpoints, which are the next stage's points; of the head, whose logits nothing follows, one channel."""
    return ball.mid[..., :1] if last else ball.mid


def _finding(one: PointClaim) -> Finding:
    sentence = (
        f"at an activation that float64 reaches here the error of stage {one.stage} is at least {one.at_least}, and "
        f"{one.stated} is claimed of the exact trajectory; replay and --prove say which it is"
    )
    return inconclusive("replay", "proof.cell.inconclusive", f"{PLACE}: error[:, {one.stage}]", sentence)
