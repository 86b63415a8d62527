"""The search of one block: the cheapest candidate within a budget, for one aim.

For ``structure`` the path is searched in float16 by bisection, and the level it ends at is tried in integers too, ever
narrower ones, which keep the multiply-adds in fewer bits. Bisection tries the same levels for two budgets until the
wider one passes where the narrower fails: a wider budget ends at the same level or a later one, and later levels never
keep more.

For ``bits`` the path is searched so in every integer format that can hold the whole block. Then single maps of the
best found so far, those with the most weights first, are tried in narrower formats, the narrowest first, and stay in
the first that is within the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from blockcert_producers.extract.budget import Aim, cheapness
from blockcert_producers.extract.candidates import Candidate, Candidates, Forms, quantile
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.plan import LEVELS

__all__ = ["PROBES", "cheapest"]

PROBES = {"structure": LEVELS.bit_length() + 6, "bits": 5 * LEVELS.bit_length()}
"""About how many candidates a search realises; progress counts with it."""

_HALVES: tuple[Format, ...] = ("float16", "bfloat16")
_FORMATS: tuple[Format, ...] = get_args(Format)


def _integers() -> tuple[Format, ...]:
    """The integer formats, the narrowest first."""
    found: list[Format] = [form for form in _FORMATS if form not in _HALVES]
    return tuple(sorted(found, key=lambda form: int(form[3])))


_INTEGERS = _integers()


def cheapest(candidates: Candidates, limit: float, aim: Aim, earlier: Sequence[Candidate] = ()) -> Candidate:
    """The cheapest candidate within ``limit``; the reference where nothing cheaper is.

    ``earlier`` are the choices for narrower budgets: they are within this one too, so a wider budget is never dearer.
    """
    search = _Search(candidates, limit, aim)
    found = search.structure() if aim == "structure" else search.bits()
    return min((*earlier, *found), key=search.key)


class _Search:
    def __init__(self, candidates: Candidates, limit: float, aim: Aim) -> None:
        self._candidates, self._limit = candidates, limit
        self._aim: Aim = aim

    def key(self, candidate: Candidate) -> tuple[int, int, float]:
        """What the cheapest is the least of."""
        return *cheapness(self._aim, candidate.cost), quantile(candidate.realised.errors)

    def structure(self) -> list[Candidate]:
        """The candidates for the fewest multiply-adds."""
        found = [self._candidates.reference]
        level = self._last_level("float16")
        if level is not None:
            form: Format = (*self._fitting(level), "float16")[0]
            found.append(self._candidates.finished(level, self._candidates.all_in(form), self._limit))
        # halves alone save no multiply-adds, so they matter only where nothing can be dropped; integers may
        alone: list[Format] = [*self._fitting(None), *(_HALVES if level is None else ())]
        return found + [self._get(None, form) for form in alone if self._passes(None, form)]

    def bits(self) -> list[Candidate]:
        """The candidates for the fewest bits."""
        named: list[tuple[int | None, Forms]] = [
            (None, self._candidates.all_in(form)) for form in self._fitting(None)[:1]
        ]
        for form in self._fitting(0):
            level = self._last_level(form, 0)
            assert level is not None  # noqa: S101 - level 0 fits
            named.append((level, self._candidates.all_in(form)))
        if not named:
            named += [(None, self._candidates.all_in(form)) for form in _HALVES if self._passes(None, form)]
            level = self._last_level("float16")
            named += [] if level is None else [(level, self._candidates.all_in("float16"))]
        if named:
            named.append(self._narrowed(*min(named, key=lambda name: self.key(self._candidates.get(*name)))))
        return [self._candidates.reference, *(self._candidates.finished(*name, self._limit) for name in named)]

    def _fitting(self, level: int | None) -> list[Format]:
        """The integer formats within the limit at a level, the narrowest first: all down to the first that is not."""
        found: list[Format] = []
        for form in reversed(_INTEGERS):
            if not self._passes(level, form):
                break
            found.insert(0, form)
        return found

    def _narrowed(self, level: int | None, forms: Forms) -> tuple[int | None, Forms]:
        """The candidate with single maps in narrower formats; see the module."""
        narrower = _INTEGERS[: _INTEGERS.index(forms[0])] if forms[0] in _INTEGERS else _INTEGERS
        study = self._candidates.study
        sizes = [study.matrix(index).size for index in study.anatomy.linears]
        for at in sorted(range(len(forms)), key=lambda i: -sizes[i]):
            for form in narrower:
                tried = (*forms[:at], form, *forms[at + 1 :])
                candidate = self._candidates.get(level, tried)
                if self.key(candidate) < self.key(self._candidates.get(level, forms)) and candidate.within(self._limit):
                    forms = tried
                    break
        return level, forms

    def _last_level(self, form: Format, last: int | None = None) -> int | None:
        """The level of the path at which bisection ends in one format; ``last`` where it finds none within the limit,
        a level that is known to be or None."""
        low, high = last or 0, LEVELS + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self._passes(middle, form):
                low = last = middle
            else:
                high = middle
        return last

    def _get(self, level: int | None, form: Format) -> Candidate:
        return self._candidates.get(level, self._candidates.all_in(form))

    def _passes(self, level: int | None, form: Format) -> bool:
        return self._get(level, form).within(self._limit)
