"""Lies signed with the trusted key: each is caught by its code, or not at all and then the report says so.

`make bench` measures the same over many trials.
"""

from __future__ import annotations

import math
import os
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import pytest

from blockcert.draw import replay_rows
from blockcert_verifier import Report, render, verify
from tests.benchmarks.red_team.grinding import Ground, grind
from tests.benchmarks.red_team.rows import ROWS, caught_rate, false_rows
from tests.benchmarks.red_team.table import Rate, lines, summary
from tests.support.attacks import ATTACKS, UNRESOLVED, Attack, caught, codes, told
from tests.support.bundles import NOW, Draws, make_bundle

CERTAIN = Fraction(1, 10**6)
"""How rarely a test of a rate may fail although the rate is right."""
CAUGHT = [attack for attack in ATTACKS if attack.code is not None and attack.code != "own.differs"]
SHOWN = [attack for attack in ATTACKS if attack.code == "own.differs"]
OPEN = [attack for attack in ATTACKS if attack.code is None]


def named(attack: Attack) -> str:
    return attack.lie.strip().replace(" ", "-")


# --- whatever the verifier draws --------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", CAUGHT, ids=[f"{i}-{named(attack)}" for i, attack in enumerate(CAUGHT)])
def test_a_lie_is_caught_by_its_code(attack: Attack, tmp_path: Path) -> None:
    report = told(attack, tmp_path, 0)
    assert report.verdict == ("indeterminate" if attack.code == UNRESOLVED else "rejected")
    assert codes(report) == {attack.code}
    assert caught(attack, report)


@pytest.mark.parametrize("attack", SHOWN, ids=[f"{i}-{named(attack)}" for i, attack in enumerate(SHOWN)])
def test_own_texts_show_what_the_population_hides_and_decide_nothing(attack: Attack, tmp_path: Path) -> None:
    report = told(attack, tmp_path, 0)
    assert (report.verdict, codes(report)) == ("accepted", {"own.differs"})


@pytest.mark.parametrize("attack", OPEN, ids=[f"{i}-{named(attack)}" for i, attack in enumerate(OPEN)])
def test_what_nothing_here_catches_is_accepted(attack: Attack, tmp_path: Path) -> None:
    """The threat table calls these open: a change that catches one has to change the table too."""
    report = told(attack, tmp_path, 0)
    assert (report.verdict, codes(report)) == ("accepted", set())
    assert attack.note


def test_thresholds_chosen_afterwards_are_shown_to_be(tmp_path: Path) -> None:
    attack = next(attack for attack in ATTACKS if attack.note == "shown as chosen after the fact")
    report = told(attack, tmp_path, 0)
    assert report.certificate is not None
    assert report.certificate.post_hoc
    assert "chosen after the fact" in " ".join(render(report).split())


def test_prompts_that_nobody_compared_with_the_corpus_are_said_to_be_unverified(tmp_path: Path) -> None:
    attacks = [attack for attack in ATTACKS if attack.note.endswith("reported as frame unverified")]
    for number, attack in enumerate(attacks):
        report = told(attack, tmp_path / f"{number}", 0)
        assert report.frame is not None
        assert report.frame.status == "unverified"
        assert any("frame unverified" in item.what for item in report.unchecked)


# --- false rows -------------------------------------------------------------------------------------------------


def likely(trials: int, rate: Fraction) -> range:
    """The numbers of successes that `trials` of a rate give, but for a tail of half of CERTAIN on each side."""

    # integers: the terms of (a + (b - a))^n, whose sum is b^n
    hit, all_ = rate.numerator, rate.denominator
    terms = [math.comb(trials, j) * hit**j * (all_ - hit) ** (trials - j) for j in range(trials + 1)]
    rare = CERTAIN / 2 * all_**trials
    low = next(j for j, below in enumerate(accumulate(terms)) if below > rare)
    high = trials - next(j for j, above in enumerate(accumulate(reversed(terms))) if above > rare)
    return range(low, high + 1)


def test_false_rows_are_found_as_often_as_theory_says(tmp_path: Path) -> None:
    honest = make_bundle(tmp_path / "honest", draws=Draws(60, 3, ROWS))
    made, rows = false_rows(honest, tmp_path / "told", 4)
    trials, sampled = 60, 8

    def audit(replay: int | str) -> Report:
        return verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=replay)  # type: ignore[arg-type]

    every = audit("all")
    assert every.audit is not None
    assert every.audit.confirmed == ROWS - len(rows)
    reports = [audit(sampled) for _ in range(trials)]
    for report in reports:
        assert report.audit is not None
        hit = bool({*rows} & {*report.audit.drawn})
        assert (report.verdict, codes(report)) == (
            ("rejected", {"replay.cell.refuted"}) if hit else ("accepted", set())
        )
    assert sum(report.verdict == "rejected" for report in reports) in likely(trials, caught_rate(ROWS, 4, sampled))


@pytest.mark.parametrize(("false", "sampled"), [(1, 16), (5, 16), (10, 50), (20, 100)])
def test_the_draw_finds_false_rows_as_often_as_theory_says(false: int, sampled: int) -> None:
    certificate, trials = bytes(range(32)), 500
    found = sum(min(replay_rows(certificate, os.urandom(32), 200, sampled)) < false for _ in range(trials))
    assert found in likely(trials, caught_rate(200, false, sampled))


def test_the_likely_counts_are_those_of_the_rate() -> None:
    assert likely(60, Fraction(1, 2)) != likely(60, Fraction(2, 3))
    assert 10 not in likely(60, Fraction(1, 2))
    assert 30 in likely(60, Fraction(1, 2))


# --- easy prompts -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return grind(tmp_path_factory.mktemp("ground"), 1000, Draws(windows=300, calibration=20, certification=40))


def test_the_luckiest_of_a_thousand_draws_says_more_than_is_so_and_every_replay_agrees(ground: Ground) -> None:
    made, claim = ground.made, ground.statement.predicate.claims.population.claims[0]
    size, good = ground.unused
    assert claim.at_least > claim.successes + good
    report = verify(made.bundle, made.policy, reference=made.model, corpus=made.corpus, at=NOW, replay="all")
    assert report.verdict == "accepted"
    assert size == 240


def test_all_unused_windows_refute_the_luckiest_draw(ground: Ground) -> None:
    made, (size, good) = ground.made, ground.unused
    report = verify(made.bundle, made.policy, reference=made.model, corpus=made.corpus, at=NOW, replay=1, fresh=size)
    assert report.verdict == "rejected"
    assert "fresh.claim.refuted" in codes(report)
    assert report.fresh[0].predicates[0].successes == good


# --- the table of the benchmark ---------------------------------------------------------------------------------


def test_a_rate_that_is_not_what_theory_says_is_flagged() -> None:
    right, wrong = (Rate("a lie", "a.code", 200, 100, Fraction(rate)) for rate in ("1/2", "2/3"))
    assert (right.disagrees, wrong.disagrees) == (False, True)
    assert "DISAGREES" not in "".join(lines("", [right]))
    assert "DISAGREES" in "".join(lines("", [wrong]))
    assert summary([right, wrong])[0].startswith("  Of 2 rates that chance decides, 1 disagree")
