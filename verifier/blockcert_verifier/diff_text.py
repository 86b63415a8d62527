"""Two certificates side by side, for a terminal: that nothing was checked comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from blockcert.numbers import parse_decimal
from blockcert_verifier.diff import Difference, Line, Table
from blockcert_verifier.diff_terms import Term
from blockcert_verifier.layout import columns, joined, share, short, wrap

__all__ = ["MOST_BLOCKS", "render_difference"]

MOST_BLOCKS = 16
"""Blocks shown one by one; of deeper models only those that differ most."""
_DIGEST = re.compile("([0-9a-f]{16})[0-9a-f]{48}")


def render_difference(difference: Difference) -> str:
    """Both certificates as lines of at most 80 columns, ending in a newline."""
    blocks = [wrap("UNVERIFIED: this is what two bundles say of themselves; nothing was checked.")]
    blocks += [_terms(difference.terms)]
    for table in difference.tables:
        blocks.append(_blocks(table) if any(line.block for line in table.lines) else _table(table))
    legend = ["control: every block removed; of A's and B's the one nearer the reference"]
    if any(line.better for table in difference.tables for line in table.lines):
        legend.insert(0, "*: nearer the reference")
    blocks += [legend, *(wrap(note) for note in difference.notes)]
    blocks.append(wrap("To check one: blockcert verify BUNDLE --trust trust.json --reference MODEL"))
    return joined(blocks)


def _terms(terms: Sequence[Term]) -> list[str]:
    lines: list[str] = []
    for term in terms:
        if not term.same:
            a, b = _brief(term.a, term.b)
            lines += wrap(a, f"  {term.what:<15}A  ", " " * 20)
            lines += wrap(b, f"  {'':<15}B  ", " " * 20)
    same = [term.what for term in terms if term.same]
    if same:
        lines += wrap(", ".join(same), f"  {'the same':<18}", " " * 20)
    return ["What they are about", *lines]


def _brief(a: str, b: str) -> tuple[str, str]:
    """Both with digests cut to their first digits, unless that hides where they differ."""
    short_a, short_b = (_DIGEST.sub(r"\1...", text) for text in (a, b))
    return (short_a, short_b) if short_a != short_b else (a, b)


def _head(table: Table) -> list[str]:
    why = f": not comparable, {table.why_not}" if table.why_not else ""
    return wrap(f"{table.title} [{table.ground}]{why}", "", "  ")


def _table(table: Table) -> list[str]:
    if not table.lines:
        return _head(table)
    sides = [["", *(line.what for line in table.lines)]]
    sides += [[f"{side} ", *(_marked(line, side) for line in table.lines)] for side in "AB"]
    differences = ["B - A", *map(_difference, table.lines)]
    controls = ["control", *("" if line.control is None else _value(line, line.control) for line in table.lines)]
    sides += [column for column in (differences, controls) if any(column[1:])]
    words = [part for line in table.lines if line.mark for part in wrap(f"{line.what}: {line.mark}", "  ", "    ")]
    return [*_head(table), *columns(list(zip(*sides, strict=True))), *words]


def _blocks(table: Table) -> list[str]:
    """One row for each block, a pair of cells for each claim."""
    by_block: dict[int, list[Line]] = {}
    for line in table.lines:
        by_block.setdefault(line.block or 0, []).append(line)
    shown = sorted(by_block)
    note: list[str] = []
    if len(shown) > MOST_BLOCKS:
        shown = sorted(sorted(shown, key=lambda block: _apart(by_block[block]), reverse=True)[:MOST_BLOCKS])
        note = [f"  the {MOST_BLOCKS} of {len(by_block)} blocks whose relative errors differ most; --json has them all"]
    pairs = [_pairs([by_block[block][i] for block in shown]) for i in range(len(by_block[shown[0]]))]
    numbers = ["block", *map(str, shown)]
    errors = [next(line for line in by_block[block] if line.what == "relative") for block in shown]
    controls = ["control", *(_value(line, line.control) for line in errors)]
    return [
        *_head(table),
        "  largest errors; tokens within each relative error in %",
        *columns([[number, *(pair[i] for pair in pairs), controls[i]] for i, number in enumerate(numbers)]),
        *note,
    ]


def _pairs(lines: Sequence[Line]) -> list[str]:
    """One claim of several blocks, both certificates' values in a cell, under a head."""
    cells = [[_marked(line, side).replace(" %", "") for side in "AB"] for line in lines]
    cells.insert(0, [f"{lines[0].what} A ", "B "])
    widths = [max(len(pair[i]) for pair in cells) for i in range(2)]
    return [" ".join(cell.rjust(width) for cell, width in zip(pair, widths, strict=True)) for pair in cells]


def _apart(lines: Sequence[Line]) -> Fraction:
    """How far apart the relative errors of a block are."""
    line = next(line for line in lines if line.what == "relative")
    a, b = (Fraction(0) if text is None else parse_decimal(text) for text in (line.a, line.b))
    return abs(a - b)


def _marked(line: Line, side: str) -> str:
    return f"{_value(line, line.a if side == 'A' else line.b)}{'*' if line.better == side else ' '}"


def _value(line: Line, text: str | None) -> str:
    if text is None:
        return "-"
    if line.unit == "share":
        value = parse_decimal(text)
        return share(value.numerator, value.denominator)
    return short(text, nearest=line.unit == "mean")


def _difference(line: Line) -> str:
    if line.difference is None:
        return ""
    value = parse_decimal(line.difference)
    sign = "+" if value > 0 else ""
    if line.unit == "share":
        return f"{sign}{float(round(value * 100, 2)):.2f}"
    return sign + format(float(value), ".3g")
