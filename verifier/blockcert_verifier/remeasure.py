"""Everything that is measured again: sampled rows, the lifting's fidelity, fresh prompts (`spec/10-verification.md`).

numpy, the evaluator, transformers and tokenizers are imported when they are needed, and not before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from blockcert.bundle import Bundle
from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.file_range import Source
from blockcert.findings import Finding, StepName
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Statement
from blockcert.statistics import rows_needed
from blockcert.wellformed import REFERENCE_PREFIX
from blockcert_verifier.choices import Measuring
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.locate import Located
from blockcert_verifier.point_report import Points
from blockcert_verifier.proof_report import Proof
from blockcert_verifier.report import Audit, FidelityCheck
from blockcert_verifier.steps.fresh import MOST_ROWS, FreshInputs, Wanted, fresh_step
from blockcert_verifier.steps.outcome import from_refusal, inconclusive, skipped
from blockcert_verifier.steps.plan import Look, Plan, ReplayInputs
from blockcert_verifier.steps.prompts import PromptTable

if TYPE_CHECKING:
    from blockcert_verifier.corpus import Population

__all__ = ["Opened", "Remeasuring"]

_OWN_OPTIONS = ("usage.", "resume.", "device.", "install.")
"""Refusals of the caller's own options, which are no findings about the bundle."""
_NO_TIME = "limit.seconds"
"""What ends a whole verification, and not only one of its steps."""


class Opened(Struct, frozen=True):
    """A certificate whose every claim follows: its parts, its id's 32 bytes, and the reference model if it is whole.

    ``missing`` says why there is no reference model.
    """

    statement: Statement
    certificate: bytes
    bundle: Bundle
    programs: tuple[Program, Program]
    table: EvidenceTable
    listed: PromptTable
    located: Located | None
    missing: str

    def weights(self, located: Located) -> dict[str, Source]:
        """Where every file that the programs name is."""
        return {
            file.name: located.source(file.name)
            if file.name.startswith(REFERENCE_PREFIX)
            else self.bundle.file(file.name)
            for program in self.programs
            for file in program.files
        }

    def inputs(self, located: Located) -> ReplayInputs:
        """What rows are measured and enclosed from."""
        return ReplayInputs(
            statement=self.statement,
            certificate=self.certificate,
            reference=self.programs[0],
            surrogate=self.programs[1],
            table=self.table,
            tokens=self.listed.certification(),
            weights=self.weights(located),
        )


