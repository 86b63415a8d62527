"""The path of one block: simplifications in the order of error added for each multiply-add saved.

A plan knows no budget. It has levels ``0 .. LEVELS``; at level 0 the block is whole, and each level keeps a subset of
what the level before kept, so multiply-adds never grow along the path. A level is a price: everything is dropped whose
predicted error, divided by the multiply-adds it costs, is at most the price. One price orders single weights of every
map, whole neurons, the patterns of heads and the ranks of maps alike.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.program import Attention, MeanPattern, Pattern, attends
from blockcert_producers.extract.low_rank import spectrum
from blockcert_producers.extract.moments import inputs, moments, refit
from blockcert_producers.extract.patterns import HeadOptions, head_options
from blockcert_producers.extract.sensitivity import Sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host

__all__ = ["LEVELS", "RIDGE", "Plan", "Structure", "make_plan"]

LEVELS = 64
RIDGE = 2e-2
"""Of a gram's mean diagonal: what keeps a refit from following single tokens."""

_GREATEST_SHARE, _FINER = 0.96, 1.5
_ROUNDS = (0.15, 0.3, 0.45, 0.6)
_ITERATIONS = 8
_NEURON_SETS, _MOST_NEURONS = 32, 0.9
_NEVER = 255

Drops: TypeAlias = dict[int, Host]
"""By position of the linear step: the level at which each weight is dropped (uint8, out x in; 255 for never)."""


class Structure(Struct, frozen=True):
    """A block at one level: where each map may be nonzero, which neurons are kept (None for all), every head's
    pattern (None where the block has no heads), and the maps of low rank: their ranks, and what their rows cost."""

    supports: dict[int, Host]
    neurons: Host | None
    patterns: tuple[Pattern, ...] | None
    ranks: dict[int, int] = {}
    rows: dict[int, Host] = {}


class Plan(Struct, frozen=True):
    """The path of one block; see the module. ``neurons`` holds the level at which each neuron is dropped,
    ``patterns[level]`` the pattern of every head, ``ranks[i][level]`` the rank of a map, 0 where single weights are
    dropped; ``rows`` are those of ``Structure``."""

    drops: Drops
    neurons: Host | None
    patterns: tuple[tuple[Pattern, ...], ...] | None
    ranks: dict[int, Host] = {}
    rows: dict[int, Host] = {}

    def at(self, level: int, study: Study) -> Structure:
        """The block's structure at a level."""
        ranks = {i: int(rank[level]) for i, rank in self.ranks.items() if rank[level]}
        supports = {i: np.ones_like(drop, dtype=bool) if i in ranks else drop > level for i, drop in self.drops.items()}
        patterns = None if self.patterns is None else self.patterns[level]
        heads, neurons = study.anatomy.heads, study.anatomy.neurons
        if heads is not None and patterns is not None:
            _silence(study, supports, patterns)
        kept = None
        if neurons is not None and self.neurons is not None:
            alive = (self.neurons > level) & supports[neurons.output].any(axis=0)
            if not alive.any():
                alive[int(np.argmax(self.neurons))] = True
            if not alive.all():
                kept = np.flatnonzero(alive)
        return Structure(supports, kept, patterns, ranks, {i: self.rows[i] for i in ranks})


def _silence(study: Study, supports: dict[int, Host], patterns: tuple[Pattern, ...]) -> None:
    """Take away what only scores would read, of heads that have none, and what only heads of the mean would read."""
    heads = study.anatomy.heads
    assert heads is not None  # noqa: S101 - checked by the caller
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    silent = np.array([isinstance(pattern, MeanPattern) for pattern in patterns])
    scoreless = np.array([not attends(pattern) for pattern in patterns])

    def all_that_share(head: Host) -> Host:
        return np.repeat(head.reshape(step.key_value_heads, -1).all(axis=1), step.head_size)

    supports[heads.query] = supports[heads.query] & ~np.repeat(scoreless, step.head_size)[:, None]
    supports[heads.key] = supports[heads.key] & ~all_that_share(scoreless)[:, None]
    supports[heads.value] = supports[heads.value] & ~all_that_share(silent)[:, None]
    # a constant input is carried by the bias
    supports[heads.output] = supports[heads.output] & ~np.repeat(silent, step.head_size)[None, :]


