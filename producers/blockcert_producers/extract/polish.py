"""Polish: some hundred steps of Adam on a simplified block, against the reference's on the calibration prompts.

What descends is the mean squared relative error of the tokens that fits may see, a few prompts at a time, in float32.
The tuned block replaces the one that it began from only where the prompts held out of every fit are nearer to the
reference, by the error that 95 % of their tokens do not exceed; and what it does is measured by the evaluator in
float64. ``tunable`` says what is tuned. One seed gives one result on the same build of torch and as many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from blockcert_producers.extract.candidates import Candidate, Candidates, quantile
from blockcert_producers.extract.differentiable import Differentiable
from blockcert_producers.extract.plan import Structure
from blockcert_producers.extract.realise import Realised
from blockcert_producers.extract.study import Study, relative_errors
from blockcert_producers.extract.tensors import Host, MemoryStore, Tensor
from blockcert_producers.extract.tunable import Tunable
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import Backend, LoadedStage

__all__ = ["Polish", "Polisher"]

_RATE = 3e-3
_PROMPTS = 8
_EXPONENT = 0x7F80
"""Of a bfloat16: all ones in what is no finite number."""


class Polish(Struct, frozen=True):
    """How blocks are polished: steps of descent, and the seed of the order in which they see prompts."""

    steps: int
    seed: int = 0


class Polisher:
    """Polishes candidates of one block, each once.

    Args:
        candidates: of the block.
        how: steps and seed.
        prefix: of the new tensors' names.
        tick: called after every step.
    """

    def __init__(self, candidates: Candidates, how: Polish, prefix: str, tick: Callable[[], None]) -> None:
        self._candidates, self._how, self._prefix, self._tick = candidates, how, prefix, tick
        self._known: dict[tuple[int | None, Any], Candidate | None] = {}

    def polished(self, found: Candidate) -> Candidate | None:
        """The candidate with its numbers tuned, whatever budget it is within; None where the prompts held out are no
        nearer than before, and for the reference itself."""
        if found.forms is None:
            return None
        key = (found.level, found.forms)
        if key not in self._known:
            self._known[key] = self._tuned(self._candidates.unfinished(found))
        return self._known[key]

    def _tuned(self, before: Candidate) -> Candidate | None:
        study, tensors = self._candidates.study, before.realised.tensors
        backend = Backend("torch" if study.backend.device == "cpu" else study.backend.device, "float32")
        store = MemoryStore(study.store, tensors)
        tunable = Tunable(
            before.realised.stage,
            tensors,
            store,
            backend,
            self._prefix,
            _sizes(study),
            pruned=_pruned(before.structure),
        )
        self._descend(tunable, Differentiable(before.realised.stage, store, backend, study.length))
        stage, tensors = tunable.stored()
        if not all(map(_finite, tensors.values())):
            return None
        store = MemoryStore(study.store, tensors)
        output = LoadedStage(stage, store, study.backend, study.length)(study.values["hidden"])
        errors = relative_errors(study.output, study.flat(output))
        held_out = study.held_out(errors)
        if not quantile(held_out) < quantile(before.held_out):
            return None
        cost = stage_cost(stage, store, study.length)
        realised = Realised(stage, tensors, errors)
        return Candidate(realised, cost, before.structure, before.forms, held_out, before.level, polished=True)

    def _descend(self, tunable: Tunable, block: Differentiable) -> None:
        import torch

        study, backend, how = self._candidates.study, block.backend, self._how
        seen = np.flatnonzero(study.fitted.reshape(study.prompts, study.length)[:, 0])

        def given(values: Host) -> Any:  # prompts x T x width
            return backend.array(values.reshape(study.prompts, study.length, -1)[seen])

        hidden, target = given(study.flat(study.values["hidden"])), given(study.output)
        weights = given(study.token_weights)[..., 0]
        untuned = [own for _, own in block.loaded]
        adam: Any = torch.optim.Adam(tunable.parameters, lr=_RATE)
        rate: Any = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, how.steps))
        order = _order(len(seen), how.seed)
        for _ in range(how.steps):
            some = backend.integers(next(order))
            output = block.run(hidden[some], tunable.weights(untuned))
            loss: Any = (((output - target[some]) ** 2).sum(dim=-1) * weights[some]).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()
            self._tick()


def _order(count: int, seed: int) -> Iterator[Host]:
    """Which prompts each step sees: all of them in turn, in a new order every time."""
    random, size = np.random.Generator(np.random.PCG64(seed)), min(_PROMPTS, count)
    while True:
        shuffled = random.permutation(count)
        for begin in range(0, count - size + 1, size):
            yield shuffled[begin : begin + size]


def _finite(held: Tensor) -> bool:
    if held.dtype == "BF16":
        return not bool((held.values & _EXPONENT == _EXPONENT).any())
    return bool(np.isfinite(held.values).all())


def _sizes(study: Study) -> Callable[[str], float]:
    def size(name: str) -> float:
        return float(np.sqrt(np.mean(study.flat(study.values[name]) ** 2)))

    return size


def _pruned(structure: Structure | None) -> bool:
    return structure is not None and not all(bool(support.all()) for support in structure.supports.values())
