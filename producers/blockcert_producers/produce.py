"""The two jobs of a producer, whole: from folders and texts to a bundle that only lacks signatures.

Order matters and is the frame's guarantee: the calibration prompts are drawn before the surrogate exists, the
certification prompts from a key that contains the finished surrogate's digest (``spec/06-prompts.md``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.bundle import BundleWriter
from blockcert.digest import blake3_bytes, digest_file
from blockcert.errors import Refusal
from blockcert.program import FileRef, Program
from blockcert.safetensors_file import write
from blockcert.statement import Statement
from blockcert_producers.certify import CertifyOptions, Work, certify
from blockcert_producers.certify.pipeline import PROMPTS, REFERENCE_PROGRAM, SURROGATE_PROGRAM
from blockcert_producers.frame import Sample, write_prompts
from blockcert_producers.lift import lift
from blockcert_producers.progress import Progress, silent
from blockcert_verifier.corpus import read_population, starting_token
from blockcert_verifier.evaluate import Backend, WeightStore, logits
from blockcert_verifier.fidelity import measure_fidelity, require_transformers
from blockcert_verifier.measure import Confirmation

__all__ = ["Job", "Produced", "compare_bundle", "extract_bundle"]

SURROGATE_WEIGHTS = "programs/surrogate.safetensors"
_BESIDE_THE_WEIGHTS = ("config.json", "tokenizer.json", "model.safetensors.index.json")


class Job(Struct, frozen=True):
    """What both jobs need beside their models: texts, the draw, the output folder, the device."""

    prompts: tuple[Path, ...]
    out: Path
    count: int = 200
    calibration: int = 50
    length: int = 64
    seed: int = 0
    device: str = "cpu"
    attribution: int = 50


class Produced(Struct, frozen=True):
    """A written bundle: its statement, the producer's own replay, and what each block became, in words."""

    out: Path
    statement: Statement
    checked: Confirmation
    notes: tuple[str, ...]


class _Made(Struct, frozen=True):
    """A finished surrogate: its program, its weight files by name, the note for the statement, words per block."""

    program: Program
    files: dict[str, Path]
    note: str
    notes: tuple[str, ...] = ()


_Make = Callable[[Program, dict[str, Path], "np.ndarray[Any, Any]", BundleWriter], _Made]


def extract_bundle(model: Path, job: Job, *, budget: str, now: datetime, progress: Progress = silent) -> Produced:
    """Extract a surrogate of ``model`` within ``budget``, measure it and write an unsigned bundle.

    ``budget`` is the relative error that 95 % of calibration tokens must meet in every block.

    Raises:
        Refusal: whatever of the input is refused; nothing is left at ``job.out`` then.
    """
    from blockcert_producers.extract import extract

    def make(
        reference: Program, files: dict[str, Path], calibration: np.ndarray[Any, Any], writer: BundleWriter
    ) -> _Made:
        found = extract(reference, files, calibration, budget, backend_device=job.device, progress=progress)
        note = f"extracted within a budget of {budget}: 95 % of calibration tokens in every block"
        words = tuple(block.words for block in found.blocks)
        if not found.tensors:
            return _Made(found.program(None), {}, note, words)
        path = writer.path(SURROGATE_WEIGHTS)
        write(path, found.tensors)
        digests = digest_file(path, sha256=False)
        file = FileRef(SURROGATE_WEIGHTS, digests.size, digests.blake3)
        return _Made(found.program(file), {SURROGATE_WEIGHTS: path}, note, words)

    return _produce("extract", model, job, make, now, progress)


def compare_bundle(
    reference: Path, candidate: Path, job: Job, *, now: datetime, progress: Progress = silent
) -> Produced:
    """Measure how far ``candidate`` drifts from ``reference`` and write an unsigned bundle.

    The candidate's weight files are copied into the bundle byte for byte.

    Raises:
        Refusal: ``compare.shape`` where the two cannot be compared stage by stage, and whatever else is refused;
            nothing is left at ``job.out`` then.
    """

    def make(
        lifted: Program, _files: dict[str, Path], _calibration: np.ndarray[Any, Any], writer: BundleWriter
    ) -> _Made:
        program = lift(candidate, prefix="surrogate/")
        _check_shapes(lifted, program, candidate)
        copies: dict[str, Path] = {}
        for file in program.files:
            copies[file.name] = writer.path(file.name)
            shutil.copyfile(candidate / file.name.removeprefix("surrogate/"), copies[file.name])
            if digest_file(copies[file.name], sha256=False).blake3 != file.blake3:
                raise Refusal("compare.changed", file.name, "the candidate's file changed while it was being read")
        return _Made(program, copies, "compared as it is: nothing was extracted")

    return _produce("compare", reference, job, make, now, progress)


def _check_shapes(reference: Program, candidate: Program, folder: Path) -> None:
    for what, mine, theirs in (
        ("blocks", reference.blocks, candidate.blocks),
        ("hidden size", reference.hidden_size, candidate.hidden_size),
        ("vocabulary", reference.vocabulary, candidate.vocabulary),
    ):
        if mine != theirs:
            raise Refusal(
                "compare.shape",
                str(folder),
                f"the reference has {what} {mine}, the candidate {theirs}; only models of one shape can be compared",
            )


def _produce(
    kind: Literal["extract", "compare"], model: Path, job: Job, make: _Make, now: datetime, progress: Progress
) -> Produced:
    Backend(job.device)  # an unknown device is refused before any work, and so is a missing package
    require_transformers()
    with BundleWriter(job.out) as writer:
        reference = lift(model)
        files = {file.name: model / file.name.removeprefix("reference/") for file in reference.files}
        files |= {f"reference/{name}": model / name for name in _BESIDE_THE_WEIGHTS if (model / name).is_file()}
        tokenizer = model / "tokenizer.json"
        population = read_population(
            job.prompts,
            tokenizer,
            length=job.length,
            bos=starting_token(tokenizer),
            vocabulary=reference.vocabulary,
            context=reference.context,
        )
        reference_digest = _write_program(writer, REFERENCE_PROGRAM, reference)
        sample = Sample(population, reference_digest, job.seed, job.calibration, job.count)
        calibration = sample.draw_calibration()
        made = make(reference, files, population.tokens(calibration), writer)
        surrogate_digest = _write_program(writer, SURROGATE_PROGRAM, made.program)
        certification = sample.draw_certification(surrogate_digest)
        write_prompts(writer.path(PROMPTS), population, calibration, certification)
        tokens = population.tokens(certification)

        store, backend = WeightStore(files), Backend(job.device)
        fidelity = measure_fidelity(
            model, reference, tokens, lambda program, part: logits(program, store, part, backend)
        )
        work = Work(
            kind=kind,
            reference=reference,
            surrogate=made.program,
            files={**files, **made.files},
            frame=sample.frame,
            tokens=tokens,
            fidelity=fidelity,
            note=made.note,
            version=version("blockcert"),
        )
        options = CertifyOptions(attribution=job.attribution, device=job.device)
        statement, checked = certify(writer, work, options, now=now, progress=progress)
        writer.commit()
    return Produced(job.out, statement, checked, made.notes)


def _write_program(writer: BundleWriter, name: str, program: Program) -> str:
    """Write a program and return the BLAKE3 digest of its bytes."""
    data = strict_json.encode(program)
    writer.path(name).write_bytes(data)
    return blake3_bytes(data)
