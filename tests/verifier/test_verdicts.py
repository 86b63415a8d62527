"""What a verification says of an honest bundle, and what it needs to say it.

Requirements: BC-RES-05, BC-VER-01, BC-VER-17.
"""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.findings import STEPS, exit_code
from blockcert.keys import NamedKey, generate
from blockcert.statement import Statement
from blockcert.trust import NO_LIMITS, Coverage, Limits, PopulationLimit, encode_policy, new_policy
from blockcert_verifier import Report, render, to_json, verify
from blockcert_verifier.steps import recompute
from blockcert_verifier.steps.policy import policy as apply_policy
from blockcert_verifier.steps.structure import statement as read_statement
from tests.support.bundles import CERTIFICATION, NOW, Made, change_statement, make_bundle, sign_again


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def statuses(report: Report) -> dict[str, str]:
    return {step.step: step.status for step in report.steps}


def codes(report: Report, status: str) -> set[str]:
    return {finding.code for finding in report.findings if finding.status == status}


def test_an_honest_bundle_is_accepted_when_its_rows_are_measured_again(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4)
    assert report.verdict == "accepted"
    assert exit_code(report.verdict) == report.exit_code == 0
    # fresh prompts are drawn where somebody asks for them
    assert {step for step, status in statuses(report).items() if status != "passed"} == {"fresh"}
    assert statuses(report)["fresh"] == "skipped"
    assert [signer.name for signer in report.signers] == ["acme"]
    assert report.audit is not None
    assert (report.audit.sampled, report.audit.confirmed, report.audit.repeatable) == (4, 4, False)
    assert report.audit.largest_disagreement is not None


def test_without_the_reference_nothing_is_re_run_and_the_report_says_so(made: Made) -> None:
    report = verify(made.bundle, made.policy, at=NOW)
    assert report.verdict == "indeterminate"
    hold = "signature and arithmetic hold; nothing was re-run: give --reference MODEL"
    assert report.sentence == f"INDETERMINATE: {hold}."
    assert report.exit_code == 3
    assert statuses(report)["replay"] == "skipped"
    assert report.audit is None
    assert "nothing was re-run" in (report.steps[STEPS.index("replay")].reason or "")
    assert any("--reference" in item.how for item in report.unchecked)


def test_a_policy_without_limits_is_said_to_judge_no_quality(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, at=NOW)
    assert report.verdict == "accepted"
    assert "whatever drift is stated" in report.steps[STEPS.index("policy")].establishes
    assert any("trust set" in item.how for item in report.unchecked)
    assert "limit" not in report.sentence


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (replace(NO_LIMITS, relative_drift="1000"), "; the one limit of the policy is met."),
        (replace(NO_LIMITS, relative_drift="1000", top1_share="0"), "; all 2 limits of the policy are met."),
    ],
)
def test_limits_that_are_met_stand_in_the_first_sentence(made: Made, limits: Limits, said: str) -> None:
    report = verify(made.bundle, replace(made.without_replay, limits=limits), at=NOW)
    assert report.verdict == "accepted"
    assert report.sentence.endswith(said)
    assert not any("trust set" in item.how for item in report.unchecked)


def test_a_policy_that_does_not_ask_for_replay_accepts_the_arithmetic(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, at=NOW)
    assert report.verdict == "accepted"
    assert "nothing was re-run" in report.sentence


def test_no_rows_asked_for_is_no_replay(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=0)
    assert (report.verdict, statuses(report)["replay"]) == ("indeterminate", "skipped")


def _without_estimate(report: Report) -> Report:
    """The report without what was estimated of this machine from a moment's work."""
    assert report.audit is not None
    cost = msgspec.structs.replace(report.audit.cost, expected_seconds=None)
    return msgspec.structs.replace(report, audit=msgspec.structs.replace(report.audit, cost=cost))


def test_a_given_seed_gives_the_same_rows_and_is_not_called_an_audit(made: Made) -> None:
    first, second = (
        verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=3, seed=bytes(32), clock=lambda: 0.0)
        for _ in range(2)
    )
    assert _without_estimate(first) == _without_estimate(second)
    assert first.audit is not None
    assert first.audit.repeatable
    assert "not an audit" in render(first)


