"""What `extract` and `compare` share at the terminal: options to a job, progress, and the summary of a bundle."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from textwrap import wrap

from blockcert.errors import Refusal
from blockcert.printable import plain
from blockcert.statement import Predicate
from blockcert_producers.fronts import shift, table
from blockcert_producers.produce import FrontProduced, Job, Produced
from blockcert_producers.progress import Progress, progress_bar
from blockcert_verifier.counted import counted
from blockcert_verifier.limits import read_limits

__all__ = ["front_summary", "job", "notice", "now", "report", "report_front", "summary", "working"]


def job(
    prompts: list[Path],
    out: Path,
    count: int,
    calibration: int,
    length: int,
    seed: int,
    device: str,
    attribution: int,
    prove: int,
    limit: list[str] | None,
) -> Job:
    """The job that the options describe.

    Raises:
        Refusal: ``usage.limit``.
    """
    limits = read_limits(limit or (), ("memory",))
    if limit and not prove:
        sentence = "only of what --prove takes there is an estimate that could be limited; give that too"
        raise Refusal("usage.limit", "--limit", sentence)
    memory = limits.most_memory() if prove else None
    return Job(tuple(prompts), out, count, calibration, length, seed, device, attribution, prove, memory)


def now() -> datetime:
    """The clock, read once per command."""
    return datetime.now(UTC).replace(microsecond=0)


def notice(sentence: str) -> None:
    """Say on standard error what was found before the work."""
    print(f"blockcert: {plain(sentence)}", file=sys.stderr)


def working() -> AbstractContextManager[Progress]:
    """A progress bar on standard error."""
    return progress_bar()


def _percent(part: int, whole: int) -> str:
    """With one decimal, rounded down: not all is never 100."""
    return f"{1000 * part // whole / 10:.1f} %" if whole else "-"


def summary(produced: Produced) -> list[str]:
    """The lines that say what a bundle claims, in short; 80 columns."""
    predicate = produced.statement.predicate
    claims, thresholds = predicate.claims, predicate.thresholds.relative
    kept = predicate.surrogate.kept
    outside = sum(subject.name.startswith("reference/") for subject in produced.statement.subject)
    inside = len(produced.statement.subject) - outside
    lines = [
        f"Wrote {produced.out}: {counted(inside, 'file')}, "
        f"and the digests of {counted(outside, 'file')} of the reference",
        "",
    ]
    for number, words in enumerate(produced.notes, start=1):
        first = f"  block {number:<3} "
        lines += wrap(words, 79, initial_indent=first, subsequent_indent=" " * 12, break_on_hyphens=False)
    if produced.notes:
        lines.append("")
    width = max(len(t) for t in thresholds)
    header = "  ".join(f"<= {t}".rjust(width + 3) for t in thresholds)
    lines.append(f"  tokens covered    {header}   multiply-adds kept   bits kept")
    for stage in claims.stages[1:-1]:
        mine, theirs = kept.surrogate[stage.index], kept.reference[stage.index]
        covered = "  ".join(_percent(c, stage.tokens).rjust(width + 3) for c in stage.covered)
        adds = _percent(mine.multiply_adds, theirs.multiply_adds)
        lines.append(f"  block {stage.index:<3}         {covered}   {adds:>18}   {_percent(mine.bits, theirs.bits):>9}")
    end = claims.end_to_end
    whole = f"end to end, on {counted(predicate.evidence.rows, 'prompt')}: top-1 agrees at "
    whole += f"{_percent(end.top1_agree, end.tokens)}, largest drift {end.relative_drift} of the hidden state's norm, "
    whole += f"KL {end.kl_mean} nats per token"
    lines += [
        "",
        *wrap(whole, 79, initial_indent="  ", subsequent_indent="  "),
        *_proven(predicate),
        *_missed(produced),
        *(["", *shift.lines(produced.shift)] if produced.shift is not None else []),
        "",
        f"Not signed yet: blockcert sign {quote(str(produced.out))} --key FILE",
    ]
    return lines


def _missed(produced: Produced, name: str = "") -> list[str]:
    if produced.missed is None:
        return []
    return ["", *wrap(f"Warning: {name}{produced.missed}", 79)]


def _proven(predicate: Predicate) -> list[str]:
    proven = predicate.claims.enclosures
    if proven is None:
        return []
    agrees = _percent(proven.top1_agree, proven.tokens)
    text = f"proven of the exact programs on {proven.rows} of these prompts: top-1 agrees at {agrees} at least, largest"
    text += f" drift {proven.relative_drift} of the hidden state's norm"
    return wrap(text, 79, initial_indent="  ", subsequent_indent="  ")


def report(produced: Produced) -> None:
    """Print the summary."""
    print(plain("\n".join(summary(produced)), lines=True))


def front_summary(produced: FrontProduced) -> list[str]:
    """The lines that say what a front holds."""
    bundles = ", ".join(one.out.name for one in produced.bundles)
    lines = [*wrap(f"Wrote {produced.out}: the bundles {bundles}; front.json and front.svg", 79), ""]
    lines += table.lines(produced.table)
    for one in produced.bundles:
        lines += _missed(one, f"{one.out.name}: ")
    for one in produced.bundles:
        if one.shift is not None:
            lines += ["", f"{one.out.name}:", *shift.lines(one.shift)]
    return [*lines, "", f"Not signed yet: blockcert sign {quote(str(produced.out))} --key FILE"]


def report_front(produced: FrontProduced) -> None:
    """Print the summary of a front."""
    print(plain("\n".join(front_summary(produced)), lines=True))
