"""A front as an SVG: four panels over what is kept, readable on light and on dark ground.

Pure text out of a table. Values that may span orders of magnitude stand on a logarithmic axis; where a value is 0, the
axis' floor is 0 in place of a power of ten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import TypeAlias

from msgspec import Struct

from blockcert_producers.fronts.table import FrontTable, Point

__all__ = ["plot"]

_PANEL_WIDTH, _PANEL_HEIGHT = 372, 224
_LEFT, _TOP, _RIGHT, _GAP_X, _GAP_Y = 62, 88, 48, 84, 84
_WIDTH = 2 * _PANEL_WIDTH + _GAP_X + _LEFT + _RIGHT
_HEIGHT = 2 * _PANEL_HEIGHT + _GAP_Y + _TOP + 48
_LABEL_HEIGHT, _CHARACTER, _MARK = 13, 6.1, 4
_LEAST = 1e-12
_ASIDE = (8, 44, 84, 124)
"""How far to the side of its mark a label may stand; beyond the first a thin line leads to it."""

_STYLE = """
:root { --ground: #ffffff; --ink: #1f2328; --soft: #59636e; --rule: #d8dee4;
        --front: #0969da; --second: #8250df; --third: #bf3989; --round: #9a6700; --nothing: #59636e; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --ink: #e6edf3; --soft: #9aa4af; --rule: #2d333b;
          --front: #58a6ff; --second: #bc8cff; --third: #ff7eb6; --round: #d9a520; --nothing: #9aa4af; }
}
text { font: 11px system-ui, sans-serif; fill: var(--ink); }
.title { font-size: 15px; font-weight: 600; }
.head { font-size: 12px; font-weight: 600; }
.soft { fill: var(--soft); }
.rule { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 1.5; }
"""

_COLOURS = {"rounding": "--round", "identity": "--nothing"}
_SERIES = ("--front", "--second", "--third")


_Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class _Series(Struct, frozen=True):
    """One measured quantity of a panel: ``value`` of a point, None where it was not measured."""

    name: str
    colour: str
    value: Callable[[Point], float | None]
    dashed: bool = False


class _Panel(Struct, frozen=True):
    title: str
    unit: str
    series: tuple[_Series, ...]
    logarithmic: bool


class _Label(Struct, frozen=True):
    x: float
    y: float
    text: str
    colour: str


def plot(table: FrontTable) -> str:
    """The SVG of a front."""
    panels = _panels(table)
    aim = "multiply-adds" if table.aim == "structure" else "bits"
    shapes: list[str] = []
    for number, panel in enumerate(panels):
        x = _LEFT + (number % 2) * (_PANEL_WIDTH + _GAP_X)
        y = _TOP + (number // 2) * (_PANEL_HEIGHT + _GAP_Y)
        shapes += [f'<g transform="translate({x} {y})">', *_Drawing(panel, table).draw(f"{aim} kept, %"), "</g>"]
    prompts = sum(point.prompts for point in table.points)
    title = f"What is kept and how far it drifts: {table.architecture}, {table.blocks} blocks"
    under = (
        f"Surrogates on {prompts} certification prompts in all, each on those of its own bundle; "
        "identity and plain rounding on all of them. Measured, not signed."
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" role="img" aria-label="{escape(title)}">',
            f"<style>{_STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="var(--ground)"/>',
            f'<text class="title" x="{_LEFT}" y="28">{escape(title)}</text>',
            f'<text class="soft" x="{_LEFT}" y="46">{escape(under)}</text>',
            *shapes,
            "</svg>",
            "",
        )
    )


def _panels(table: FrontTable) -> tuple[_Panel, ...]:
    def covered(r: int) -> Callable[[Point], float | None]:
        return lambda point: 100 * float(point.covered[r].share)

    return (
        _Panel(
            "Tokens within a relative error, worst block",
            "%",
            tuple(
                _Series(f"within {threshold}", _SERIES[r % len(_SERIES)], covered(r))
                for r, threshold in enumerate(table.thresholds)
            ),
            logarithmic=False,
        ),
        _Panel(
            "Largest relative error of any token and block",
            "",
            (_Series("", _SERIES[0], lambda point: _size(point.relative_error)),),
            logarithmic=True,
        ),
        _Panel(
            "Positions whose top-1 differs",
            "%",
            (_Series("", _SERIES[0], lambda point: 100 * float(1 - point.top1.share)),),
            logarithmic=True,
        ),
        _Panel(
            "Mean loss difference (size) and KL, nats per token",
            "",
            (
                _Series("loss difference", _SERIES[0], lambda point: _size(point.loss_difference)),
                _Series("KL", _SERIES[1], lambda point: _size(point.kl_mean), dashed=True),
            ),
            logarithmic=True,
        ),
    )


def _size(value: str | None) -> float | None:
    """The magnitude of a decimal; 0 below what float64 resolves, since bounds print at least a unit."""
    if value is None:
        return None
    size = abs(float(value))
    return size if size >= _LEAST else 0.0


class _Drawing:
    def __init__(self, panel: _Panel, table: FrontTable) -> None:
        self._panel, self._table = panel, table
        values = [
            value
            for series in panel.series
            for point in (*table.points, *table.controls)
            if (value := series.value(point)) is not None
        ]
        self._ticks = _decades(values) if panel.logarithmic else [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
        shares = [self._share(point) for point in (*table.points, *table.controls)]
        self._widest = max(0.2, math.ceil(max(shares, default=1.0) * 5 - 1e-9) / 5)
        self._floor = panel.logarithmic and min(values, default=1.0) <= 0
        self._labels: list[_Label] = []
        self._taken: list[_Box] = []

    def draw(self, below: str) -> list[str]:
        """The panel at the origin; ``below`` names the horizontal axis."""
        shapes = [f'<text class="head" x="0" y="-12">{escape(self._panel.title)}</text>', *self._axes(below)]
        single = len(self._panel.series) == 1
        for number, series in enumerate(self._panel.series):
            shapes += self._line(series)
            # controls first: they stand at an edge, where labels have the least choice
            for point in (*self._table.controls, *self._table.points):
                shapes += self._mark(series, point, named=number == 0, only=single)
        return [*shapes, *_placed(self._labels, self._taken)]

    def _share(self, point: Point) -> float:
        part = point.multiply_adds if self._table.aim == "structure" else point.bits
        return float(part.share)

    def _x(self, point: Point) -> float:
        return self._share(point) / self._widest * _PANEL_WIDTH

    def _y(self, value: float) -> float:
        low, high = self._ticks[0], self._ticks[-1]
        if self._panel.logarithmic:
            at = math.log10(max(value, low) / low) / math.log10(high / low)
        else:
            at = (value - low) / (high - low)
        return _PANEL_HEIGHT * (1 - at)

    def _axes(self, below: str) -> list[str]:
        shapes: list[str] = []
        for tick in self._ticks:
            y = self._y(tick)
            shapes.append(f'<line class="rule" x1="0" x2="{_PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
            number = "0" if self._floor and tick == self._ticks[0] else f"{tick:g}".replace("e-0", "e-")
            text = f"{number}{self._panel.unit and ' ' + self._panel.unit}"
            shapes.append(f'<text class="soft" x="-6" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        most = round(100 * self._widest)
        for share in range(0, most + 1, 20 if most > 40 else 10):
            x = share / most * _PANEL_WIDTH
            shapes.append(
                f'<text class="soft" x="{x:.1f}" y="{_PANEL_HEIGHT + 16}" text-anchor="middle">{share}</text>'
            )
        middle = f'x="{_PANEL_WIDTH / 2}" y="{_PANEL_HEIGHT + 34}" text-anchor="middle"'
        return [*shapes, f'<text class="soft" {middle}>{escape(below)}</text>']

    def _line(self, series: _Series) -> list[str]:
        at = sorted((self._x(p), self._y(v)) for p in self._table.points if (v := series.value(p)) is not None)
        if len(at) < 2:
            return []
        for (x, y), (u, v) in pairwise(at):
            parts = max(1, int(math.hypot(u - x, v - y) // 8))
            for i in range(parts + 1):
                self._taken.append(_around(x + (u - x) * i / parts, y + (v - y) * i / parts, 1))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        dash = ' stroke-dasharray="5 4"' if series.dashed else ""
        return [f'<polyline class="line" points="{path}" stroke="var({series.colour})"{dash}/>']

    def _mark(self, series: _Series, point: Point, *, named: bool, only: bool) -> list[str]:
        value = series.value(point)
        if value is None:
            return []
        x, y = self._x(point), self._y(value)
        colour = _COLOURS.get(point.kind, series.colour)
        ink = f"var({colour})"
        paint = f'fill="{"var(--ground)" if series.dashed else ink}" stroke="{ink}" stroke-width="1.5"'
        self._taken.append(_around(x, y, _MARK))
        title = f"<title>{escape(point.name)}{': ' + escape(series.name) if series.name else ''}: {value:.4g}</title>"
        if named:
            self._labels.append(_Label(x, y, point.name, colour if point.kind != "surrogate" else "--ink"))
        if not only and point is self._table.points[-1]:
            self._labels.append(_Label(x, y, series.name, series.colour))
        if not only and series.dashed and point.kind != "surrogate":
            self._labels.append(_Label(x, y, f"{point.name}, {series.name}", colour))
        if point.kind == "surrogate":
            return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {paint}>{title}</circle>']
        return [f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" {paint}>{title}</rect>']


def _decades(values: Sequence[float]) -> list[float]:
    """Powers of ten around the values that are not 0; one more below where there is a 0."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    if min(values, default=1.0) <= 0 or low == high:
        low -= 1
    step = max(1, -(-(high - low) // 6))
    return [10.0**power for power in range(high, low - step, -step)][::-1]


def _around(x: float, y: float, size: float) -> _Box:
    return x - size, y - size, x + size, y + size


def _placed(labels: Sequence[_Label], taken: list[_Box]) -> list[str]:
    """Labels near their marks: each in the first place where it covers nothing, or else to the right."""
    shapes: list[str] = []
    for label in labels:
        places = list(_places(label))
        box = next((place for place in places if not any(_cover(place, other) for other in taken)), places[0])
        taken.append(box)
        anchor, x = ("start", box[0]) if box[0] >= label.x else ("end", box[2])
        if box[0] < label.x < box[2]:
            anchor, x = "middle", (box[0] + box[2]) / 2
        ink = f"var({label.colour})"
        middle = (box[1] + box[3]) / 2
        if abs(middle - label.y) > 1.5 * _LABEL_HEIGHT or abs(x - label.x) > 2 * _ASIDE[0]:
            end = middle if anchor != "middle" else box[1] if middle > label.y else box[3]
            aside = {"start": -2, "end": 2, "middle": 0}[anchor]
            shapes.append(
                f'<line x1="{label.x:.1f}" y1="{label.y:.1f}" x2="{x + aside:.1f}" y2="{end:.1f}" stroke="{ink}" '
                'stroke-width="0.6" opacity="0.6"/>'
            )
        shapes.append(
            f'<text x="{x:.1f}" y="{box[3] - 3:.1f}" text-anchor="{anchor}" style="fill:{ink}">'
            f"{escape(label.text)}</text>"
        )
    return shapes


def _places(label: _Label) -> Iterator[_Box]:
    """Where a label may stand, the best first: beside, above, below, then further up and down, then further aside."""
    width = _CHARACTER * len(label.text)
    for aside in _ASIDE:
        for step in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6):
            top = label.y - _LABEL_HEIGHT / 2 + step * _LABEL_HEIGHT
            if not -_LABEL_HEIGHT / 2 <= top <= _PANEL_HEIGHT - _LABEL_HEIGHT / 2:
                continue
            over = (label.x - width / 2,) if aside == _ASIDE[0] else ()
            for left in (label.x + aside, label.x - aside - width, *over):
                if left >= 2 and left + width <= _PANEL_WIDTH + _RIGHT - 4:
                    yield left, top, left + width, top + _LABEL_HEIGHT
    yield label.x + 8, label.y - _LABEL_HEIGHT / 2, label.x + 8 + width, label.y + _LABEL_HEIGHT / 2


def _cover(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
