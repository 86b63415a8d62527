"""What others put beside a certificate: revocation lists add refusals only, reports are no word, junk costs nothing
(BC-TRU-20, 23, 27, 28)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from blockcert.appended import MOST_BYTES, MOST_STATEMENTS, check_report, report_name, statement_name
from blockcert.bundle import STATEMENT, Bundle, append_statement
from blockcert.dsse import PAYLOAD_TYPE, Envelope, add_signature, certificate_digest, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import PrivateKey, generate
from blockcert.packing import pack
from blockcert.review import new_review, sign_review
from blockcert.revocation import RevokedCertificate, RevokedKey, add_to_list, new_list, parse_list, sign_list
from blockcert.trust import Revocation, Role, TrustedKey, TrustPolicy
from blockcert_verifier import Report, render, to_json, verify
from tests.support.bundles import NOW, Made, make_bundle

REVOKER, SECOND, AUDITOR, STRANGER = generate(), generate(), generate(), generate()
SINCE = "2026-11-01T00:00:00Z"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    return original.copy(tmp_path)


def trusting(made: Made, threshold: int = 1, approvals: int = 0, **fields: Any) -> TrustPolicy:
    """The policy of the bundle, with two revokers and an auditor."""
    ends = {"not_before": None, "not_after": None, **fields}
    roles: list[tuple[str, PrivateKey, Role]] = [("rita", REVOKER, "revoker"), ("rob", SECOND, "revoker")]
    roles.append(("ann", AUDITOR, "auditor"))
    keys = [TrustedKey(name, "ed25519", key.public.raw.hex(), (role,), **ends) for name, key, role in roles]
    policy = made.without_replay
    thresholds = replace(policy.thresholds, revoker=threshold, auditor=approvals)
    return replace(policy, keys=(*policy.keys, *keys), thresholds=thresholds)


def payload(made: Made) -> bytes:
    return parse_envelope(Bundle(made.bundle).read(STATEMENT, 1 << 24), STATEMENT).payload


def a_list(
    made: Made,
    signers: Sequence[PrivateKey] = (REVOKER,),
    *,
    certificate: bool = True,
    keys: Sequence[PrivateKey] = (),
    days: tuple[float, float] = (-1, 1),
) -> bytes:
    """A list that names the certificate, or not, and these keys; issued and to be replaced so many days from now."""
    entry = RevokedCertificate(certificate_digest(payload(made)).hex(), SINCE, "error", "row 3")
    lost = [RevokedKey(key.public.raw.hex(), SINCE, "key-compromise") for key in keys]
    start, end = (NOW + timedelta(days=d) for d in days)
    data = sign_list(new_list(None, [entry] * certificate, lost, issued_at=start, next_update=end), signers[0])
    for key in signers[1:]:
        data = add_to_list(parse_list(data, "l"), key, "l")
    return data


def put(made: Made, data: bytes) -> str:
    append_statement(made.bundle, statement_name(data), data)
    return statement_name(data)


def check(made: Made, policy: TrustPolicy, **options: Any) -> Report:
    return verify(made.bundle, policy, at=NOW, **options)


def codes(report: Report, prefix: str) -> set[tuple[str, str]]:
    return {(f.status, f.code) for f in report.findings if f.code.startswith(prefix)}


def test_a_list_beside_the_certificate_that_names_it_rejects(made: Made) -> None:
    name = put(made, a_list(made))
    report = check(made, trusting(made))
    assert report.verdict == "rejected"
    assert report.sentence.startswith(f"REJECTED: {name}: the certificate was revoked: error")


def test_it_names_a_producers_or_an_auditors_key(made: Made) -> None:
    name = put(made, a_list(made, certificate=False, keys=[made.key]))
    report = check(made, trusting(made))
    assert report.verdict == "rejected"
    assert "[signature.key_revoked]" in report.sentence
    (made.bundle / name).unlink()
    append_statement(made.bundle, *sign_review(objection(made), AUDITOR))
    assert check(made, trusting(made)).verdict == "rejected"
    put(made, a_list(made, certificate=False, keys=[AUDITOR]))
    assert check(made, trusting(made)).verdict == "accepted"


def objection(made: Made) -> Any:
    return new_review(payload(made), "objects", made_at=NOW - timedelta(days=1), note="no", report=None)


@pytest.mark.parametrize("days", [(-9, -8), (1, 2)], ids=["stale", "future"])
def test_a_list_that_is_not_current_still_revokes_what_it_names(made: Made, days: tuple[float, float]) -> None:
    put(made, a_list(made, days=days))
    assert check(made, trusting(made)).verdict == "rejected"


def test_a_list_beside_the_certificate_is_no_answer_to_a_policy_that_asks_for_one(made: Made, tmp_path: Path) -> None:
    put(made, a_list(made, certificate=False))
    policy = trusting(made)
    assert check(made, policy).verdict == "accepted"
    asking = replace(policy, revocation=Revocation("the vendor's page"))
    report = check(made, asking)
    assert report.verdict == "indeterminate"
    assert codes(report, "revocation.") == {("inconclusive", "revocation.missing")}
    assert codes(report, "appended.") == {("passed", "appended.list")}
    assert any("revoked" in one.what for one in report.unchecked)
    # nor is it remembered, whatever its number
    (tmp_path / "list").write_bytes(a_list(made, certificate=False))
    newer = replace(parse_list(a_list(made, certificate=False), "l").list, number=9)
    put(made, sign_list(newer, REVOKER))
    state = tmp_path / "state"
    assert check(made, asking, revocations=tmp_path / "list", revocation_state=state).verdict == "accepted"
    assert b'"number":1,' in state.read_bytes()


def test_a_list_beside_the_certificate_stands_with_what_was_checked(made: Made) -> None:
    """Behind who signed, and not among what was not checked; that it may be old stands with it."""
    put(made, a_list(made, certificate=False))
    report = check(made, trusting(made))
    (step,) = [one for one in report.steps if one.step == "authenticity"]
    assert step.reason is None
    signed, listed, *_ = step.establishes.split("; ", 1)
    assert signed.startswith("signed by ")
    assert listed.startswith("list number 1 of ")
    text = " ".join(render(report).split())
    assert "beside the certificate, counts for what it revokes; whether it is the newest is not known" in text
    assert "not checked: list" not in text


UNCOUNTED: dict[str, tuple[Sequence[PrivateKey], int, dict[str, Any]]] = {
    "a stranger signed it": ([STRANGER], 1, {}),
    "an auditor signed it": ([AUDITOR], 1, {}),
    "one of two revokers signed it": ([REVOKER], 2, {}),
    "the keys' windows are over": ([REVOKER], 1, {"not_after": "2026-11-01T00:00:00Z"}),
    "it was issued before the keys' windows": ([REVOKER], 1, {"not_before": "2026-11-22T00:00:00Z"}),
}


@pytest.mark.parametrize("case", UNCOUNTED)
def test_a_list_that_too_few_revokers_signed_changes_nothing(made: Made, case: str) -> None:
    signers, threshold, window = UNCOUNTED[case]
    put(made, a_list(made, signers, keys=[made.key]))
    report = check(made, trusting(made, threshold, **window))
    assert report.verdict == "accepted"
    assert codes(report, "review.") == {("skipped", "review.unknown_signer")}


def test_two_revokers_of_two(made: Made) -> None:
    put(made, a_list(made, [REVOKER, SECOND]))
    assert check(made, trusting(made, 2)).verdict == "rejected"


def test_a_list_that_is_none_changes_nothing(made: Made) -> None:
    kind = "application/vnd.blockcert.revocations+json"
    folder = made.bundle / "appended"
    folder.mkdir()
    (folder / "a.dsse.json").write_bytes(encode_envelope(add_signature(Envelope(b"{}", kind), REVOKER)))
    (folder / "b.dsse.json").write_bytes(b"x" * (MOST_BYTES + 1))
    # a review is held to its own cap, where a list may be longer
    (folder / "c.dsse.json").write_bytes(encode_envelope(Envelope(b"x" * 65_536, PAYLOAD_TYPE)))
    report = check(made, trusting(made))
    assert report.verdict == "accepted"
    said = [(f.place, f.code) for f in report.findings if f.status == "skipped" and f.place.startswith("appended/")]
    assert said == [(f"appended/{name}.dsse.json", "review.malformed") for name in "bca"]


def test_a_list_longer_than_a_review_may_be_counts(made: Made) -> None:
    named = parse_list(a_list(made), "l").list
    others = tuple(RevokedCertificate(f"{i:064x}", SINCE, "withdrawn") for i in range(600))
    data = sign_list(replace(named, certificates=(*others, *named.certificates)), REVOKER)
    assert 65_536 < len(data) <= MOST_BYTES
    put(made, data)
    assert check(made, trusting(made)).verdict == "rejected"


def test_nothing_is_read_where_the_policy_names_nobody_who_could_sign_it(made: Made) -> None:
    folder = made.bundle / "appended"
    folder.mkdir()
    for i in range(MOST_STATEMENTS + 1):
        (folder / f"{i:03}.dsse.json").write_bytes(b"{")
    report = check(made, made.without_replay)
    assert report.verdict == "accepted"
    assert [(f.code, f.place) for f in report.findings if f.code.startswith(("appended.", "review."))] == [
        ("appended.not_read", "appended/")
    ]
    assert check(made, trusting(made)).verdict == "indeterminate"


def test_a_report_beside_the_certificate_changes_nothing(made: Made, tmp_path: Path) -> None:
    before = check(made, trusting(made))
    data = to_json(before)
    check_report(data, "report")
    append_statement(made.bundle, report_name(data), data)
    (made.bundle / "appended" / "junk.report.json").write_bytes(b"\xff" * 100)
    after = check(made, trusting(made))
    assert (after.verdict, after.sentence) == ("accepted", before.sentence)
    with pytest.raises(Refusal) as refused:
        append_statement(made.bundle, report_name(data), data)
    assert refused.value.code == "output.exists"
    pack(made.bundle, tmp_path / "b.zip")
    assert verify(tmp_path / "b.zip", trusting(made), at=NOW).verdict == "accepted"


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"type":"blockcert-trust-policy","version":"1.0"}'])
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal):
        check_report(data, "report")
