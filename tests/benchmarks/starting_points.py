"""Extraction's front beside where it started: at equal coverage fewer bits and fewer multiply-adds.

The starting points were measured before the project began, each one simplification of all blocks of a really trained
model: number formats per channel, and unstructured sparsity with a least-squares refit. For every grade stands the
cheapest of them of which 95 % of the tokens were within the grade's relative error in every block, in bits and in
multiply-adds, counted here as certificates count. Beside it stand the certificates that ``blockcert extract --budgets
lossless,near-lossless,approximate`` writes for either aim, with what they claim. The prompts are of the same kind and
number, not the same ones.

``python -m tests.benchmarks.starting_points`` prints it, for all models or those named; ``starting_points.md`` holds
what it printed. It needs the models and texts beside the project and says which are missing.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from msgspec import Struct

from blockcert.program import Program
from blockcert.statement import Cost, Statement
from blockcert_producers.extract.budget import AIMS, GRADES
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.rounding import rounded
from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, extract_front
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from tests.support.certificates import NOW, SHARED

__all__ = ["MODELS", "Model", "StartingPoint", "report", "told"]

LENGTH, CALIBRATION, SEED = 64, 60, 0


class StartingPoint(Struct, frozen=True):
    """One simplification of all blocks: by its number format, or by the share of the weights that it keeps; and the
    share of tokens within each relative error in the worst block."""

    name: str
    covered: dict[str, float]
    form: Format | None = None
    kept: Fraction = Fraction(1)


class Model(Struct, frozen=True):
    """A model, how many prompts certify it, and its starting points."""

    name: str
    prompts: int
    points: tuple[StartingPoint, ...]


MODELS = (
    Model(
        "stories260K",
        100,
        (
            StartingPoint("float16", {"0.01": 1, "0.02": 1, "0.05": 1}, "float16"),
            # at 0.02 it was not measured; what it covered at 0.01 is less
            StartingPoint("int8 per channel", {"0.01": 0.77, "0.05": 1}, "int8"),
            StartingPoint("unstructured 95 %", {"0.01": 0.71, "0.05": 1}, kept=Fraction(95, 100)),
            StartingPoint("unstructured 90 %", {"0.01": 0.17, "0.05": 0.97}, kept=Fraction(90, 100)),
        ),
    ),
    Model(
        "shakespeare-llama",
        60,
        (
            StartingPoint("int8 per channel", {"0.01": 1, "0.02": 1, "0.05": 1}, "int8"),
            StartingPoint("int6, error feedback", {"0.01": 0.949, "0.02": 1, "0.05": 1}, "int6"),
            StartingPoint("int4, error feedback", {"0.01": 0.043, "0.02": 0.328, "0.05": 0.979}, "int4"),
            StartingPoint("unstructured 90 %", {"0.01": 0.999, "0.02": 1, "0.05": 1}, kept=Fraction(90, 100)),
            StartingPoint("unstructured 70 %", {"0.01": 0.243, "0.02": 0.658, "0.05": 0.998}, kept=Fraction(70, 100)),
            StartingPoint("unstructured 50 %", {"0.01": 0.011, "0.02": 0.129, "0.05": 0.654}, kept=Fraction(50, 100)),
        ),
    ),
)


class _Counted(Struct, frozen=True):
    """A starting point with bits a weight, and multiply-adds as a share of the reference's."""

    point: StartingPoint
    bits: float
    multiply_adds: float


def _blocks(costs: Sequence[Cost]) -> Cost:
    inner = costs[1:-1]
    return Cost(sum(c.parameters for c in inner), sum(c.bits for c in inner), sum(c.multiply_adds for c in inner))


def _counted(reference: Program, store: WeightStore, points: Sequence[StartingPoint]) -> list[_Counted]:
    whole = _blocks(program_costs(reference, store, LENGTH))
    found: list[_Counted] = []
    for point in points:
        if point.form is not None:
            program, memory = rounded(reference, store, point.form)
            bits = _blocks(program_costs(program, memory, LENGTH)).bits / whole.parameters
            found.append(_Counted(point, bits, 1.0))
        else:
            # nearly all parameters are weights of maps; what attention weighs stays
            maps = LENGTH * whole.parameters
            share = 1 - float(1 - point.kept) * min(maps, whole.multiply_adds) / whole.multiply_adds
            found.append(_Counted(point, whole.bits / whole.parameters, share))
    return found


