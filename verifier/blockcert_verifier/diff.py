"""Two certificates side by side, as data: what they are about, and each claim of one beside the other's.

Nothing here is checked. A difference is stated only between claims that speak of the same thing: the same reference
and prompts of the same windows. This is no document of the standard.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.numbers import format_decimal, parse_decimal, round_down_share, round_nearest
from blockcert.statement import Cost, IdentityControl, Kept, Population, PopulationClaim, Statement
from blockcert_verifier.diff_terms import (
    OTHER_PROMPTS,
    OTHER_REFERENCE,
    Shown,
    Term,
    notes,
    same_reference,
    terms,
    why_not_listed,
)
from blockcert_verifier.steps.consequences import predicate_name

__all__ = ["Difference", "Line", "Table", "compare"]

Unit: TypeAlias = Literal["share", "bound", "mean"]
_Better: TypeAlias = Literal["lower", "higher", "nearer 0"]
_MEASURES: tuple[tuple[str, str, Unit, _Better], ...] = (
    ("largest logit difference", "logit_difference", "bound", "lower"),
    ("drift after the last block", "drift", "bound", "lower"),
    ("  of the hidden state", "relative_drift", "bound", "lower"),
    ("mean KL, nats", "kl_mean", "mean", "lower"),
    ("largest KL, nats", "kl_max", "bound", "lower"),
    ("mean loss difference, nats", "loss_difference", "mean", "nearer 0"),
)


class _Grounded(Protocol):
    @property
    def scope(self) -> str: ...
    @property
    def basis(self) -> str: ...


class Line(Struct, frozen=True):
    """One claim of both, as decimal strings; null where one does not make it.

    ``difference`` is B less A, exact but for shares, which have 6 decimals; null where the two cannot be compared.
    ``better`` is the certificate whose surrogate is nearer its reference by this claim, ``control`` the same with every
    block removed, of A's and B's the nearer. ``mark`` is a word that the claim must not be shown without.
    """

    what: str
    unit: Unit
    a: str | None
    b: str | None
    difference: str | None = None
    better: Literal["A", "B"] | None = None
    control: str | None = None
    block: int | None = None
    mark: str = ""


class Table(Struct, frozen=True):
    """Claims of one kind with scope and basis; ``why_not`` says why they cannot be compared, null where they can."""

    title: str
    ground: str
    why_not: str | None
    lines: tuple[Line, ...]


class Difference(Struct, frozen=True):
    """Two unverified certificates side by side."""

    type: Literal["blockcert-difference"]
    verified: Literal[False]
    terms: tuple[Term, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]


def compare(a: Shown, b: Shown) -> Difference:
    """What two certificates say of themselves, side by side; both statements must be well formed, no more."""
    first, second = a.statement, b.statement
    why = why_not_listed(first, second)
    x, y = first.predicate.claims, second.predicate.claims
    tables = (
        Table("End to end", _ground(x.end_to_end, y.end_to_end), why, tuple(_end_to_end(first, second, why is None))),
        Table("Blocks, at the reference's own input", _ground(x.stages[1], y.stages[1]), *_blocks(first, second, why)),
        *_bounds(first, second, why),
        Table(
            "Share of windows that is claimed at least",
            _ground(x.population, y.population),
            *_population(first, second, why),
        ),
        Table("Kept, of what the reference has", "the producers' own counts", *_kept(first, second)),
    )
    return Difference(
        "blockcert-difference",
        False,
        terms(a, b),
        tuple(table for table in tables if table.lines or table.why_not),
        notes(first, second, why),
    )


def _ground(a: _Grounded, b: _Grounded) -> str:
    """Scope and basis of both, once where they are the same: nobody has checked that they are what they must be."""
    first, second = (f"{claim.scope}, {claim.basis}" for claim in (a, b))
    return first if first == second else f"A {first}; B {second}"


def _line(
    what: str,
    unit: Unit,
    a: Fraction | None,
    b: Fraction | None,
    comparable: bool,
    better: _Better | None,
    *,
    controls: tuple[Fraction | None, Fraction | None] = (None, None),
    block: int | None = None,
    mark: str = "",
) -> Line:
    difference, nearer = None, None
    if comparable and a is not None and b is not None:
        difference = _stated(unit, b - a)
        x, y = (abs(a), abs(b)) if better == "nearer 0" else (a, b)
        if better is not None and x != y:
            nearer = "A" if (x < y) != (better == "higher") else "B"
    shown = [None if value is None else _stated(unit, value, down=True) for value in (a, b)]
    near = [value for value in controls if value is not None]
    control = _stated(unit, max(near) if better == "higher" else min(near), down=True) if near else None
    return Line(what, unit, shown[0], shown[1], difference, nearer, control, block, mark)


def _stated(unit: Unit, value: Fraction, *, down: bool = False) -> str | None:
    """A decimal string; shares that are claimed are rounded down. Null where no decimal string states the value."""
    try:
        if unit != "share":
            return format_decimal(value)
        return round_down_share(value) if down else round_nearest(value, 6)
    except Refusal:
        return None


def _share(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None


def _end_to_end(a: Statement, b: Statement, comparable: bool) -> Iterator[Line]:
    x, y = a.predicate.claims.end_to_end, b.predicate.claims.end_to_end
    for what, name in (("top-1 agrees", "top1_agree"), ("decided", "decided")):
        shares = [_share(getattr(end, name), end.tokens) for end in (x, y)]
        controls = [_share(getattr(c, name), end.tokens) for c, end in zip(_controls(a, b), (x, y), strict=True)]
        yield _line(what, "share", shares[0], shares[1], comparable, "higher", controls=(controls[0], controls[1]))
    for what, name, unit, better in _MEASURES:
        mine, other = parse_decimal(getattr(x, name)), parse_decimal(getattr(y, name))
        c, d = (parse_decimal(text) if text else None for text in (getattr(c, name, "") for c in _controls(a, b)))
        yield _line(what, unit, mine, other, comparable, better, controls=(c, d))


def _controls(a: Statement, b: Statement) -> tuple[IdentityControl, IdentityControl]:
    return a.predicate.claims.control.identity, b.predicate.claims.control.identity


def _blocks(a: Statement, b: Statement, why: str | None) -> tuple[str | None, tuple[Line, ...]]:
    first, second = a.predicate.claims.stages[1:-1], b.predicate.claims.stages[1:-1]
    if len(first) != len(second):
        return f"{why or OTHER_REFERENCE}: {len(first)} and {len(second)} blocks", ()
    mine, other = a.predicate.thresholds.relative, b.predicate.thresholds.relative
    lines: list[Line] = []
    for x, y in zip(first, second, strict=True):
        for what, name in (("error", "error"), ("relative", "relative_error")):
            values = [parse_decimal(getattr(stage, name)) for stage in (x, y)]
            c, d = (parse_decimal(getattr(control, name)[x.index]) for control in _controls(a, b))
            line = _line(what, "bound", values[0], values[1], why is None, "lower", controls=(c, d), block=x.index)
            lines.append(line)
        for threshold in mine:
            if threshold in other:
                p = _share(x.covered[mine.index(threshold)], x.tokens)
                q = _share(y.covered[other.index(threshold)], y.tokens)
                lines.append(_line(f"<={threshold}", "share", p, q, why is None, "higher", block=x.index))
    return why, tuple(lines)


def _bounds(a: Statement, b: Statement, why: str | None) -> Iterator[Table]:
    x = {claim.method: claim for claim in a.predicate.claims.composition}
    y = {claim.method: claim for claim in b.predicate.claims.composition}
    for method in ("lipschitz", "telescoping"):
        mine, other = x.get(method), y.get(method)
        given = [claim for claim in (mine, other) if claim is not None]
        if not given:
            continue
        words = [f"{name} is VACUOUS" for name, claim in (("A", mine), ("B", other)) if claim and claim.vacuous]
        if any(claim.basis == "estimate" for claim in given):
            words.append("an estimate, no guarantee")
        values = [None if claim is None else parse_decimal(claim.bound) for claim in (mine, other)]
        # what says nothing, or guarantees nothing, is not better than anything
        better = None if words else "lower"
        line = _line("bound", "bound", values[0], values[1], why is None, better, mark=", ".join(words))
        title = f"Drift after the last block, {method}"
        yield Table(title, _ground(given[0], given[-1]), why, (line,))


def _population(a: Statement, b: Statement, why: str | None) -> tuple[str | None, tuple[Line, ...]]:
    x, y = a.predicate.claims.population, b.predicate.claims.population
    why = why or _other_population(a, b, x, y)
    mine = {claim.predicate: claim for claim in x.claims}
    other = {claim.predicate: claim for claim in y.claims}
    lines: list[Line] = []
    for predicate in [*mine, *(predicate for predicate in other if predicate not in mine)]:
        shares = [_at_least(population, found.get(predicate)) for population, found in ((x, mine), (y, other))]
        lines.append(_line(predicate_name(predicate), "share", shares[0], shares[1], why is None, "higher"))
    return (why if lines else None), tuple(lines)


def _at_least(population: Population, claim: PopulationClaim | None) -> Fraction | None:
    return None if claim is None else _share(claim.at_least, population.windows)


def _other_population(a: Statement, b: Statement, x: Population, y: Population) -> str | None:
    """Windows used for calibration are left out, so two populations are one only where the same ones are."""
    f, g = a.predicate.prompts.frame, b.predicate.prompts.frame
    if x.windows != y.windows or f.calibration != g.calibration or (f.calibration and f.seed != g.seed):
        return f"{OTHER_PROMPTS}: other calibration windows are left out"
    if (x.alpha, len(x.claims)) != (y.alpha, len(y.claims)):
        return "other confidence: another alpha or number of claims"
    return None


def _kept(a: Statement, b: Statement) -> tuple[str | None, tuple[Line, ...]]:
    """Shares of each one's own reference; which of two costs is better is the reader's affair."""
    why = None if same_reference(a, b) else OTHER_REFERENCE
    lines: list[Line] = []
    for what, name in (
        ("nonzero parameters", "parameters"),
        ("bits stored", "bits"),
        ("multiply-adds per prompt", "multiply_adds"),
    ):
        shares = [_share(_sum(kept.surrogate, name), _sum(kept.reference, name)) for kept in _costs(a, b)]
        lines.append(_line(what, "share", shares[0], shares[1], why is None, None))
    return why, tuple(lines)


def _costs(a: Statement, b: Statement) -> tuple[Kept, Kept]:
    return a.predicate.surrogate.kept, b.predicate.surrogate.kept


def _sum(costs: tuple[Cost, ...], name: str) -> int:
    return sum(getattr(cost, name) for cost in costs)
