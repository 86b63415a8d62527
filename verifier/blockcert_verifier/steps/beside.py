"""The verifier's own rows beside a certificate's claims: counts, exact bounds, and disagreement beyond chance.

Normative text: ``spec/10-verification.md``, "Fresh prompts" (BC-VER-21, 22). Every decision is one of integers and
fractions; numpy only carries the measured cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.claims import ClaimTerms, exact_sum, successes
from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import exact, parse_decimal, round_nearest, round_up
from blockcert.statement import Claims
from blockcert.statistics import (
    exceedance_probability,
    fisher_disagreement,
    level_of_each,
    population_bound,
    population_upper_bound,
)
from blockcert_verifier.fresh_report import FreshMaximum, FreshPredicate
from blockcert_verifier.measure import Cells, Measured
from blockcert_verifier.steps.consequences import predicate_name

__all__ = ["COLUMNS", "Own", "gather", "maxima", "mean", "predicates", "tests"]

Host: TypeAlias = np.ndarray[Any, Any]
_CRASHES = (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)

COLUMNS = (
    "error",
    "relative_error",
    "covered",
    "drift",
    "relative_drift",
    "logit_difference",
    "top1_agree",
    "loss_difference",
    "kl_sum",
    "kl_max",
)
"""What the comparison reads; a control that overflows does not spoil a row."""
_Name = Literal["error", "relative_error", "drift", "relative_drift", "logit_difference", "kl_max"]


class Own(Struct, frozen=True):
    """Measured rows: how many there are, how many decide nothing or are not finite, and the cells of the others.

    ``table`` holds the finite rows, ``cells`` every resolved one.
    """

    rows: int
    unresolved: int
    not_finite: int
    table: EvidenceTable
    cells: dict[str, Cells]


def gather(tokens: Host, measure_rows: Callable[[Host], Measured], shape: EvidenceShape) -> Own:
    """The rows of ``tokens``, rows x T, measured; rows that this machine cannot measure are unresolved.

    ``shape`` gives the certificate's blocks and thresholds.

    Raises:
        Refusal: where a program or a weight file is at fault, so that no row can be measured.
    """
    parts, rows = _parts(tokens, measure_rows)
    resolved: dict[str, list[Cells]] = {name: [] for name in COLUMNS}
    for measured, count in parts:
        kept = np.setdiff1d(np.arange(count), [one.row for one in measured.unresolved])
        for name in COLUMNS:
            cells = measured[name]
            resolved[name].append(Cells(cells.value[kept], cells.low[kept], cells.high[kept]))
    if not parts:
        return Own(rows, rows, 0, _table({}, shape, 0), {})
    cells = {name: Cells.concatenate(found) for name, found in resolved.items()}
    count = len(cells["kl_sum"].value)
    finite = np.ones(count, dtype=bool)
    for column in cells.values():
        finite &= np.isfinite(column.value).all(axis=tuple(range(1, column.value.ndim)))
    values = {name: column.value[finite] for name, column in cells.items()}
    return Own(rows, rows - count, int(count - finite.sum()), _table(values, shape, int(finite.sum())), cells)


def _parts(tokens: Host, measure_rows: Callable[[Host], Measured]) -> tuple[list[tuple[Measured, int]], int]:
    """What was measured, with how many rows each, and how many rows count."""
    try:
        whole = measure_rows(tokens)
    except Refusal:
        raise
    except _CRASHES:
        # one at a time needs the least memory; what fails even so is left undecided, since nobody recorded it
        parts: list[tuple[Measured, int]] = []
        for row in range(len(tokens)):
            try:
                parts.append((measure_rows(tokens[row : row + 1]), 1))
            except Refusal:
                raise
            except _CRASHES:
                continue
        return parts, len(tokens)
    # fewer than asked where measuring was stopped: they are in the order drawn, and the first of them are a draw too
    rows = len(whole["kl_sum"].value)
    return [(whole, rows)], rows


def _table(values: dict[str, Host], shape: EvidenceShape, rows: int) -> EvidenceTable:
    sizes = EvidenceShape(shape.blocks, rows, 0, shape.relative_thresholds, shape.loss_thresholds)
    return EvidenceTable(sizes, {name: column.ravel().tolist() for name, column in values.items()})


def tests(claims: Claims) -> int:
    """How many tests of disagreement a comparison makes: the predicates and the maxima that can differ from 0."""
    return len(claims.population.claims) + sum(1 for _ in _stated(claims))


def predicates(
    claims: Claims, terms: ClaimTerms, own: Own, windows: int, beta: Fraction, *, of_frame: bool
) -> tuple[FreshPredicate, ...]:
    """Each population predicate on the verifier's own rows, drawn from ``windows``; jointly at ``1 - beta``.

    ``of_frame`` says that these windows and the listed ones together are the certificate's population. A row that is
    not resolved is no success for a bound from below, and one for a bound from above.
    """
    found: list[FreshPredicate] = []
    population, level = claims.population, level_of_each(beta, tests(claims))
    for claim in population.claims:
        count = successes(own.table, terms, claim.predicate) if own.table.shape.rows else 0
        bound = level_of_each(beta, len(population.claims))
        least = population_bound(windows, own.rows, count, bound)
        most = population_upper_bound(windows, own.rows, count + own.unresolved, bound)
        probability = fisher_disagreement(population.trials, claim.successes, own.rows, count)
        found.append(
            FreshPredicate(
                claim=predicate_name(claim.predicate),
                stated_successes=claim.successes,
                stated_trials=population.trials,
                stated_at_least=claim.at_least,
                successes=count,
                at_least=least,
                at_least_all=claim.successes + least if of_frame else None,
                at_most_all=claim.successes + most if of_frame else None,
                probability=round_up(probability, digits=3),
                differs=probability <= level,
            )
        )
    return tuple(found)


def maxima(claims: Claims, own: Own, listed: int, beta: Fraction) -> tuple[FreshMaximum, ...]:
    """Each stated maximum of the ``listed`` prompts beside the verifier's own rows; jointly at ``1 - beta``.

    A row lies above a maximum where its whole bracket does, or where its value is not finite.
    """
    level = level_of_each(beta, tests(claims))
    found: list[FreshMaximum] = []
    for name, stage, stated in _stated(claims):
        largest, above = _above(own, name, stage, stated)
        probability = exceedance_probability(listed, own.rows, above)
        found.append(
            FreshMaximum(
                name=name,
                stage=stage if name in ("error", "relative_error") else None,
                stated=stated,
                largest=largest,
                exceedances=above,
                probability=round_up(probability, digits=3),
                differs=probability <= level,
            )
        )
    return tuple(found)


def _stated(claims: Claims) -> Iterator[tuple[_Name, int | None, str]]:
    """The maxima that a certificate states, but for stages that are one program on both sides."""
    for stage in claims.stages:
        if not stage.same_program:
            yield "error", stage.index, stage.error
            yield "relative_error", stage.index, stage.relative_error
    last = len(claims.stages) - 2
    yield "drift", last, claims.end_to_end.drift
    yield "relative_drift", last, claims.end_to_end.relative_drift
    yield "logit_difference", None, claims.end_to_end.logit_difference
    yield "kl_max", None, claims.end_to_end.kl_max


def _above(own: Own, name: _Name, stage: int | None, stated: str) -> tuple[str | None, int]:
    """The largest finite value of a column, rounded up, and how many rows lie above ``stated``."""
    if not own.cells:
        return None, 0
    cells = own.cells[name]
    value, low = (cells.value, cells.low) if stage is None else (cells.value[:, stage], cells.low[:, stage])
    finite = np.isfinite(value)
    limit = parse_decimal(stated)
    # only what comes near is compared exactly
    near = low[finite & (low >= 0.999 * float(limit))].tolist()
    above = int((~finite).sum()) + sum(exact(cell) > limit for cell in near)
    return (round_up(exact(float(value[finite].max()))) if finite.any() else None), above


def mean(own: Own, column: str, length: int) -> str | None:
    """The mean per position of a summed column over the finite rows; None without any."""
    cells: Sequence[float] = own.table.flat(column) if own.table.shape.rows else ()
    return round_nearest(exact_sum(cells) / (len(cells) * (length - 1))) if cells else None
