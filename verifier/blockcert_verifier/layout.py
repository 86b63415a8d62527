"""How a report is laid out: lines of 80 columns, tables that fit them, few digits, no colour."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from unicodedata import east_asian_width

from blockcert.printable import plain

__all__ = ["WIDTH", "bar", "columns", "field", "joined", "lines_of", "percent", "share", "short", "wrap"]

WIDTH = 80
"""Columns of a line."""
_FURTHER = "    "
_UP = Context(prec=3, rounding=ROUND_CEILING)
_NEAREST = Context(prec=4, rounding=ROUND_HALF_EVEN)


def short(text: str, *, nearest: bool = False) -> str:
    """A decimal string with few digits: a bound rounded up, a mean to nearest. For reading; the claim is the string."""
    if len(text) <= 5:
        return text
    value = (_NEAREST if nearest else _UP).create_decimal(Decimal(text))
    if value == 0 or -5 <= value.adjusted() <= 5:
        return format(value, "f")
    digits, exponent = f"{value:e}".split("e")
    return f"{digits}e{int(exponent)}"


def percent(part: Fraction) -> str:
    """A confidence in per cent, at most 6 decimals, never rounded up: what is not certain is not shown as 100."""
    whole, rest = divmod(math.floor(part * 100 * 10**6), 10**6)
    return f"{whole}.{rest:06}".rstrip("0").rstrip(".")


def share(part: int, whole: int) -> str:
    """A share in per cent, never rounded up: 99.99 is not shown as 100."""
    return f"{part * 10000 // whole / 100:.2f} %" if whole else "-"


def bar(part: Fraction, most: int = 16) -> str:
    """A bar of ``most`` signs for 1 and none for 0; ASCII, so that every terminal and log shows it.

    What is not 0 has one sign at least.
    """
    return "#" * min(most, math.ceil(part * most)) if part > 0 else ""


def columns(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> list[str]:
    """Rows of cells as aligned lines: the cells at the positions ``left`` to the left, the others to the right.

    A table wider than a line goes on below, with its first column again.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines: list[str] = []
    for part in _parts(widths):
        lines += [
            "  "
            + "  ".join(
                row[i].ljust(widths[i]) if i in left else row[i].rjust(widths[i])
                for i in part
            ).rstrip()
            for row in rows
        ]  # fmt: skip
    return lines


def _parts(widths: Sequence[int]) -> list[list[int]]:
    """The positions of the columns that stand beside each other, part after part; the first stands in each."""
    parts = [[0]]
    for i in range(1, len(widths)):
        if len(parts[-1]) > 1 and sum(widths[j] + 2 for j in parts[-1]) + 2 + widths[i] > WIDTH:
            parts.append([0])
        parts[-1].append(i)
    return parts


def wrap(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """Text as lines of at most 80 columns; the lines after the first begin with ``hanging``.

    A no-break space keeps a number and its unit on one line, and becomes a plain one.
    """
    following = indent if hanging is None else hanging
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=following, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in lines] or [""]


def field(name: str, text: str) -> list[str]:
    """A named line of the report's head."""
    return wrap(text, f"{name:<13}", " " * 13)


def joined(blocks: Sequence[Sequence[str]]) -> str:
    """Paragraphs of lines as one text, as :func:`lines_of` has them."""
    return "\n\n".join("\n".join(lines_of(lines)) for lines in blocks if lines) + "\n"


def lines_of(paragraph: Sequence[str]) -> list[str]:
    """Lines fit to be shown. Names come from whoever made the bundle: nothing in a line is obeyed.

    A line that is too wide even so goes on below, further in: no terminal has to break it, after which a name could
    stand where a line of the report begins.
    """
    return [part for line in paragraph for part in _fit(plain(line))]


def _fit(line: str) -> list[str]:
    if len(line) <= WIDTH // 2 or (line.isascii() and len(line) <= WIDTH):
        return [line]
    parts, begin, used = list[str](), 0, 0
    for at, character in enumerate(line):
        width = 2 if east_asian_width(character) in "WFA" else 1
        if used + width > WIDTH:
            parts.append(line[begin:at])
            begin, used = at, len(_FURTHER)
        used += width
    first, *others = (*parts, line[begin:])
    return [first, *(_FURTHER + part for part in others)]
