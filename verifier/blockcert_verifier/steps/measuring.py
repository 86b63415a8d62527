"""Measuring the rows of one audit: in chunks, in the order drawn, until they are done or something ends it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.draw import replay_rows
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert_verifier.evaluate import Backend, extended_is_wider
from blockcert_verifier.measure import Confirmation, Settings, measure
from blockcert_verifier.steps.compare import Outcome, compare, compare_rows
from blockcert_verifier.steps.judge import crash, judge, unresolved
from blockcert_verifier.steps.outcome import failures
from blockcert_verifier.steps.plan import Plan, Progress, ReplayInputs
from blockcert_verifier.steps.resume import State, load, save
from blockcert_verifier.steps.room import rows_that_fit
from blockcert_verifier.work import Chunk, Estimate, Stopped, Task, estimate, open_engine, rates, row_work
from blockcert_verifier.work.chunks import CRASHES

__all__ = ["Ending", "Judged", "Rows"]

_TARGET = 4 * 10**10
"""Multiply-adds of a chunk: a few seconds, after which its rows are kept."""
_MOST_ROWS = 32
_SHARES = 4
"""Chunks for each of several processes."""

Ending: TypeAlias = Literal["time-limit", "interrupted", "refuted"]


class Judged(Struct, frozen=True):
    """The completed prefix of the order drawn, how many of its rows are confirmed, and the findings of all rows."""

    prefix: tuple[int, ...]
    confirmed: int
    findings: list[Finding]


class Rows:
    """One replay under way."""

    def __init__(self, inputs: ReplayInputs, plan: Plan, progress: Progress) -> None:

        self.inputs, self.plan, self.progress = inputs, plan, progress
        Backend(plan.device)  # an unknown device is refused before any work
        thresholds = inputs.statement.predicate.thresholds
        self.settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
        self.task = Task(inputs.reference, inputs.surrogate, dict(inputs.weights), self.settings, plan.device)
        self.pair = self.task.pair()
        self.engine = open_engine(self.task, plan.jobs, self.pair)
        self.outcomes: list[Outcome] = []
        self.ending: Ending | None = None
        self.seed, self.repeatable = plan.seed, plan.repeatable
        self.resumed = 0
        self.seconds = 0.0
        self.estimate: Estimate | None = None
        self.extended: dict[int, Confirmation] = {}
        if plan.state is not None:
            self._resume(plan.state)
        rows = inputs.table.shape.rows
        self.order = replay_rows(inputs.certificate, self.seed, rows, min(plan.asked, rows))
        self.engine.prepare(len(self._left()))

    def _resume(self, path: Path) -> None:
        state = load(path, self.inputs.certificate, self.plan.seed if self.plan.repeatable else None)
        if state is None:
            return
        self.seed, self.repeatable = state.seed, state.repeatable
        self.outcomes = list(state.outcomes)
        self.resumed = sum(len(outcome.rows) for outcome in self.outcomes)

    def measure(self) -> Judged:
        """Measure what is left of the order drawn, and judge all that is done."""
        begun = self.plan.clock()
        while True:
            judged = Judged((), 0, [])
            try:
                self._chunks()
                judged = self._judge(decide=True)
            except (KeyboardInterrupt, Stopped) as stopped:
                if isinstance(stopped, KeyboardInterrupt) and not self.plan.catch:
                    raise
                if isinstance(stopped, KeyboardInterrupt):
                    self.ending = "interrupted"
                elif self._left():
                    self.ending = stopped.reason
                judged = self._judge(decide=False)
            self.seconds = self.plan.clock() - begun
            if self.ending is not None or not self._left():
                return judged
            if failures(judged.findings):
                self.ending = "refuted"
                return judged

    def _left(self) -> list[int]:
        done = {row for outcome in self.outcomes for row in outcome.rows}
        return [row for row in self.order if row not in done]

    def _chunks(self) -> None:
        """Measure chunks until none is left, time is up, or going on is of no use."""

        left, whole = self._left(), len(self.order)
        attributed = self.inputs.table.shape.attribution_rows
        size = self._prepare(left)
        parts = [sorted(left[i : i + size], key=lambda row: row >= attributed) for i in range(0, len(left), size)]
        chunks = [
            Chunk(
                tokens=_tokens(self.inputs, part),
                attributed=sum(row < attributed for row in part),
                noise=int.from_bytes(self.seed, "little") << 32 | part[0],
            )
            for part in parts
        ]
        stages = len(self.pair.same)
        done = whole - len(left)

        def tick(rows: float) -> None:
            self.progress(min(whole * stages, int((done + rows) * stages)), whole * stages)
            if self.plan.deadline is not None and self.plan.clock() >= self.plan.deadline:
                raise Stopped("time-limit")

        results = self.engine.run(chunks, tick)
        try:
            for number, result in results:
                outcome = compare(self.inputs.table, parts[number], result)
                self.outcomes.append(outcome)
                done += len(outcome.rows)
                self._keep()
                tick(0)
                if self._hopeless() or (self.plan.until is not None and outcome.doubted):
                    return
        except Stopped as stopped:
            # the last chunk may have ended just as the time did
            self.ending = stopped.reason if self._left() else None
        finally:
            close = getattr(results, "close", None)
            if close is not None:
                close()  # ends the processes, if there are any
        self.progress(whole * stages, whole * stages)

    def _prepare(self, left: Sequence[int]) -> int:
        """Rows in a chunk; announces what the rows are estimated to cost."""

        length = self.inputs.statement.predicate.prompts.frame.length
        try:
            work = row_work(self.pair, length)
        except CRASHES:
            return 1  # a program or weight file at fault: measuring says which
        attributed = sum(row < self.inputs.table.shape.attribution_rows for row in left)
        adds = work.attributed_multiply_adds if attributed else work.multiply_adds
        # long enough for its time to be well above that of loading the weights; several processes end together where
        # each has a few chunks
        shares = 1 if self.plan.jobs == 1 else _SHARES * self.plan.jobs
        size = max(1, min(_MOST_ROWS, -(-_TARGET // max(1, adds)), -(-len(left) // shares)))
        size = min(size, rows_that_fit(work, self.plan))
        speed = rates(Backend(self.plan.device))
        found = estimate(work, speed, rows=len(left), attributed=attributed, chunk=size, jobs=self.plan.jobs)
        if self.estimate is None:
            self.estimate = found
            if self.plan.announce is not None and left:
                self.plan.announce(found)
        return size

    def _keep(self) -> None:
        if self.plan.state is None:
            return

        save(
            self.plan.state,
            State(
                certificate=self.inputs.certificate,
                seed=self.seed,
                repeatable=self.repeatable,
                outcomes=tuple(self.outcomes),
            ),
        )

    def _hopeless(self) -> bool:
        """Whether every further row would fail as one did."""
        faults = [fault.kind for outcome in self.outcomes for fault in outcome.failures]
        return "refusal" in faults or faults.count("exhausted") > 1

    def _judge(self, *, decide: bool) -> Judged:
        """All outcomes judged; ``decide`` takes what is doubtful to higher precision."""

        open_rows = sorted(one for outcome in self.outcomes for one in outcome.unresolved)
        doubted, cells = judge(
            [d for outcome in self.outcomes for d in outcome.disagreements],
            {one.row for one in open_rows},
            self._again if decide and extended_is_wider() else None,
        )
        crashes: list[Finding] = []
        for fault in sorted((f for outcome in self.outcomes for f in outcome.failures), key=lambda f: f.offset):
            crashes.append(crash(fault.offset, fault))
            if fault.kind == "refusal":
                break  # every row says the same
        bad = doubted | {one.row for one in open_rows}
        measured = {row for outcome in self.outcomes for row in outcome.measured}
        done = measured | {fault.offset for outcome in self.outcomes for fault in outcome.failures}
        prefix = self.order[: next((i for i, row in enumerate(self.order) if row not in done), len(self.order))]
        confirmed = sum(row in measured and row not in bad for row in prefix)
        return Judged(tuple(prefix), confirmed, [*crashes, *cells, *unresolved(open_rows)])

    def _again(self, row: int) -> Confirmation:

        if row in self.extended:
            return self.extended[row]
        count = int(row < self.inputs.table.shape.attribution_rows)
        tokens = _tokens(self.inputs, [row])
        found = measure(
            self.pair,
            tokens,
            self.settings,
            Backend("cpu", "extended"),
            attribution=count,
            progress=self._in_time,
        )
        self.extended[row] = compare_rows(self.inputs.table, [row], found)
        return self.extended[row]

    def _in_time(self, _done: int, _all: int) -> None:
        """Stops deciding cells, which goes on beyond a time limit, where the whole verification has no more time."""
        try:
            self.plan.look()
        except Refusal:
            raise Stopped("time-limit") from None


def _tokens(inputs: ReplayInputs, rows: Sequence[int]) -> np.ndarray[Any, Any]:
    return np.array([inputs.tokens[row] for row in rows], dtype=np.int64)
