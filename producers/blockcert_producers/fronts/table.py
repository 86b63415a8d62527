"""The points of a front: what each surrogate keeps and how far it drifts, in the certificates' own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeAlias

import msgspec
from msgspec import Meta, Struct

from blockcert.errors import Refusal
from blockcert.names import shown
from blockcert.numbers import parse_decimal
from blockcert.statement import Claims, Cost, Kept, Statement
from blockcert_producers.fronts import FRONT
from blockcert_producers.fronts.shift import Shifted
from blockcert_verifier.layout import columns, short, wrap

__all__ = [
    "ABOUT",
    "FIRST",
    "FRONT",
    "FrontTable",
    "Part",
    "Point",
    "decode",
    "encode",
    "lines",
    "of_bundle",
    "point",
    "read_front",
]

ABOUT = (
    "A summary of certificates, not signed and no part of any. Surrogates: each on the certification prompts of its "
    "own bundle. Controls: measured the same way on all those prompts together. Scope listed-prompts, basis "
    "measurement."
)


Kind: TypeAlias = Literal["surrogate", "rounding", "identity"]


FIRST = {"structure": "multiply-adds, then bits", "bits": "bits, then multiply-adds"}
"""For each aim what is fewest first, in words."""
Count: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_GREATEST = 1 << 26
_LEAST = Fraction(1, 10**12)
"""What float64 tells from 0, of a relative error."""


class Part(Struct, frozen=True):
    """A part of a whole, both counts."""

    part: Count
    whole: Count

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
    kind: Kind
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


def read_front(folder: Path) -> FrontTable | None:
    """The table of the front in ``folder``; None where there is none.

    Raises:
        Refusal: ``front.malformed`` where its file is not readable as one, or names no bundle, or one that is not
            beside it.
    """
    path = folder / FRONT
    if not path.is_file():
        return None

    def refuse(sentence: str) -> NoReturn:
        raise Refusal("front.malformed", str(path), sentence)

    try:
        with path.open("rb") as file:
            data = file.read(_GREATEST + 1)
        table = decode(data)
    except (OSError, ValueError) as error:
        refuse(f"this is no table of a front ({' '.join(str(error).split())[:120]})")
    if table.aim not in FIRST:
        refuse(f"it has no aim that is known, but {shown(table.aim)}")
    if not table.points:
        refuse("it names no bundle")
    for one in (*table.points, *table.controls):
        if len(one.covered) != len(table.thresholds):
            refuse(f"{shown(one.name)} has {len(one.covered)} shares of tokens for {len(table.thresholds)} thresholds")
        for number in (*table.thresholds, one.relative_error, one.loss_difference, one.kl_mean):
            try:
                parse_decimal(number or "0")
            except Refusal:
                refuse(f"{shown(number or '')} is no decimal number")
    for one in table.points:
        name = one.bundle
        if name is None or name in ("", ".", "..") or Path(name).name != name or not (folder / name).is_dir():
            refuse(f"it names the bundle {shown(name or '')}, and there is no such folder beside it")
    return table


def encode(table: FrontTable) -> bytes:
    """The table as JSON for people and programs, indented."""
    return msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n"


def decode(data: bytes) -> FrontTable:
    """The table that ``encode`` gave.

    Raises:
        ValueError: where it is none.
    """
    return msgspec.json.decode(data, type=FrontTable)


def point(name: str, kind: Kind, claims: Claims, kept: Kept, prompts: int) -> Point:
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


def _sum(costs: Sequence[Cost], what: Literal["multiply_adds", "bits"]) -> int:
    """Over the blocks; the embedding and the head are never replaced."""
    return sum(getattr(cost, what) for cost in costs[1:-1])


def _worst(blocks: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    return tuple(min(parts, key=lambda part: part.share) for parts in zip(*blocks, strict=True))


def lines(table: FrontTable) -> list[str]:
    """The front as a table for a terminal."""
    head = ("", "adds", "bits", *(t.removeprefix("0") for t in table.thresholds), "error", "top1", "loss", "KL")
    rows: list[tuple[str, ...]] = [head]
    for one in (*table.points, *table.controls):
        rows.append(
            (
                one.name.removeprefix("plain "),
                _percent(one.multiply_adds),
                _percent(one.bits),
                *(_percent(part) for part in one.covered),
                _error(one.relative_error),
                _percent(one.top1),
                "-" if one.loss_difference is None else _mean(one.loss_difference),
                "-" if one.kl_mean is None else _mean(one.kl_mean),
            )
        )
    within = ", ".join(t.removeprefix("0") for t in table.thresholds)
    return [
        *wrap(
            "In per cent: multiply-adds (adds) and bits kept in the blocks, int4 and int6 packed; tokens within a "
            f"relative error of {within} in the worst block; positions whose top-1 agrees. Then the largest relative "
            "error of a token, and mean loss difference and KL in nats. Below the surrogates stand controls: plain "
            "rounding to a format, and the identity in place of every block."
        ),
        *columns(rows),
    ]


def _percent(part: Part) -> str:
    """In per cent with one decimal, rounded down: not all is never 100."""
    tenths = 1000 * part.part // part.whole if part.whole else None
    return "-" if tenths is None else "100" if tenths == 1000 else f"{tenths / 10:.1f}"


def _error(text: str) -> str:
    """A bound with few digits. One that float64 does not tell from 0 is shown as below what it resolves: programs that
    compute the same from other weights are never stated to err by 0."""
    return f"<{float(_LEAST):g}" if 0 < parse_decimal(text) < _LEAST else short(text)


def _mean(text: str) -> str:
    """A mean with two digits, to nearest; below what float64 resolves as ``_error``."""
    value = float(text)
    if 0 < abs(value) < _LEAST:
        return f"<{float(_LEAST):g}"
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.2g}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"
