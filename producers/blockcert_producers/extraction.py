"""Extraction as a producer runs it: one or several budgets of one model, each to its own bundle, resumable."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.bundle import STATEMENT, Bundle, BundleWriter
from blockcert.digest import blake3_bytes, digest_file
from blockcert.dsse import LIMITS, parse_envelope
from blockcert.errors import Refusal
from blockcert.program import FileRef, Program
from blockcert.safetensors_file import write
from blockcert.statement import Statement
from blockcert_producers.bundling import Job, Made, Opened, Produced, open_model, read_texts, write_bundle
from blockcert_producers.certify.pipeline import EVIDENCE, SURROGATE_PROGRAM
from blockcert_producers.extract.budget import Aim, Budget
from blockcert_producers.extract.front import Extraction, front
from blockcert_producers.extract.polish import Polish
from blockcert_producers.extract.study import HELD_OUT
from blockcert_producers.extract.tensors import SURROGATE_FILE
from blockcert_producers.fronts import FRONT
from blockcert_producers.fronts import shift as shifts
from blockcert_producers.fronts.controls import measure_controls
from blockcert_producers.fronts.plot import plot
from blockcert_producers.fronts.shift import Shifted
from blockcert_producers.fronts.table import ABOUT, FIRST, FrontTable, Point, of_bundle
from blockcert_producers.fronts.table import decode as decode_table
from blockcert_producers.fronts.table import encode as encode_table
from blockcert_producers.missed import missed
from blockcert_producers.progress import Progress
from blockcert_producers.work_folder import WorkFolder, check_new, check_output
from blockcert_verifier.corpus import Population
from blockcert_verifier.counted import counted
from blockcert_verifier.evaluate import Backend
from blockcert_verifier.steps import structure

__all__ = ["FRONT", "PLOT", "Extracting", "FrontProduced"]

PLOT = "front.svg"
_SHIFT = "shift.json"
_FINAL = ("extract.", "measure.", "fidelity.", "claims.")
"""Refusals of what was asked for, which the same request would meet again; others are of a disk or a file, and pass."""


class FrontProduced(Struct, frozen=True):
    """A written front: its folder, its bundles, and its table."""

    out: Path
    bundles: tuple[Produced, ...]
    table: FrontTable


class Extracting:
    """One request: what ``extract_bundle`` and ``extract_front`` are given, opened."""

    def __init__(
        self,
        model: Path,
        job: Job,
        budgets: Sequence[Budget],
        aim: Aim,
        shift: Sequence[Path],
        polish: int = 0,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Opens the model and the texts, and finds or makes the work folder.

        ``notice`` is told in a sentence what is found there.

        Raises:
            Refusal: as ``open_model``; ``output.exists``, ``output.busy``, ``output.unwritable``; what of the texts of
                ``shift`` is refused.
        """
        check_output(job.out)  # a large model takes minutes to open
        self._job, self._budgets = job, tuple(budgets)
        self._aim: Aim = aim
        self._polish = Polish(polish, job.seed) if polish else None
        if self._polish is not None:
            Backend("torch" if job.device == "cpu" else job.device, "float32")  # torch is missed before any work
        self._opened: Opened = open_model(model, job)
        self._texts: Population | None = None
        if shift:
            self._texts = read_texts(model, self._opened.reference, tuple(shift), job.length)
            shifts.check_texts(self._texts, self._opened.population)
        self._work = WorkFolder(job.out, self._key())
        self._work.prepare()
        self._say_what_is_kept(notice)

    def single(self, *, now: datetime, progress: Progress) -> Produced:
        """One bundle at the output, and its shift beside it."""
        beside = self._job.out.with_name(f"{self._job.out.name}.shift.json")
        moves = {} if self._texts is None else {self._work.folder / _SHIFT: beside}
        with self._kept():
            if self._work.moved:
                return self._rest_of_single(moves)
            for target in moves.values():
                check_new(target)
            (extraction,) = self._extract(progress)
            made = self._bundle(0, extraction, now, progress)
            shifted = self._shift(made, progress)
            if shifted is not None:
                self._work.beside(_SHIFT, shifts.encode(shifted))
            self._work.finish(made.out, EVIDENCE, moves)
        return msgspec.structs.replace(made, out=self._job.out, shift=shifted)

    def front(self, *, now: datetime, progress: Progress) -> FrontProduced:
        """One bundle for each budget, their shifts, the table and the plot, in a folder at the output."""
        with self._kept():
            if self._work.moved:
                return self._rest_of_front()
            bundles, table = self._measured_front(now, progress)
            (self._work.result / FRONT).write_bytes(encode_table(table))
            (self._work.result / PLOT).write_text(plot(table), encoding="utf-8")
            self._work.finish(self._work.result, FRONT)
        return FrontProduced(self._job.out, bundles, table)

    def _rest_of_single(self, moves: Mapping[Path, Path]) -> Produced:
        """What a run that was stopped in the middle of its last moves had made, with those moves ended."""
        shifted: Shifted | None = None
        for source, target in moves.items():
            shifted = shifts.decode((source if source.exists() else target).read_bytes())
        statement = _statement(self._job.out)
        warning = missed(self._budgets[0], statement)
        made = Produced(self._job.out, statement, self._words(0), shifted, warning)
        self._work.complete(moves)
        return made

    def _rest_of_front(self) -> FrontProduced:
        out = self._job.out
        table = decode_table((out / FRONT).read_bytes())
        bundles: list[Produced] = []
        for i, one in enumerate(table.points):
            statement = _statement(out / one.name)
            warning = missed(self._budgets[i], statement)
            bundles.append(Produced(out / one.name, statement, self._words(i), one.shift, warning))
        self._work.complete()
        return FrontProduced(out, tuple(bundles), table)

    def _words(self, budget: int) -> tuple[str, ...]:
        """What each block became, as far as the blocks are still kept."""
        kept = [self._work.load(block) for block in range(1, self._opened.reference.blocks + 1)]
        return tuple(chosen[budget].summary.words for chosen in kept if chosen is not None)

    def _measured_front(self, now: datetime, progress: Progress) -> tuple[tuple[Produced, ...], FrontTable]:
        bundles: list[Produced] = []
        points: list[Point] = []
        for i, extraction in enumerate(self._extract(progress)):
            made = self._bundle(i, extraction, now, progress)
            name, shifted = made.out.name, self._shift(made, progress)
            if shifted is not None:
                (self._work.result / f"{name}.shift.json").write_bytes(shifts.encode(shifted))
            bundles.append(msgspec.structs.replace(made, out=self._job.out / name, shift=shifted))
            points.append(of_bundle(made.statement, self._budgets[i].text, name, shifted))
        reference = self._opened.reference
        table = FrontTable(
            about=ABOUT,
            architecture=reference.architecture,
            blocks=reference.blocks,
            aim=self._aim,
            thresholds=bundles[0].statement.predicate.thresholds.relative,
            points=tuple(points),
            controls=measure_controls(self._opened, self._certification(), progress),
        )
        return tuple(bundles), table

    @contextmanager
    def _kept(self) -> Generator[None]:
        """Work that is kept when it is stopped; given up where nothing is finished or what was asked is refused."""
        try:
            yield
        except BaseException as stop:
            final = isinstance(stop, Refusal) and stop.code.startswith(_FINAL)
            kept = bool(self._work.finished) or self._work.moved
            if final or not kept:
                self._work.discard()
            if kept and isinstance(stop, KeyboardInterrupt):
                sentence = f"what is finished is kept in {self._work.all}; {self._goes_on()}"
                raise KeyboardInterrupt(sentence) from None
            raise
        finally:
            self._work.release()

    def _goes_on(self) -> str:
        done, blocks = self._work.finished, self._opened.reference.blocks
        after = f"from block {done + 1} of {blocks}" if done < blocks else f"after the last of {blocks} blocks"
        return f"the same command goes on {after}"

    def _say_what_is_kept(self, notice: Callable[[str], None]) -> None:
        done, blocks = self._work.finished, self._opened.reference.blocks
        if self._work.moved:
            notice(f"{self._job.out} was finished by an earlier run of this command, which was stopped while it ended")
        elif done:
            notice(f"an earlier run of this command finished {done} of {blocks} blocks; they are taken as they are")
        elif others := self._work.others():
            notice(
                f"{self._work.all} keeps {counted(others, 'finished block')} of an earlier run with other options or "
                "texts: what it was asked for would go on from there; this run begins anew, and "
                "removes them when it ends"
            )

    def _key(self) -> bytes:
        """Everything that the result depends on but the time."""
        sample, job = self._opened.sample, self._job
        texts = () if self._texts is None else self._texts.corpus
        parts = (
            version("blockcert"),
            np.__version__,
            sample.reference,
            sample.frame,
            [(budget.name, str(budget.limit)) for budget in self._budgets],
            (self._aim, job.device, job.attribution, job.prove),
            None if self._polish is None else self._polish.steps,
            # whose sums a device other than numpy's, and a polish, are made with
            None if self._polish is None and job.device == "cpu" else version("torch"),
            # what the program does not name of the model's files, and the statement does
            [(name, digest_file(path, sha256=False).blake3) for name, path in sorted(self._opened.beside.items())],
            texts,
        )
        return msgspec.json.encode(parts)

    def _extract(self, progress: Progress) -> tuple[Extraction, ...]:
        opened = self._opened
        found = front(
            opened.reference,
            opened.files,
            opened.calibration(),
            backend_device=self._job.device,
            polish=self._polish,
        )
        return found.choose_all(self._budgets, self._aim, shelf=self._work, progress=progress)

    def _bundle(self, index: int, extraction: Extraction, now: datetime, progress: Progress) -> Produced:
        """The bundle of one budget in the work folder; as it is where an earlier run finished it."""
        budget = self._budgets[index]
        out = self._work.result / budget.name
        words = tuple(block.words for block in extraction.blocks)
        if out.exists():
            statement = _statement(out)
            return Produced(out, statement, words, missed=missed(budget, statement))
        with BundleWriter(out) as writer:
            files: dict[str, Path] = {}
            file: FileRef | None = None
            if extraction.tensors:
                path = writer.path(SURROGATE_FILE)
                write(path, extraction.tensors)
                digests = digest_file(path, sha256=False)
                file, files = FileRef(SURROGATE_FILE, digests.size, digests.blake3), {SURROGATE_FILE: path}
            note = f"{_note(budget, extraction, self._job.calibration)}; fewest {FIRST[self._aim]}"
            if self._polish is not None:
                note += f"; blocks polished by {self._polish.steps} steps of Adam where that helped"
            made = Made(extraction.program(file), files, note, words)
            # one surrogate draws one list of prompts: its program's digest tells the rows of several bundles apart
            shelf = self._work.rows(blake3_bytes(strict_json.encode(made.program)))
            written = write_bundle("extract", self._opened, made, writer, now=now, progress=progress, shelf=shelf)
        return msgspec.structs.replace(written, missed=missed(budget, written.statement))

    def _programs(self, made: Produced) -> tuple[Program, bytes]:
        """The surrogate's program, and its file's bytes."""
        data = (made.out / SURROGATE_PROGRAM).read_bytes()
        return strict_json.typed(data, Program, SURROGATE_PROGRAM), data

    def _shift(self, made: Produced, progress: Progress) -> Shifted | None:
        if self._texts is None:
            return None
        surrogate, data = self._programs(made)
        weights = self._opened.files | {SURROGATE_FILE: made.out / SURROGATE_FILE}
        named = {file.name: weights[file.name] for file in (*self._opened.reference.files, *surrogate.files)}
        return shifts.measure_shift(
            made.statement,
            (self._opened.reference, surrogate),
            blake3_bytes(data),
            named,
            self._texts,
            seed=self._job.seed,
            count=self._job.count,
            device=self._job.device,
            progress=progress,
        )

    def _certification(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """The certification prompts of all bundles, each once."""
        windows: set[int] = set()
        for budget in self._budgets:
            data = (self._work.result / budget.name / SURROGATE_PROGRAM).read_bytes()
            windows |= set(self._opened.sample.draw_certification(blake3_bytes(data)))
        return self._opened.population.tokens(sorted(windows))


def _note(budget: Budget, extraction: Extraction, calibration: int) -> str:
    """What a surrogate was made for, and for a target how that was met on the held-out calibration prompts."""
    reached, held_out = extraction.reached, len(range(calibration)[HELD_OUT])
    if reached is None:
        named = budget.text if budget.name == budget.text else f"{budget.text} ({budget.name})"
        margin = "on held-out prompts with a margin of two standard errors"
        if held_out < 2:
            margin = "on the one held-out prompt without a margin" if held_out else "none of them held out"
        return f"extracted within a budget of {named}: 95 % of calibration tokens in every block, {margin}"
    limit, found = budget.number, f"{reached.distance:.3g}"
    if budget.measure == "kl":
        margin = "two standard errors included" if held_out > 1 else "of one prompt, without a margin"
        said = f"a mean KL of at most {limit} nats per token (found: {found}, {margin})"
    else:
        said = f"no logit off by more than {limit} (found: {found})"
    begun = "the reference itself" if reached.limit is None else f"one limit of {reached.limit} for all blocks"
    return f"extracted to a target of the stitched model on held-out calibration prompts, {said}, from {begun} on"


def _statement(bundle: Path) -> Statement:
    """What a bundle of this work folder states."""
    envelope = parse_envelope(Bundle(bundle).read(STATEMENT, LIMITS.bytes), STATEMENT)
    statement, findings = structure.statement(envelope.payload)
    if statement is None:
        raise Refusal(findings[0].code, findings[0].place, findings[0].message)
    return statement
