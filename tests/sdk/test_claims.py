"""Claims against a plain recomputation with fractions, row by row.

Requirements: BC-CLM-01, 02.
"""

from __future__ import annotations

import math
import random
from array import array
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from blockcert.claims import ClaimTerms, exact_sum, summarise
from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import parse_decimal
from blockcert.predicates import satisfied
from blockcert.statement import Lipschitz, PopulationPredicate, Thresholds

SHAPE = EvidenceShape(blocks=2, rows=5, attribution_rows=3, relative_thresholds=2, loss_thresholds=1)
THRESHOLDS = Thresholds(relative=("0.01", "0.05"), loss=("0.01",), post_hoc=False)
PREDICATES = (
    PopulationPredicate("covered", "0.95", "0.05"),
    PopulationPredicate("top1", "0.5", None),
    PopulationPredicate("kl", None, "0.01"),
    PopulationPredicate("loss_difference", None, "0.1"),
    PopulationPredicate("logit_difference", None, "2"),
)
LENGTH = 8
TERMS = ClaimTerms(
    length=LENGTH,
    same=(True, False, False, True),
    thresholds=THRESHOLDS,
    windows=1000,
    alpha="0.05",
    predicates=PREDICATES,
    lipschitz=(None,) * 4,
    strata=None,
)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


EDGES = (0.0, 5e-324, 1e-300, 1e-30, 0.07, 0.5, 1.0, 2.0, 1e6)


def table_of(source: random.Random) -> EvidenceTable:
    """A table of random cells, edge values among them; a row of cells costs Hypothesis far more than a seed."""

    def norm() -> float:
        return source.choice(EDGES) if source.random() < 0.3 else source.random() * 10 ** source.randint(-6, 6)

    cells = {}
    for column in columns(SHAPE):
        size = _size(column.shape)
        if column.dtype == "I64":
            cells[column.name] = array("q", [source.randint(0, LENGTH) for _ in range(size)])
        else:
            sign = source.choice((-1, 1)) if column.name == "loss_difference" else 1
            cells[column.name] = array("d", [sign * norm() for _ in range(size)])
    return EvidenceTable(SHAPE, cells)


def tables() -> st.SearchStrategy[EvidenceTable]:
    return st.integers(0, 2**32).map(lambda seed: table_of(random.Random(seed)))


def cell(table: EvidenceTable, name: str, *index: int) -> Fraction:
    shape = {c.name: c.shape for c in columns(table.shape)}[name]
    flat = 0
    for size, i in zip(shape, index, strict=True):
        flat = flat * size + i
    return Fraction(table.flat(name)[flat])


def is_rounded_up(text: str, value: Fraction) -> bool:
    """At least the value, above it by at most one unit of the sixth significant digit or of the 30th decimal."""
    bound = parse_decimal(text)
    return value <= bound <= max(value * (1 + Fraction(1, 10**5)), value + Fraction(1, 10**30))


@given(tables())
def test_stage_claims(table: EvidenceTable) -> None:
    claims = summarise(table, TERMS)
    rows = range(SHAPE.rows)
    for i, stage in enumerate(claims.stages):
        error = max(cell(table, "error", p, i) for p in rows)
        assert is_rounded_up(stage.error, error)
        assert error > 0 or TERMS.same[i] or stage.error == "0." + "0" * 29 + "1"
        assert is_rounded_up(stage.relative_error, max(cell(table, "relative_error", p, i) for p in rows))
        assert stage.covered == tuple(sum(int(cell(table, "covered", p, i, r)) for p in rows) for r in range(2))
        assert stage.tokens == 5 * LENGTH
        assert stage.loss_covered == (sum(int(cell(table, "attribution.loss_within", p, i, 0)) for p in range(3)),)
        assert stage.loss_tokens == 3 * (LENGTH - 1)
        if 1 <= i <= 2:
            update = max(cell(table, "relative_update_error", p, i - 1) for p in rows)
            assert stage.relative_update_error is not None
            assert is_rounded_up(stage.relative_update_error, update)
        else:
            assert stage.relative_update_error is None


