"""Claims from evidence: exact arithmetic, so that a claim can be recomputed to its last digit.

The normative text is ``spec/08-claims.md``. Nothing here measures; nothing here is a float: cells are taken as the
rational numbers they are, summed exactly, and rounded once by the spec's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from msgspec import Struct

from blockcert.composition import lipschitz_bound, telescoping_bound, weakest_basis
from blockcert.enclosures import enclosure_claims
from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import exact, parse_decimal, round_bound, round_down_share, round_nearest, round_up
from blockcert.predicates import satisfied
from blockcert.statement import (
    Claims,
    CompositionClaim,
    Control,
    EndToEnd,
    Float32Floor,
    IdentityControl,
    Lipschitz,
    Population,
    PopulationClaim,
    PopulationPredicate,
    StageClaim,
    Stratum,
    Thresholds,
)
from blockcert.statistics import level_of_each, population_bound
from blockcert.strata import Strata

__all__ = ["ClaimTerms", "exact_sum", "stratum_bounds", "successes", "summarise"]


LARGEST_RATIO = 10**30
"""A ratio above it says nothing and is stated as null."""


class ClaimTerms(Struct, frozen=True):
    """What the claims depend on beside the evidence.

    ``length`` is ``T``; ``same[i]`` says that stage ``i`` is one program on both sides; ``windows`` counts the frame's
    windows not used for calibration; ``lipschitz`` has one entry per stage; ``strata`` are the corpus files where there
    are several, else None.
    """

    length: int
    same: tuple[bool, ...]
    thresholds: Thresholds
    windows: int
    alpha: str
    predicates: tuple[PopulationPredicate, ...]
    lipschitz: tuple[Lipschitz | None, ...]
    strata: Strata | None


def exact_sum(values: Sequence[float]) -> Fraction:
    """The exact sum of float64 cells."""
    total = 0
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        # every finite float64 is an integer times 2^-1074
        total += numerator << (1075 - denominator.bit_length())
    return Fraction(total, 1 << 1074)


def _largest(values: Sequence[float]) -> Fraction:
    return exact(max(values))


def _lower_median(values: Sequence[float]) -> Fraction:
    return exact(sorted(values)[(len(values) - 1) // 2])


def _total(values: Sequence[float]) -> int:
    return sum(int(value) for value in values)


def summarise(table: EvidenceTable, terms: ClaimTerms) -> Claims:
    """Every claim that the evidence supports, exactly as a certificate must state it.

    Raises:
        Refusal: ``claims.threshold`` where a population predicate names a threshold that the evidence does not count,
            ``composition.below_measured`` where Lipschitz constants are refuted by what was measured,
            ``number.not_decimal`` where a value is too large to be stated.
    """
    stages = tuple(_stage(table, terms, index) for index in range(table.shape.stages))
    return Claims(
        stages=stages,
        composition=_composition(table, terms, stages),
        end_to_end=_end_to_end(table, terms),
        population=_population(table, terms),
        control=_control(table),
        enclosures=enclosure_claims(table, terms.length, terms.same),
    )


def _stage(table: EvidenceTable, terms: ClaimTerms, index: int) -> StageClaim:
    shape, same = table.shape, terms.same[index]
    block = 1 <= index <= shape.blocks
    update = _largest(table.at("relative_update_error", index - 1)) if block else None
    attributed = bool(shape.attribution_rows)
    return StageClaim(
        index=index,
        same_program=same,
        error=round_bound(_largest(table.at("error", index)), same),
        relative_error=round_bound(_largest(table.at("relative_error", index)), same),
        relative_update_error=None if update is None else round_bound(update, same),
        tokens=shape.rows * terms.length,
        covered=tuple(_total(table.at("covered", index, r)) for r in range(shape.relative_thresholds)),
        loss_tokens=shape.attribution_rows * (terms.length - 1) if attributed else None,
        loss_covered=tuple(_total(table.at("attribution.loss_within", index, q)) for q in range(shape.loss_thresholds))
        if attributed
        else None,
        lipschitz=terms.lipschitz[index],
        scope="listed-prompts",
        basis="measurement",
    )


def _composition(
    table: EvidenceTable, terms: ClaimTerms, stages: tuple[StageClaim, ...]
) -> tuple[CompositionClaim, ...]:
    n, rows = table.shape.blocks, table.shape.attribution_rows
    drift = table.at("drift", n)
    # a bound that reaches the size of the hidden state itself, or what removing every block does, says nothing
    limit = min(_lower_median(table.flat("final_norm")), _largest(table.at("identity.drift", n)))
    same = all(terms.same[: n + 1])
    found: list[CompositionClaim] = []

    constants = [lipschitz for lipschitz in terms.lipschitz[1 : n + 1] if lipschitz is not None]
    if len(constants) == n:
        errors = [parse_decimal(stage.error) for stage in stages[: n + 1]]
        bound = lipschitz_bound(errors, [parse_decimal(lipschitz.constant) for lipschitz in constants])
        basis = weakest_basis(["measurement", *(lipschitz.basis for lipschitz in constants)])
        for lipschitz in constants:
            if lipschitz.scope not in ("all-inputs", "listed-prompts"):
                raise Refusal(
                    "claims.scope",
                    "claims.composition",
                    f"{lipschitz.scope} cannot be composed with listed-prompts",
                )
        measured = _largest(drift)
        if bound < measured:
            raise Refusal(
                "composition.below_measured",
                "claims.composition",
                f"the constants bound the drift by {round_up(bound)}, and {round_up(measured)} was measured",
            )
        found.append(
            CompositionClaim(
                method="lipschitz",
                bound=round_bound(bound, same),
                measured=round_bound(measured, same),
                ratio=_ratio(bound, measured),
                rows=table.shape.rows,
                vacuous=bound >= limit,
                scope="listed-prompts",
                basis=basis,
            )
        )
    if rows:
        bound = telescoping_bound(_steps(table, n + 1))
        measured = _largest(drift[:rows])
        found.append(
            CompositionClaim(
                method="telescoping",
                bound=round_bound(bound, same),
                measured=round_bound(measured, same),
                ratio=_ratio(bound, measured),
                rows=rows,
                vacuous=bound >= limit,
                scope="listed-prompts",
                basis="measurement",
            )
        )
    return tuple(found)


def _steps(table: EvidenceTable, stages: int) -> Iterator[list[Fraction]]:
    """The distances of neighbouring hybrids, row by row."""
    steps = table.flat("attribution.hybrid_step")
    for begin in range(0, len(steps), stages):
        table.look()
        yield [exact(distance) for distance in steps[begin : begin + stages]]


def _ratio(bound: Fraction, measured: Fraction) -> str | None:
    """Bound over measured; ``None`` where that is undefined or has more digits than a decimal string may."""
    if not measured or bound / measured > LARGEST_RATIO:
        return None
    return round_up(bound / measured)


def _end_to_end(table: EvidenceTable, terms: ClaimTerms) -> EndToEnd:
    n, rows = table.shape.blocks, table.shape.rows
    positions = rows * (terms.length - 1)
    same, same_hidden = all(terms.same), all(terms.same[: n + 1])

    def mean(name: str) -> str:
        return round_nearest(exact_sum(table.flat(name)) / positions)

    return EndToEnd(
        drift=round_bound(_largest(table.at("drift", n)), same_hidden),
        relative_drift=round_bound(_largest(table.at("relative_drift", n)), same_hidden),
        logit_difference=round_bound(_largest(table.flat("logit_difference")), same),
        tokens=rows * terms.length,
        top1_agree=_total(table.flat("top1_agree")),
        decided=_total(table.flat("decided")),
        loss_tokens=positions,
        loss_reference=mean("loss_reference"),
        loss_surrogate=mean("loss_surrogate"),
        loss_difference=mean("loss_difference"),
        loss_within=tuple(_total(table.at("loss_within", q)) for q in range(table.shape.loss_thresholds)),
        kl_mean=mean("kl_sum"),
        kl_max=round_bound(_largest(table.flat("kl_max")), same),
        scope="listed-prompts",
        basis="measurement",
    )


def successes(table: EvidenceTable, terms: ClaimTerms, predicate: PopulationPredicate) -> int:
    """How many of the listed prompts satisfy a predicate; comparisons are exact.

    Raises:
        Refusal: ``claims.threshold`` and ``claims.predicate`` where the predicate is not one of the spec's.
    """
    return sum(satisfied(table, terms.length, terms.thresholds, predicate))


def _population(table: EvidenceTable, terms: ClaimTerms) -> Population:
    alpha = parse_decimal(terms.alpha)
    trials, windows = table.shape.rows, terms.windows
    claims: list[PopulationClaim] = []
    held: list[tuple[bool, ...]] = []
    for predicate in terms.predicates:
        rows = satisfied(table, terms.length, terms.thresholds, predicate)
        count = sum(rows)
        at_least = population_bound(windows, trials, count, level_of_each(alpha, len(terms.predicates)))
        share = round_down_share(Fraction(at_least, windows))
        claims.append(PopulationClaim(predicate, count, at_least, share))
        held.append(rows)
    return Population(
        windows=windows,
        trials=trials,
        alpha=terms.alpha,
        claims=tuple(claims),
        strata=None if terms.strata is None else _strata(terms.strata, held, alpha, table.look),
        scope="population",
        basis="measurement",
    )


def _strata(
    strata: Strata, held: Sequence[tuple[bool, ...]], alpha: Fraction, look: Callable[[], None]
) -> tuple[Stratum, ...]:
    """Bounds for each stratum; ``held[k][p]`` says that row ``p`` satisfies predicate ``k``."""
    rows_of: list[list[int]] = [[] for _ in strata.windows]
    for row, h in enumerate(strata.of_row):
        rows_of[h].append(row)
    found: list[Stratum] = []
    for windows, rows in zip(strata.windows, rows_of, strict=True):
        look()
        counts = tuple(sum(held_by[row] for row in rows) for held_by in held)
        bounds = stratum_bounds(windows, len(rows), counts, len(rows_of), alpha)
        found.append(Stratum(windows=windows, trials=len(rows), successes=counts, at_least=bounds))
    return tuple(found)


def stratum_bounds(windows: int, trials: int, counts: Sequence[int], strata: int, alpha: Fraction) -> tuple[int, ...]:
    """For each predicate how many of a stratum's ``windows`` satisfy it, from ``counts`` of ``trials`` listed ones.

    ``alpha`` is divided over all predicates of all ``strata``. A stratum without windows has nothing to bound.
    """
    if not windows or not counts:
        return (0,) * len(counts)
    level = level_of_each(alpha, len(counts) * strata)
    return tuple(population_bound(windows, trials, count, level) for count in counts)


def _control(table: EvidenceTable) -> Control:
    shape, n = table.shape, table.shape.blocks
    stages = range(shape.stages)

    def untouched(index: int) -> bool:
        return not 1 <= index <= n

    return Control(
        identity=IdentityControl(
            error=tuple(round_bound(_largest(table.at("identity.error", i)), untouched(i)) for i in stages),
            relative_error=tuple(
                round_bound(_largest(table.at("identity.relative_error", i)), untouched(i)) for i in stages
            ),
            covered=tuple(
                tuple(_total(table.at("identity.covered", i, r)) for r in range(shape.relative_thresholds))
                for i in stages
            ),
            drift=round_bound(_largest(table.at("identity.drift", n)), False),
            relative_drift=round_bound(_largest(table.at("identity.relative_drift", n)), False),
            logit_difference=round_bound(_largest(table.flat("identity.logit_difference")), False),
            top1_agree=_total(table.flat("identity.top1_agree")),
            decided=_total(table.flat("identity.decided")),
        ),
        float32_floor=Float32Floor(
            relative_error=tuple(round_up(_largest(table.at("float32.relative_error", i))) for i in stages)
        ),
    )
