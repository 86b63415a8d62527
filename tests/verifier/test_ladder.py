"""The trust ladder: which rungs a verification climbed, and never one whose step did not pass.

Requirements: BC-VER-19.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from blockcert.findings import STEPS, Finding, Status, StepName
from blockcert_verifier import Report, render, verify
from blockcert_verifier.fresh_report import Fresh
from blockcert_verifier.ladder import USUAL_ROWS, ladder
from blockcert_verifier.ladder_text import ladder_lines
from blockcert_verifier.report import Audit, Rung
from tests.support.bundles import CERTIFICATION, NOW, Made, make_bundle

NAMES = ["signature", "recomputation", "replay", "all-rows", "fresh-prompts", "proof"]
NEEDS: dict[str, tuple[StepName, ...]] = {
    "signature": ("authenticity", "integrity"),
    "recomputation": ("recompute",),
    "replay": ("replay",),
    "all-rows": ("replay",),
    "fresh-prompts": ("fresh",),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def audit(made: Made) -> Audit:
    """An audit of 4 of the rows, all confirmed, by a seed that nobody knew."""
    found = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4).audit
    assert found is not None
    return found


def findings(**status: Status) -> list[Finding]:
    """One finding for each step: passed, or as given."""
    return [Finding(step, "a.code", status.get(step, "passed"), "place", "sentence") for step in STEPS]


def climb(audit: Audit | None, rows: Sequence[Fresh] = (), **status: Status) -> dict[str, Rung]:
    rungs = ladder(findings(**status), audit, rows=CERTIFICATION, seconds={}, row_seconds=None, fresh=rows)
    assert [rung.name for rung in rungs] == NAMES
    return {rung.name: rung for rung in rungs}


def climbed(report: Report) -> list[str]:
    return [rung.climbed for rung in report.ladder]


# --- verifications ----------------------------------------------------------------------------------------------


def test_without_the_reference_two_rungs_are_climbed_and_the_others_name_their_option(made: Made) -> None:
    report = verify(made.bundle, made.policy, at=NOW)
    assert climbed(report) == ["yes", "yes", "no", "no", "no", "no"]
    assert [rung.how for rung in report.ladder] == [
        None,
        None,
        f"--reference MODEL --replay {USUAL_ROWS}",
        "--reference MODEL --replay all",
        f"--reference MODEL --fresh {USUAL_ROWS} --corpus FILES",
        "--reference MODEL --prove 1",
    ]
    assert f"if {CERTIFICATION} of {CERTIFICATION} rows agree" in report.ladder[2].establishes


def test_a_sample_climbs_the_replay_and_says_how_many_rows_can_be_false(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4)
    assert climbed(report) == ["yes", "yes", "yes", "no", "no", "no"]
    assert report.audit is not None
    below = report.audit.false_rows_below
    said = f"4 of {CERTIFICATION} rows agree: at 99 % confidence fewer than {below} are false"
    assert report.ladder[2].establishes == said
    assert report.ladder[3].how == "--replay all"


def test_every_row_climbs_both_rungs_of_the_replay_with_a_given_seed_too(made: Made) -> None:
    for seed in (None, bytes(32)):
        report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay="all", seed=seed)
        assert climbed(report) == ["yes", "yes", "yes", "yes", "no", "no"]
        assert (report.ladder[2].how, report.ladder[3].how) == (None, None)


def test_a_given_seed_climbs_partly_since_the_producer_could_have_known_it(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4, seed=bytes(32))
    assert climbed(report) == ["yes", "yes", "partly", "no", "no", "no"]
    assert report.ladder[2].how == "leave out --seed"
    assert "no audit" in report.ladder[2].establishes
    assert "confidence" not in report.ladder[2].establishes


def test_a_signature_that_nobody_trusts_climbs_nothing(made: Made, tmp_path: Path) -> None:
    other = make_bundle(tmp_path, seed=1)
    report = verify(made.bundle, other.policy, reference=made.model, at=NOW)
    assert (report.verdict, climbed(report)) == ("rejected", ["no"] * 6)


def test_a_signature_over_other_files_climbs_nothing(made: Made, tmp_path: Path) -> None:
    changed = made.copy(tmp_path)
    path = changed.bundle / "evidence.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    report = verify(changed.bundle, made.policy, reference=made.model, at=NOW)
    assert climbed(report) == ["no"] * 6
    assert "Trust ladder" not in render(report)


def test_a_signature_whose_files_were_not_compared_is_climbed_partly(audit: Audit) -> None:
    assert climb(audit, integrity="skipped")["signature"].climbed == "partly"


# --- what the steps left open -----------------------------------------------------------------------------------


def test_an_inconclusive_step_is_climbed_partly(audit: Audit) -> None:
    assert climb(audit, recompute="inconclusive")["recomputation"].climbed == "partly"
    undecided = replace(audit, confirmed=3, false_rows_below=None)
    assert climb(undecided, replay="inconclusive")["replay"].climbed == "partly"
    assert climb(replace(undecided, confirmed=0), replay="inconclusive")["replay"].climbed == "no"


def test_all_rows_of_which_one_is_undecided_are_climbed_partly(audit: Audit) -> None:
    whole = replace(audit, sampled=audit.rows, confirmed=audit.rows - 1, false_rows_below=None)
    found = climb(whole, replay="inconclusive")
    assert (found["replay"].climbed, found["all-rows"].climbed) == ("partly", "partly")


def drawn(population: Literal["frame", "own"] = "frame", *, repeatable: bool = False) -> Fresh:
    return Fresh(population, 30, 5, 5, 0, 0, "00" * 32, repeatable, "0.99", 4, (), (), "0", "0", "0", "0")


def test_fresh_prompts_are_climbed_by_their_own_step(audit: Audit) -> None:
    rung = climb(audit, [drawn()])["fresh-prompts"]
    assert (rung.climbed, rung.how) == ("yes", None)
    assert rung.establishes.startswith("5 prompts that the producer did not list agree")
    differing = climb(audit, [drawn()], fresh="inconclusive")["fresh-prompts"]
    assert differing.climbed == "partly"
    assert "agree" not in differing.establishes
    statuses: tuple[Status, ...] = ("failed", "skipped")
    for status in statuses:
        assert climb(audit, [drawn()], fresh=status)["fresh-prompts"].climbed == "no"


def test_fresh_prompts_of_a_known_seed_climb_partly(audit: Audit) -> None:
    rung = climb(audit, [drawn(repeatable=True)])["fresh-prompts"]
    assert (rung.climbed, rung.how) == ("partly", "leave out --seed")


def test_ones_own_texts_climb_nothing(audit: Audit) -> None:
    assert climb(audit, [drawn("own")])["fresh-prompts"].climbed == "no"


def test_a_rung_whose_step_failed_is_not_offered_again(audit: Audit) -> None:
    found = climb(audit, replay="failed")
    assert (found["replay"].climbed, found["replay"].how) == ("no", None)
    assert (found["all-rows"].climbed, found["all-rows"].how) == ("no", None)
    assert climb(audit, recompute="failed")["recomputation"].how is None


@given(
    statuses=st.fixed_dictionaries(
        {step: st.sampled_from([None, "passed", "failed", "skipped", "inconclusive"]) for step in STEPS}
    ),
    sampled=st.integers(0, CERTIFICATION),
    missed=st.integers(0, CERTIFICATION),
    repeatable=st.booleans(),
    with_audit=st.booleans(),
    with_fresh=st.booleans(),
)
def test_no_rung_reads_as_climbed_whose_step_did_not_pass(
    audit: Audit,
    statuses: dict[StepName, Status | None],
    sampled: int,
    missed: int,
    repeatable: bool,
    with_audit: bool,
    with_fresh: bool,
) -> None:
    seen = [Finding(step, "a.code", status, "place", "sentence") for step, status in statuses.items() if status]
    confirmed = max(0, sampled - missed)
    bound = 3 if confirmed == sampled > 0 else None
    given_ = replace(audit, sampled=sampled, confirmed=confirmed, repeatable=repeatable, false_rows_below=bound)
    rungs = ladder(
        seen,
        given_ if with_audit else None,
        rows=CERTIFICATION,
        seconds=dict.fromkeys(STEPS, 0.5),
        row_seconds=0.1,
        fresh=[drawn()] if with_fresh else [],
    )
    for rung in rungs:
        needed = [statuses[step] for step in NEEDS.get(rung.name, ())]
        if rung.climbed == "yes":
            assert needed
            assert set(needed) == {"passed"}
            assert rung.how is None
        if rung.climbed == "partly":
            assert needed
            assert "failed" not in needed
        if rung.climbed == "no":
            assert rung.basis != "measured"
    found = {rung.name: rung.climbed for rung in rungs}
    if not with_audit or confirmed < CERTIFICATION:
        assert found["all-rows"] != "yes"
    if repeatable and confirmed < CERTIFICATION:
        assert found["replay"] != "yes"
    if not with_fresh:
        assert found["fresh-prompts"] == "no"
    assert found["proof"] == "no"


# --- what it takes ----------------------------------------------------------------------------------------------


def priced(
    audit: Audit | None, row: float | None, fresh: Sequence[Fresh] = ()
) -> dict[str, tuple[str | None, str | None]]:
    took: dict[StepName, float] = {"authenticity": 0.25, "integrity": 0.5, "recompute": 0.125, "replay": 4.0}
    rungs = ladder(findings(), audit, rows=1000, seconds=took, row_seconds=row, fresh=fresh)
    return {rung.name: (rung.seconds, rung.basis) for rung in rungs}


def test_a_climbed_rung_says_what_it_took_and_the_others_what_they_would(audit: Audit) -> None:
    assert priced(audit, 0.25) == {
        "signature": ("0.75", "measured"),
        "recomputation": ("0.13", "measured"),  # rounded up to two digits
        "replay": ("4", "measured"),
        "all-rows": ("250", "estimate"),
        "fresh-prompts": ("4", "estimate"),
        "proof": (None, None),
    }


def test_what_is_not_known_has_no_price(audit: Audit) -> None:
    assert priced(audit, None)["all-rows"] == (None, None)
    assert priced(audit, None, [drawn()])["fresh-prompts"] == (None, None)
    assert {rung.seconds for rung in climb(audit).values()} == {None}


def test_a_replay_that_did_not_run_has_the_price_of_the_usual_rows() -> None:
    assert priced(None, 0.25)["replay"] == ("4", "estimate")


def test_a_price_never_reads_as_nothing() -> None:
    assert priced(None, 1e-9)["replay"] == ("0.001", "estimate")


# --- for a person -----------------------------------------------------------------------------------------------


def test_each_rung_says_whether_it_was_climbed_and_an_estimate_is_called_about(audit: Audit) -> None:
    took: dict[StepName, float] = {"replay": 4.0}
    lines = ladder_lines(ladder(findings(), audit, rows=1000, seconds=took, row_seconds=0.25))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "replay         yes " in text
    assert "(4 s)" in text
    assert "> --replay all (about 4 min here)" in text
    assert "proof          no      would show: " in text
    assert "all rows       no      would show: none of the 1000 rows is false" in text
    assert text.count("would show") == 3


def test_what_a_rung_says_is_not_said_again_below(made: Made) -> None:
    report = verify(made.bundle, made.policy, at=NOW)
    on_rungs = [item for item in report.unchecked if item.rung is not None]
    assert {item.rung for item in on_rungs} == {"replay", "fresh-prompts"}
    text = render(report)
    ladder_text = text[text.index("Trust ladder") :]
    assert all(item.what not in " ".join(ladder_text.split()) for item in on_rungs)
    others = [item for item in report.unchecked if item.rung is None]
    assert others
    assert all(item.what in " ".join(ladder_text.split()) for item in others)
