"""Revocation lists: what they reject, what they leave open, and what is remembered of them (BC-TRU-14 to 18)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from blockcert.dsse import certificate_digest, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import generate
from blockcert.revocation import (
    RevocationList,
    RevokedCertificate,
    RevokedKey,
    new_list,
    parse_list,
    parse_state,
    read_list,
    sign_list,
)
from blockcert.trust import Revocation, TrustedKey, TrustPolicy
from blockcert_verifier import Report, verify
from blockcert_verifier.remembered import remember
from tests.support.bundles import NOW, Made, make_bundle

REVOKER, OTHER = generate(), generate()
SINCE = "2026-11-01T00:00:00Z"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def trusting(made: Made, *, asks: bool = True) -> TrustPolicy:
    revoker = TrustedKey("revoker", "ed25519", REVOKER.public.raw.hex(), ("revoker",), None, None)
    policy = made.without_replay
    return replace(policy, keys=(*policy.keys, revoker), revocation=Revocation("the vendor's page") if asks else None)


def digest(made: Made) -> str:
    return certificate_digest(parse_envelope((made.bundle / "statement.dsse.json").read_bytes(), "e").payload).hex()


def a_list(**changes: Any) -> RevocationList:
    made = new_list(None, (), (), issued_at=NOW - timedelta(days=1), next_update=NOW + timedelta(days=30))
    return replace(made, **changes)


def check(made: Made, folder: Path, found: RevocationList | None, key: Any = REVOKER, **options: Any) -> Report:
    policy = options.pop("policy", None) or trusting(made)
    if found is not None:
        (folder / "list").write_bytes(sign_list(found, key))
        options["revocations"] = folder / "list"
    return verify(made.bundle, policy, at=NOW, **options)


def codes(report: Report, status: str) -> set[str]:
    return {finding.code for finding in report.findings if finding.status == status}


def test_a_current_list_that_does_not_name_the_certificate(made: Made, tmp_path: Path) -> None:
    report = check(made, tmp_path, a_list())
    assert report.verdict == "accepted"
    assert "revocation.list" in codes(report, "passed")
    assert not any("revoked" in one.what for one in report.unchecked)


@pytest.mark.parametrize("days", [(0, 1), (-1, 0)], ids=["its first second", "its last second"])
def test_a_list_is_current_from_its_first_second_to_its_last(made: Made, tmp_path: Path, days: tuple[int, int]) -> None:
    issued_at, next_update = (NOW + timedelta(days=day) for day in days)
    found = new_list(None, (), (), issued_at=issued_at, next_update=next_update)
    assert check(made, tmp_path, found).verdict == "accepted"


def test_without_a_list_that_was_not_asked_for_the_report_says_so(made: Made, tmp_path: Path) -> None:
    report = check(made, tmp_path, None, policy=trusting(made, asks=False))
    assert report.verdict == "accepted"
    assert any("revoked" in one.what for one in report.unchecked)


def revoked(made: Made, **changes: Any) -> RevocationList:
    entry = RevokedCertificate(digest(made), SINCE, "superseded", "too wide", "b" * 64)
    return a_list(certificates=(entry,), **changes)


@pytest.mark.parametrize("stale", [False, True])
def test_a_revoked_certificate_is_rejected_also_by_a_list_that_is_stale(
    made: Made, tmp_path: Path, stale: bool
) -> None:
    report = check(made, tmp_path, revoked(made, next_update="2026-11-22T09:00:00Z") if stale else revoked(made))
    assert report.verdict == "rejected"
    assert "certificate.revoked" in codes(report, "failed")
    assert "superseded" in report.sentence
    assert f"blake3:{'b' * 64} replaces it" in report.sentence


def test_a_revoked_key_counts_for_nothing(made: Made, tmp_path: Path) -> None:
    entry = RevokedKey(made.policy.keys[0].public_key, "2026-11-21T00:00:00Z", "key-compromise")
    report = check(made, tmp_path, a_list(keys=(entry,)))
    assert report.verdict == "rejected"
    assert codes(report, "failed") == {"signature.key_revoked", "signature.threshold_not_met"}


def test_a_list_may_revoke_the_key_that_signed_it(made: Made, tmp_path: Path) -> None:
    entry = RevokedKey(REVOKER.public.raw.hex(), SINCE, "key-compromise")
    assert check(made, tmp_path, replace(revoked(made), keys=(entry,))).verdict == "rejected"


OPEN: dict[str, tuple[Callable[[Made], RevocationList | None], Any, str]] = {
    "no list": (lambda _: None, REVOKER, "revocation.missing"),
    "by nobody trusted": (revoked, OTHER, "revocation.untrusted"),
    "stale": (lambda _: a_list(next_update="2026-11-22T09:59:59Z"), REVOKER, "revocation.stale"),
    "from the future": (lambda _: a_list(issued_at="2026-11-22T10:00:01Z"), REVOKER, "revocation.not_yet_valid"),
}


@pytest.mark.parametrize("case", OPEN)
def test_what_leaves_the_verdict_open(made: Made, tmp_path: Path, case: str) -> None:
    make, key, code = OPEN[case]
    report = check(made, tmp_path, make(made), key)
    assert report.verdict == "indeterminate"
    assert codes(report, "inconclusive") == {code}
    assert code in report.sentence


def test_a_list_that_a_producer_signed_counts_for_nothing(made: Made, tmp_path: Path) -> None:
    report = check(made, tmp_path, revoked(made), made.key)
    assert codes(report, "inconclusive") == {"revocation.untrusted"}


def test_the_highest_list_is_remembered_and_an_older_one_told(made: Made, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert check(made, tmp_path, a_list(number=5), revocation_state=state).verdict == "accepted"
    assert parse_state(state.read_bytes(), "state").number == 5
    again = check(made, tmp_path, a_list(number=5), revocation_state=state)
    assert again.verdict == "accepted"
    for other in (a_list(number=4), a_list(number=5, next_update="2026-12-30T00:00:00Z")):
        report = check(made, tmp_path, other, revocation_state=state)
        assert (report.verdict, codes(report, "inconclusive")) == ("indeterminate", {"revocation.rollback"})
        assert parse_state(state.read_bytes(), "state").number == 5
    # what nobody trusted signed must not lift the number, or anybody could shut out every list to come
    check(made, tmp_path, a_list(number=9), OTHER, revocation_state=state)
    assert parse_state(state.read_bytes(), "state").number == 5
    check(made, tmp_path, a_list(number=6), revocation_state=state)
    assert parse_state(state.read_bytes(), "state").number == 6
    assert [path.name for path in tmp_path.iterdir() if ".partial-" in path.name] == []


def test_two_revokers_where_the_policy_asks_for_two(made: Made, tmp_path: Path) -> None:
    policy = trusting(made)
    second = TrustedKey("second", "ed25519", OTHER.public.raw.hex(), ("revoker",), None, None)
    policy = replace(policy, keys=(*policy.keys, second), thresholds=replace(policy.thresholds, revoker=2))
    report = check(made, tmp_path, revoked(made), policy=policy)
    assert codes(report, "inconclusive") == {"revocation.untrusted"}


def test_the_next_list_carries_the_entries_on() -> None:
    first = a_list(certificates=(RevokedCertificate("a" * 64, SINCE, "error"),))
    entry = RevokedCertificate("b" * 64, SINCE, "withdrawn")
    second = new_list(first, (entry,), (), issued_at=NOW, next_update=NOW + timedelta(days=1))
    assert second.number == first.number + 1
    assert second.certificates == (*first.certificates, entry)
    signed = sign_list(second, REVOKER)
    assert parse_list(signed, "list").list == second
    assert signed == sign_list(second, REVOKER)


A, K = RevokedCertificate("a" * 64, SINCE, "error"), RevokedKey(REVOKER.public.raw.hex(), SINCE, "error")
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a certificate twice": ({"certificates": (A, A)}, "revocation.repeated", "$.certificates[1]"),
    "a key twice": ({"keys": (K, K)}, "revocation.repeated", "$.keys[1]"),
    "ended before it began": ({"next_update": "2026-01-01T00:00:00Z"}, "revocation.window", "$.next_update"),
    "a key that is no point": ({"keys": (replace(K, public_key="ab" * 32),)}, "key.public.not_on_curve", "$.keys[0]"),
    "a small-order key": ({"keys": (replace(K, public_key="00" * 32),)}, "key.public.small_order", "$.keys[0]"),
    "a date that is none": ({"issued_at": "2026-02-30T00:00:00Z"}, "time.calendar", "$.issued_at"),
    "number 0": ({"number": 0}, "json.type", "$.number"),
    "an unknown reason": ({"certificates": (replace(A, reason="boredom"),)}, "json.type", "$.certificates[0].reason"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lists_are_refused(case: str) -> None:
    changes, code, place = BAD[case]
    with pytest.raises(Refusal) as refused:
        read_list(msgspec.json.encode(a_list(**changes)), "list")
    assert refused.value.code == code
    assert place in refused.value.place


def test_a_list_that_cannot_be_read_is_the_callers_mistake(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "list"
    for content, code in ((b"", "json.syntax"), (b"{}", "json.type")):
        path.write_bytes(content)
        with pytest.raises(Refusal) as refused:
            verify(made.bundle, trusting(made), revocations=path, at=NOW)
        assert refused.value.code == code
    with pytest.raises(Refusal) as refused:
        verify(made.bundle, trusting(made), revocations=tmp_path / "nowhere", at=NOW)
    assert refused.value.code == "file.missing"
    # a certificate is no list, whatever it holds
    with pytest.raises(Refusal) as refused:
        verify(made.bundle, trusting(made), revocations=made.bundle / "statement.dsse.json", at=NOW)
    assert refused.value.code == "envelope.payload_type"


def test_a_higher_list_seen_meanwhile_stays_remembered(made: Made, tmp_path: Path) -> None:
    state = tmp_path / "state"
    newer, older = (parse_list(sign_list(a_list(number=n), REVOKER), "list") for n in (6, 5))
    signers = (REVOKER.public.raw.hex(),)
    remember(state, trusting(made), newer, signers)
    remember(state, trusting(made), older, signers)
    assert parse_state(state.read_bytes(), "state").number == 6


def test_a_list_is_remembered_before_what_may_be_interrupted(made: Made, tmp_path: Path) -> None:
    def interrupted(step: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(made, tmp_path, a_list(number=5), revocation_state=tmp_path / "state", progress=interrupted)
    assert parse_state((tmp_path / "state").read_bytes(), "state").number == 5


def test_a_state_behind_a_link_is_kept_where_it_is(made: Made, tmp_path: Path) -> None:
    state, link = tmp_path / "state", tmp_path / "link"
    link.symlink_to(state)
    for number in (5, 6):
        check(made, tmp_path, a_list(number=number), revocation_state=link)
        assert link.is_symlink()
        assert parse_state(state.read_bytes(), "state").number == number


def test_a_remembered_list_that_is_not_given_leaves_the_verdict_open(made: Made, tmp_path: Path) -> None:
    """Also where the policy asks for none: what the list that is known to exist revokes is not known."""
    state, quiet = tmp_path / "state", trusting(made, asks=False)
    check(made, tmp_path, a_list(number=5), policy=quiet, revocation_state=state)
    before = state.read_bytes()
    report = check(made, tmp_path, None, policy=quiet, revocation_state=state)
    assert (report.verdict, codes(report, "inconclusive")) == ("indeterminate", {"revocation.missing"})
    assert "list number 5 was seen before" in report.sentence
    assert any("revoked" in one.what for one in report.unchecked)
    assert state.read_bytes() == before


def test_a_state_that_is_named_alone_and_remembers_nothing_is_a_mistake(made: Made, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused:
        check(made, tmp_path, None, revocation_state=tmp_path / "state")
    assert refused.value.code == "file.missing"
    assert "--revocations" in refused.value.sentence


def others(made: Made) -> TrustPolicy:
    """A policy of somebody else, whose revoker is another key."""
    policy = trusting(made)
    return replace(policy, keys=(*policy.keys[:-1], replace(policy.keys[-1], public_key=OTHER.public.raw.hex())))


@pytest.mark.parametrize("given", [False, True])
def test_a_state_of_another_owner_is_refused_and_stays(made: Made, tmp_path: Path, given: bool) -> None:
    state = tmp_path / "state"
    check(made, tmp_path, a_list(number=5), revocation_state=state)
    before = state.read_bytes()
    with pytest.raises(Refusal) as refused:
        check(made, tmp_path, a_list(number=9) if given else None, OTHER, policy=others(made), revocation_state=state)
    assert refused.value.code == "revocation.other_state"
    assert refused.value.place == str(state)
    assert state.read_bytes() == before


def test_a_state_goes_over_to_new_revokers_by_way_of_one_that_stays(made: Made, tmp_path: Path) -> None:
    """A rotation that keeps one revoker keeps the memory; the next list hands it to those who signed that."""
    state, policy = tmp_path / "state", trusting(made)
    check(made, tmp_path, a_list(number=5), revocation_state=state)
    second = TrustedKey("second", "ed25519", OTHER.public.raw.hex(), ("revoker",), None, None)
    both = replace(policy, keys=(*policy.keys, second))
    assert check(made, tmp_path, a_list(number=6), OTHER, policy=both, revocation_state=state).verdict == "accepted"
    assert parse_state(state.read_bytes(), "state").revokers == (OTHER.public.raw.hex(),)
    assert check(made, tmp_path, a_list(number=7), OTHER, policy=others(made), revocation_state=state).verdict == (
        "accepted"
    )


@pytest.mark.parametrize("kind", ["folder", "loop", "empty", "huge"])
def test_a_state_that_cannot_be_read_is_not_taken_for_none(made: Made, tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state"
    if kind == "folder":
        state.mkdir()
    elif kind == "loop":
        state.symlink_to(state)
    else:
        state.write_bytes(b" " * (1 << 20 if kind == "huge" else 0))
    with pytest.raises(Refusal):
        check(made, tmp_path, a_list(), revocation_state=state)


@pytest.mark.parametrize(
    "change", [{"number": 1 << 53}, {"keys": (RevokedKey(OTHER.public.raw.hex(), SINCE, "error", "a\x1b[2J"),)}]
)
def test_a_list_that_no_verifier_would_take_is_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        sign_list(a_list(**change), REVOKER)


def test_why_a_list_does_not_count(made: Made, tmp_path: Path) -> None:
    policy = trusting(made)
    policy = replace(policy, keys=(*policy.keys[:-1], replace(policy.keys[-1], not_after="2026-01-01T00:00:00Z")))
    report = check(made, tmp_path, a_list(), policy=policy)
    (said,) = [f.message for f in report.findings if f.code == "revocation.untrusted"]
    assert "The key revoker is trusted from ever to 2026-01-01T00:00:00Z, and not now" in said


def test_the_ladder_names_what_is_missing(made: Made, tmp_path: Path) -> None:
    rung = check(made, tmp_path, None).ladder[0]
    assert (rung.name, rung.climbed) == ("signature", "no")
    assert rung.how is not None
    assert "revocation list" in rung.how