def make_plan(study: Study, sensitivities: dict[int, Sensitivity], amplification: float) -> Plan:
    """The path of a block. Deterministic; ties go to the weight that stands first.

    ``sensitivities`` (by position of the linear map) and ``amplification`` are ``measure_sensitivity``'s.
    """
    ledgers = {i: _Ledger(study, i, sensitivities[i]) for i in study.anatomy.linears}
    for share in _ROUNDS:
        threshold = _price_at(ledgers, np.array([share]))[0]
        for ledger in ledgers.values():
            ledger.reprice(float(threshold))
    levels = _price_at(ledgers, _GREATEST_SHARE * np.linspace(0, 1, LEVELS + 1)[1:] ** _FINER)
    prices = {i: ledger.price for i, ledger in ledgers.items()}
    drops = {i: _level_of(price, levels) for i, price in prices.items()}
    held = _Held(prices, drops, levels, study.length)
    heads, neurons = study.anatomy.heads, study.anatomy.neurons
    patterns = None if heads is None else _patterns(study, head_options(study, heads, amplification), held)
    dropped = None if neurons is None else _neurons(study, ledgers[neurons.output].fit.inputs.gram, held)
    ranks = {
        i: _ranks(
            study, i, spectrum(study.matrix(i), ledger.fit.inputs.gram, sensitivities[i].rows), sensitivities[i], held
        )
        for i, ledger in ledgers.items()
        # a head that is silent takes columns of the output map along, and low rank has none of its own
        if heads is None or i != heads.output
    }
    return Plan(drops, dropped, patterns, ranks, {i: sensitivities[i].rows for i in ranks})


def _price_at(ledgers: dict[int, _Ledger], shares: Host) -> Host:
    """The prices at which these shares of all weights are dropped."""
    every = np.sort(np.concatenate([ledger.price.reshape(-1) for ledger in ledgers.values()]))
    return every[np.minimum((shares * every.size).astype(np.int64), every.size - 1)]


class _Ledger:
    """One linear map and the price of each of its weights (``price``, out x in): the predicted error of dropping it
    for each multiply-add saved.

    The error of dropping one weight with the rest of its row refitted is ``w^2 / inverse(gram)_jj`` (optimal brain
    surgeon, Hassibi and Stork 1993). Dropping many is not the sum of that, so after each of a few rounds of dropping
    and refitting the surviving weights are priced again.
    """

    def __init__(self, study: Study, index: int, sensitivity: Sensitivity) -> None:
        self._weight = study.matrix(index)
        x = study.flat(study.values[study.linear(index).input])
        y = study.flat(study.values[study.linear(index).out])
        self.fit = moments(inputs(x, sensitivity.tokens * study.fitted, RIDGE), y, self._weight)
        scale = float(sensitivity.tokens.mean()) / study.length
        self._curvature = scale * sensitivity.rows[:, None] / np.diagonal(self.fit.inputs.inverted)
        self.price = (self._weight**2 * self._curvature).astype(np.float32)

    def reprice(self, threshold: float) -> None:
        """Drop what costs at most ``threshold``, refit the rest and price it again, never below the threshold."""
        support = self.price > threshold
        fitted = refit(self.fit, support, self._weight, iterations=_ITERATIONS)
        above = np.nextafter(np.float32(threshold), np.float32(np.inf))
        again = np.maximum((fitted**2 * self._curvature).astype(np.float32), above)
        self.price = np.where(support, again, self.price)


class _Held:
    """What groups of weights hold at every level: the sum over the group of the lesser of a weight's price and the
    level's, in units of error: what dropping the whole group would save the path that drops weights one by one."""

    def __init__(self, prices: dict[int, Host], drops: Drops, levels: Host, length: int) -> None:
        self._prices, self._drops, self.levels, self._length = prices, drops, levels.astype(np.float64), length

    def kept(self, index: int, level: int) -> int:
        """How many weights of a map are kept at the level after ``level``."""
        return int((self._drops[index] > level + 1).sum())

    def by_group(self, index: int, groups: Host, axis: int, count: int) -> Host:
        """For the map ``index`` whose rows (``axis`` 0) or columns (1) belong to ``groups``: levels x groups.

        A group of -1 counts nowhere.
        """
        drop = np.minimum(self._drops[index], LEVELS + 1).astype(np.int64)
        place = groups[:, None] if axis == 0 else groups[None, :]
        inside = np.broadcast_to(place >= 0, drop.shape)
        cell = (place * (LEVELS + 2) + drop)[inside]
        size = count * (LEVELS + 2)
        spent = np.bincount(cell, self._prices[index][inside], minlength=size).reshape(count, -1)
        number = np.bincount(cell, minlength=size).reshape(count, -1)
        gone = np.cumsum(spent, axis=1)[:, 1 : LEVELS + 1]
        left = number.sum(axis=1)[:, None] - np.cumsum(number, axis=1)[:, 1 : LEVELS + 1]
        return (gone + left * self.levels).T * self._length


