"""Fidelity: the reference program against the software that runs the checkpoint, on the rows that were replayed.

Normative text: ``spec/10-verification.md``, BC-VER-27 and 28. torch and transformers are imported when it is asked for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockcert.errors import Refusal
from blockcert.file_range import Source, check_unchanged
from blockcert.findings import Finding
from blockcert.numbers import parse_decimal, round_up
from blockcert.program import Program
from blockcert.statement import Statement
from blockcert.wellformed import REFERENCE_PREFIX
from blockcert_verifier.locate import Located
from blockcert_verifier.report import FidelityCheck
from blockcert_verifier.steps.outcome import failed, from_refusal, inconclusive, passed, skipped
from blockcert_verifier.steps.plan import Look

if TYPE_CHECKING:
    from blockcert_verifier.fidelity import Compared

__all__ = ["MOST_ROWS", "fidelity", "not_run"]

MOST_ROWS = 16
"""Rows that are measured again at most: both sides hold their whole model in memory."""
PLACE = "reference program"
FACTOR = 4
"""How much more than the stated figure another build of the same software may give."""
ROUNDING = Fraction(1, 10**5)
"""Of the largest logit: what float32 rounding moves, whatever was stated."""
UNSTATED = Fraction(1, 10**3)
"""The same where nothing was stated."""


def not_run(why: str) -> Finding:
    """The finding that there was nothing to measure fidelity with."""
    return skipped("replay", "fidelity.not_run", PLACE, why)


def fidelity(
    statement: Statement,
    program: Program,
    weights: Mapping[str, Source],
    located: Located,
    tokens: Sequence[Sequence[int]],
    look: Look = lambda: None,
) -> tuple[FidelityCheck | None, list[Finding]]:
    """What ``transformers`` gives on some prompts beside the reference program, and whether rounding explains it.

    ``weights`` says where the program's files are, ``located`` those of the checkpoint's, compared already.

    Raises:
        Refusal: ``install.produce`` where torch or transformers is missing, and what ``look`` raises, which is called
            before anything is evaluated.
    """
    from blockcert_verifier.fidelity import not_run_by, software

    try:
        with tempfile.TemporaryDirectory() as scratch:
            # nothing but the files that were signed: whatever else lies beside them is not read
            folder = _signed_files(statement, located, Path(scratch))
            compared = _compare(folder, program, weights, tokens, look)
            # the other software opens the files itself
            for subject in statement.subject:
                if subject.name.startswith(REFERENCE_PREFIX):
                    check_unchanged(located.source(subject.name), subject.name)
    except Refusal as refusal:
        if refusal.code.startswith("install.") or refusal.code == "limit.seconds":
            raise
        if refusal.code == "bundle.changed":
            return None, [from_refusal("replay", refusal)]
        return None, [inconclusive("replay", "fidelity.not_run", PLACE, refusal.sentence)]
    except Exception as fault:  # whatever the other software makes of this checkpoint
        return None, [inconclusive("replay", "fidelity.not_run", PLACE, not_run_by(fault))]
    stated = statement.predicate.reference.fidelity
    limit = UNSTATED * compared.largest
    if stated is not None:
        limit = FACTOR * parse_decimal(stated.max_logit_difference) + ROUNDING * compared.largest
    check = FidelityCheck(
        against=software("float32"),
        rows=len(tokens),
        stated=None if stated is None else stated.max_logit_difference,
        max_logit_difference=round_up(compared.difference),
        largest_logit=round_up(compared.largest),
        limit=round_up(limit),
    )
    return check, [_finding(check, compared, within=compared.difference <= limit)]


def _finding(check: FidelityCheck, compared: Compared, *, within: bool) -> Finding:
    seen = compared.words(check.rows)
    if compared.gross:
        return failed("replay", "fidelity.mismatch", PLACE, seen)
    if within:
        return passed("replay", "fidelity.measured", PLACE, f"{seen}; an estimate of rounding, not a proof")
    said = "and nothing is stated of it" if check.stated is None else f"and {check.stated} is stated"
    return inconclusive("replay", "fidelity.larger", PLACE, f"{seen}, {said}; up to {check.limit} would be rounding")


def _signed_files(statement: Statement, located: Located, scratch: Path) -> Path:
    for subject in statement.subject:
        if subject.name.startswith(REFERENCE_PREFIX):
            link = scratch / subject.name.removeprefix(REFERENCE_PREFIX)
            link.parent.mkdir(parents=True, exist_ok=True)
            source = located.source(subject.name)
            link.symlink_to(source.resolve() if isinstance(source, Path) else source.path)
    return scratch


def _compare(
    folder: Path,
    program: Program,
    weights: Mapping[str, Source],
    tokens: Sequence[Sequence[int]],
    look: Look,
) -> Compared:
    import numpy as np

    from blockcert_verifier.evaluate import Backend, WeightStore, logits
    from blockcert_verifier.fidelity import compare_program

    store, backend = WeightStore(dict(weights)), Backend("cpu")

    def evaluate(one: Program, part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        look()
        return logits(one, store, part, backend)

    look()
    return compare_program(folder, program, np.array(tokens, dtype=np.int64), evaluate)