@given(tables())
def test_telescoping_and_when_it_is_vacuous(table: EvidenceTable) -> None:
    (claim,) = summarise(table, TERMS).composition
    bound = max(sum(cell(table, "attribution.hybrid_step", p, i) for i in range(3)) for p in range(3))
    measured = max(cell(table, "drift", p, 2) for p in range(3))
    assert is_rounded_up(claim.bound, bound)
    assert is_rounded_up(claim.measured, measured)
    assert (claim.ratio is None) == (measured == 0 or bound / measured > 10**30)
    median = sorted(cell(table, "final_norm", p) for p in range(5))[2]
    identity = max(cell(table, "identity.drift", p, 2) for p in range(5))
    assert claim.vacuous == (bound >= median or bound >= identity)


@given(tables())
def test_lipschitz_composition_uses_the_printed_constants(table: EvidenceTable) -> None:
    constants = (None, Lipschitz("1.5", "all-inputs", "proof"), Lipschitz("2", "listed-prompts", "estimate"), None)
    terms = ClaimTerms(LENGTH, TERMS.same, THRESHOLDS, 1000, "0.05", PREDICATES, constants, None)
    e0, e1, e2 = (parse_decimal(summarise(table, TERMS).stages[i].error) for i in range(3))
    bound = (e0 * Fraction(3, 2) + e1) * 2 + e2
    if bound < max(cell(table, "drift", p, 2) for p in range(5)):
        # the measured drift refutes the constants
        with pytest.raises(Refusal, match=r"composition\.below_measured"):
            summarise(table, terms)
        return
    claim = summarise(table, terms).composition[0]
    assert is_rounded_up(claim.bound, bound)
    assert (claim.method, claim.basis, claim.scope) == ("lipschitz", "estimate", "listed-prompts")


def plain_table(shape: EvidenceShape, **given: list[float]) -> EvidenceTable:
    """A table of zeros but for these columns."""
    cells = {c.name: array("q" if c.dtype == "I64" else "d", [0] * _size(c.shape)) for c in columns(shape)}
    return EvidenceTable(shape, cells | {name.replace("__", "."): array("d", values) for name, values in given.items()})


@pytest.mark.parametrize(("step", "drift", "vacuous"), [(1.0, 9.0, True), (0.9999, 9.0, False), (0.5, 1.5, True)])
def test_a_bound_that_reaches_the_lower_median_or_the_control_is_vacuous(
    step: float, drift: float, vacuous: bool
) -> None:
    """BC-CLM-06: of an even number of rows the lower of the two in the middle; equality says as little as more does."""
    shape = EvidenceShape(blocks=1, rows=4, attribution_rows=1, relative_thresholds=2, loss_thresholds=1)
    terms = replace(TERMS, same=(False,) * 3, lipschitz=(None,) * 3)
    table = plain_table(
        shape,
        final_norm=[4.0, 2.0, 3.0, 1.0],
        identity__drift=[0.0, drift, 0.0] * 4,
        attribution__hybrid_step=[step, 1.0],
    )
    (claim,) = summarise(table, terms).composition
    assert claim.vacuous is vacuous
    # the same bound, 2 or less, composed of a constant
    constants = (None, Lipschitz("1", "all-inputs", "proof"), None)
    errors = plain_table(
        shape,
        final_norm=[4.0, 2.0, 3.0, 1.0],
        identity__drift=[0.0, drift, 0.0] * 4,
        error=[step, 1.0, 0.0] * 4,
        drift=[0.0, 0.5, 0.0] * 4,
    )
    assert summarise(errors, replace(terms, lipschitz=constants)).composition[0].vacuous is vacuous


def test_a_composed_bound_that_is_just_what_was_measured_refutes_no_constant() -> None:
    shape = EvidenceShape(blocks=1, rows=1, attribution_rows=0, relative_thresholds=2, loss_thresholds=1)
    constants = (None, Lipschitz("2", "all-inputs", "proof"), None)
    terms = replace(TERMS, same=(False,) * 3, lipschitz=constants)
    for drift, refused in ((2.5, False), (2.5000001, True)):
        table = plain_table(shape, error=[0.5, 1.5, 0.0], drift=[0.0, drift, 0.0], final_norm=[9.0])
        if refused:
            with pytest.raises(Refusal, match=r"composition\.below_measured"):
                summarise(table, terms)
        else:
            assert summarise(table, terms).composition[0].bound == "2.5"


