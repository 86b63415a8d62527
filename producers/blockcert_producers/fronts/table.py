"""The points of a front: what each surrogate keeps and how far it drifts, in the certificates' own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import msgspec
from msgspec import Struct

from blockcert.numbers import parse_decimal
from blockcert.statement import Claims, Cost, Kept, Statement
from blockcert_producers.fronts.shift import Shifted
from blockcert_verifier.layout import columns, short, wrap

__all__ = ["ABOUT", "FrontTable", "Part", "Point", "encode", "identity", "lines", "of_bundle", "point"]

ABOUT = (
    "A summary of certificates, not signed and no part of any. Surrogates: each on the certification prompts of its "
    "own bundle. Controls: measured the same way on all those prompts together. Scope listed-prompts, basis "
    "measurement."
)


class Part(Struct, frozen=True):
    """A part of a whole, both counts."""

    part: int
    whole: int

    @property
    def share(self) -> Fraction:
        """The part over the whole; 0 of nothing."""
        return Fraction(self.part, self.whole) if self.whole else Fraction(0)


class Point(Struct, frozen=True):
    """One surrogate or control.

    ``multiply_adds`` and ``bits`` are sums over the blocks. ``covered`` are the tokens within each threshold in the
    block where the fewest are, ``relative_error`` the largest of any token and block, a decimal rounded up. What was
    not measured is null. ``bundle`` is a folder beside the front.
    """

    name: str
    kind: Literal["surrogate", "rounding", "identity"]
    budget: str | None
    bundle: str | None
    prompts: int
    multiply_adds: Part
    bits: Part
    covered: tuple[Part, ...]
    relative_error: str
    top1: Part
    loss_difference: str | None
    kl_mean: str | None
    shift: Shifted | None = None


class FrontTable(Struct, frozen=True):
    """A front: its surrogates from the narrowest budget to the widest, and the controls beside them."""

    about: str
    architecture: str
    blocks: int
    aim: str
    thresholds: tuple[str, ...]
    points: tuple[Point, ...]
    controls: tuple[Point, ...]


def encode(table: FrontTable) -> bytes:
    """The table as JSON for people and programs, indented."""
    return msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n"


def point(name: str, kind: Literal["surrogate", "rounding"], claims: Claims, kept: Kept, prompts: int) -> Point:
    """The point of measured claims."""
    blocks, end = claims.stages[1:-1], claims.end_to_end
    return Point(
        name=name,
        kind=kind,
        budget=None,
        bundle=None,
        prompts=prompts,
        multiply_adds=Part(_sum(kept.surrogate, "multiply_adds"), _sum(kept.reference, "multiply_adds")),
        bits=Part(_sum(kept.surrogate, "bits"), _sum(kept.reference, "bits")),
        covered=_worst([[Part(c, stage.tokens) for c in stage.covered] for stage in blocks]),
        relative_error=max((stage.relative_error for stage in blocks), key=parse_decimal),
        top1=Part(end.top1_agree, end.tokens),
        loss_difference=end.loss_difference,
        kl_mean=end.kl_mean,
    )


def of_bundle(statement: Statement, budget: str, name: str, shift: Shifted | None) -> Point:
    """The point of a certificate, in the folder ``name`` beside the front."""
    p = statement.predicate
    found = point(name, "surrogate", p.claims, p.surrogate.kept, p.evidence.rows)
    return msgspec.structs.replace(found, budget=budget, bundle=name, shift=shift)


def identity(claims: Claims, kept: Kept, prompts: int) -> Point:
    """The point of the identity in place of every block, from the control of any claims about that reference."""
    control, tokens = claims.control.identity, claims.end_to_end.tokens
    return Point(
        name="identity",
        kind="identity",
        budget=None,
        bundle=None,
        prompts=prompts,
        multiply_adds=Part(0, _sum(kept.reference, "multiply_adds")),
        bits=Part(0, _sum(kept.reference, "bits")),
        covered=_worst([[Part(c, tokens) for c in counts] for counts in control.covered[1:-1]]),
        relative_error=max(control.relative_error[1:-1], key=parse_decimal),
        top1=Part(control.top1_agree, tokens),
        loss_difference=None,
        kl_mean=None,
    )


def _sum(costs: Sequence[Cost], what: Literal["multiply_adds", "bits"]) -> int:
    """Over the blocks; the embedding and the head are never replaced."""
    return sum(getattr(cost, what) for cost in costs[1:-1])


def _worst(blocks: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    return tuple(min(parts, key=lambda part: part.share) for parts in zip(*blocks, strict=True))


def lines(table: FrontTable) -> list[str]:
    """The front as a table for a terminal."""
    head = (
        "surrogate",
        "multiply-adds",
        "bits",
        *(f"<= {t}" for t in table.thresholds),
        "error",
        "top-1",
        "loss",
        "KL",
    )
    rows: list[tuple[str, ...]] = [head]
    for one in (*table.points, *table.controls):
        rows.append(
            (
                one.name,
                _percent(one.multiply_adds),
                _percent(one.bits),
                *(_percent(part) for part in one.covered),
                short(one.relative_error),
                _percent(one.top1),
                "-" if one.loss_difference is None else short(one.loss_difference, nearest=True),
                "-" if one.kl_mean is None else short(one.kl_mean, nearest=True),
            )
        )
    return [
        *wrap(
            "In per cent: multiply-adds and bits kept in the blocks (int4 and int6 packed); tokens within a relative "
            "error in the worst block; positions whose top-1 agrees. Then the largest relative error of a token, and "
            "mean loss difference and KL in nats."
        ),
        *columns(rows),
    ]


def _percent(part: Part) -> str:
    """In per cent with one decimal, rounded down: not all is never 100."""
    return f"{1000 * part.part // part.whole / 10:.1f}" if part.whole else "-"