class Remeasuring:
    """The measuring of one verification: one seed, one deadline.

    Args:
        opened: what is measured.
        choice: the caller's choices.
        enough: confirmed rows with which the policy is content where a replay ends early.
        progress: called as rows are measured.
        end: the clock's time at which the whole verification ends.
        look: raises where that is over; called by what is not measuring itself.
    """

    def __init__(
        self,
        opened: Opened,
        choice: Measuring,
        enough: int | None,
        progress: Callable[[StepName, int, int], None],
        end: float,
        look: Look = lambda: None,
    ) -> None:
        self._opened, self._choice, self._enough, self._progress = opened, choice, enough, progress
        self._look = look
        self._seed = choice.seed or os.urandom(32)
        self._deadline = choice.deadline(end)
        self._audit: Audit | None = None

    def replay(self) -> tuple[Audit | None, list[Finding]]:
        """The audit of the sampled rows, and its findings; raises refusals of the caller's own options."""
        opened, choice = self._opened, self._choice
        rows = opened.table.shape.rows
        asked = rows if choice.rows == "all" else min(choice.rows, rows)
        if choice.until is not None:
            asked = rows_needed(rows, choice.until, choice.beta)
        if opened.located is None or asked == 0:
            why = opened.missing if opened.located is None else "no rows were asked for"
            return None, [skipped("replay", "replay.not_run", "evidence.safetensors", f"{why}; nothing was re-run")]
        from blockcert_verifier.steps.replay import replay

        inputs = opened.inputs(opened.located)
        plan = choice.plan(asked, self._seed, self._enough, self._deadline, self._look)
        try:
            self._audit, findings = replay(inputs, plan, lambda done, total: self._progress("replay", done, total))
        except Refusal as refusal:
            if refusal.code.startswith(_OWN_OPTIONS) or refusal.code == _NO_TIME:
                raise
            # what follows from an audit may be refused like the claims themselves
            return None, [from_refusal("replay", refusal)]
        return self._audit, findings

    def fidelity(self) -> tuple[FidelityCheck | None, list[Finding]]:
        """The reference program beside `transformers`, on the first of the replayed rows."""
        from blockcert_verifier.steps import fidelity

        opened, audit = self._opened, self._audit
        if opened.located is None or audit is None or not audit.drawn:
            why = opened.missing if opened.located is None else "no rows were replayed"
            return None, [fidelity.not_run(f"{why}; the program was not compared with transformers")]
        tokens = opened.listed.certification()
        sampled = [list(tokens[row]) for row in audit.drawn[: fidelity.MOST_ROWS]]
        weights = opened.weights(opened.located)
        return fidelity.fidelity(opened.statement, opened.programs[0], weights, opened.located, sampled, self._look)

    def prove(self, rows: int) -> tuple[Proof | None, list[Finding]]:
        """Enclosures of as many rows, drawn by the replay's seed (BC-ENC-02)."""
        ready = self._provable(rows)
        if isinstance(ready, Finding):
            return None, [ready]
        from blockcert_verifier.steps.proof import prove

        try:
            return prove(*ready, lambda done, total: self._progress("replay", done, total))
        except Refusal as refusal:
            if refusal.code == _NO_TIME:
                raise
            return None, [from_refusal("replay", refusal)]

    def prove_stages(self, rows: int) -> tuple[Points | None, list[Finding]]:
        """Enclosures of every stage alone, at the activations of as many of the rows that the replay's seed draws."""
        ready = self._provable(rows)
        if isinstance(ready, Finding):
            return None, [ready]
        from blockcert_verifier.steps.points import prove_points

        try:
            return prove_points(*ready, lambda done, total: self._progress("replay", done, total))
        except Refusal as refusal:
            if refusal.code == _NO_TIME:
                raise
            return None, [from_refusal("replay", refusal)]

    def _provable(self, rows: int) -> tuple[ReplayInputs, Plan] | Finding:
        """What so many rows are proven from, or why nothing is."""
        opened, place = self._opened, "evidence.safetensors"
        if opened.located is None or self._audit is None:
            # what is proven goes beyond a replay, and does not stand in for one that a policy requires
            why = opened.missing if opened.located is None else "no rows were replayed"
            return skipped("replay", "proof.not_run", place, f"{why}; nothing was proven")
        if self._audit.ending == "interrupted":
            return inconclusive("replay", "proof.partial", place, "the replay was interrupted; nothing was proven")
        # a replay that was resumed goes on with the seed that it began with
        seed, repeatable = bytes.fromhex(self._audit.seed), self._audit.repeatable
        plan = replace(self._choice.plan(rows, seed, None, self._deadline, self._look), repeatable=repeatable)
        return opened.inputs(opened.located), plan

    def fresh(self, wanted: Wanted, windows: Population | None) -> tuple[tuple[Fresh, ...], list[Finding]]:
        """What both programs do on prompts that nobody listed, and its findings."""
        opened, choice = self._opened, self._choice
        used = [int(number) for number in opened.listed.window]
        sizes = (opened.programs[0].vocabulary, opened.programs[0].context)
        same, repeatable = same_stages(*opened.programs), choice.seed is not None
        inputs = FreshInputs(opened.statement, same, opened.certificate, self._seed, repeatable, choice.beta)
        if opened.located is None or not (wanted.rows or wanted.own):
            return fresh_step(inputs, wanted, windows, used, sizes, None)
        if self._audit is not None and self._audit.ending == "interrupted":
            return (), [_partial("interrupted")]  # whoever interrupted the replay waits for nothing more
        from blockcert_verifier.steps.fresh_rows import measurer
        from blockcert_verifier.work import Stopped

        measure = measurer(
            opened.programs,
            opened.weights(opened.located),
            opened.statement.predicate.thresholds,
            choice.plan(wanted.rows or MOST_ROWS, self._seed, None, self._deadline, self._look),
            opened.statement.predicate.prompts.frame.length,
            lambda done, total: self._progress("fresh", done, total),
        )
        try:
            found, findings = fresh_step(
                inputs, wanted, windows, used, sizes, measure, lambda: measure.ending is not None
            )
        except Stopped as stopped:  # before a single row was done
            return (), [_partial(stopped.reason)]
        return found, [*findings, *([] if measure.ending is None else [_partial(measure.ending)])]


def _partial(ending: str) -> Finding:
    why = "the time limit was reached" if ending == "time-limit" else "it was interrupted"
    sentence = f"{why} before all fresh prompts that were asked for were measured"
    return inconclusive("fresh", "fresh.partial", "fresh prompts", sentence)
