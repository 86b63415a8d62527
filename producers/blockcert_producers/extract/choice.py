"""The search of one block: the cheapest candidate within a budget, for one aim.

For ``structure`` the path is searched in float16 by bisection, and at the level where that ends the chain of
``allocation``, whose formats keep the multiply-adds in ever fewer bits. Bisection tries the same levels for two budgets
until the wider one passes where the narrower fails: a wider budget ends at the same level or a later one, and later
levels never keep more.

For ``bits`` the chain is searched so for the whole block, refitted, and from where that ends for the block rounded
alone, which needs no biases. Then single maps of the best found so far, those with the most weights first, are tried in
the format that comes next in the chain. Last, structure is dropped under the formats that leave it half of the error,
from the level on where what goes takes bits along.

With a polish the search goes further: the choice is polished, and by as much as that lowered its error the limit is
widened for a second search. What that finds is polished too, and taken where it is then within the budget after all;
if not, a limit half as far is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from blockcert_producers.extract.budget import Aim, cheapness
from blockcert_producers.extract.candidates import Candidate, Candidates, Forms, quantile
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.plan import LEVELS
from blockcert_producers.extract.polish import Polisher

__all__ = ["MOST_GAIN", "POLISHES", "PROBES", "PROBES_MORE", "cheapest", "cheapest_polished"]

PROBES = {"structure": 3 * LEVELS.bit_length(), "bits": 5 * LEVELS.bit_length()}
"""About how many candidates a search realises; progress counts with it."""
PROBES_MORE = {"structure": 6, "bits": 12}
"""About how many more one limit more takes."""

POLISHES = 3
"""How many candidates ``cheapest_polished`` polishes at most."""
MOST_GAIN = 1.5
"""By how much at most it widens a limit."""

_HALVES: tuple[Format, ...] = ("float16", "bfloat16")
_LEFT_TO_STRUCTURE = 0.5
_BY_ROUNDING = 0.9


def cheapest(
    candidates: Candidates, limit: float, aim: Aim, earlier: Sequence[Candidate] = (), *, finish: bool = True
) -> Candidate:
    """The cheapest candidate within ``limit``; the reference where nothing cheaper is.

    ``earlier`` are the choices for narrower budgets: they are within this one too, so a wider budget is never dearer.
    With ``finish`` it is fitted to all prompts at last, the held-out ones too; without, those stay unseen.
    """
    search = _Search(candidates, limit, aim, finish=finish)
    found = search.structure() if aim == "structure" else search.bits()
    return min((*earlier, *found), key=search.key)


def cheapest_polished(
    candidates: Candidates,
    polisher: Polisher,
    limit: float,
    aim: Aim,
    earlier: Sequence[Candidate] = (),
    *,
    finish: bool = True,
) -> Candidate:
    """As ``cheapest``, of candidates that may be polished; see the module."""
    key = _Search(candidates, limit, aim, finish=finish).key
    plain = cheapest(candidates, limit, aim, earlier, finish=finish)
    tuned = polisher.polished(plain)
    if tuned is None:
        return plain
    found = [plain, *([tuned] if tuned.within(limit) else [])]
    before = quantile(candidates.unfinished(plain).held_out)
    gain = before / max(quantile(tuned.held_out), before / MOST_GAIN)
    for share in (1.0, 0.5):
        wider = cheapest(candidates, limit * gain**share, aim, finish=finish)
        if key(wider)[:2] >= key(plain)[:2]:
            break
        further = polisher.polished(wider)
        if further is not None and further.within(limit):
            found.append(further)
            break
    return min(found, key=key)


class _Search:
    def __init__(self, candidates: Candidates, limit: float, aim: Aim, *, finish: bool) -> None:
        self._candidates, self._limit, self._finish = candidates, limit, finish
        self._aim: Aim = aim
        self._whole = candidates.reference.cost.multiply_adds

    def key(self, candidate: Candidate) -> tuple[int, int, float]:
        """What the cheapest is the least of."""
        return *cheapness(self._aim, candidate.cost), quantile(candidate.realised.errors)

    def structure(self) -> list[Candidate]:
        """The candidates for the fewest multiply-adds."""
        half = self._candidates.all_in("float16")
        level = self._last_level(half)
        levels: list[int | None] = [] if level is None else [level]
        # rounding alone saves multiply-adds too, where weights round to zero, but not so many
        if level is None or self._candidates.get(level, half).cost.multiply_adds > _BY_ROUNDING * self._whole:
            levels.append(None)
        named = [(at, forms) for at in levels if (forms := self._narrowest(at)) is not None]
        if level is None:
            named += self._halves()
        return self._finished(named)

    def bits(self) -> list[Candidate]:
        """The candidates for the fewest bits."""
        forms = self._narrowest(0)
        named: list[tuple[int | None, Forms]] = [] if forms is None else [(0, forms)]
        alone = self._narrowest(None, forms)
        named += [] if alone is None else [(None, alone)]
        if not named:
            level = self._last_level(half := self._candidates.all_in("float16"))
            return self._finished([*self._halves(), *([] if level is None else [(level, half)])])
        best = min(named, key=lambda name: self.key(self._candidates.get(*name)))
        named.append(self._narrowed(*best))
        smaller = self._candidates.smaller_from
        if smaller is not None:
            forms = self._wider(best[1])
            level = self._last_level(forms, smaller)
            named += [] if level is None else [(level, forms)]
        return self._finished(named)

    def _finished(self, named: Sequence[tuple[int | None, Forms]]) -> list[Candidate]:
        known = self._candidates
        found = [known.finished(*name, self._limit) if self._finish else known.get(*name) for name in named]
        return [known.reference, *found]

    def _halves(self) -> list[tuple[int | None, Forms]]:
        found = [(None, self._candidates.all_in(form)) for form in _HALVES]
        return [name for name in found if self._passes(*name)]

    def _narrowest(self, level: int | None, near: Forms | None = None) -> Forms | None:
        """The formats at which bisection of the chain ends, or, from ``near``, the walk along it; None where float16 is
        beyond the limit."""
        chain = [one.forms for one in self._candidates.assignments(level)]
        if near in chain:
            at = chain.index(near)
            while at >= 0 and not self._passes(level, chain[at]):
                at -= 1
            while 0 <= at < len(chain) - 1 and at >= chain.index(near) and self._passes(level, chain[at + 1]):
                at += 1
            return chain[at] if at >= 0 else None
        if not self._passes(level, chain[0]):
            return None
        return chain[_last(0, len(chain), lambda at: self._passes(level, chain[at]))]

    def _narrowed(self, level: int | None, forms: Forms) -> tuple[int | None, Forms]:
        """The candidate with single maps in the format that comes next for them."""
        study, chain = self._candidates.study, self._candidates.assignments(level)
        sizes = [study.matrix(index).size for index in study.anatomy.linears]
        for at in sorted(range(len(forms)), key=lambda i: -sizes[i]):
            in_order: list[Format] = list(dict.fromkeys(one.forms[at] for one in chain))
            following = in_order.index(forms[at]) + 1
            if following < len(in_order):
                tried: Forms = (*forms[:at], in_order[following], *forms[at + 1 :])
                if self._passes(level, tried):
                    forms = tried
        return level, forms

    def _wider(self, forms: Forms) -> Forms:
        """The narrowest formats of the chain whose predicted error leaves room for as much again from structure."""
        chain = self._candidates.assignments(0)
        whole = next((one.error for one in chain if one.forms == forms), chain[-1].error)
        return [one.forms for one in chain if one.error <= max(whole * _LEFT_TO_STRUCTURE, chain[0].error)][-1]

    def _last_level(self, forms: Forms, first: int = 0) -> int | None:
        """The level of the path, from ``first`` on, at which bisection ends in these formats; None where it finds none
        within the limit."""
        if first and not self._passes(first, forms):
            return None
        last = _last(first, LEVELS + 1, lambda level: self._passes(level, forms))
        return last if last or self._passes(0, forms) else None

    def _passes(self, level: int | None, forms: Forms) -> bool:
        return self._candidates.get(level, forms).within(self._limit)


def _last(first: int, end: int, passes: Callable[[int], bool]) -> int:
    """Where bisection of ``first .. end - 1`` ends for what passes up to somewhere; ``first`` is taken to pass."""
    low, high = first, end
    while high - low > 1:
        middle = (low + high) // 2
        if passes(middle):
            low = middle
        else:
            high = middle
    return low
