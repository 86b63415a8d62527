"""A report as one HTML page: to be read in a browser, printed, or kept beside a model.

The page is whole in itself: no script, nothing fetched, and a policy in its head that forbids both. Its words are those
of the terminal's report, section by section, so that the two cannot say different things; beside them stands a picture
of the drift through the depth. Names come from whoever made the bundle: every one is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from blockcert.numbers import parse_decimal
from blockcert.printable import plain
from blockcert_verifier.layout import lines_of
from blockcert_verifier.report import DepthRow, Report
from blockcert_verifier.text import sections

__all__ = ["render_page"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 680, 260, 56, 16, 32
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --card: #f5f6f8; --line: #d5d9df; --soft: #59636e;
  --accepted: #14713a; --rejected: #b3261e; --indeterminate: #8a5a00; --drift: #0b5cad; --control: #8a8f98; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --card: #1d2125; --line: #363c43;
  --soft: #a3abb5; --accepted: #5fce8b; --rejected: #ff8a80; --indeterminate: #f0b84b; --drift: #78b7ff;
  --control: #8a8f98; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 24px 16px 48px; max-width: 780px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
header { border-left: 6px solid var(--verdict); padding: 4px 0 4px 16px; margin-bottom: 24px }
h1 { margin: 0; font-size: 15px; font-weight: 600; color: var(--soft) }
.verdict { margin: 4px 0 0; font-size: 20px; font-weight: 600; overflow-wrap: anywhere }
.verdict b { color: var(--verdict) }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px;
  margin-top: 16px; break-inside: avoid }
h2 { margin: 0 0 8px; font-size: 15px }
pre { margin: 0; font: 13px/1.45 ui-monospace, monospace; white-space: pre; overflow-x: auto }
svg { display: block; width: 100%; height: auto }
section p { margin: 4px 0 12px; color: var(--soft); font-size: 13px }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft) }
footer { margin-top: 24px; color: var(--soft); font-size: 13px }
@media print { body { max-width: none; padding: 0 } section { background: none } }
"""


def render_page(report: Report) -> str:
    """The page of a report: HTML 5, UTF-8, without anything that has to be loaded."""
    verdict = report.verdict
    word, _, said = plain(report.sentence).partition(" ")
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>BlockCert: {verdict}</title>",
        f"<style>{_STYLE}:root {{ --verdict: var(--{verdict}) }}</style>",
        "</head>",
        "<body>",
        "<header>",
        "<h1>BlockCert verification report</h1>",
        f'<p class="verdict"><b>{escape(word)}</b> {escape(said)}</p>',
        "</header>",
    ]
    for title, *lines in map(lines_of, sections(report)[1:]):
        picture = _picture(report.depth) if report.depth and title.startswith("Drift through the depth") else []
        parts += [
            "<section>",
            f"<h2>{escape(title)}</h2>",
            *picture,
            f"<pre>{escape(chr(10).join(lines))}</pre>",
            "</section>",
        ]
    parts += [
        "<footer>This page is what one verifier found, and is not itself signed: whoever wants to rely on it runs "
        "<code>blockcert verify</code> on the bundle.</footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _picture(depth: Sequence[DepthRow]) -> list[str]:
    """Relative drift after each stage and that of the control, on one logarithmic scale, where a zero has no point."""
    drift = [float(parse_decimal(row.relative_drift)) for row in depth]
    control = [float(parse_decimal(row.identity_relative_drift)) for row in depth]
    positive = [value for value in (*drift, *control) if value > 0]
    if not positive:
        return []
    low = math.floor(math.log10(min(positive)))
    high = max(low + 1, math.ceil(math.log10(max(positive))))
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - 24
    step = (right - _LEFT) / max(1, len(depth) - 1)

    def height(logarithm: float) -> float:
        return bottom - (logarithm - low) / (high - low) * (bottom - _TOP)

    def line(values: Sequence[float], name: str, dash: str) -> str:
        points = " ".join(
            f"{_LEFT + i * step:.1f},{height(math.log10(value)):.1f}" for i, value in enumerate(values) if value > 0
        )
        return (
            f'<polyline points="{points}" fill="none" style="stroke: var(--{name})" stroke-width="2"{dash}>'
            f"<title>{name}</title></polyline>"
        )

    decades = range(low, high + 1, max(1, -(-(high - low) // 8)))
    every = max(1, -(-len(depth) // 12))
    names = ["embedding", *map(str, range(1, len(depth) - 1)), "head"]
    shown = [i for i in range(len(depth)) if i in (0, len(depth) - 1) or (i % every == 0 and i + every < len(depth))]
    return [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Relative drift after each stage">',
        *(f'<path d="M{_LEFT} {height(d):.1f}H{right}" style="stroke: var(--line)"/>' for d in decades),
        *(
            f'<text x="{_LEFT - 8}" y="{height(d) + 4:.1f}" text-anchor="end">10<tspan dy="-5">{d}</tspan></text>'
            for d in decades
        ),
        *(f'<text x="{_LEFT + i * step:.1f}" y="{bottom + 20}" text-anchor="middle">{names[i]}</text>' for i in shown),
        line(control, "control", ' stroke-dasharray="5 4"'),
        line(drift, "drift", ""),
        "</svg>",
        "<p>Largest relative drift over the listed prompts after each stage: solid the surrogate, dashed the control, "
        "which has no blocks.</p>",
    ]
