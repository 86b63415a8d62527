"""What ``extract --polish`` brings: fronts with and without it, from the same prompts, certified alike.

``python -m tests.benchmarks.polishing`` prints a table for the models named, or for all of them; ``polishing.md`` holds
what it printed. Both sides draw the same calibration prompts; the certification prompts are those that each finished
surrogate's digest gives, so they differ as they do for any two certificates. The models beside the project are skipped
where they are not there.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time

from msgspec import Struct

from blockcert.statement import Statement
from blockcert_producers import embedded
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract.budget import AIMS, GRADES
from blockcert_producers.produce import Job, extract_front
from tests.benchmarks.starting_points import adds_kept, bits_a_weight, covered, share, told
from tests.support.certificates import NOW, SHARED

__all__ = ["CASES", "Case", "report"]

STEPS = 300


class Case(Struct, frozen=True):
    """A model, and how many prompts calibrate and certify it."""

    name: str
    calibration: int
    prompts: int

    @property
    def folder(self) -> Path:
        """The model's folder."""
        short = self.name.removeprefix("embedded ")
        return embedded.path(short) if short != self.name else SHARED / "models" / self.name


CASES = (
    Case("embedded gpt2", 200, 200),
    Case("embedded llama", 200, 200),
    Case("stories260K", 60, 100),
    Case("shakespeare-llama", 60, 60),
)

HEADER = (
    "| model | aim | grade | bits a weight | polished | multiply-adds | polished | certified coverage | polished "
    "| KL | polished |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def _text(case: Case, folder: Path) -> Path:
    if case.name.startswith("shakespeare"):
        return SHARED / "text" / "tinyshakespeare.txt"
    if not case.name.startswith("embedded"):
        return told(case.folder, folder)
    path = folder / "text.txt"
    path.write_text(generate(5, 200_000), encoding="utf-8")
    return path


def _cells(statement: Statement, threshold: str) -> tuple[str, str, str, str]:
    end = statement.predicate.claims.end_to_end
    kl = "-" if end.kl_mean is None else f"{float(end.kl_mean):.1e}"
    return f"{bits_a_weight(statement):.2f}", adds_kept(statement), share(covered(statement, threshold)), kl


def _rows(case: Case, aims: Sequence[str], folder: Path) -> Iterator[str]:
    text = _text(case, folder)
    for aim in aims:
        found: list[list[Statement]] = []
        seconds: list[float] = []
        for steps in (0, STEPS):
            job = Job((text,), folder / f"{aim}{steps}", case.prompts, case.calibration, attribution=0)
            begin = process_time()
            made = extract_front(case.folder, job, budgets=",".join(GRADES), aim=aim, polish=steps, now=NOW)
            seconds.append(process_time() - begin)
            found.append([bundle.statement for bundle in made.bundles])
        for plain, polished, (grade, threshold) in zip(*found, GRADES.items(), strict=True):
            pairs = zip(_cells(plain, threshold), _cells(polished, threshold), strict=True)
            cells = " | ".join(f"{before} | {after}" for before, after in pairs)
            yield f"| {case.name} | {aim} | {grade} ({threshold}) | {cells} |"
        yield f"{case.name}, {aim}: {seconds[0]:.0f} s of processor time, {seconds[1]:.0f} s with the polish."


def report(cases: Sequence[Case] = CASES, aims: Sequence[str] = AIMS) -> Iterator[str]:
    """Lines, as they are found: one table, then what each front took."""
    notes: list[str] = []
    yield HEADER
    for case in cases:
        if not (case.folder / "model.safetensors").exists():
            notes.append(f"{case.name} is not on this machine.")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            for line in _rows(case, aims, Path(scratch)):
                if line.startswith("|"):
                    yield line
                else:
                    notes.append(line)
    yield ""
    yield from notes


if __name__ == "__main__":
    asked = sys.argv[1:]
    names, aims = [one for one in asked if one not in AIMS], [one for one in asked if one in AIMS]
    for line in report([case for case in CASES if not names or case.name in names], aims or AIMS):
        print(line, flush=True)
