"""Reviews beside a certificate: whose count, which of several, and what junk does (BC-TRU-19 to 23)."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from blockcert.appended import MOST_STATEMENTS
from blockcert.bundle import STATEMENT, Bundle, append_statement
from blockcert.dsse import Envelope, add_signature, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import PrivateKey, generate
from blockcert.packing import pack
from blockcert.review import Outcome, new_review, parse_review, sign_review
from blockcert.revocation import RevokedKey, new_list, sign_list
from blockcert.trust import TrustedKey, TrustPolicy
from blockcert_verifier import Report, verify
from tests.support.bundles import NOW, Made, make_bundle

ANN, BEN, STRANGER = generate(), generate(), generate()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    return original.copy(tmp_path)


def trusting(made: Made, approvals: int = 0, **window: Any) -> TrustPolicy:
    ends = {"not_before": None, "not_after": None, **window}
    auditors = [
        TrustedKey(name, "ed25519", key.public.raw.hex(), ("auditor",), **ends)
        for name, key in (("ann", ANN), ("ben", BEN))
    ]
    policy = made.without_replay
    thresholds = replace(policy.thresholds, auditor=approvals)
    return replace(policy, keys=(*policy.keys, *auditors), thresholds=thresholds)


def say(made: Made, outcome: Outcome, key: PrivateKey, days: float = -1, note: str = "seen", about: bytes = b"") -> str:
    return say_of(made.bundle, outcome, key, days, note, about)


def say_of(bundle: Path, outcome: Outcome, key: PrivateKey, days: float, note: str, about: bytes) -> str:
    payload = about or parse_envelope(Bundle(bundle).read(STATEMENT, 1 << 24), STATEMENT).payload
    review = new_review(payload, outcome, made_at=NOW + timedelta(days=days), note=note, report=b"a report")
    name, data = sign_review(review, key)
    append_statement(bundle, name, data)
    return name


def check(made: Made, policy: TrustPolicy, **options: Any) -> Report:
    return verify(made.bundle, policy, at=NOW, **options)


def found(report: Report) -> set[tuple[str, str]]:
    return {(f.status, f.code) for f in report.findings if f.code.startswith("review.")}


def test_an_approval_is_reported_and_meets_a_threshold(made: Made) -> None:
    assert found(check(made, trusting(made, 1))) == {("inconclusive", "review.threshold_not_met")}
    before = check(made, trusting(made)).certificate_id
    say(made, "approves", ANN)
    report = check(made, trusting(made, 1))
    assert report.verdict == "accepted"
    assert report.certificate_id == before
    assert found(report) == {("passed", "review.approved")}
    assert check(made, trusting(made, 2)).verdict == "indeterminate"
    say(made, "approves", BEN)
    assert check(made, trusting(made, 2)).verdict == "accepted"


def test_one_auditor_who_approves_twice_counts_once(made: Made) -> None:
    say(made, "approves", ANN)
    say(made, "approves", ANN, note="and again")
    assert check(made, trusting(made, 2)).verdict == "indeterminate"


def test_an_objection_rejects_with_its_words(made: Made) -> None:
    say(made, "approves", BEN)
    say(made, "objects", ANN, note="row 3 differs on our machine")
    report = check(made, trusting(made))
    assert report.verdict == "rejected"
    assert "ann objects" in report.sentence
    assert "row 3 differs on our machine" in report.sentence


@pytest.mark.parametrize(("earlier", "later"), [("objects", "approves"), ("approves", "objects")])
def test_of_several_by_one_key_the_latest_counts(made: Made, earlier: Outcome, later: Outcome) -> None:
    say(made, earlier, ANN, days=-2)
    say(made, later, ANN, days=-1)
    assert check(made, trusting(made, 0)).verdict == ("accepted" if later == "approves" else "rejected")


def test_of_two_of_one_time_the_objection_counts(made: Made) -> None:
    say(made, "approves", ANN)
    say(made, "objects", ANN)
    assert check(made, trusting(made)).verdict == "rejected"


def test_what_does_not_count_changes_no_verdict_and_is_named(made: Made) -> None:
    names = [
        say(made, "objects", STRANGER),
        say(made, "objects", made.key, note="a producer is no auditor"),
        say(made, "objects", ANN, about=b"another payload"),
        say(made, "objects", BEN, days=1, note="from the future"),
    ]
    junk = made.bundle / "appended" / "junk.dsse.json"
    junk.write_bytes(b"{")
    report = check(made, trusting(made))
    assert report.verdict == "accepted"
    said = {f.place: f.code for f in report.findings if f.code.startswith("review.")}
    assert [said[name] for name in names] == [
        "review.unknown_signer",
        "review.unknown_signer",
        "review.other",
        "review.unknown_signer",
    ]
    assert said["appended/junk.dsse.json"] == "review.malformed"


def test_a_key_outside_its_window_or_revoked_does_not_count(made: Made, tmp_path: Path) -> None:
    say(made, "objects", ANN)
    assert check(made, trusting(made, not_after="2026-01-01T00:00:00Z")).verdict == "accepted"
    # valid now, but not when it says that it was made
    assert check(made, trusting(made, not_before="2026-11-22T00:00:00Z")).verdict == "accepted"
    policy = trusting(made)
    revoker = TrustedKey("revoker", "ed25519", BEN.public.raw.hex(), ("revoker",), None, None)
    policy = replace(policy, keys=(*policy.keys[:-1], revoker))
    entry = RevokedKey(ANN.public.raw.hex(), "2026-11-21T00:00:00Z", "key-compromise")
    lifted = new_list(None, (), (entry,), issued_at=NOW, next_update=NOW + timedelta(days=1))
    (tmp_path / "list").write_bytes(sign_list(lifted, BEN))
    assert check(made, policy).verdict == "rejected"
    assert check(made, policy, revocations=tmp_path / "list").verdict == "accepted"


def test_a_review_has_one_signature_and_no_unknown_field(made: Made) -> None:
    name = say(made, "objects", ANN)
    path = made.bundle / name
    envelope = parse_envelope(path.read_bytes(), name)
    path.write_bytes(encode_envelope(add_signature(envelope, BEN)))
    assert found(check(made, trusting(made))) == {("skipped", "review.malformed")}
    payload = json.loads(envelope.payload)
    payload["predicate"]["verdict"] = "accepted"
    path.write_bytes(encode_envelope(add_signature(Envelope(json.dumps(payload).encode()), ANN)))
    assert found(check(made, trusting(made))) == {("skipped", "review.malformed")}
    path.write_bytes(b"x" * (1 << 17))
    assert found(check(made, trusting(made))) == {("skipped", "review.malformed")}


@pytest.mark.parametrize(
    "name", ["appended/deeper/a.dsse.json", "appended/a.json", "Appended2/a.dsse.json", "a.dsse.json"]
)
def test_only_statements_of_that_form_are_no_subjects(made: Made, name: str) -> None:
    target = made.bundle / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"{}")
    report = check(made, trusting(made))
    assert report.verdict == "rejected"
    assert report.findings[-1].code == "bundle.file.unlisted"


def test_more_statements_than_are_read_leave_the_verdict_open(made: Made) -> None:
    folder = made.bundle / "appended"
    folder.mkdir()
    for i in range(MOST_STATEMENTS + 1):
        (folder / f"{i:03}.dsse.json").write_bytes(b"{}")
    report = check(made, trusting(made))
    assert report.verdict == "indeterminate"
    assert ("inconclusive", "review.malformed") in found(report)


def test_a_packed_bundle_takes_reviews_too(made: Made, tmp_path: Path) -> None:
    packed = tmp_path / "certificate.zip"
    pack(made.bundle, packed)
    shutil.rmtree(made.bundle)
    say_of(packed, "objects", ANN, -1, "seen", b"")
    assert verify(packed, trusting(made), at=NOW).verdict == "rejected"


def test_the_same_statement_is_not_put_there_twice(made: Made) -> None:
    say(made, "approves", ANN)
    with pytest.raises(Refusal) as refused:
        say(made, "approves", ANN)
    assert refused.value.code == "output.exists"


def test_words_that_no_reader_takes_are_not_signed() -> None:
    review = new_review(b"p", "approves", made_at=NOW, note="a\x1b[2J", report=None)
    with pytest.raises(Refusal) as refused:
        sign_review(review, ANN)
    assert refused.value.code == "json.type"
    good = new_review(b"p", "approves", made_at=NOW, note="", report=None)
    assert parse_review(msgspec.json.encode(good), "r") == good


def reasons(report: Report) -> list[str]:
    return [f.message for f in report.findings if f.code.startswith("review.") and f.status == "skipped"]


def test_why_a_trusted_auditors_word_does_not_count(made: Made, tmp_path: Path) -> None:
    say(made, "objects", ANN)
    (late,) = reasons(check(made, trusting(made, not_after="2026-01-01T00:00:00Z")))
    assert "The key ann is trusted from ever to 2026-01-01T00:00:00Z, and not now" in late
    (early,) = reasons(check(made, trusting(made, not_before="2026-11-22T00:00:00Z")))
    assert "and not when this was issued" in early
    policy = trusting(made)
    policy = replace(policy, keys=(policy.keys[0], policy.keys[1], replace(policy.keys[2], roles=("revoker",))))
    entry = RevokedKey(ANN.public.raw.hex(), "2026-11-21T00:00:00Z", "key-compromise")
    listed = new_list(None, (), (entry,), issued_at=NOW, next_update=NOW + timedelta(days=1))
    (tmp_path / "list").write_bytes(sign_list(listed, BEN))
    (gone,) = reasons(check(made, policy, revocations=tmp_path / "list"))
    assert gone.startswith("The key ann was revoked: key compromise")


def test_both_digests_of_the_certificate_are_compared(made: Made) -> None:
    payload = parse_envelope(Bundle(made.bundle).read(STATEMENT, 1 << 24), STATEMENT).payload
    review = new_review(payload, "approves", made_at=NOW, note="", report=None)
    subject = replace(review.subject[0], digest=replace(review.subject[0].digest, sha256="0" * 64))
    append_statement(made.bundle, *sign_review(replace(review, subject=(subject,)), ANN))
    report = check(made, trusting(made, 1))
    assert report.verdict == "indeterminate"
    assert ("skipped", "review.other") in found(report)


def test_a_statement_that_no_reader_would_read_is_not_put_there(made: Made) -> None:
    (made.bundle / "appended").mkdir()
    for i in range(MOST_STATEMENTS):
        (made.bundle / "appended" / f"{i:03}.dsse.json").write_bytes(b"{}")
    with pytest.raises(Refusal) as refused:
        say(made, "approves", ANN)
    assert refused.value.code == "bundle.too_many_files"


@pytest.mark.parametrize("name", ["appended", "Appended/notes.txt"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_name_that_meets_the_folder_of_reviews_leaves_the_bundle_as_it_was(
    made: Made, tmp_path: Path, name: str, packed: bool
) -> None:
    target = made.bundle / name
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"x")
    bundle = made.bundle
    if packed:
        bundle = tmp_path / "certificate.zip"
        pack(made.bundle, bundle)
    before = Bundle(bundle).sizes
    with pytest.raises(Refusal) as refused:
        say_of(bundle, "approves", ANN, -1, "", b"")
    assert refused.value.code == "name.collision"
    assert Bundle(bundle).sizes == before


def test_a_statement_without_a_name_is_no_statement(made: Made) -> None:
    (made.bundle / "appended").mkdir()
    (made.bundle / "appended" / ".dsse.json").write_bytes(b"{}")
    assert check(made, trusting(made)).findings[-1].code == "bundle.file.unlisted"


@pytest.mark.parametrize("name", ["appended/a.dsse.json", STATEMENT])
def test_a_subject_is_no_place_for_signed_statements(made: Made, name: str) -> None:
    envelope = parse_envelope(Bundle(made.bundle).read(STATEMENT, 1 << 24), STATEMENT)
    payload = json.loads(envelope.payload)
    payload["subject"].append({"name": name, "digest": payload["subject"][0]["digest"]})
    payload["predicate"]["files"].append({"name": name, "size": 2})
    signed = add_signature(Envelope(json.dumps(payload).encode()), made.key)
    (made.bundle / STATEMENT).write_bytes(encode_envelope(signed))
    report = check(made, trusting(made))
    assert (report.verdict, report.findings[-1].code) == ("rejected", "statement.file_name")


def test_an_auditor_who_signs_the_certificate_is_not_said_to_answer_for_it(made: Made) -> None:
    path = made.bundle / STATEMENT
    path.write_bytes(encode_envelope(add_signature(parse_envelope(path.read_bytes(), STATEMENT), ANN)))
    report = check(made, trusting(made))
    assert report.verdict == "accepted"
    assert [signer.public_key for signer in report.signers] == [made.key.public.raw.hex()]
    assert "ann" not in report.sentence


def test_an_approval_that_is_missing_is_not_passed_over_where_nothing_was_replayed(made: Made) -> None:
    policy = trusting(made, 1)
    report = check(made, replace(policy, require=(*policy.require, "replay")))
    assert report.verdict == "indeterminate"
    assert "[review.threshold_not_met]" in report.sentence
