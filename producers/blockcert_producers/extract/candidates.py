"""The candidates of one block: each realised once, whichever budgets and aims ask for it.

A candidate is named by a level of the block's path (None: nothing is dropped or refitted) and a number format for each
linear map (None: the reference itself). It is within a budget where 95 % of all calibration tokens are and the
prompts held out of its fit meet it with the margin of ``budget``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.program import attends
from blockcert.statement import Cost
from blockcert_producers.extract.allocation import Assignment, assignments
from blockcert_producers.extract.budget import covered
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.moments import Inputs
from blockcert_producers.extract.plan import LEVELS, Plan, Structure
from blockcert_producers.extract.realise import Realised, realise, reference_inputs
from blockcert_producers.extract.sensitivity import Sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host, MemoryStore
from blockcert_verifier.costs import stage_cost

__all__ = ["Candidate", "Candidates", "Forms", "quantile"]

Forms: TypeAlias = tuple[Format, ...]
"""The number format of every linear map, in the order of the block's steps."""

_SPARSE = 0.6
"""The share of weights that must be gone before indices cost less than integers of few bits."""


def quantile(errors: Host) -> float:
    """The least error that at least 95 % of the tokens do not exceed; 0 for no tokens."""
    if not errors.size:
        return 0.0
    return float(np.sort(errors, axis=None)[(95 * errors.size + 99) // 100 - 1])


class Candidate(Struct, frozen=True):
    """A block that could be chosen. ``structure`` is None where nothing was dropped or refitted, ``forms`` where
    nothing was changed; ``held_out`` are the relative errors of the prompts that its fit had not seen, prompts x T.
    ``level`` is that of the structure; ``polished`` whether its numbers were tuned (``polish``)."""

    realised: Realised
    cost: Cost
    structure: Structure | None
    forms: Forms | None
    held_out: Host
    level: int | None = None
    polished: bool = False

    def within(self, limit: float) -> bool:
        """Whether it meets a budget; see the module."""
        return quantile(self.realised.errors) <= limit and covered(self.held_out, limit)


class Candidates:
    """The candidates of one block.

    Args:
        study: the block on the calibration prompts.
        plan: its path.
        sensitivities: of every linear map, by position; their token weights are those of the refit.
        prefix: of the new tensors' names.
        widest: the widest budget; of a candidate beyond it the tensors are not held.
        tick: called with how many candidates were realised so far.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        sensitivities: Mapping[int, Sensitivity],
        prefix: str,
        widest: float,
        tick: Callable[[int], None],
    ) -> None:
        self.study = study
        self._widest = widest
        self._plan, self._prefix, self._tick = plan, prefix, tick
        self._sensitivities = sensitivities
        tokens = {i: sensitivity.tokens for i, sensitivity in sensitivities.items()}
        self._tokens = tokens
        # maps that share token weights share the product too: their fits are then computed once
        products = {id(values): values * study.fitted for values in tokens.values()}
        self._fitted = {i: products[id(values)] for i, values in tokens.items()}
        self._known: dict[tuple[int | None, Forms], Candidate] = {}
        self._final: dict[tuple[int | None, Forms], Candidate] = {}
        self._chains: dict[int | None, tuple[Assignment, ...]] = {}
        self._done = 0
        nothing = Realised(study.stage, {}, np.zeros(study.output.shape[0]))
        cost = stage_cost(study.stage, study.store, study.length)
        self.reference = Candidate(nothing, cost, None, None, self.study.held_out(nothing.errors))

    def all_in(self, form: Format) -> Forms:
        """One format for every linear map."""
        return (form,) * len(self.study.anatomy.linears)

    @property
    def smaller_from(self) -> int | None:
        """The first level at which what is dropped may take bits along: whole neurons, the queries of heads that weigh
        nothing any more, or weights so many that a sparse map is short. None where there is none."""
        plan = self._plan
        found: list[int] = []
        if plan.neurons is not None:
            found.append(int(plan.neurons.min()))
        if plan.patterns is not None:
            scoreless = [level for level, heads in enumerate(plan.patterns) if not all(map(attends, heads))]
            found += scoreless[:1]
        drops = np.sort(np.concatenate([drop.reshape(-1) for drop in plan.drops.values()]))
        found.append(int(drops[int(_SPARSE * drops.size)]))
        return least if (least := min(found)) <= LEVELS else None

    def assignments(self, level: int | None) -> tuple[Assignment, ...]:
        """The chain of ``allocation`` at a level; what is whole has one chain, refitted or not."""
        at = level or None
        if at not in self._chains:
            structure = None if at is None else self._plan.at(at, self.study)

            def fitted(index: int) -> Inputs:
                return reference_inputs(self.study, index, self._fitted[index])

            self._chains[at] = assignments(self.study, self._sensitivities, fitted, structure)
        return self._chains[at]

    def get(self, level: int | None, forms: Forms) -> Candidate:
        """The candidate at a level in these formats, fitted to the prompts that are not held out."""
        key = (level, forms)
        if key not in self._known:
            self._done += 1
            self._tick(self._done)
            found = self._realise(level, forms, self._fitted)
            if not found.within(self._widest):
                found = msgspec.structs.replace(found, realised=msgspec.structs.replace(found.realised, tensors={}))
            self._known[key] = found
        return self._known[key]

    def finished(self, level: int | None, forms: Forms, limit: float) -> Candidate:
        """The candidate fitted to all prompts, those held out so far too, where that is as cheap and within the budget;
        otherwise the candidate of ``get``. What is held out of its errors is that of ``get``."""
        before = self.get(level, forms)
        if level is None:
            return before
        key = (level, forms)
        if key not in self._final:
            again = self._realise(level, forms, self._tokens)
            self._final[key] = msgspec.structs.replace(again, held_out=before.held_out)
        found = self._final[key]
        as_cheap = found.cost.multiply_adds == before.cost.multiply_adds and found.cost.bits <= before.cost.bits
        return found if as_cheap and quantile(found.realised.errors) <= limit else before

    def unfinished(self, found: Candidate) -> Candidate:
        """What ``get`` gives where ``finished`` gave ``found``; the reference for itself."""
        return found if found.forms is None else self.get(found.level, found.forms)

    def _realise(self, level: int | None, forms: Forms, tokens: dict[int, Host]) -> Candidate:
        study = self.study
        structure = None if level is None else self._plan.at(level, study)
        realised = realise(study, structure, forms, self._prefix, tokens)
        cost = stage_cost(realised.stage, MemoryStore(study.store, realised.tensors), study.length)
        return Candidate(realised, cost, structure, forms, study.held_out(realised.errors), level)