@pytest.mark.parametrize(
    ("kind", "threshold", "column", "just"),
    [
        ("kl", "0.5", "kl_sum", 3.5),
        ("loss_difference", "0.5", "loss_difference", 3.5),
        ("loss_difference", "0.5", "loss_difference", -3.5),
        ("logit_difference", "0.5", "logit_difference", 0.5),
    ],
)
def test_a_predicate_is_satisfied_up_to_its_very_threshold(kind: Any, threshold: str, column: str, just: float) -> None:
    shape = EvidenceShape(blocks=1, rows=2, attribution_rows=0, relative_thresholds=2, loss_thresholds=1)
    more = math.nextafter(just, just * 2)
    table = plain_table(shape, **{column: [just, more]})
    found = satisfied(table, LENGTH, THRESHOLDS, PopulationPredicate(kind, None, threshold))
    assert found == (True, False)


def test_a_constant_of_another_scope_is_not_composed() -> None:
    cells = {c.name: array("q" if c.dtype == "I64" else "d", [0] * _size(c.shape)) for c in columns(SHAPE)}
    constants = (None, *(Lipschitz("1", "population", "proof"),) * 2, None)
    with pytest.raises(Refusal) as refusal:
        summarise(
            EvidenceTable(SHAPE, cells),
            ClaimTerms(LENGTH, TERMS.same, THRESHOLDS, 1000, "0.05", PREDICATES, constants, None),
        )
    assert refusal.value.code.startswith(("claims.", "composition."))


@given(tables())
def test_end_to_end_means_are_exact_sums_rounded_once(table: EvidenceTable) -> None:
    end = summarise(table, TERMS).end_to_end
    positions = 5 * (LENGTH - 1)
    for name, text in (
        ("loss_reference", end.loss_reference),
        ("loss_difference", end.loss_difference),
        ("kl_sum", end.kl_mean),
    ):
        mean = sum(cell(table, name, p) for p in range(5)) / positions
        assert abs(parse_decimal(text) - mean) <= Fraction(1, 2 * 10**9)
    assert end.loss_tokens == positions
    assert is_rounded_up(end.logit_difference, max(cell(table, "logit_difference", p) for p in range(5)))


@given(tables())
def test_population_successes(table: EvidenceTable) -> None:
    population = summarise(table, TERMS).population
    covered, top1, kl, loss, logits = (claim.successes for claim in population.claims)
    rows = range(5)
    assert covered == sum(all(cell(table, "covered", p, i, 1) >= Fraction(95, 100) * 8 for i in (1, 2)) for p in rows)
    assert top1 == sum(cell(table, "top1_agree", p) >= 4 for p in rows)
    assert kl == sum(cell(table, "kl_sum", p) <= Fraction(7, 100) for p in rows)
    assert loss == sum(abs(cell(table, "loss_difference", p)) <= Fraction(7, 10) for p in rows)
    assert logits == sum(cell(table, "logit_difference", p) <= 2 for p in rows)
    assert (population.windows, population.trials, population.alpha) == (1000, 5, "0.05")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=50))
def test_sums_are_exact(values: list[float]) -> None:
    assert exact_sum(values) == sum((Fraction(v) for v in values), Fraction(0))


BAD_PREDICATES = {
    "a threshold that is not counted": PopulationPredicate("covered", "0.95", "0.02"),
    "covered without a share": PopulationPredicate("covered", None, "0.05"),
    "top1 with a threshold": PopulationPredicate("top1", "0.95", "0.05"),
    "kl without a threshold": PopulationPredicate("kl", None, None),
}


@pytest.mark.parametrize("predicate", BAD_PREDICATES.values(), ids=BAD_PREDICATES)
def test_predicates_outside_the_spec_are_refused(predicate: PopulationPredicate) -> None:
    cells = {c.name: array("q" if c.dtype == "I64" else "d", [0] * _size(c.shape)) for c in columns(SHAPE)}
    terms = ClaimTerms(LENGTH, TERMS.same, THRESHOLDS, 1000, "0.05", (predicate,), TERMS.lipschitz, None)
    with pytest.raises(Refusal) as refusal:
        summarise(EvidenceTable(SHAPE, cells), terms)
    assert refusal.value.code in ("claims.threshold", "claims.predicate")
