"""The controls of a front: the identity and plain rounding, measured as certificates are."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from msgspec.structs import replace

from blockcert.claims import ClaimTerms, summarise
from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape
from blockcert.evidence_file import EvidenceTable
from blockcert.program import Program, Stage
from blockcert.same_program import same_stages
from blockcert.statement import Kept
from blockcert_producers.bundling import Opened
from blockcert_producers.certify.measuring import evidence_columns
from blockcert_producers.certify.terms import default_predicates, default_thresholds
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.rounding import rounded
from blockcert_producers.fronts.table import Point, point
from blockcert_producers.progress import Progress
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair, Settings

__all__ = ["ROUNDINGS", "measure_controls", "replace_blocks"]

ROUNDINGS: dict[Format, str] = {
    form: f"plain {form}" for form in ("float16", "bfloat16", "int8", "int6", "int4", "int4/32")
}
"""Formats to which every map is rounded to the nearest value, and what a front calls that; integers scale each row, or
each group of so many weights of a row."""


def measure_controls(opened: Opened, tokens: np.ndarray[Any, Any], progress: Progress) -> tuple[Point, ...]:
    """Plain rounding and the identity on ``tokens``, rows x T.

    A format in which the model overflows is left out.
    """
    controls = _Controls(opened, tokens, progress)
    found: list[Point] = []
    for form, called in ROUNDINGS.items():
        try:
            found.append(controls.point(called, "rounding", *rounded(opened.reference, controls.store, form)))
        except Refusal as refusal:
            if not refusal.code.startswith("measure."):
                raise
    identity = replace_blocks(opened.reference)
    return (*found, controls.point("identity", "identity", identity, controls.store))


def replace_blocks(reference: Program) -> Program:
    """A program with the identity in place of every block: no step, and the input as the output."""
    nothing = Stage("block", (), "hidden")
    stages = (reference.stages[0], *(nothing for _ in range(reference.blocks)), reference.stages[-1])
    return replace(reference, stages=stages)


class _Controls:
    """Measures a control after the other on the same prompts."""

    def __init__(self, opened: Opened, tokens: np.ndarray[Any, Any], progress: Progress) -> None:
        self.store = WeightStore(opened.files)
        self._opened, self._tokens, self._progress = opened, tokens, progress
        self._before = program_costs(opened.reference, self.store, tokens.shape[1])

    def point(self, called: str, kind: Literal["rounding", "identity"], program: Program, store: WeightStore) -> Point:
        """The point of a control.

        Raises:
            Refusal: ``measure.*`` where it cannot be measured.
        """
        reference, thresholds = self._opened.reference, default_thresholds()
        rows, length = self._tokens.shape
        shape = EvidenceShape(reference.blocks, rows, 0, len(thresholds.relative), len(thresholds.loss))
        settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
        pair = Pair(reference, program, same_stages(reference, program), store)

        def tick(task: str, done: int, total: int) -> None:
            self._progress(f"{task} {called}", done, total)

        device = self._opened.job.device
        measured = evidence_columns(pair, self._tokens, settings, device=device, attribution=0, progress=tick)
        table = EvidenceTable(shape, {name: values.ravel().tolist() for name, values in measured.items()})
        terms = ClaimTerms(
            length=length,
            same=pair.same,
            thresholds=thresholds,
            windows=self._opened.population.windows - self._opened.job.calibration,
            alpha="0.05",
            predicates=default_predicates(thresholds),
            lipschitz=(None,) * shape.stages,
            strata=None,
        )
        kept = Kept(self._before, program_costs(program, store, length))
        return point(called, kind, summarise(table, terms), kept, rows)