def _level_of(price: Host, levels: Host) -> Host:
    """The first level (from 1) whose price is at least ``price``; 255 where there is none."""
    found = np.searchsorted(levels, price, side="left") + 1
    return np.where(found > LEVELS, _NEVER, found).astype(np.uint8)


def _patterns(study: Study, options: HeadOptions, held: _Held) -> tuple[tuple[Pattern, ...], ...]:
    """At every level the pattern of each head that is cheapest by error plus price times multiply-adds."""
    heads = study.anatomy.heads
    assert heads is not None  # noqa: S101 - checked by the caller
    step = study.stage.steps[heads.attention]
    assert isinstance(step, Attention)  # noqa: S101 - by the anatomy
    groups = np.repeat(np.arange(step.heads, dtype=np.int64), step.head_size)
    scores = held.by_group(heads.query, groups, 0, step.heads)
    own = held.by_group(heads.output, groups, 1, step.heads)
    if step.heads == step.key_value_heads:
        scores = scores + held.by_group(heads.key, groups, 0, step.heads)
        own = own + held.by_group(heads.value, groups, 0, step.heads)
    scored = [np.array([attends(pattern) for pattern in row]) for row in options.patterns]
    chosen: list[tuple[Pattern, ...]] = [step.patterns]
    least = np.zeros(step.heads, dtype=np.int64)
    for level, price in enumerate(held.levels):
        for h in range(step.heads):
            total = options.errors[h] + float(price) * options.costs[h]
            total[scored[h]] += scores[level, h]
            total[:-1] += own[level, h]  # the last pattern, mean, needs none of the head's own weights
            # the cheapest of equals, and never back to a pattern that costs more
            least[h] = total.size - 1 - int(np.argmin(total[least[h] :][::-1]))
        chosen.append(tuple(options.patterns[h][k] for h, k in enumerate(least)))
    return tuple(chosen)


def _ranks(study: Study, index: int, adds: Host, sensitivity: Sensitivity, held: _Held) -> Host:
    """The rank of a map at every level, 0 up to where a low rank costs less than its single weights do, by error plus
    price times multiply-adds; never more multiply-adds than before."""
    rows, columns = study.matrix(index).shape
    size = rows + columns
    single = held.by_group(index, np.zeros(rows, dtype=np.int64), 0, 1)[:, 0]
    left = float(sensitivity.tokens.mean()) * (adds.sum() - np.cumsum(adds))  # of rank 1 and more
    costs = study.length * size * np.arange(1, adds.size + 1)
    found = np.zeros(LEVELS + 1, dtype=np.int64)
    for level, price in enumerate(held.levels):
        total = left + price * costs
        least = int(np.argmin(total))
        most = found[level] or held.kept(index, level) // size
        if found[level] or (total[least] < single[level] and least + 1 <= most):
            found[level + 1] = min(least + 1, most)
    return found


def _neurons(study: Study, gram: Host, held: _Held) -> Host:
    """The level at which each neuron is dropped, by contribution: spread of its activation times the norm of its output
    column; the error of dropping a set is that of the best refit of the others to it."""
    neurons = study.anatomy.neurons
    assert neurons is not None  # noqa: S101 - checked by the caller
    output = study.matrix(neurons.output)
    count = output.shape[1]
    contribution = np.sqrt(np.diagonal(gram)) * np.linalg.norm(output, axis=0)
    order = np.argsort(-contribution, kind="stable")
    factor = np.linalg.cholesky(gram[np.ix_(order, order)])
    sizes = np.unique((np.linspace(0, _MOST_NEURONS, _NEURON_SETS) * count).astype(np.int64))
    scale = float(study.token_weights.mean())
    # the tail block of the factor is that of the Schur complement
    tails = [output[:, order[count - k :]] @ factor[count - k :, count - k :] for k in sizes]
    errors = np.array([scale * float((tail**2).sum()) for tail in tails])
    groups = np.arange(count, dtype=np.int64)
    own = held.by_group(neurons.output, groups, 1, count)
    for i in neurons.inputs:
        own = own + held.by_group(i, groups, 0, count)
    found = np.full(count, _NEVER, dtype=np.uint8)
    dropped = 0
    for level in range(LEVELS):
        saved = np.concatenate([[0.0], np.cumsum(own[level, order[::-1]])])[sizes]
        best = sizes.size - 1 - int(np.argmin((errors - saved)[::-1]))
        if sizes[best] > dropped:
            found[order[count - sizes[best] : count - dropped]] = level + 1
            dropped = int(sizes[best])
    return found
