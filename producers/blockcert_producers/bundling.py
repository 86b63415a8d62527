"""From an opened model and a finished surrogate to a bundle that only lacks signatures: what every producer shares.

Order matters and is the frame's guarantee: the calibration prompts are drawn before the surrogate exists, the
certification prompts from a key that contains the finished surrogate's digest (``spec/06-prompts.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.bundle import BundleWriter
from blockcert.digest import blake3_bytes
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Statement
from blockcert_producers.certify import CertifyOptions, Work, certify
from blockcert_producers.certify.pipeline import PROMPTS, REFERENCE_PROGRAM, SURROGATE_PROGRAM
from blockcert_producers.frame import Sample, write_prompts
from blockcert_producers.fronts.shift import Shifted
from blockcert_producers.heads.naming import name_heads, token_texts
from blockcert_producers.lift import lift
from blockcert_producers.progress import Progress
from blockcert_verifier.corpus import Population, read_population, starting_token
from blockcert_verifier.enclose import require_flint
from blockcert_verifier.evaluate import Backend, WeightStore, logits
from blockcert_verifier.fidelity import Evaluate, measure_fidelity, require_transformers
from blockcert_verifier.head_names import EXTENSION
from blockcert_verifier.measure import Pair

if TYPE_CHECKING:
    from blockcert_producers.certify.enclosing import RowShelf

__all__ = ["Job", "Made", "Opened", "Produced", "check_lift", "check_room", "open_model", "read_texts", "write_bundle"]

_BESIDE_THE_WEIGHTS = ("config.json", "tokenizer.json", "model.safetensors.index.json")
_CHECKED = 2
"""Windows on which a lifted program is compared with its checkpoint at once."""


class Job(Struct, frozen=True):
    """What producers need beside their models: texts, the draw, the output folder, the device.

    ``attribution`` and ``prove`` are how many of the first certification prompts carry attribution and proven ends;
    ``memory`` is how many bytes proving one may be estimated to take, None for any. It changes no result.
    """

    prompts: tuple[Path, ...]
    out: Path
    count: int = 200
    calibration: int = 200
    length: int = 64
    seed: int = 0
    device: str = "cpu"
    attribution: int = 50
    prove: int = 0
    memory: int | None = None


class Produced(Struct, frozen=True):
    """A written bundle: its statement, what each block became, in words, and what a second population showed.

    ``missed`` says in a sentence that the certificate shows less than was asked for.
    """

    out: Path
    statement: Statement
    notes: tuple[str, ...]
    shift: Shifted | None = None
    missed: str | None = None


class Opened(Struct, frozen=True):
    """A model lifted and its population read: the reference program, the path of every file that stands for it, and
    what is drawn."""

    model: Path
    job: Job
    reference: Program
    files: dict[str, Path]
    sample: Sample

    @property
    def beside(self) -> dict[str, Path]:
        """Of ``files`` those that the program does not name: the configuration, the tokenizer, an index."""
        named = {file.name for file in self.reference.files}
        return {name: path for name, path in self.files.items() if name not in named}

    @property
    def population(self) -> Population:
        """The windows of the job's texts."""
        return self.sample.population

    def calibration(self) -> np.ndarray[Any, Any]:
        """The calibration prompts' token ids."""
        return self.population.tokens(self.sample.draw_calibration())


class Made(Struct, frozen=True):
    """A finished surrogate: its program, its weight files by name, the note for the statement, words per block."""

    program: Program
    files: dict[str, Path]
    note: str
    notes: tuple[str, ...] = ()


def open_model(model: Path, job: Job) -> Opened:
    """The reference program of a model folder and the population of a job.

    Raises:
        Refusal: what of the options, the model or the texts is refused, and ``prompts.too_few_windows``; as
            ``check_lift`` and ``check_room``.
    """
    if job.prove:
        require_flint()
    Backend(job.device)  # an unknown device is refused before any work, and so is a missing package
    require_transformers()
    reference = lift(model)
    files = {file.name: model / file.name.removeprefix("reference/") for file in reference.files}
    files |= {f"reference/{name}": model / name for name in _BESIDE_THE_WEIGHTS if (model / name).is_file()}
    population = read_texts(model, reference, job.prompts, job.length)
    check_room(reference, reference, files, job)
    digest = blake3_bytes(strict_json.encode(reference))
    sample = Sample(population, digest, job.seed, job.calibration, job.count)
    check_lift(model, reference, files, population, job.device)
    return Opened(model, job, reference, files, sample)


