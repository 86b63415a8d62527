"""The front of a model: for every block the path of its simplifications, and the choice of the cheapest for budgets.

A model is walked once, block by block: each block is studied, its path is laid, and every budget is served from the
same candidates, so that several budgets cost little more than one. *Cheapest* is by an aim: the fewest multiply-adds on
one prompt, then the fewest stored bits, or the other way round (``blockcert_verifier.costs``), then the least error.

A target of the stitched model is served from the same walk: every block is chosen for every limit of a ladder, fitted
without the held-out prompts, and ``target`` finds by stitched runs on those (``stitched``) which limit each block gets.

``budget`` says when a candidate is within a budget, ``candidates`` what there is to choose from, ``choice`` how it is
searched, ``polish`` how a choice is tuned where that is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.program import FileRef, Program, Stage, step_references
from blockcert.safetensors_file import DTYPE_SIZES
from blockcert.statement import Cost
from blockcert_producers.extract.budget import Aim, Budget, cheapness, parse_budget
from blockcert_producers.extract.candidates import Candidate, Candidates, quantile
from blockcert_producers.extract.choice import (
    MOST_GAIN,
    POLISHES,
    PROBES,
    PROBES_MORE,
    cheapest,
    cheapest_polished,
)
from blockcert_producers.extract.formats import form_words
from blockcert_producers.extract.plan import make_plan
from blockcert_producers.extract.polish import Polish, Polisher
from blockcert_producers.extract.sensitivity import measure_sensitivity
from blockcert_producers.extract.stitched import Allocation, Option, Stitched, with_margin
from blockcert_producers.extract.study import HELD_OUT, Study
from blockcert_producers.extract.target import LADDER, Found, Price, allocate, most_measured
from blockcert_producers.extract.tensors import Host, held
from blockcert_producers.extract.words import describe
from blockcert_verifier.evaluate import Array, Backend, LoadedStage, WeightStore

__all__ = ["BlockSummary", "Chosen", "Extraction", "Front", "Progress", "Reached", "Shelf", "front"]

Progress: TypeAlias = Callable[[str, int, int], None]
StoredTensors: TypeAlias = dict[str, tuple[str, tuple[int, ...], bytes]]
"""Tensors as ``blockcert.safetensors_file.write`` takes them."""
_CHOOSING, _POLISHING, _STITCHING = "choosing within the budget", "polishing", "measuring stitched models"


class BlockSummary(Struct, frozen=True):
    """What became of one block.

    ``error`` is the relative error that 95 % of all calibration tokens do not exceed, ``held_out`` that of the tokens
    of the prompts that no fit had seen when the candidate was chosen; ``reference`` and ``kept`` are
    what the block cost and what it costs now; ``words`` say what was chosen.
    """

    block: int
    words: str
    error: float
    held_out: float
    reference: Cost
    kept: Cost


class Chosen(Struct, frozen=True):
    """One block for one budget: its stage, its new tensors, and what became of it."""

    stage: Stage
    tensors: StoredTensors
    summary: BlockSummary


class Shelf(Protocol):
    """Where finished blocks are kept while a model is extracted."""

    def load(self, block: int) -> tuple[Chosen, ...] | None:
        """A block's choices, one for each budget in order; None where it is not finished."""
        ...

    def keep(self, block: int, chosen: Sequence[Chosen]) -> None:
        """Keep a finished block."""
        ...


class Reached(Struct, frozen=True):
    """How a target of the stitched model was met on the held-out calibration prompts.

    ``distance`` is that of the surrogate, margin included; ``limit`` the loosest relative error that all blocks could
    share (None where none could), ``common_distance`` and ``common`` what that gives and what it costs over all blocks,
    ``kept`` what the surrogate costs; ``measured`` how many stitched models were run.
    """

    distance: float
    kept: Price
    limit: str | None
    common_distance: float
    common: Price
    measured: int


class Extraction(Struct, frozen=True):
    """An extracted surrogate: its new tensors as ``blockcert.safetensors_file.write`` takes them, its blocks, and where
    it was made for a target, how that was met."""

    reference: Program
    stages: tuple[Stage, ...]
    tensors: StoredTensors
    blocks: tuple[BlockSummary, ...]
    reached: Reached | None = None

    def program(self, file: FileRef | None) -> Program:
        """The surrogate program, given the file in which its new tensors stand (None where there are none).

        Reference files that no stage reads any more are left out.
        """
        used = {ref.file for stage in self.stages for step in stage.steps for ref in step_references(step)}
        files = tuple(f for f in (*self.reference.files, file) if f is not None and f.name in used)
        return msgspec.structs.replace(self.reference, files=files, stages=self.stages)