def test_all_rows_leave_nothing_to_chance(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay="all")
    assert report.audit is not None
    assert report.audit.false_rows_below == 1
    assert all(consequence.at_least == consequence.stated for consequence in report.audit.consequences[:3])


def test_sha256_is_compared_when_asked_for(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, reference=made.model, at=NOW, replay=0, all_digests=True)
    assert report.digests == ("blake3", "sha256")
    assert verify(made.bundle, made.without_replay, at=NOW).digests == ("blake3",)


def test_verification_opens_no_socket(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert verify(made.bundle, made.policy, reference=made.model, at=NOW).verdict == "accepted"


def test_a_policy_can_be_a_value_its_json_or_its_path(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_bytes(encode_policy(made.without_replay))
    reports = [
        verify(made.bundle, policy, at=NOW, clock=lambda: 0.0)
        for policy in (made.without_replay, path.read_bytes(), path, str(path))
    ]
    assert all(report == reports[0] for report in reports)


def test_the_report_reads_back_from_its_own_json(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=2)
    assert strict_json.decode(to_json(report), Report, "report.json") == report


@pytest.mark.parametrize("replay", [0, 2, "all"])
def test_the_text_fits_a_terminal_and_begins_with_the_verdict(made: Made, replay: int) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=replay)
    lines = render(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(("ACCEPTED: ", "INDETERMINATE: "))
    assert "\x1b" not in render(report)
    assert render(report, colour=True).startswith("\x1b[1;3")


def test_every_table_of_claims_names_scope_and_basis(made: Made) -> None:
    text = render(verify(made.bundle, made.policy, reference=made.model, at=NOW))
    assert text.count("[listed-prompts, measurement]") == 5
    assert "[population, measurement]" in text
    assert "Estimates, no guarantees" in text


@pytest.mark.parametrize(
    ("moment", "code"),
    [(NOW - timedelta(seconds=1), "statement.not_yet_valid"), (NOW + timedelta(days=366), "statement.expired")],
)
def test_the_clock_counts(made: Made, moment: object, code: str) -> None:
    report = verify(made.bundle, made.policy, at=moment)  # type: ignore[arg-type]
    assert report.verdict == "rejected"
    assert code in codes(report, "failed")


def test_a_key_that_the_policy_does_not_name_counts_for_nothing(made: Made) -> None:
    stranger = new_policy([NamedKey("other", generate().public)], replay=True)
    report = verify(made.bundle, stranger, reference=made.model, at=NOW)
    assert report.verdict == "rejected"
    assert codes(report, "failed") == {"signature.unknown_key", "signature.threshold_not_met"}
    assert report.certificate is None
    assert set(statuses(report).values()) == {"passed", "failed", "skipped"}
    assert "not reached" in (report.steps[2].reason or "")


def test_an_unsigned_bundle_is_rejected_and_says_why(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    path = copy.bundle / "statement.dsse.json"
    envelope = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**envelope, "signatures": []}))
    report = verify(copy.bundle, copy.policy, at=NOW)
    assert codes(report, "failed") == {"signature.none"}


def test_two_keys_are_needed_where_the_policy_says_so(made: Made, tmp_path: Path) -> None:
    keys = [NamedKey("acme", made.key.public), NamedKey("second", generate().public)]
    report = verify(made.bundle, new_policy(keys, replay=False, threshold=2), at=NOW)
    assert "signature.threshold_not_met" in codes(report, "failed")
    copy = made.copy(tmp_path)
    sign_again(copy.bundle, copy.key)
    assert verify(copy.bundle, new_policy(keys, replay=False, threshold=1), at=NOW).verdict == "accepted"


