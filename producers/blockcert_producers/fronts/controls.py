"""The controls of a front: the identity and plain rounding, measured as certificates are."""

from __future__ import annotations

from typing import Any

import numpy as np

from blockcert.claims import ClaimTerms, summarise
from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape
from blockcert.evidence_file import EvidenceTable
from blockcert.same_program import same_stages
from blockcert.statement import Kept
from blockcert_producers.bundling import Opened
from blockcert_producers.certify.measuring import evidence_columns
from blockcert_producers.certify.terms import default_predicates, default_thresholds
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.rounding import rounded
from blockcert_producers.fronts.table import Point, identity, point
from blockcert_producers.progress import Progress
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair, Settings

__all__ = ["ROUNDINGS", "measure_controls"]

ROUNDINGS: dict[Format, str] = {form: f"plain {form}" for form in ("bfloat16", "int8", "int6", "int4")}
"""Formats to which every map is rounded to the nearest value, and what a front calls that; integers scale each row."""


def measure_controls(opened: Opened, tokens: np.ndarray[Any, Any], progress: Progress) -> tuple[Point, ...]:
    """Plain rounding and the identity on ``tokens``, rows x T.

    A format in which the model overflows is left out.
    """
    thresholds = default_thresholds()
    settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
    store, (rows, length) = WeightStore(opened.files), tokens.shape
    shape = EvidenceShape(opened.reference.blocks, rows, 0, len(thresholds.relative), len(thresholds.loss))
    before = program_costs(opened.reference, store, length)
    found: list[Point] = []
    nothing: list[Point] = []
    for form, called in ROUNDINGS.items():
        program, memory = rounded(opened.reference, store, form)
        pair = Pair(opened.reference, program, same_stages(opened.reference, program), memory)

        def tick(task: str, done: int, total: int, name: str = called) -> None:
            progress(f"{task} {name}", done, total)

        try:
            measured = evidence_columns(pair, tokens, settings, device=opened.job.device, attribution=0, progress=tick)
        except Refusal as refusal:
            if refusal.code.startswith("measure."):
                continue
            raise
        table = EvidenceTable(shape, {name: values.ravel().tolist() for name, values in measured.items()})
        terms = ClaimTerms(
            length=length,
            same=pair.same,
            thresholds=thresholds,
            windows=opened.population.windows - opened.job.calibration,
            alpha="0.05",
            predicates=default_predicates(thresholds),
            lipschitz=(None,) * shape.stages,
            strata=None,
        )
        claims, kept = summarise(table, terms), Kept(before, program_costs(program, memory, length))
        found.append(point(called, "rounding", claims, kept, rows))
        nothing = [identity(claims, kept, rows)]  # the same whatever it stood beside
    return (*found, *nothing)
