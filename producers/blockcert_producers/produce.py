"""The two jobs of a producer, whole: from folders and texts to a bundle that only lacks signatures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from blockcert.bundle import BundleWriter
from blockcert.digest import digest_file
from blockcert.errors import Refusal
from blockcert.program import Program
from blockcert_producers.bundling import Job, Made, Produced, check_lift, check_room, open_model, write_bundle
from blockcert_producers.extract.budget import parse_aim, parse_budget, parse_budgets
from blockcert_producers.extraction import Extracting, FrontProduced
from blockcert_producers.lift import lift
from blockcert_producers.progress import Progress, silent

__all__ = ["FrontProduced", "Job", "Produced", "compare_bundle", "extract_bundle", "extract_front"]


def extract_bundle(
    model: Path,
    job: Job,
    *,
    budget: str,
    aim: str = "structure",
    shift: Sequence[Path] = (),
    polish: int = 0,
    now: datetime,
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda _: None,
) -> Produced:
    """Extract a surrogate of ``model`` within ``budget``, measure it and write an unsigned bundle.

    Args:
        model: a folder in Hugging Face form.
        job: texts, counts, output.
        budget: the relative error that 95 % of the tokens must meet in every block, or a grade's name; or a target of
            the stitched model on held-out calibration prompts: ``kl=0.001``, ``logits=0.5``.
        aim: ``structure`` or ``bits``: what cheapest means.
        shift: texts of another population, measured too; what is found stands beside the bundle, unsigned.
        polish: steps of Adam by which chosen blocks are tuned on the calibration prompts; 0 for none.
        now: the time of issue.
        progress: called as work is done.
        notice: told in a sentence what of earlier runs is found.

    What is finished is kept in a folder beside ``job.out`` until that stands: the same call goes on from there.

    Raises:
        Refusal: whatever of the input is refused; nothing is left at ``job.out`` then.
    """
    extracting = Extracting(model, job, (parse_budget(budget),), parse_aim(aim), shift, polish, notice)
    return extracting.single(now=now, progress=progress)


def extract_front(
    model: Path,
    job: Job,
    *,
    budgets: str,
    aim: str = "structure",
    shift: Sequence[Path] = (),
    polish: int = 0,
    now: datetime,
    progress: Progress = silent,
    notice: Callable[[str], None] = lambda _: None,
) -> FrontProduced:
    """Extract a surrogate for each of several budgets, from one study of the model, and write a folder at ``job.out``.

    It holds a bundle for each budget under the budget's name, ``front.json`` and ``front.svg``: the bundles beside the
    identity and plain rounding. ``budgets`` are numbers, grades' names and targets with commas between; the rest as
    ``extract_bundle``.

    Raises:
        Refusal: whatever of the input is refused; nothing is left at ``job.out`` then.
    """
    extracting = Extracting(model, job, parse_budgets(budgets), parse_aim(aim), shift, polish, notice)
    return extracting.front(now=now, progress=progress)


def compare_bundle(
    reference: Path, candidate: Path, job: Job, *, now: datetime, progress: Progress = silent
) -> Produced:
    """Measure how far ``candidate`` drifts from ``reference`` and write an unsigned bundle.

    The candidate's weight files are copied into the bundle byte for byte.

    Raises:
        Refusal: ``compare.shape`` where the two cannot be compared stage by stage, ``fidelity.mismatch`` where the
            lifted program of either is not what its checkpoint computes, and whatever else is refused; nothing is left
            at ``job.out`` then.
    """
    with BundleWriter(job.out) as writer:
        opened = open_model(reference, job)
        program = lift(candidate, prefix="surrogate/")
        _check_shapes(opened.reference, program, candidate)
        mine = {file.name: candidate / file.name.removeprefix("surrogate/") for file in program.files}
        check_room(opened.reference, program, {**opened.files, **mine}, job)
        check_lift(candidate, program, mine, opened.population, job.device)
        copies: dict[str, Path] = {}
        for file in program.files:
            copies[file.name] = writer.path(file.name)
            shutil.copyfile(mine[file.name], copies[file.name])
            if digest_file(copies[file.name], sha256=False).blake3 != file.blake3:
                raise Refusal("compare.changed", file.name, "the candidate's file changed while it was being read")
        made = Made(program, copies, "compared as it is: nothing was extracted")
        return write_bundle("compare", opened, made, writer, now=now, progress=progress)


def _check_shapes(reference: Program, candidate: Program, folder: Path) -> None:
    for what, mine, theirs in (
        ("blocks", reference.blocks, candidate.blocks),
        ("hidden size", reference.hidden_size, candidate.hidden_size),
        ("vocabulary", reference.vocabulary, candidate.vocabulary),
    ):
        if mine != theirs:
            sentence = (
                f"the reference has {what} {mine}, the candidate {theirs}; only models of one shape can be compared"
            )
            if what == "blocks" and theirs < mine:
                sentence += ". Blocks that were removed: put them back into the copy with all their weights zero, which"
                sentence += " adds nothing to the hidden state"
            raise Refusal("compare.shape", str(folder), sentence)