def check_room(reference: Program, surrogate: Program, files: Mapping[str, Path], job: Job) -> None:
    """Refuse, before any work, proofs that would not fit: ``limit.memory``.

    A surrogate that is still to be extracted takes about what its reference takes.
    """
    if job.prove and job.memory is not None:
        from blockcert_producers.certify import enclosing

        pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(files))
        enclosing.check_room(pair, job.length, job.memory)


def check_lift(model: Path, program: Program, files: Mapping[str, Path], population: Population, device: str) -> None:
    """Refuse a program that is not what its checkpoint computes, before any work rests on it.

    The first windows of the texts are enough to show an option that was read wrongly; what a statement says of fidelity
    is measured on the certification prompts.

    Raises:
        Refusal: ``fidelity.mismatch`` and the others of ``measure_fidelity``.
    """
    tokens = population.tokens(range(min(_CHECKED, population.windows)))
    measure_fidelity(model, program, tokens, _evaluator(files, device))


def _evaluator(files: Mapping[str, Path], device: str) -> Evaluate:
    store, backend = WeightStore(files), Backend(device)
    return lambda program, tokens: logits(program, store, tokens, backend)


def read_texts(model: Path, reference: Program, texts: tuple[Path, ...], length: int) -> Population:
    """The windows of texts in the tokens of a model.

    Raises:
        Refusal: what of the texts or the tokenizer is refused.
    """
    tokenizer = model / "tokenizer.json"
    return read_population(
        texts,
        tokenizer,
        length=length,
        bos=starting_token(tokenizer),
        vocabulary=reference.vocabulary,
        context=reference.context,
    )


def write_bundle(
    kind: Literal["extract", "compare"],
    opened: Opened,
    made: Made,
    writer: BundleWriter,
    *,
    now: datetime,
    progress: Progress,
    shelf: RowShelf | None = None,
) -> Produced:
    """Measure a surrogate on the certification prompts that its digest gives, state it, and commit the bundle.

    ``writer`` already holds the surrogate's weights; ``shelf`` keeps the rows that are proven, as they are finished.

    Raises:
        Refusal: as ``measure_fidelity`` and ``certify``.
    """
    job, sample = opened.job, opened.sample
    writer.write(REFERENCE_PROGRAM, strict_json.encode(opened.reference))
    surrogate = strict_json.encode(made.program)
    writer.write(SURROGATE_PROGRAM, surrogate)
    certification = sample.draw_certification(blake3_bytes(surrogate))
    write_prompts(writer.path(PROMPTS), opened.population, sample.draw_calibration(), certification)
    tokens = opened.population.tokens(certification)
    fidelity = measure_fidelity(opened.model, opened.reference, tokens, _evaluator(opened.files, job.device))
    work = Work(
        kind=kind,
        reference=opened.reference,
        surrogate=made.program,
        files={**opened.files, **made.files},
        frame=sample.frame,
        tokens=tokens,
        fidelity=fidelity,
        note=made.note,
        version=version("blockcert"),
        extensions=_extensions(opened),
    )
    options = CertifyOptions(
        attribution=job.attribution, device=job.device, prove=job.prove, shelf=shelf, memory=job.memory
    )
    statement, _ = certify(writer, work, options, now=now, progress=progress)
    writer.commit()
    return Produced(writer.output, statement, made.notes)


def _extensions(opened: Opened) -> dict[str, Any]:
    """What the reference's heads look at on calibration prompts (BC-STM-17); nothing where there are none."""
    tokens = opened.calibration()
    if not len(tokens):
        return {}
    texts = token_texts(opened.model / "tokenizer.json", tokens)
    store, backend = WeightStore(opened.files), Backend(opened.job.device)
    return {EXTENSION: msgspec.to_builtins(name_heads(opened.reference, store, tokens, backend, texts))}