class Front:
    """The choices of every block of a model, for any budgets; made by ``front``."""

    def __init__(self, model: _Model, polish: Polish | None = None) -> None:
        self._model = model
        self._polish = polish if polish is not None and polish.steps else None

    def choose(
        self, budget: Budget | Fraction | str, aim: Aim = "structure", *, progress: Progress | None = None
    ) -> Extraction:
        """The cheapest surrogate within a budget; a block for which nothing cheaper fits stays the reference's.

        Raises:
            Refusal: as ``parse_budget`` and ``choose_all``.
        """
        one = budget if isinstance(budget, Budget) else parse_budget(budget)
        return self.choose_all((one,), aim, progress=progress)[0]

    def choose_all(
        self,
        budgets: Sequence[Budget],
        aim: Aim = "structure",
        *,
        shelf: Shelf | None = None,
        progress: Progress | None = None,
    ) -> tuple[Extraction, ...]:
        """The cheapest surrogate within each budget; budgets of one measure go from the narrowest to the widest.

        ``shelf`` keeps finished blocks, all their choices; those it holds already are taken from it.

        Raises:
            Refusal: ``extract.not_finite``; ``extract.calibration`` where a target has no prompt held out to be
                measured on; and what the evaluator refuses.
        """
        local = [budget for budget in budgets if budget.measure == "relative"]
        ladder = LADDER if len(local) < len(budgets) else ()
        if ladder:
            self._model.check_held_out()
        blocks: list[tuple[Chosen, ...]] = []
        steps = 0 if self._polish is None else self._polish.steps
        searches = len(local) + len(ladder)
        works = {_CHOOSING: PROBES[aim] + PROBES_MORE[aim] * len(ladder), _POLISHING: POLISHES * searches * steps}
        for index, hidden in self._model.blocks():
            chosen = None if shelf is None else shelf.load(index)
            if chosen is None:
                counter = _Counter(works, index, self._model.reference.blocks, progress)
                limits = [float(budget.limit) for budget in local]
                chosen = self._block(index, hidden(), limits, list(map(float, ladder)), aim, counter)
                if shelf is not None:
                    shelf.keep(index, chosen)
                counter.finish()
            blocks.append(chosen)
        climbed = [chosen[len(local) :] for chosen in blocks]
        found: list[Extraction] = []
        for budget in budgets:
            if budget.measure == "relative":
                at = local.index(budget)
                found.append(self._extraction([chosen[at] for chosen in blocks]))
            else:
                found.append(self._meeting(climbed, budget, aim, progress))
        return tuple(found)

    def _meeting(
        self, climbed: Sequence[Sequence[Chosen]], budget: Budget, aim: Aim, progress: Progress | None
    ) -> Extraction:
        """The surrogate for a target, of blocks that are chosen for every limit of the ladder."""
        options = [_Options(chosen, aim) for chosen in climbed]
        most = most_measured(len(options))
        done = 0

        def option(block: int, number: int) -> Option:
            one = options[block].chosen[number]
            assert one is not None  # noqa: S101 - option 0 is the reference's own
            return Option(one.stage, {name: held(*stored) for name, stored in one.tensors.items()})

        stitched = self._model.stitched(option)

        def measure(allocation: Allocation) -> float:
            nonlocal done
            done += 1
            if progress is not None:
                progress(f"{_STITCHING}, {budget.name}", done, most)
            return with_margin(budget.measure, stitched.measured(allocation, budget.measure))

        shared = [tuple(one.at[place] for one in options) for place in range(len(LADDER))]
        found = allocate([one.prices for one in options], shared, measure, float(budget.limit), stitched.keep)
        if progress is not None:
            progress(f"{_STITCHING}, {budget.name}", most, most)
        blocks: list[Chosen] = []
        for number, (one, at) in enumerate(zip(options, found.allocation, strict=True), start=1):
            blocks.append(one.of(at) or self._model.untouched(number, climbed[number - 1][0].summary.reference))
        made = self._extraction(blocks)
        return msgspec.structs.replace(made, reached=_reached(found, options))

    def _block(
        self,
        index: int,
        study: Study,
        limits: Sequence[float],
        ladder: Sequence[float],
        aim: Aim,
        counter: _Counter,
    ) -> tuple[Chosen, ...]:
        """The choices for limits, and for those of the ladder without the held-out prompts."""
        with np.errstate(all="ignore"):
            sensitivities, amplification = measure_sensitivity(study)
            plan = make_plan(study, sensitivities, amplification)
            widest = max((*limits, *ladder))
            if self._polish is not None:
                widest *= MOST_GAIN
            prefix = f"block{index}"
            candidates = Candidates(
                study, plan, sensitivities, prefix, widest, lambda done: counter.reach(_CHOOSING, done)
            )
            found: list[Candidate] = []
            polisher = None
            if self._polish is not None:
                polisher = Polisher(candidates, self._polish, prefix, lambda: counter.step(_POLISHING))
            for asked, finish in ((limits, True), (ladder, False)):
                earlier: list[Candidate] = []
                for limit in asked:
                    if polisher is None:
                        earlier.append(cheapest(candidates, limit, aim, earlier, finish=finish))
                    else:
                        earlier.append(cheapest_polished(candidates, polisher, limit, aim, earlier, finish=finish))
                found += earlier
        before = candidates.reference.cost
        return tuple(
            Chosen(
                one.realised.stage,
                {name: value.stored() for name, value in one.realised.tensors.items()},
                BlockSummary(
                    index,
                    describe(study, one.structure, _forms(one), before, one.cost, polished=one.polished),
                    quantile(one.realised.errors),
                    quantile(one.held_out),
                    before,
                    one.cost,
                ),
            )
            for one in found
        )

    def _extraction(self, blocks: Sequence[Chosen]) -> Extraction:
        reference = self._model.reference
        stages = (reference.stages[0], *(block.stage for block in blocks), reference.stages[-1])
        tensors = {name: stored for block in blocks for name, stored in block.tensors.items()}
        # wide elements first: then every tensor of the file is aligned to its element
        order = sorted(tensors, key=lambda name: (-DTYPE_SIZES[tensors[name][0]], name))
        return Extraction(
            reference, stages, {name: tensors[name] for name in order}, tuple(block.summary for block in blocks)
        )


