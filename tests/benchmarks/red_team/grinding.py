"""Easy prompts: a thousand frame keys are tried and the luckiest draw is shown. Replay agrees; fresh prompts do not.

All windows are measured once. The draws are the real ones, and so is the step that judges fresh prompts; some trials
are whole verifications.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from blockcert.bundle import STATEMENT
from blockcert.digest import blake3_bytes
from blockcert.draw import Draw, draw_windows
from blockcert.dsse import certificate_digest, parse_envelope
from blockcert.same_program import same_stages
from blockcert.statement import Statement
from blockcert.statistics import fisher_disagreement, population_upper_bound
from blockcert_verifier import verify
from blockcert_verifier.corpus import Population
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.measure import Cells, Measured
from blockcert_verifier.steps.fresh import BETA, FreshInputs, fresh
from tests.benchmarks.red_team.table import Rate
from tests.support.attacks import codes
from tests.support.bundles import LENGTH, NOW, Draws, Made, make_bundle
from tests.support.lies import Measurement, measured, programs, statement, windows_of
from tests.support.pairs import int8, rounded

__all__ = ["Ground", "grind", "grinding_rates", "power"]

TRIES = 1000
DRAWS = Draws(windows=300, calibration=20, certification=40)
HIDING = Draws(windows=240, calibration=120, certification=40)
FRESH = (10, 20, 40, 80, 160)
PREDICATE = 0
"""The predicate that is ground: 95 % of tokens within 0.01 in every block. A window that satisfies it is good."""
Luck: TypeAlias = Callable[[frozenset[int], Draw], int]


class Ground(Struct, frozen=True):
    """A bundle over a chosen draw, what was measured of all windows, and which of them satisfy the predicate."""

    made: Made
    statement: Statement
    windows: Population
    known: Measurement
    good: frozenset[int]
    draw: Draw

    @property
    def unused(self) -> tuple[int, int]:
        """How many windows nobody used, and how many of them satisfy the predicate."""
        used = {*self.draw.calibration, *self.draw.certification}
        return self.windows.windows - len(used), len(self.good - used)

    def said(self) -> str:
        """What there is to be seen."""
        size, good = self.unused
        listed, rows = listed_good(self.good, self.draw), len(self.draw.certification)
        return f"good: {listed} of {rows} listed prompts, {good} of {size} unused windows"


def listed_good(good: frozenset[int], draw: Draw) -> int:
    """How many listed prompts are good: what an easy list maximises."""
    return len(good.intersection(draw.certification))


def calibration_bad(good: frozenset[int], draw: Draw) -> int:
    """How many calibration windows are not good: they are in no population, and in no fresh draw."""
    return len({*draw.calibration} - good)


def grind(folder: Path, tries: int, draws: Draws = DRAWS, luck: Luck = listed_good) -> Ground:
    """The bundle over the luckiest draw of `tries` frame seeds; with one try, an honest bundle."""
    pair = rounded(int8)
    first = make_bundle(folder / "first", pair=pair, draws=replace(draws, seed=0))
    windows, stated = windows_of(first), statement(first)
    known = measured(pair(folder / "pair", 0, 2), windows.tokens(range(draws.windows)).astype(np.int64))
    covered = (known.cells["covered"].value[:, 1:-1, PREDICATE] == LENGTH).all(axis=1)
    good = frozenset(np.flatnonzero(covered).tolist())
    digests = [
        blake3_bytes((first.bundle / f"programs/{name}.json").read_bytes()) for name in ("reference", "surrogate")
    ]

    def lucky(seed: int) -> int:
        return luck(good, draw_windows(replace(stated.predicate.prompts.frame, seed=seed), *digests))

    best = max(range(tries), key=lucky)
    made = first if best == 0 else make_bundle(folder / "best", pair=pair, draws=replace(draws, seed=best))
    shown = statement(made)
    draw = draw_windows(shown.predicate.prompts.frame, *digests)
    return Ground(made, shown, windows, known, good, draw)


def power(ground: Ground, count: int, tests: int, decides: Callable[[Statement, int, int, int, int], bool]) -> Fraction:
    """The exact chance that `count` fresh windows decide against the ground predicate, over the verifier's draw."""
    size, good = ground.unused
    ways = sum(
        math.comb(good, f) * math.comb(size - good, count - f)
        for f in range(max(0, count - (size - good)), min(good, count) + 1)
        if decides(ground.statement, f, count, size, tests)
    )
    return Fraction(ways, math.comb(size, count))


