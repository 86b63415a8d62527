"""The search of one block: the cheapest candidate within a budget, for one aim.

For ``structure`` the path is searched in float16 by bisection, and the level it ends at is tried in integers too, which
keep the same multiply-adds in fewer bits. Bisection tries the same levels for two budgets until the wider one passes
where the narrower fails: a wider budget ends at the same level or a later one, and later levels never keep more.

For ``bits`` the path is searched so in every integer format. Then single maps of the best found so far, those that
take most bits first, are tried in narrower formats, the narrowest first, and stay in the first that is within the
budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from blockcert_producers.extract.budget import Aim, cheapness
from blockcert_producers.extract.candidates import Candidate, Candidates, Forms, quantile
from blockcert_producers.extract.formats import Format
from blockcert_producers.extract.plan import LEVELS

__all__ = ["PROBES", "cheapest"]

PROBES = {"structure": LEVELS.bit_length() + 6, "bits": 3 * (LEVELS.bit_length() + 8)}
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
            fitting: list[Format] = [form for form in _INTEGERS if self._passes(level, form)]
            form: Format = fitting[0] if fitting else "float16"
            found.append(self._candidates.finished(level, self._candidates.all_in(form), self._limit))
        # float16 or bfloat16 alone save no multiply-adds, so they matter only where nothing can be dropped; int8 may
        formats: tuple[Format, ...] = (*_INTEGERS, *_HALVES) if level is None else _INTEGERS
        for form in formats:
            if self._passes(None, form):
                found.append(self._candidates.get(None, self._candidates.all_in(form)))
        return found

    def bits(self) -> list[Candidate]:
        """The candidates for the fewest bits."""
        every: tuple[Format, ...] = (*_INTEGERS, *_HALVES)
        whole: list[Format] = [form for form in every if self._passes(None, form)]
        named: list[tuple[int | None, Forms]] = [(None, self._candidates.all_in(form)) for form in whole]
        for form in _INTEGERS:
            level = self._last_level(form, first=0)
            if level is not None:
                named.append((level, self._candidates.all_in(form)))
        if not named:
            level = self._last_level("float16")
            named += [] if level is None else [(level, self._candidates.all_in("float16"))]
        if named:
            named.append(self._narrowed(*min(named, key=lambda name: self.key(self._candidates.get(*name)))))
        return [self._candidates.reference, *(self._candidates.finished(*name, self._limit) for name in named)]

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

    def _last_level(self, form: Format, first: int = 1) -> int | None:
        """The level of the path at which bisection ends in one format; None where it finds none within the limit."""
        low, high, last = first - 1, LEVELS + 1, None
        while high - low > 1:
            middle = (low + high) // 2
            if self._passes(middle, form):
                low = last = middle
            else:
                high = middle
        return last

    def _passes(self, level: int | None, form: Format) -> bool:
        return self._candidates.get(level, self._candidates.all_in(form)).within(self._limit)