@pytest.mark.parametrize(
    ("limits", "code", "verdict"),
    [
        ({"coverage": Coverage("0.05", "0.95")}, "policy.coverage", "rejected"),
        ({"coverage": Coverage("0.3", "0.95")}, "policy.coverage", "rejected"),
        ({"relative_drift": "0.001"}, "policy.relative_drift", "rejected"),
        ({"top1_share": "1"}, "policy.top1_share", "rejected"),
        ({"kl_mean": "0.000001"}, "policy.kl_mean", "rejected"),
        ({"loss_difference": "0"}, "policy.loss_difference", "rejected"),
        ({"logit_difference": "0.000001"}, "policy.logit_difference", "rejected"),
        ({"least_basis": "enclosure"}, "policy.basis", "rejected"),
        ({"population": (PopulationLimit("top1", "0.95", None, "1", "0.05"),)}, "policy.population", "rejected"),
        ({"population": (PopulationLimit("top1", "0.95", None, "0", "0.01"),)}, "policy.population", "rejected"),
        ({"population": (PopulationLimit("top1", "0.96", None, "0", "1"),)}, "policy.population", "rejected"),
        ({"least_audit_rows": 6}, "policy.audit_rows", "indeterminate"),
    ],
)
def test_the_buyers_limits(made: Made, limits: dict[str, Any], code: str, verdict: str) -> None:
    asked = replace(NO_LIMITS, **limits)
    policy = new_policy([NamedKey("acme", made.key.public)], replay=True, limits=asked)
    report = verify(made.bundle, policy, reference=made.model, at=NOW, replay=4)
    assert report.verdict == verdict
    assert code in codes(report, "failed") | codes(report, "inconclusive")


def test_limits_that_are_met_pass(made: Made) -> None:
    population = (PopulationLimit("top1", "0.95", None, "0", "0.05"),)
    limits = Limits(4, Coverage("0.05", "0"), "1000", "0", "measurement", 3, "1000", "1000", "1000", population)
    policy = new_policy([NamedKey("acme", made.key.public)], replay=True, limits=limits)
    report = verify(made.bundle, policy, reference=made.model, at=NOW + timedelta(days=2), replay=4)
    assert report.verdict == "accepted"
    assert "all 10 limits" in report.steps[-1].establishes
    late = verify(made.bundle, policy, reference=made.model, at=NOW + timedelta(days=3), replay=4)
    assert "policy.age" in codes(late, "failed")


@pytest.mark.parametrize(("stated", "met"), [("0.25", True), ("-0.25", True), ("0.250000001", False), ("-0.3", False)])
def test_a_loss_may_differ_by_the_limit_to_either_side(stated: str, met: bool, made: Made) -> None:
    """A surrogate that is better by much than its reference is another model too."""
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    statement = strict_json.decode(payload, Statement, STATEMENT)
    claims = statement.predicate.claims
    end = replace(claims.end_to_end, loss_difference=stated)
    changed = replace(statement, predicate=replace(statement.predicate, claims=replace(claims, end_to_end=end)))
    asked = replace(made.without_replay, limits=replace(NO_LIMITS, loss_difference="0.25"))
    failed = {finding.code for finding in apply_policy(asked, changed, None, NOW) if finding.status == "failed"}
    assert failed == (set[str]() if met else {"policy.loss_difference"})


@pytest.mark.parametrize(("threshold", "right"), [("0", True), ("-0.000001", False)])
def test_a_logit_difference_is_claimed_from_none_on(threshold: str, right: bool, made: Made) -> None:
    """BC-CLM-08."""
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    statement = strict_json.decode(payload, Statement, STATEMENT)
    predicate = statement.predicate
    claim = predicate.claims.population.claims[0]
    claim = replace(claim, predicate=replace(claim.predicate, kind="logit_difference", threshold=threshold))
    population = replace(predicate.claims.population, claims=(claim,))
    changed = replace(predicate, claims=replace(predicate.claims, population=population))
    found = {finding.code for finding in recompute._predicates(replace(statement, predicate=changed))}
    assert ("population.threshold" in found) != right


@pytest.mark.parametrize(("rows", "right"), [(0, False), (1, True), (CERTIFICATION, True), (CERTIFICATION + 1, False)])
def test_fidelity_is_of_one_prompt_to_all(rows: int, right: bool, made: Made) -> None:
    """BC-STM-13."""
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    document = json.loads(payload)
    document["predicate"]["reference"]["fidelity"] = {"against": "x", "max_logit_difference": "0", "rows": rows}
    _, findings = read_statement(json.dumps(document).encode())
    assert ("statement.fidelity" in {finding.code for finding in findings}) != right