def differs(stated: Statement, successes: int, count: int, _size: int, tests: int) -> bool:
    """Whether Fisher's exact test finds so few successes beyond chance (BC-VER-22)."""
    population = stated.predicate.claims.population
    listed = population.claims[PREDICATE].successes
    return fisher_disagreement(population.trials, listed, count, successes) <= BETA / tests


def refuted(stated: Statement, successes: int, count: int, size: int, _tests: int) -> bool:
    """Whether the claimed number of windows is more than can be (BC-VER-23)."""
    population = stated.predicate.claims.population
    claim = population.claims[PREDICATE]
    most = population_upper_bound(size, count, successes, BETA / len(population.claims))
    return claim.successes + most < claim.at_least


def _trial(ground: Ground, count: int) -> Fresh:
    """The step itself, on a fresh seed, with the cells looked up that would be measured."""
    payload = parse_envelope((ground.made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    place = {row.tobytes(): at for at, row in enumerate(ground.known.tokens)}

    def look_up(tokens: np.ndarray) -> Measured:
        at = [place[row.tobytes()] for row in tokens]
        cells = ground.known.cells.items()
        return Measured({name: Cells(c.value[at], c.low[at], c.high[at]) for name, c in cells})

    inputs = FreshInputs(
        statement=ground.statement,
        same=same_stages(*programs(ground.made)),
        certificate=certificate_digest(payload),
        seed=os.urandom(32),
        repeatable=False,
    )
    used = [*ground.draw.calibration, *ground.draw.certification]
    found, _ = fresh(inputs, ground.windows, used, count, look_up)
    if found is None:
        raise AssertionError("there are windows to draw")
    return found


def grinding_rates(folder: Path, trials: int, whole: int) -> list[Rate]:
    """Fresh prompts against the luckiest of a thousand draws, and against one that was not chosen."""
    ground, honest = grind(folder / "ground", TRIES), grind(folder / "honest", 1)
    report = verify(ground.made.bundle, ground.made.policy, reference=ground.made.model, at=NOW, replay="all")
    accepted = report.verdict != "accepted"
    lie = f"the luckiest of {TRIES} frame keys, all rows replayed"
    found = [Rate(lie, None, 1, int(accepted), Fraction(0), f"{ground.said()}; fresh prompts do, as follows")]
    for count in FRESH:
        found += _both(ground, count, trials, f"  the same, {count} fresh prompts")
    found += _whole(ground, 80, whole)
    found.append(_both(honest, 80, trials, "an honest draw, 80 fresh prompts", honest.said())[0])
    hidden = grind(folder / "hidden", TRIES, HIDING, calibration_bad)
    size, _ = hidden.unused
    note = (
        f"{hidden.said()}, {len(hidden.good)} of {HIDING.windows} windows in all; --own shows that, with the same files"
    )
    found.append(_both(hidden, size, 1, "hard windows ground into calibration, all fresh prompts", note)[0])
    return found


def _both(ground: Ground, count: int, trials: int, lie: str, note: str = "") -> list[Rate]:
    seen = [_trial(ground, count) for _ in range(trials)]
    tests = seen[0].tests
    ours = [one.predicates[PREDICATE] for one in seen]
    any_ = sum(any(part.differs for part in (*one.predicates, *one.maxima)) for one in seen)
    flagged = sum(one.differs for one in ours)
    failed = sum(one.at_most_all is not None and one.at_most_all < one.stated_at_least for one in ours)
    if not note:
        note = f"by any of the {tests} tests: {any_}/{trials}"
    return [
        Rate(f"{lie}: differs", "fresh.disagreement", trials, flagged, power(ground, count, tests, differs), note),
        Rate(f"{lie}: claim false", "fresh.claim.refuted", trials, failed, power(ground, count, tests, refuted)),
    ]


def _whole(ground: Ground, count: int, trials: int) -> list[Rate]:
    """Whole verifications: the corpus tokenised, the windows drawn and measured, the verdict given."""
    made = ground.made
    given = {"reference": made.model, "corpus": made.corpus, "at": NOW, "replay": 0, "fresh": count}
    reports = [verify(made.bundle, made.without_replay, **given) for _ in range(trials)]
    failed = sum("fresh.claim.refuted" in codes(report) for report in reports)
    theory = power(ground, count, reports[0].fresh[0].tests, refuted)
    return [
        Rate(f"  the same, {count} fresh prompts, whole: claim false", "fresh.claim.refuted", trials, failed, theory)
    ]
