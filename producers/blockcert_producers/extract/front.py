"""The front of a model: for every block the path of its simplifications, and the choice of the cheapest for a budget.

*Cheapest* means the fewest multiply-adds on one prompt, then the fewest stored bits (``blockcert_verifier.costs``),
then the least error. A candidate is within a budget where at least 95 % of the calibration tokens have a relative
error of at most the budget, and as many of the tokens of the prompts that were held out of every fit.

The candidates of a block are its reference; the reference with all maps in float16, bfloat16 or int8; and the levels
of its path in float16. The path is searched by bisection, which tries the same levels for two budgets until the wider
one passes where the narrower fails: a wider budget ends at the same level or a later one, and later levels never keep
more. The level it ends at is tried in int8 too, which keeps the same multiply-adds in fewer bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.numbers import parse_decimal
from blockcert.program import FileRef, Program, Stage, step_references
from blockcert.statement import Cost
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.plan import LEVELS, Plan, Structure, make_plan
from blockcert_producers.extract.realise import Realised, realise
from blockcert_producers.extract.sensitivity import measure_sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host, MemoryStore, Tensor
from blockcert_producers.extract.words import describe
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import Array, Backend, LoadedStage, WeightStore

__all__ = ["BlockSummary", "Extraction", "Front", "front", "parse_budget", "quantile"]

Progress: TypeAlias = Callable[[str, int, int], None]
_PLANNING, _CHOOSING = "studying the blocks", "choosing within the budget"
_PROBES = LEVELS.bit_length() + 4


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


class Extraction(Struct, frozen=True):
    """An extracted surrogate: its new tensors as ``blockcert.safetensors_file.write`` takes them, and its blocks."""

    reference: Program
    stages: tuple[Stage, ...]
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]]
    blocks: tuple[BlockSummary, ...]

    def program(self, file: FileRef | None) -> Program:
        """The surrogate program, given the file in which its new tensors stand (None where there are none).

        Reference files that no stage reads any more are left out.
        """
        used = {ref.file for stage in self.stages for step in stage.steps for ref in step_references(step)}
        files = tuple(f for f in (*self.reference.files, file) if f is not None and f.name in used)
        return msgspec.structs.replace(self.reference, files=files, stages=self.stages)


class _Candidate(Struct, frozen=True):
    """A block that could be chosen. ``structure`` is None where only the number format changed, or nothing."""

    realised: Realised
    cost: Cost
    structure: Structure | None
    form: Format | None
    held_out: float


def quantile(errors: Host) -> float:
    """The least error that at least 95 % of the tokens do not exceed; 0 for no tokens."""
    if not errors.size:
        return 0.0
    return float(np.sort(errors, axis=None)[(95 * errors.size + 99) // 100 - 1])


def parse_budget(budget: Fraction | str) -> Fraction:
    """The budget as a fraction.

    Raises:
        Refusal: ``number.grammar`` for text that is not a decimal, ``extract.budget`` where it is not between 0 and 1.
    """
    value = parse_decimal(budget, "--budget") if isinstance(budget, str) else budget
    if not 0 < value < 1:
        raise Refusal(
            "extract.budget",
            "--budget",
            f"the budget is a relative error and must lie between 0 and 1, not {float(value):g}; 0.05 is usual",
        )
    return value


class Front:
    """The plans of every block of a model; made by ``front``, and the same for every budget."""

    def __init__(self, model: _Model, plans: tuple[tuple[Plan, dict[int, Host]], ...]) -> None:
        self._model = model
        self._plans = plans

    def choose(self, budget: Fraction | str, *, progress: Progress | None = None) -> Extraction:
        """The cheapest surrogate within a budget; a block for which nothing cheaper fits stays the reference's.

        Raises:
            Refusal: as ``parse_budget``.
        """
        limit = float(parse_budget(budget))
        model = self._model
        stages = list(model.reference.stages)
        tensors: dict[str, Tensor] = {}
        summaries: list[BlockSummary] = []
        total = model.reference.blocks * _PROBES
        for index, study in model.studies():
            plan, tokens = self._plans[index - 1]

            def tick(step: int, at: int = index) -> None:
                if progress is not None:
                    progress(_CHOOSING, (at - 1) * _PROBES + min(step, _PROBES), total)

            choice = _Choice(study, plan, tokens, f"block{index}", limit, tick)
            with np.errstate(all="ignore"):
                found = choice.cheapest()
            tick(_PROBES)
            stages[index] = found.realised.stage
            tensors.update(found.realised.tensors)
            words = describe(study, found.structure, found.form, choice.reference.cost, found.cost)
            error = quantile(found.realised.errors)
            summaries.append(BlockSummary(index, words, error, found.held_out, choice.reference.cost, found.cost))
        # wide elements first: then every tensor of the file is aligned to its element
        order = sorted(tensors, key=lambda name: (-tensors[name].values.itemsize, name))
        held = {name: tensors[name].stored() for name in order}
        return Extraction(model.reference, tuple(stages), held, tuple(summaries))


class _Model:
    """A reference program on its calibration prompts, one block's activations at a time."""

    def __init__(self, reference: Program, store: WeightStore, tokens: Host, backend: Backend) -> None:
        self.reference, self._store, self._tokens, self._backend = reference, store, tokens, backend

    def studies(self) -> Iterator[tuple[int, Study]]:
        """Every block in turn, with its number from 1, studied at the reference's own input."""
        stages, length = self.reference.stages, int(self._tokens.shape[1])
        hidden: Array = LoadedStage(stages[0], self._store, self._backend, length)(self._backend.integers(self._tokens))
        for index in range(1, len(stages) - 1):
            with np.errstate(all="ignore"):
                study = Study(stages[index], hidden, self._store, self._backend)
            if not np.isfinite(study.output).all():
                raise Refusal(
                    "extract.not_finite",
                    f"block {index}",
                    "the reference gives values that are not finite on the calibration prompts",
                )
            hidden = study.values[stages[index].output]
            yield index, study