def test_a_head_that_does_the_blocks_work_is_held_to_the_limits_too(made: Made) -> None:
    """Coverage and drift of the blocks say nothing of a head that is wrong; here the blocks are said to be right."""
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    statement = strict_json.decode(payload, Statement, STATEMENT)
    claims = statement.predicate.claims
    right = [replace(s, relative_error="0", covered=(s.tokens,) * len(s.covered)) for s in claims.stages]
    wrong = replace(right[-1], relative_error="1.5", covered=(0,) * len(right[-1].covered))
    end = replace(claims.end_to_end, relative_drift="0")
    for stages, expected in ((right, set[str]()), ([*right[:-1], wrong], {"policy.coverage", "policy.relative_drift"})):
        stated = replace(claims, stages=tuple(stages), end_to_end=end)
        changed = replace(statement, predicate=replace(statement.predicate, claims=stated))
        limits = replace(NO_LIMITS, coverage=Coverage("0.01", "1"), relative_drift="0")
        asked = new_policy([NamedKey("acme", made.key.public)], replay=False, limits=limits)
        found = apply_policy(asked, changed, None, NOW)
        assert {finding.code for finding in found if finding.status == "failed"} == expected


def test_rows_of_a_known_seed_do_not_count_as_audited(made: Made) -> None:
    limits = replace(NO_LIMITS, least_audit_rows=2)
    policy = new_policy([NamedKey("acme", made.key.public)], replay=True, limits=limits)
    report = verify(made.bundle, policy, reference=made.model, at=NOW, replay=3, seed=bytes(32))
    assert report.verdict == "indeterminate"
    whole = verify(made.bundle, policy, reference=made.model, at=NOW, replay="all", seed=bytes(32))
    assert whole.verdict == "accepted"


def test_a_newer_version_is_indeterminate_whatever_else_it_holds(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    change_statement(copy, lambda s: s["predicate"].update(version="1.7", novelty={"a": 1}))
    report = verify(copy.bundle, copy.policy, reference=copy.model, at=NOW)
    assert report.verdict == "indeterminate"
    assert codes(report, "inconclusive") == {"statement.version_unsupported"}
    assert "1.7" in report.sentence


@pytest.mark.parametrize("predicate", [None, 7, [], {}, {"version": 2}, {"version": {"major": 2}}])
def test_a_newer_major_version_is_indeterminate_whatever_its_predicate_is(
    made: Made, tmp_path: Path, predicate: Any
) -> None:
    copy = made.copy(tmp_path)

    def newer(statement: dict[str, Any]) -> None:
        statement.update(predicateType="urn:blockcert:certificate:v2", predicate=predicate)

    change_statement(copy, newer)
    report = verify(copy.bundle, copy.policy, reference=copy.model, at=NOW)
    assert report.verdict == "indeterminate"
    assert codes(report, "inconclusive") == {"statement.version_unsupported"}


def test_an_unknown_critical_extension_is_indeterminate_and_an_uncritical_one_changes_nothing(
    made: Made, tmp_path: Path
) -> None:
    copy = made.copy(tmp_path)
    change_statement(copy, lambda s: s["predicate"].update(extensions={"vendor.x": [1]}))
    assert verify(copy.bundle, copy.without_replay, at=NOW).verdict == "accepted"
    change_statement(copy, lambda s: s["predicate"].update(critical=["vendor.x"]))
    report = verify(copy.bundle, copy.without_replay, at=NOW)
    assert report.verdict == "indeterminate"
    assert codes(report, "inconclusive") == {"statement.extension_unknown"}


@pytest.mark.parametrize(
    ("bundle", "reference", "code"),
    [
        ("nowhere", None, "bundle.not_found"),
        (".", None, "bundle.no_statement"),
        (None, "nowhere", "reference.not_found"),
    ],
)
def test_a_wrong_path_is_the_callers_fault_and_no_verdict(
    made: Made, tmp_path: Path, bundle: str | None, reference: str | None, code: str
) -> None:
    with pytest.raises(Refusal) as caught:
        verify(
            made.bundle if bundle is None else tmp_path / bundle,
            made.policy,
            reference=None if reference is None else tmp_path / reference,
            at=NOW,
        )
    assert caught.value.code == code
