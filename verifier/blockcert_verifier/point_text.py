"""Enclosures at stated points for a terminal, and what they do not say."""

from __future__ import annotations

from blockcert_verifier.counted import counted
from blockcert_verifier.layout import columns, short, wrap
from blockcert_verifier.point_report import Points

__all__ = ["point_lines"]

_MARK = {"confirmed": "at most", "exceeded": "EXCEEDED", "inconclusive": "open"}
_MOST = 40


def point_lines(points: Points) -> list[str]:
    """The enclosures as lines of at most 80 columns."""
    lines = ["Proof at stated points"]
    count = len(points.drawn)
    text = f"Every stage at the float64 activations of {count} of {points.rows} rows (reached on {points.device})"
    done = "" if points.ending is None else f"; ended early, after {counted(len(points.stages), 'stage')}"
    lines += wrap(f"{text}, in {points.seconds} s{done}. The largest error there, enclosed:", "  ", "  ")
    rows = [("", "at these points", "stated", "")]
    for one in points.stages[:_MOST]:
        most = "unbounded" if one.at_most is None else short(one.at_most)
        rows.append((f"stage {one.stage}", most, short(one.stated), _MARK[one.verdict]))
    lines += columns(rows)
    if len(points.stages) > _MOST:
        lines.append(f"  and {len(points.stages) - _MOST} more; --json FILE has them all")
    said = (
        "Proven of each stage at exactly these activations. It says nothing of the exact trajectory, of other prompts"
    )
    return [
        *lines,
        *wrap(f"{said} or of the whole model, and is never composed; --prove N proves rows whole.", "  ", "  "),
    ]