class _Options:
    """The options of one block: the reference's own, then what is cheaper for ever wider limits of the ladder.

    ``chosen`` is None for the reference's own; ``at`` is the option at every limit, ``prices`` what options cost.
    """

    def __init__(self, climbed: Sequence[Chosen], aim: Aim) -> None:
        self.chosen: list[Chosen | None] = [None]
        self.prices: list[Price] = [cheapness(aim, climbed[0].summary.reference)]
        self.at: list[int] = []
        self._limits: list[str] = [""]
        for limit, one in zip(LADDER, climbed, strict=True):
            price = cheapness(aim, one.summary.kept)
            if price < self.prices[-1]:
                self.chosen.append(one)
                self.prices.append(price)
                self._limits.append(limit)
            self.at.append(len(self.chosen) - 1)

    def of(self, option: int) -> Chosen | None:
        """What an option is, its limit in the words; None for the reference's own."""
        one = self.chosen[option]
        if one is None:
            return None
        words = f"{one.summary.words}; within {self._limits[option]}"
        return msgspec.structs.replace(one, summary=msgspec.structs.replace(one.summary, words=words))


def _reached(found: Found, options: Sequence[_Options]) -> Reached:
    def price(allocation: Allocation) -> Price:
        prices = [one.prices[at] for one, at in zip(options, allocation, strict=True)]
        return sum(first for first, _ in prices), sum(second for _, second in prices)

    return Reached(
        found.distance,
        price(found.allocation),
        None if found.limit is None else LADDER[found.limit],
        found.common_distance,
        price(found.common),
        found.measured,
    )


def _forms(candidate: Candidate) -> str | None:
    """The number formats of a candidate in words, the commonest first; None where nothing was changed."""
    if candidate.forms is None:
        return None
    counts = Counter(form_words(form) for form in candidate.forms)
    *most, last = sorted(counts, key=lambda form: (-counts[form], form))
    return f"{', '.join(most)} and {last}" if most else last


