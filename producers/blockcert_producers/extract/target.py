"""Which limit each block gets, so that the stitched model meets a target: by what was measured, never by local errors.

Every block has options, from the reference's own to the cheapest for ever wider limits (``LADDER``). First the loosest
limit is found that all blocks can share: from the widest down, the first whose stitched model meets the target. From
there on single blocks are given one option more, always the one that saves most for what the distance rose, as long as
the stitched model still meets the target; where none does any more, one block is given an option more and another one
less, where that saves and still meets it, and then it goes on. Every step costs less than the one before it and meets
the target, so it never ends worse than where it began: at one limit for all blocks.

Everything is deterministic: of equals the first block comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from blockcert_producers.extract.stitched import Allocation

__all__ = ["LADDER", "Found", "Price", "allocate", "most_measured"]

LADDER: tuple[str, ...] = (
    *("0.0025", "0.0035", "0.005", "0.007", "0.01", "0.014", "0.02", "0.028", "0.04", "0.056"),
    *("0.08", "0.11", "0.16", "0.22", "0.32"),
)
"""The limits that blocks may get, relative errors of 95 % of the tokens, each about 1.4 times the one before."""

_MEASURED_PER_BLOCK = 32

Price: TypeAlias = tuple[int, int]
"""What an option costs: what is to be fewest, and what is second."""


class Found(Struct, frozen=True):
    """An allocation that meets the target, with its distance, and the one at a common limit that it began from;
    ``limit`` is that limit's place on the ladder, None where no limit serves all blocks. ``measured`` is how many
    stitched models were run."""

    allocation: Allocation
    distance: float
    common: Allocation
    common_distance: float
    limit: int | None
    measured: int


def most_measured(blocks: int) -> int:
    """How many stitched models are run at most."""
    return len(LADDER) + _MEASURED_PER_BLOCK * blocks


def allocate(
    prices: Sequence[Sequence[Price]],
    shared: Sequence[Allocation],
    measure: Callable[[Allocation], float],
    target: float,
    settle: Callable[[Allocation], None] | None = None,
) -> Found:
    """The cheapest allocation that the search of the module finds.

    Args:
        prices: of every option of every block, each block's falling; option 0 always meets the target.
        shared: for every limit of the ladder, from the narrowest, the allocation in which all blocks have it.
        measure: the distance of a stitched model from the reference.
        target: what the distance may be.
        settle: called with each allocation that the search goes on from.
    """
    return _Search(prices, measure, target, settle or _nothing).run(shared)


def _nothing(allocation: Allocation) -> None:
    """Keep nothing."""


class _Search:
    def __init__(
        self,
        prices: Sequence[Sequence[Price]],
        measure: Callable[[Allocation], float],
        target: float,
        settle: Callable[[Allocation], None],
    ) -> None:
        self._prices, self._measure, self._target, self._settle = prices, measure, target, settle
        self._known: dict[Allocation, float] = {}
        self._left = most_measured(len(prices))

    def run(self, shared: Sequence[Allocation]) -> Found:
        at: Allocation = (0,) * len(self._prices)
        limit = None
        for place in range(len(shared) - 1, -1, -1):
            if any(shared[place]) and self._distance(shared[place]) <= self._target:
                at, limit = shared[place], place
                break
        common = at
        self._settle(at)
        while (better := self._widened(at) or self._paired(at)) is not None:
            at = better
            self._settle(at)
        counted = len(self._known)
        ends = [self._known.get(one, 0.0) for one in (at, common)]
        return Found(at, ends[0], common, ends[1], limit, counted)

    def _distance(self, allocation: Allocation) -> float:
        """The measured distance; infinite where no more may be measured."""
        if allocation not in self._known:
            if not self._left:
                return float("inf")
            self._left -= 1
            self._known[allocation] = self._measure(allocation)
        return self._known[allocation]

    def _moved(self, at: Allocation, block: int, by: int) -> Allocation | None:
        option = at[block] + by
        return (*at[:block], option, *at[block + 1 :]) if 0 <= option < len(self._prices[block]) else None

    def _price(self, allocation: Allocation) -> Price:
        prices = [self._prices[block][option] for block, option in enumerate(allocation)]
        return sum(price[0] for price in prices), sum(price[1] for price in prices)

    def _widened(self, at: Allocation) -> Allocation | None:
        """One block given an option more: of those that meet the target the one that saves most for its rise."""
        now, whole = self._known.get(at, 0.0), self._price(at)
        best: tuple[tuple[float, float], Allocation] | None = None
        for block in range(len(at)):
            tried = self._moved(at, block, 1)
            if tried is None or (distance := self._distance(tried)) > self._target:
                continue
            price = self._price(tried)
            # a rise that is none at all is worth any saving; then more saved is better
            rise = max(distance - now, self._target * 1e-6)
            worth = ((whole[0] - price[0]) / rise, float(whole[1] - price[1]))
            if best is None or worth > best[0]:
                best = worth, tried
        return None if best is None else best[1]

    def _paired(self, at: Allocation) -> Allocation | None:
        """One block given an option more and another one less, where that costs less and meets the target.

        Those that should meet it by what either does alone come first, and of them what saves most; twice as many as
        there are blocks are tried.
        """
        now, whole = self._known.get(at, 0.0), self._price(at)
        pairs: list[tuple[tuple[bool, Price], Allocation]] = []
        for wider in range(len(at)):
            one = self._moved(at, wider, 1)
            if one is None:
                continue
            for narrower in range(len(at)):
                less = None if narrower == wider else self._moved(at, narrower, -1)
                both = None if less is None else self._moved(one, narrower, -1)
                if less is None or both is None or self._price(both) >= whole:
                    continue
                expected = self._distance(one) + self._distance(less) - now
                # not a number where both are infinite
                pairs.append(((not expected <= self._target, self._price(both)), both))
        pairs.sort(key=lambda pair: pair[0])
        return next((both for _, both in pairs[: 2 * len(at)] if self._distance(both) <= self._target), None)
