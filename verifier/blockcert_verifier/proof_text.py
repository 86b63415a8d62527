"""A proof for a terminal: what is exactly so of the rows, beside what is stated."""

from __future__ import annotations

from collections.abc import Sequence

from blockcert.numbers import parse_decimal
from blockcert_verifier.layout import columns, short, wrap
from blockcert_verifier.proof_report import EnclosedClaim, Proof, ProvenEnds

__all__ = ["proof_lines"]

_MARK = {"confirmed": "proven", "refuted": "REFUTED", "inconclusive": "open"}
_NAMES = {
    "drift": "drift",
    "relative_drift": "relative drift",
    "logit_difference": "logit difference",
    "top1_agree": "top-1 agrees",
    "decided": "top-1 decided",
    "kl_max": "largest KL",
}
_COUNTS = ("top1_agree", "decided")


def proof_lines(proof: Proof) -> list[str]:
    """The proof as lines of at most 80 columns."""
    lines = ["Proof"]
    text = f"{proof.confirmed} of {len(proof.drawn)} rows proven"
    if proof.ending is not None:
        text += f", of {proof.asked} that were asked for"
    text += f", out of {proof.rows}"
    if proof.drawn:
        text += f" (rows {', '.join(map(str, proof.drawn[:16]))}{' ...' if len(proof.drawn) > 16 else ''})"
    lines += wrap(f"{text}, in {proof.seconds} s at {proof.bits} bits.", "  ", "  ")
    cells = proof.cells
    text = f"{cells.confirmed} recorded cells confirmed, {cells.refuted} refuted, {cells.inconclusive} undecided"
    lines += wrap(f"{text}: exact real arithmetic, without a tolerance on any claim.", "  ", "  ")
    if proof.enclosures is not None:
        lines += wrap(_ends(proof.enclosures), "  ", "  ")
    if not proof.claims:
        return lines
    rows = [("", "these rows", "stated", "")]
    blocks = [one for one in proof.claims if one.column == "relative_error"]
    worst = max(blocks, key=_width, default=None)
    if worst is not None:
        rows.append((f"relative error, stage {worst.stage}", _value(worst), short(worst.stated), _MARK[worst.verdict]))
    for one in proof.claims:
        if one.column in _NAMES:
            stated = one.stated if one.column in _COUNTS else short(one.stated)
            rows.append((_NAMES[one.column], _value(one), stated, _MARK[one.verdict]))
    lines += columns(rows)
    left = [one for one in proof.claims if one.column not in _NAMES and one is not worst]
    lines += wrap(f"The other {_those(left)}; --json FILE has their enclosures.", "  ", "  ")
    return lines


def _ends(ends: ProvenEnds) -> str:
    here = f"{ends.enclosed} {'was' if ends.enclosed == 1 else 'were'} enclosed here"
    text = f"Of the {ends.rows} rows that the certificate itself proves, {here}"
    cells = ends.cells
    return f"{text}: {cells.confirmed} of its ends hold, {cells.refuted} are refuted, {cells.inconclusive} undecided."


def _width(one: EnclosedClaim) -> int | float:
    return float("inf") if one.at_most is None else float(parse_decimal(one.at_most))


def _value(one: EnclosedClaim) -> str:
    if one.at_most is None:
        return "unbounded"
    if one.column in _COUNTS:  # never with fewer digits: rounded up it would be more than was proven
        return one.at_most if one.at_least == one.at_most else f"{one.at_least} to {one.at_most}"
    return short(one.at_most)


def _those(left: Sequence[EnclosedClaim]) -> str:
    proven = sum(one.verdict == "confirmed" for one in left)
    if proven == len(left):
        return f"{len(left)} claims are proven too"
    return f"{len(left)} claims: {proven} proven, {len(left) - proven} not"