class _Counter:
    """What of several kinds of work is done in one block, as progress over all blocks; ``works`` says how much of each
    a block takes at most."""

    def __init__(self, works: Mapping[str, int], block: int, blocks: int, progress: Progress | None) -> None:
        self._works, self._block, self._blocks, self._progress = works, block, blocks, progress
        self._done = dict.fromkeys(works, 0)

    def reach(self, work: str, done: int) -> None:
        """So much of a work is done."""
        most = self._works[work]
        self._done[work] = min(done, most)
        if self._progress is not None and most:
            self._progress(work, (self._block - 1) * most + self._done[work], self._blocks * most)

    def step(self, work: str) -> None:
        """One more of a work is done."""
        self.reach(work, self._done[work] + 1)

    def finish(self) -> None:
        """The block is done."""
        for work, most in self._works.items():
            self.reach(work, most)


class _Model:
    """A reference program on its calibration prompts, one block's activations at a time."""

    def __init__(self, reference: Program, store: WeightStore, tokens: Host, backend: Backend) -> None:
        self.reference, self._store, self._tokens, self._backend = reference, store, tokens, backend

    def check_held_out(self) -> None:
        """Refuse where no prompt is held out: ``extract.calibration``."""
        if not len(self._tokens[HELD_OUT]):
            raise Refusal(
                "extract.calibration",
                "--calibration",
                f"a target of the stitched model is measured on every fourth calibration prompt, and there are "
                f"{len(self._tokens)}: give at least 4; some hundred are usual",
            )

    def stitched(self, option: Callable[[int, int], Option]) -> Stitched:
        """The stitched models on the prompts held out of every fit."""
        return Stitched(self.reference, self._store, self._tokens[HELD_OUT], self._backend, option)

    def untouched(self, index: int, cost: Cost) -> Chosen:
        """A block that stays the reference's."""
        words = "unchanged: nothing cheaper leaves the target met"
        return Chosen(self.reference.stages[index], {}, BlockSummary(index, words, 0.0, 0.0, cost, cost))

    def blocks(self) -> Iterator[tuple[int, Callable[[], Study]]]:
        """Every block in turn, with its number from 1 and what studies it at the reference's own input."""
        stages, length = self.reference.stages, int(self._tokens.shape[1])
        hidden: Array = LoadedStage(stages[0], self._store, self._backend, length)(self._backend.integers(self._tokens))
        for index in range(1, len(stages) - 1):
            studied: list[Study] = []

            def study(at: int = index, given: Array = hidden, into: list[Study] = studied) -> Study:
                with np.errstate(all="ignore"):
                    into.append(Study(stages[at], given, self._store, self._backend))
                if not np.isfinite(into[0].output).all():
                    raise Refusal(
                        "extract.not_finite",
                        f"block {at}",
                        "the reference gives values that are not finite on the calibration prompts",
                    )
                return into[0]

            yield index, study
            if studied:
                hidden = studied[0].values[stages[index].output]
            else:
                hidden = LoadedStage(stages[index], self._store, self._backend, length)(hidden)


def front(
    reference: Program,
    files: Mapping[str, Path],
    calibration: Host,
    *,
    backend_device: str = "cpu",
    polish: Polish | None = None,
) -> Front:
    """The front of a model on calibration prompts; nothing is computed before it is asked to choose.

    Args:
        reference: a lifted program.
        files: the path of each of its weight files, by name.
        calibration: token ids, prompts x T.
        backend_device: as ``Backend``'s device; always in float64, but for a polish.
        polish: how chosen blocks are polished; None for not at all.

    Raises:
        Refusal: ``extract.calibration`` where the prompts are no table of tokens, and what the evaluator refuses.
    """
    if calibration.ndim == 2 and not calibration.size:
        raise Refusal(
            "extract.calibration",
            "--calibration",
            "there are no calibration prompts, and a surrogate is fitted to them; some hundred are usual",
        )
    if calibration.ndim != 2 or calibration.dtype.kind not in "iu":
        raise Refusal(
            "extract.calibration",
            "calibration",
            f"calibration prompts are a table of token ids, not {calibration.dtype} of shape {calibration.shape}",
        )
    return Front(_Model(reference, WeightStore(files), calibration, Backend(backend_device)), polish)
