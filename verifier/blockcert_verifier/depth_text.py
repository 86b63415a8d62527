"""Drift through the depth, its control beside it (BC-CLM-09), and what each stage costs, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from blockcert.numbers import parse_decimal
from blockcert_verifier.counted import counted
from blockcert_verifier.layout import bar, columns, share, short
from blockcert_verifier.report import Certificate, DepthRow

__all__ = ["MOST_STAGES", "depth_lines"]

MOST_STAGES = 16
"""Stages shown one by one; of a deeper model some on the way and the worst, or the costliest."""


def depth_lines(depth: Sequence[DepthRow], certificate: Certificate) -> list[list[str]]:
    """Two tables as paragraphs of lines; the second is empty without attribution rows."""
    return [_drift(depth, certificate), _costs(depth, certificate)]


def _drift(depth: Sequence[DepthRow], certificate: Certificate) -> list[str]:
    most = max(parse_decimal(row.relative_drift) for row in depth)
    shown = _along(depth)
    rows = [
        (
            _name(row, len(depth)),
            short(row.drift),
            short(row.relative_drift),
            bar(parse_decimal(row.relative_drift) / most) if most else "",
            short(row.identity_relative_drift),
        )
        for row in shown
    ]
    end = certificate.claims.end_to_end
    less = [f"  {len(shown)} of {len(depth)} stages, evenly spaced, and the worst"] if len(shown) < len(depth) else []
    return [
        f"Drift through the depth [{end.scope}, {end.basis}]",
        "  largest over the prompts, and relative to the reference's own state there",
        *columns([("after", "drift", "relative", "", "control"), *rows], left=(0, 3)),
        *less,
    ]


def _along(depth: Sequence[DepthRow]) -> list[DepthRow]:
    """The first and the last stage, some evenly between, and always the one where the relative drift is largest."""
    if len(depth) <= MOST_STAGES:
        return list(depth)
    last, steps = len(depth) - 1, MOST_STAGES - 2
    places = {round(last * step / steps) for step in range(steps + 1)}
    places.add(max(range(len(depth)), key=lambda i: parse_decimal(depth[i].relative_drift)))
    return [depth[i] for i in sorted(places)]


def _costs(depth: Sequence[DepthRow], certificate: Certificate) -> list[str]:
    replaced = [row for row in depth if not row.same_program]
    if depth[0].loss_covered is None or not replaced:
        return []
    shown = sorted(replaced, key=_cost, reverse=True)[:MOST_STAGES]
    thresholds = certificate.loss_thresholds
    rows = [
        (
            _name(row, len(depth)),
            "-" if row.largest_step is None else short(row.largest_step),
            "-" if row.mean_step is None else short(row.mean_step),
            "-" if row.step_share is None else _tenths(row.step_share),
            "" if row.step_share is None else bar(parse_decimal(row.step_share), 10),
            *(share(covered, row.loss_tokens or 0).removesuffix(" %") for covered in row.loss_covered or ()),
        )
        for row in shown
    ]
    end = certificate.claims.end_to_end
    listed = _rows(depth, certificate)
    notes: list[str] = []
    if len(shown) < len(replaced):
        notes.append(f"  the {len(shown)} costliest of {len(replaced)} stages; --json FILE has them all")
    if len(replaced) < len(depth):
        free = len(depth) - len(replaced)
        notes.append(f"  {free} of {len(depth)} stages are one program on both sides and cost nothing")
    return [
        f"Which stage costs what, on {counted(listed, 'prompt')} [{end.scope}, {end.basis}]",
        "  what a stage moves in the last hidden state where those before it are the",
        "  reference's and those after it the surrogate's; its share of the mean steps;",
        "  positions in % whose loss (nats) changes so little when it alone is replaced",
        *columns(
            [("stage", "largest", "mean", "share %", "", *(f"<={short(t)}" for t in thresholds)), *rows],
            left=(0, 4),
        ),
        *notes,
    ]


def _cost(row: DepthRow) -> Fraction:
    # the head has no step: it comes last
    return Fraction(-1) if row.mean_step is None else parse_decimal(row.mean_step)


def _tenths(decimal: str) -> str:
    """A share in per cent with one decimal, rounded down as the share itself."""
    whole, tenth = divmod(int(parse_decimal(decimal) * 1000), 10)
    return f"{whole}.{tenth}"


def _rows(depth: Sequence[DepthRow], certificate: Certificate) -> int:
    positions = depth[0].loss_tokens or 0
    return positions // (certificate.prompt_length - 1)


def _name(row: DepthRow, stages: int) -> str:
    name = "embedding" if row.index == 0 else "head" if row.index == stages - 1 else f"block {row.index}"
    return f"{name} (same)" if row.same_program and 0 < row.index < stages - 1 else name