class _Choice:
    """The candidates of one block under one limit."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        tokens: dict[int, Host],
        prefix: str,
        limit: float,
        tick: Callable[[int], None],
    ) -> None:
        self._study, self._plan, self._prefix, self._limit, self._tick = study, plan, prefix, limit, tick
        self._tokens = tokens
        # maps that share token weights share the product too: their fits are then computed once
        products = {id(values): values * study.fitted for values in tokens.values()}
        self._held_out = {i: products[id(values)] for i, values in tokens.items()}
        self._done = 0
        nothing = Realised(study.stage, {}, np.zeros(study.output.shape[0]))
        self.reference = _Candidate(nothing, stage_cost(study.stage, study.store, study.length), None, None, 0.0)

    def cheapest(self) -> _Candidate:
        """The cheapest candidate within the limit."""
        found = [self.reference]
        last = self._last_level()
        if last is not None:
            smaller = self._try(last.structure, "int8")
            found.append(self._final(smaller if self._within(smaller) else last))
        # float16 or bfloat16 alone save no multiply-adds, so they matter only where nothing can be dropped; int8 may
        for form in ("int8", "float16", "bfloat16") if last is None else ("int8",):
            candidate = self._try(None, form)
            if self._within(candidate):
                found.append(candidate)
        return min(found, key=lambda c: (c.cost.multiply_adds, c.cost.bits, quantile(c.realised.errors)))

    def _last_level(self) -> _Candidate | None:
        """The level of the path at which bisection ends; None where it finds none within the limit."""
        low, high, last = 0, LEVELS + 1, None
        while high - low > 1:
            middle = (low + high) // 2
            candidate = self._try(self._plan.at(middle, self._study), "float16")
            if self._within(candidate):
                low, last = middle, candidate
            else:
                high = middle
        return last

    def _final(self, candidate: _Candidate) -> _Candidate:
        """The candidate fitted to all prompts, those held out so far too, where that is still within the limit."""
        if candidate.structure is None or candidate.form is None:
            return candidate
        again = self._realise(candidate.structure, candidate.form, self._tokens)
        as_cheap = again.cost.multiply_adds == candidate.cost.multiply_adds and again.cost.bits <= candidate.cost.bits
        if not as_cheap or quantile(again.realised.errors) > self._limit:
            return candidate
        return msgspec.structs.replace(again, held_out=candidate.held_out)

    def _try(self, structure: Structure | None, form: Format) -> _Candidate:
        self._done += 1
        self._tick(self._done)
        return self._realise(structure, form, self._held_out)

    def _realise(self, structure: Structure | None, form: Format, tokens: dict[int, Host]) -> _Candidate:
        study = self._study
        realised = realise(study, structure, form, self._prefix, tokens)
        cost = stage_cost(realised.stage, MemoryStore(study.store, realised.tensors), study.length)
        return _Candidate(realised, cost, structure, form, quantile(realised.errors[study.fitted == 0]))

    def _within(self, candidate: _Candidate) -> bool:
        return max(quantile(candidate.realised.errors), candidate.held_out) <= self._limit


def front(
    reference: Program,
    files: Mapping[str, Path],
    calibration: Host,
    *,
    backend_device: str = "cpu",
    progress: Progress | None = None,
) -> Front:
    """The plans of every block, from calibration prompts; independent of any budget.

    Args:
        reference: a lifted program.
        files: the path of each of its weight files, by name.
        calibration: token ids, prompts x T.
        backend_device: as ``Backend``'s device; always in float64.
        progress: called with what is being done, steps done, steps in all.

    Raises:
        Refusal: ``extract.calibration`` where the prompts are no table of tokens, ``extract.not_finite``, and what the
            evaluator refuses.
    """
    if calibration.ndim != 2 or not calibration.size or calibration.dtype.kind not in "iu":
        raise Refusal(
            "extract.calibration",
            "calibration",
            f"calibration prompts are a table of token ids, not {calibration.dtype} of shape {calibration.shape}",
        )
    model = _Model(reference, WeightStore(files), calibration, Backend(backend_device))
    plans: list[tuple[Plan, dict[int, Host]]] = []
    with np.errstate(all="ignore"):
        for index, study in model.studies():
            sensitivities, amplification = measure_sensitivity(study)
            plan = make_plan(study, sensitivities, amplification)
            plans.append((plan, {i: s.tokens for i, s in sensitivities.items()}))
            if progress is not None:
                progress(_PLANNING, index, reference.blocks)
    return Front(model, tuple(plans))
