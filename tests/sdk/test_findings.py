"""Findings become a verdict by one rule.

Requirements: BC-RES-03 to 06.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.findings import STEPS, Finding, Status, StepName, exit_code, step_status, verdict_of

REPLAYLESS: tuple[StepName, ...] = ("structure", "authenticity", "integrity", "recompute", "policy")
STATUSES: tuple[Status, ...] = ("passed", "failed", "skipped", "inconclusive")


def finding(step: StepName, status: Status) -> Finding:
    return Finding(step, "file.unreadable", status, "somewhere", "A sentence.")


ALL_PASSED = [finding(step, "passed") for step in STEPS]
BUT_REPLAY = [one for one in ALL_PASSED if one.step != "replay"]

VERDICTS = {
    "every required step passed": (ALL_PASSED, STEPS, "accepted"),
    "replay skipped though required": (
        [*BUT_REPLAY, finding("replay", "skipped")],
        STEPS,
        "indeterminate",
    ),
    "replay skipped and not required": (
        [*BUT_REPLAY, finding("replay", "skipped")],
        REPLAYLESS,
        "accepted",
    ),
    "a required step left no finding": (ALL_PASSED[:-1], STEPS, "indeterminate"),
    "replay inconclusive though required": (
        [*ALL_PASSED, finding("replay", "inconclusive")],
        STEPS,
        "indeterminate",
    ),
    "replay inconclusive and not required": (
        [*ALL_PASSED, finding("replay", "inconclusive")],
        REPLAYLESS,
        "accepted",
    ),
    "an optional check skipped beside passed ones": (
        [*ALL_PASSED, finding("integrity", "skipped")],
        STEPS,
        "accepted",
    ),
    "replay failed though not required": ([*ALL_PASSED, finding("replay", "failed")], REPLAYLESS, "rejected"),
    "failed outweighs inconclusive": (
        [finding("structure", "inconclusive"), finding("structure", "failed")],
        STEPS,
        "rejected",
    ),
    "nothing ran": ([], STEPS, "indeterminate"),
    "nothing was required": (ALL_PASSED, (), "indeterminate"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case: str) -> None:
    findings, required, expected = VERDICTS[case]
    assert verdict_of(findings, required) == expected


findings_lists = st.lists(st.builds(finding, st.sampled_from(STEPS), st.sampled_from(STATUSES)), max_size=12)


@given(findings_lists, st.sets(st.sampled_from(STEPS)), findings_lists)
def test_more_findings_never_turn_a_rejection_around(
    findings: list[Finding], required: set[StepName], more: list[Finding]
) -> None:
    if verdict_of(findings, required) == "rejected":
        assert verdict_of([*findings, *more], required) == "rejected"


@given(findings_lists, st.sets(st.sampled_from(STEPS), min_size=1))
def test_acceptance_needs_a_passed_finding_in_every_required_step(
    findings: list[Finding], required: set[StepName]
) -> None:
    if verdict_of(findings, required) == "accepted":
        for step in required:
            statuses = {f.status for f in findings if f.step == step}
            assert "passed" in statuses
            assert not statuses & {"failed", "inconclusive"}


def test_step_without_findings_has_no_status() -> None:
    assert step_status([finding("replay", "passed")], "policy") is None


def test_exit_codes_differ_and_spare_usage_and_fault() -> None:
    assert [exit_code("accepted"), exit_code("rejected"), exit_code("indeterminate")] == [0, 1, 3]
