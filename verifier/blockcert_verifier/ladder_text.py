"""The trust ladder for a terminal: what was climbed, what it established, and the option and price of the rest."""

from __future__ import annotations

from collections.abc import Sequence

from blockcert_verifier.layout import wrap
from blockcert_verifier.report import Rung, RungName
from blockcert_verifier.terminal import duration

__all__ = ["ladder_lines"]

_NAME: dict[RungName, str] = {
    "signature": "signature",
    "recomputation": "recomputation",
    "replay": "replay",
    "all-rows": "all rows",
    "fresh-prompts": "fresh prompts",
    "proof": "proof",
}


def ladder_lines(ladder: Sequence[Rung]) -> list[str]:
    """The rungs as lines of at most 80 columns."""
    lines = ["Trust ladder"]
    for rung in ladder:
        head = f"  {_NAME[rung.name]:<15}{rung.climbed:<8}"
        taken = f" ({_time(rung)})" if rung.basis == "measured" else ""
        # a rung that was not climbed has established nothing
        would = "would show: " if rung.climbed == "no" else ""
        lines += wrap(f"{would}{rung.establishes}{taken}", head, " " * len(head))
        if rung.how is not None:
            price = f" (about {_time(rung)} here)" if rung.basis == "estimate" else ""
            lines += wrap(f"{rung.how}{price}", " " * len(head) + "> ", " " * len(head) + "  ")
    return lines


def _time(rung: Rung) -> str:
    return duration(float(rung.seconds or 0)).replace(" ", "\u00a0")
