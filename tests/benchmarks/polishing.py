"""What ``extract --polish`` brings: surrogates with and without it, from the same calibration prompts, side by side.

Both are measured in float64 on prompts that neither has seen: tokens within the budget in the worst block, stitched KL.
They are not certified here, so that what is timed and compared is extraction alone. Models beside the project are
skipped where they are not there.

``python -m tests.benchmarks.polishing [NAME…] [structure|bits]`` prints a table; ``polishing.md`` holds what it
printed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from msgspec import Struct

from blockcert.program import FileRef, Program
from blockcert.safetensors_file import write
from blockcert_producers import embedded
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract import Extraction, Polish, front
from blockcert_producers.extract.budget import AIMS, GRADES, Aim, parse_budget
from blockcert_producers.extract.tensors import SURROGATE_FILE
from blockcert_producers.lift import lift
from blockcert_verifier.corpus import read_population, starting_token
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.benchmarks.starting_points import told
from tests.support.certificates import SHARED

__all__ = ["CASES", "Case", "report"]

STEPS, LENGTH, FRESH, SEED = 300, 64, 100, 0


class Case(Struct, frozen=True):
    """A model, how many prompts calibrate it, and the grades that are tried."""

    name: str
    calibration: int
    grades: tuple[str, ...] = tuple(GRADES)

    @property
    def folder(self) -> Path:
        """The model's folder."""
        short = self.name.removeprefix("embedded-")
        return embedded.path(short) if short != self.name else SHARED / "models" / self.name

    def text(self, scratch: Path) -> Path:
        """Text that the model speaks; what is made for it goes to ``scratch``."""
        if self.name.startswith("shakespeare"):
            return SHARED / "text" / "tinyshakespeare.txt"
        if not self.name.startswith("embedded"):
            return told(self.folder, scratch)
        path = scratch / "text.txt"
        path.write_text(generate(5, 120_000), encoding="utf-8")
        return path


CASES = (
    Case("embedded-gpt2", 100),
    Case("embedded-llama", 100),
    Case("stories260K", 100),
    Case("shakespeare-llama", 60, ("near-lossless",)),
)

HEADER = (
    "| model | aim | grade | bits a weight | polished | multiply-adds | polished | coverage, worst block | polished "
    "| KL | polished |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


class _Found(Struct, frozen=True):
    """One surrogate: bits over the reference's parameters, multiply-adds over the reference's, the share of tokens
    within the budget in the worst block, and mean stitched KL in nats."""

    bits: float
    adds: float
    coverage: float
    divergence: float


def _logarithms(logits: Any) -> Any:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _measured(found: Extraction, files: dict[str, Path], tokens: Any, limit: float, scratch: Path) -> _Found:
    path = scratch / "surrogate.safetensors"
    write(path, found.tensors)
    # only its name is read
    surrogate: Program = found.program(FileRef(SURROGATE_FILE, 1, "0" * 64) if found.tensors else None)
    store, backend = WeightStore({**files, SURROGATE_FILE: path}), Backend()
    x = y = backend.integers(tokens)
    coverage = 1.0
    for f, g in zip(found.reference.stages, surrogate.stages, strict=True):
        run, other = (LoadedStage(stage, store, backend, LENGTH) for stage in (f, g))
        after = run(x)
        if f.kind == "block":
            ratio = np.linalg.norm(other(x) - after, axis=-1) / np.linalg.norm(after, axis=-1)
            coverage = min(coverage, float((ratio <= limit).mean()))
        x, y = after, other(y)
    p, q = _logarithms(x), _logarithms(y)
    kept, whole = [block.kept for block in found.blocks], [block.reference for block in found.blocks]
    return _Found(
        sum(cost.bits for cost in kept) / sum(cost.parameters for cost in whole),
        sum(cost.multiply_adds for cost in kept) / sum(cost.multiply_adds for cost in whole),
        coverage,
        float((np.exp(p) * (p - q)).sum(axis=-1).mean()),
    )


def _rows(case: Case, aim: Aim, scratch: Path) -> Iterator[str]:
    reference = lift(case.folder)
    files = {file.name: case.folder / file.name.removeprefix("reference/") for file in reference.files}
    tokenizer = case.folder / "tokenizer.json"
    windows = read_population(
        (case.text(scratch),),
        tokenizer,
        length=LENGTH,
        bos=starting_token(tokenizer),
        vocabulary=reference.vocabulary,
        context=reference.context,
    )
    drawn = np.random.default_rng(SEED).permutation(windows.windows)[: case.calibration + FRESH].tolist()
    calibration, fresh = windows.tokens(drawn[: case.calibration]), windows.tokens(drawn[case.calibration :])
    budgets = [parse_budget(grade) for grade in case.grades]
    pairs: list[list[_Found]] = []
    seconds: list[float] = []
    for polish in (None, Polish(STEPS, SEED)):
        begin = process_time()
        made = front(reference, files, calibration, polish=polish).choose_all(budgets, aim)
        seconds.append(process_time() - begin)
        found = zip(made, budgets, strict=True)
        pairs.append([_measured(one, files, fresh, float(budget.limit), scratch) for one, budget in found])
    for plain, polished, budget in zip(*pairs, budgets, strict=True):
        cells = [
            f"{plain.bits:.2f} | {polished.bits:.2f}",
            f"{100 * plain.adds:.1f} % | {100 * polished.adds:.1f} %",
            f"{plain.coverage:.3f} | {polished.coverage:.3f}",
            f"{plain.divergence:.1e} | {polished.divergence:.1e}",
        ]
        yield f"| {case.name} | {aim} | {budget.name} ({float(budget.limit):g}) | {' | '.join(cells)} |"
    yield f"{case.name}, {aim}: {seconds[0]:.0f} s of processor time, with the polish {seconds[1]:.0f} s."


def report(cases: Sequence[Case] = CASES, aims: Sequence[Aim] = AIMS) -> Iterator[str]:
    """Lines, as they are found: one table, then what each extraction took."""
    notes: list[str] = []
    yield HEADER
    for case in cases:
        if not (case.folder / "model.safetensors").exists():
            notes.append(f"{case.name} is not on this machine.")
            continue
        for aim in aims:
            with tempfile.TemporaryDirectory() as scratch:
                *rows, note = _rows(case, aim, Path(scratch))
            notes.append(note)
            yield from rows
    yield ""
    yield from notes


if __name__ == "__main__":
    asked = sys.argv[1:]
    names = [one for one in asked if one not in AIMS]
    for line in report(
        [one for one in CASES if not names or one.name in names], [a for a in AIMS if a in asked] or AIMS
    ):
        print(line, flush=True)