def told(model: Path, folder: Path) -> Path:
    """What a model of stories tells itself, where its corpus is not at hand: a file in ``folder``."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(SEED)
    network: Any = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    start = torch.full((256, 1), network.config.bos_token_id)
    spoken: Any = network.generate(
        start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_new_tokens=320, pad_token_id=0
    )
    tokenizer: Any = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    path = folder / "stories.txt"
    path.write_text("\n\n".join(tokenizer.decode(row) for row in spoken.tolist()), encoding="utf-8")
    return path


def _covered(statement: Statement, threshold: str) -> float:
    """Of the worst block, as certified."""
    p = statement.predicate
    at = p.thresholds.relative.index(threshold)
    return min(stage.covered[at] / stage.tokens for stage in p.claims.stages[1:-1])


def _rows(model: Model, folder: Path) -> tuple[list[str], float]:
    source = SHARED / "models" / model.name
    reference = lift(source)
    store = WeightStore({file.name: source / file.name.removeprefix("reference/") for file in reference.files})
    points = _counted(reference, store, model.points)
    text = told(source, folder) if model.name == "stories260K" else SHARED / "text" / "tinyshakespeare.txt"
    statements: dict[str, list[Statement]] = {}
    begin = process_time()
    for aim in AIMS:
        job = Job((text,), folder / aim, model.prompts, CALIBRATION, attribution=0)
        made = extract_front(source, job, budgets=",".join(GRADES), aim=aim, now=NOW)
        statements[aim] = [bundle.statement for bundle in made.bundles]
    seconds = process_time() - begin
    rows: list[str] = []
    for i, (grade, threshold) in enumerate(GRADES.items()):
        meeting = [one for one in points if one.point.covered.get(threshold, 0) >= 0.95]
        bits, adds = statements["bits"][i], statements["structure"][i]
        fewest, least = min(meeting, key=lambda one: one.bits), min(meeting, key=lambda one: one.multiply_adds)
        sparse = "whole" if least.multiply_adds == 1 else least.point.name
        cells = (
            f"{grade} ({threshold})",
            f"{fewest.point.name} ({_share(fewest.point.covered[threshold])})",
            f"{fewest.bits:.2f}",
            f"**{_bits(bits):.2f}** ({_share(_covered(bits, threshold))})",
            f"{sparse} ({_share(least.point.covered[threshold])})",
            f"{100 * least.multiply_adds:.1f} %",
            f"**{_adds(adds)}** ({_share(_covered(adds, threshold))})",
            f"{_bits(adds):.2f}",
            _adds(bits),
        )
        rows.append(f"| {model.name} | " + " | ".join(cells) + " |")
    return rows, seconds


def _share(value: float) -> str:
    return f"{np.floor(value * 1000) / 1000:.3f}"


def _bits(statement: Statement) -> float:
    """Bits over the reference's parameters."""
    kept = statement.predicate.surrogate.kept
    return _blocks(kept.surrogate).bits / _blocks(kept.reference).parameters


def _adds(statement: Statement) -> str:
    kept = statement.predicate.surrogate.kept
    return f"{100 * _blocks(kept.surrogate).multiply_adds / _blocks(kept.reference).multiply_adds:.1f} %"


HEADER = (
    "| model | grade | start: fewest bits (coverage) | bits a weight | `--aim bits` (certified coverage) "
    "| start: fewest multiply-adds (coverage) | of the whole | `--aim structure` (certified coverage) "
    "| its bits a weight | `--aim bits`: its multiply-adds |\n|---|---|---|---|---|---|---|---|---|---|"
)


def report(models: Sequence[Model] = MODELS) -> Iterator[str]:
    """Lines, as they are found: one table, a row for each model and grade."""
    notes: list[str] = []
    yield HEADER
    for model in models:
        if not (SHARED / "models" / model.name / "model.safetensors").exists():
            notes.append(f"{model.name} is not on this machine.")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            rows, seconds = _rows(model, Path(scratch))
        yield from rows
        notes.append(f"{model.name}: two fronts of three budgets in {seconds:.0f} s of processor time.")
    yield ""
    yield from notes


if __name__ == "__main__":
    asked = sys.argv[1:]
    for line in report([model for model in MODELS if not asked or model.name in asked]):
        print(line, flush=True)
