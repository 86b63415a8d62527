"""A replay for a terminal: which rows, how to repeat it, and what it leaves of the claims."""

from __future__ import annotations

from itertools import groupby

from blockcert.numbers import parse_decimal
from blockcert.statement import Scope
from blockcert_verifier.counted import all_rows, counted, verb
from blockcert_verifier.layout import columns, percent, wrap
from blockcert_verifier.report import Audit

__all__ = ["audit_lines"]

_HELD: dict[Scope, str] = {"listed-prompts": "of the listed prompts", "population": "of the population's windows"}
_ENDED = {
    "time-limit": "PARTIAL: the time limit was reached",
    "interrupted": "PARTIAL: it was interrupted",
    "refuted": "It ended at a refutation",
}
MOST_FILES = 8
"""Corpus files whose bounds are shown; the JSON report has those of all."""
MOST_ROWS = 48
"""Rows named one by one."""


def audit_lines(audit: Audit) -> list[str]:
    """The replay as lines of at most 80 columns."""
    lines = ["Replay"]
    if audit.ending is not None:
        text = f"{_ENDED[audit.ending]} after {audit.sampled} of {audit.asked} rows."
        lines += wrap(text, "  ", "  ")
    text = f"{audit.confirmed} of {audit.sampled} sampled rows confirmed, out of {audit.rows}"
    whole = audit.sampled == audit.rows
    if not whole:
        known = "the seed you gave: repeatable, but not an audit"
        text += f", drawn with {known if audit.repeatable else 'a seed the producer could not know'}"
    lines += [*wrap(f"{text}; seed:", "  ", "  "), f"  {audit.seed}"]
    if not whole and audit.drawn:
        shown = ", ".join(map(str, audit.drawn[:MOST_ROWS]))
        more = f" and {audit.sampled - MOST_ROWS} more" if audit.sampled > MOST_ROWS else ""
        lines += wrap(f"Rows: {shown}{more}", "  ", "    ")
        lines += wrap(f"To repeat it: --replay {audit.sampled} --seed with these 64 digits", "  ", "    ")
    if audit.largest_disagreement is not None:
        where = f" (in {audit.largest_disagreement_at})" if audit.largest_disagreement_at else ""
        lines += wrap(f"Largest disagreement: {audit.largest_disagreement} of the tolerance{where}.", "  ", "  ")
    lines += _took(audit)
    if audit.false_rows_below is None or (audit.repeatable and not whole):
        return lines
    lines += wrap(_bound(audit), "  ", "  ")
    if not whole:
        rows: list[tuple[str, str, str, str]] = []
        shown = [c for c in audit.consequences if (c.corpus_file or 0) < MOST_FILES]
        for (scope, file, sure), held in groupby(shown, key=lambda c: (c.scope, c.corpus_file, c.confidence)):
            what = _HELD.get(scope, scope) if file is None else f"of the windows of corpus file {file + 1}"
            rows.append((f"{what}, at {_percent(sure)} confidence", "", "", ""))
            rows += [(f"  {c.claim}", f"{c.stated}", f"{c.at_least}", f"{c.of}") for c in held]
        lines += columns([("", "stated", "at least", "of"), *rows])
        if len(shown) < len(audit.consequences):
            lines.append(f"  corpus files after the first {MOST_FILES}: --json FILE has them all")
        lines += wrap("Recorded means are not bounded by a sample; --replay all confirms them.", "  ", "  ")
    return lines


def _took(audit: Audit) -> list[str]:
    cost = audit.cost
    if not cost.rows and not cost.resumed:
        return []
    how = f" in {cost.jobs} processes" if cost.jobs > 1 else ""
    text = f"Measured {counted(cost.rows, 'row')} in {cost.seconds} s on {cost.device}{how}"
    if cost.resumed:
        come = "comes" if cost.resumed == 1 else "come"
        text += f"; {counted(cost.resumed, 'row')} {come} from earlier runs of this audit"
    return wrap(f"{text}.", "  ", "  ")


def _percent(confidence: str) -> str:
    return f"{percent(parse_decimal(confidence))} %"


def _bound(audit: Audit) -> str:
    if audit.sampled == audit.rows:
        was = verb(audit.rows, "was measured again: it is not false", "were measured again: none is false")
        return f"{all_rows(audit.rows).capitalize()} {was}, within the replay's tolerance."
    return (
        f"At {_percent(audit.confidence)} confidence fewer than {audit.false_rows_below} of the {audit.rows} rows are "
        "false. What holds even so, within the replay's tolerance:"
    )
