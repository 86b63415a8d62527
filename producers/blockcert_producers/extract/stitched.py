"""How far a stitched model is from its reference, on the calibration prompts that were held out of every fit.

Every block is the one chosen for it, each on what the blocks before it really give. Hidden states in front of every
block are kept for one allocation, so another one costs the blocks from the first that differs on, and the head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.program import Program, Stage
from blockcert_producers.extract.budget import Measure
from blockcert_producers.extract.tensors import Host, MemoryStore, Tensor
from blockcert_verifier.evaluate import Array, Backend, LoadedStage, WeightStore

__all__ = ["Allocation", "Option", "Stitched", "with_margin"]

Allocation: TypeAlias = tuple[int, ...]
"""For every block in turn the number of its option; 0 is the reference's own."""

_STANDARD_ERRORS = 2
_MOST_LOADED, _MOST_LOGITS = 1 << 27, 1 << 24


class Option(Struct, frozen=True):
    """What a block may be: its stage, and the tensors that are not the reference's."""

    stage: Stage
    tensors: Mapping[str, Tensor]


def with_margin(measure: Measure, values: Host) -> float:
    """What is held against a target, of one value for each prompt.

    For ``kl`` the mean and two standard errors of it (one prompt has no spread); for ``logits`` the largest. Infinite
    where anything is not a finite number.
    """
    if not np.isfinite(values).all():
        return float("inf")
    if measure == "logits":
        return float(values.max())
    spread = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else 0.0
    return float(values.mean() + _STANDARD_ERRORS * spread)


class Stitched:
    """The stitched models of a reference on held-out prompts.

    Args:
        reference: the program.
        store: its weights.
        tokens: the prompts, H x T, at least one.
        backend: as everywhere in extraction.
        option: what a block (from 0) is under one of its options.
    """

    def __init__(
        self,
        reference: Program,
        store: WeightStore,
        tokens: Host,
        backend: Backend,
        option: Callable[[int, int], Option],
    ) -> None:
        self._store, self._backend, self._option = store, backend, option
        self._stages, self._length = reference.stages, int(tokens.shape[1])
        self._prompts = len(tokens)
        self._loaded: OrderedDict[tuple[int, int], LoadedStage] = OrderedDict()
        self._most = max(1, _MOST_LOADED // max(1, self._largest_block()))
        first = LoadedStage(self._stages[0], store, backend, self._length)(backend.integers(tokens))
        blocks = reference.blocks
        self._kept: Allocation = (0,) * blocks
        self._hidden = self._run(self._kept, 0, first)
        self._end = self._hidden[-1]
        self._head = LoadedStage(self._stages[-1], store, backend, self._length)
        self._at_once = max(1, _MOST_LOGITS // (self._length * reference.vocabulary))
        # where they are few, the reference's logits are computed once
        few = self._prompts <= 2 * self._at_once
        self._logits: dict[int, Array] | None = {} if few else None

    def keep(self, allocation: Allocation) -> None:
        """Keep the hidden states of this allocation: those near it are then measured with less work."""
        first = self._first_changed(allocation)
        if first < len(allocation):
            self._hidden[first:] = self._run(allocation, first, self._hidden[first])
        self._kept = allocation

    def measured(self, allocation: Allocation, measure: Measure) -> Host:
        """One value for each held-out prompt, H: the mean KL from the reference in nats over all positions that have a
        next token, or the largest difference of any logit."""
        first = self._first_changed(allocation)
        end = self._hidden[-1] if first == len(allocation) else self._run(allocation, first, self._hidden[first])[-1]
        found: list[Host] = []
        with np.errstate(all="ignore"):
            for begin in range(0, self._prompts, self._at_once):
                part = slice(begin, begin + self._at_once)
                found.append(self._compared(self._reference_logits(part), self._head(end[part]), measure))
        return np.concatenate(found)

    def _reference_logits(self, part: slice) -> Array:
        if self._logits is None:
            return self._head(self._end[part])
        if part.start not in self._logits:
            self._logits[part.start] = self._head(self._end[part])
        return self._logits[part.start]

    def _compared(self, reference: Array, other: Array, measure: Measure) -> Host:
        backend, xp = self._backend, self._backend.xp
        width = int(reference.shape[-1])
        f, g = reference.reshape((-1, width)), other.reshape((-1, width))
        if measure == "logits":
            between = f - g
            each = xp.maximum(backend.largest(between), -backend.smallest(between))
            return self._by_prompt(each).max(axis=1)
        f, g = f - backend.largest(f, keep=True), g - backend.largest(g, keep=True)
        weights = xp.exp(f)
        total = backend.total(weights)
        difference = f - g - (xp.log(total) - xp.log(backend.total(xp.exp(g))))[:, None]
        each = self._by_prompt(xp.vecdot(weights, difference, axis=-1) / total)
        return each[:, : max(1, self._length - 1)].mean(axis=1)

    def _by_prompt(self, each: Array) -> Host:
        return np.asarray(self._backend.numpy(each), dtype=np.float64).reshape(-1, self._length)

    def _first_changed(self, allocation: Allocation) -> int:
        pairs = enumerate(zip(allocation, self._kept, strict=True))
        return next((i for i, (one, kept) in pairs if one != kept), len(allocation))

    def _run(self, allocation: Allocation, first: int, hidden: Array) -> list[Array]:
        """The hidden states in front of the block ``first`` and of those after it, and behind the last."""
        found = [hidden]
        with np.errstate(all="ignore"):
            for block in range(first, len(allocation)):
                found.append(self._block(block, allocation[block])(found[-1]))
        return found

    def _block(self, block: int, option: int) -> LoadedStage:
        key = (block, option)
        if key not in self._loaded:
            if option:
                made = self._option(block, option)
                stage, store = made.stage, MemoryStore(self._store, dict(made.tensors))
            else:
                stage, store = self._stages[block + 1], self._store
            self._loaded[key] = LoadedStage(stage, store, self._backend, self._length)
            while len(self._loaded) > self._most:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _largest_block(self) -> int:
        """Weights of the largest block of the reference, about."""
        from blockcert_verifier.costs import stage_cost

        return max(stage_cost(stage, self._store, self._length).parameters for stage in self._stages[1:-1])
