"""Extraction's front beside where it started: at equal coverage fewer bits and fewer multiply-adds.

The starting points were measured before the project began, each one simplification of all blocks of a really trained
model: number formats per channel, and unstructured sparsity with a least-squares refit. For every grade stands the
cheapest of them of which 95 % of the tokens were within the grade's relative error in every block, in bits and in
multiply-adds, counted here as certificates count. Beside it stand the certificates that ``blockcert extract --budgets
lossless,near-lossless,approximate`` writes for either aim, with what they claim. The prompts are of the same kind and
number, not the same ones.

For the other models nothing was measured then. A second table has for each of them plain rounding and plain sparsity,
measured now on the certification prompts of a front's narrowest bundle (``plain_simplifications``).

``python -m tests.benchmarks.starting_points`` prints both, for all models or those named; ``starting_points.md`` holds
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

from blockcert.program import Program, Stage
from blockcert.safetensors_file import read_header_bytes
from blockcert.statement import Cost, Statement
from blockcert_producers.embedded import NAMES, Name, path
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract.budget import AIMS, GRADES
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.moments import inputs
from blockcert_producers.extract.plan import RIDGE, Structure
from blockcert_producers.extract.realise import realise
from blockcert_producers.extract.rounding import rounded
from blockcert_producers.extract.study import Study, relative_errors
from blockcert_producers.extract.tensors import Host, MemoryStore
from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, extract_front
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.support.certificates import NOW, SHARED

__all__ = ["MODELS", "OTHERS", "Model", "StartingPoint", "plain_simplifications", "report", "told"]

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
    text: str = "tinyshakespeare.txt"
    """A file of the texts beside the project; ``told`` for what the model tells itself, ``generated`` for what an
    embedded model was trained on."""

    @property
    def folder(self) -> Path:
        """Where the model is."""
        if self.name in EMBEDDED:
            return path(EMBEDDED[self.name])
        return SHARED / "models" / self.name


EMBEDDED: dict[str, Name] = {f"embedded {name}": name for name in NAMES}

MODELS = (
    Model(
        "stories260K",
        100,
        (
            StartingPoint("float16", {"0.01": 1, "0.02": 1, "0.05": 1}, "float16"),
            StartingPoint("bfloat16", {"0.01": 1, "0.02": 1, "0.05": 1}, "bfloat16"),
            # at 0.02 it was not measured; what it covered at 0.01 is less
            StartingPoint("int8 per channel", {"0.01": 0.77, "0.05": 1}, "int8"),
            StartingPoint("unstructured 95 %", {"0.01": 0.71, "0.05": 1}, kept=Fraction(95, 100)),
            StartingPoint("unstructured 90 %", {"0.01": 0.17, "0.05": 0.97}, kept=Fraction(90, 100)),
        ),
        "told",
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


OTHERS = (
    Model("embedded gpt2", 100, (), "generated"),
    Model("embedded llama", 100, (), "generated"),
    Model("slm4096_gpt2", 60, ()),  # as in the tests: its own corpus is not at hand
    Model("shakespeare-gpt2", 60, ()),
)
"""Models of which nothing was measured before the project began."""

ROUNDED: dict[Format, str] = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "int8": "int8 per channel",
    "int6": "int6 per channel",
    "int4": "int4 per channel",
}
SPARSE = (Fraction(95, 100), Fraction(90, 100), Fraction(80, 100), Fraction(70, 100), Fraction(50, 100))


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


def plain_simplifications(
    reference: Program, store: WeightStore, calibration: Host, certification: Host
) -> tuple[StartingPoint, ...]:
    """Plain rounding of all blocks, and unstructured sparsity with a least-squares refit, with the coverage of the
    worst block on ``certification`` (prompts x T), every block at the reference's own input.

    Sparse maps keep the same share of the weights of every map, those whose loss a refit of their row makes up for
    least (``w^2 / inverse(gram)_jj``), fitted to ``calibration`` and stored in float16.
    """
    programs = {name: rounded(reference, store, form) for form, name in ROUNDED.items()}
    sparse = {f"unstructured {100 * kept} %": kept for kept in SPARSE}
    errors: dict[str, list[Host]] = {name: [] for name in (*programs, *sparse)}
    backend = Backend()
    length = int(calibration.shape[1])
    first = LoadedStage(reference.stages[0], store, backend, length)
    seen, given = (first(backend.integers(tokens)) for tokens in (calibration, certification))
    for index in range(1, reference.blocks + 1):
        study = Study(reference.stages[index], seen, store, backend)
        output = LoadedStage(reference.stages[index], store, backend, length)(given)

        def add(name: str, stage: Stage, weights: WeightStore, given: Host = given, output: Host = output) -> None:
            other = LoadedStage(stage, weights, backend, length)(given)
            errors[name].append(relative_errors(output, other))

        for name, (program, memory) in programs.items():
            add(name, program.stages[index], memory)
        tokens = dict.fromkeys(study.anatomy.linears, study.token_weights)
        prices = {i: _prices(study, i) for i in study.anatomy.linears}
        for name, kept in sparse.items():
            supports = {i: _dearest(price, kept) for i, price in prices.items()}
            made = realise(study, Structure(supports, None, None), "float16", f"block{index}", tokens)
            add(name, made.stage, MemoryStore(store, made.tensors))
        seen, given = study.values[reference.stages[index].output], output

    def covered(name: str) -> dict[str, float]:
        return {t: min(float((found <= float(t)).mean()) for found in errors[name]) for t in GRADES.values()}

    rounding = [StartingPoint(name, covered(name), form) for form, name in ROUNDED.items()]
    return (*rounding, *(StartingPoint(name, covered(name), kept=kept) for name, kept in sparse.items()))


def _prices(study: Study, index: int) -> Host:
    x = study.flat(study.values[study.linear(index).input])
    found = inputs(x, study.token_weights, RIDGE)
    return study.matrix(index) ** 2 / np.diagonal(found.inverted)


def _dearest(price: Host, kept: Fraction) -> Host:
    count = int(kept * price.size)
    support = np.zeros(price.size, dtype=bool)
    support[np.argsort(-price.reshape(-1), kind="stable")[:count]] = True
    return support.reshape(price.shape)


def _listed(bundle: Path) -> tuple[Host, Host]:
    """The calibration and the certification prompts of a bundle."""
    data = (bundle / "prompts.safetensors").read_bytes()
    header = read_header_bytes(data, "prompts.safetensors")

    def values(name: str, dtype: str) -> Host:
        info = header[name]
        return np.frombuffer(data[info.begin : info.end], dtype=dtype).reshape(info.shape)

    tokens, split = values("tokens", "<i4").astype(np.int64), values("split", "u1")
    return tokens[split == 0], tokens[split == 1]


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
    written = folder / "stories.txt"
    written.write_text("\n\n".join(tokenizer.decode(row) for row in spoken.tolist()), encoding="utf-8")
    return written


def _covered(statement: Statement, threshold: str) -> float:
    """Of the worst block, as certified."""
    p = statement.predicate
    at = p.thresholds.relative.index(threshold)
    return min(stage.covered[at] / stage.tokens for stage in p.claims.stages[1:-1])


def _rows(model: Model, folder: Path) -> tuple[list[str], float]:
    source = model.folder
    reference = lift(source)
    store = WeightStore({file.name: source / file.name.removeprefix("reference/") for file in reference.files})
    if model.text == "generated":
        text = folder / "text.txt"
        text.write_text(generate(11, 60_000), encoding="utf-8")
    else:
        text = told(source, folder) if model.text == "told" else SHARED / "text" / model.text
    statements: dict[str, list[Statement]] = {}
    begin = process_time()
    for aim in AIMS:
        job = Job((text,), folder / aim, model.prompts, CALIBRATION, attribution=0)
        made = extract_front(source, job, budgets=",".join(GRADES), aim=aim, now=NOW)
        statements[aim] = [bundle.statement for bundle in made.bundles]
    seconds = process_time() - begin
    plain = model.points or plain_simplifications(reference, store, *_listed(made.bundles[0].out))
    points = _counted(reference, store, plain)
    rows: list[str] = []
    for i, (grade, threshold) in enumerate(GRADES.items()):
        whole = _Counted(StartingPoint("nothing done", {threshold: 1}), 32.0, 1.0)
        meeting = [*(one for one in points if one.point.covered.get(threshold, 0) >= 0.95), whole]
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


def report(names: Sequence[str] = ()) -> Iterator[str]:
    """Lines, as they are found: two tables, a row for each model and grade."""
    for title, models in (("Measured before the project began:", MODELS), ("Measured now:", OTHERS)):
        chosen = [model for model in models if not names or model.name in names]
        if chosen:
            yield from (title, "", *_table(chosen), "")


def _table(models: Sequence[Model]) -> Iterator[str]:
    notes: list[str] = []
    yield HEADER
    for model in models:
        if not (model.folder / "model.safetensors").exists():
            notes.append(f"{model.name} is not on this machine.")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            rows, seconds = _rows(model, Path(scratch))
        yield from rows
        notes.append(f"{model.name}: two fronts of three budgets in {seconds:.0f} s of processor time.")
    yield ""
    yield from notes


if __name__ == "__main__":
    for line in report(sys.argv[1:]):
        print(line, flush=True)
