"""The first sentence of a report names the reason that says most, and is punctuated as one sentence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from blockcert.bundle import STATEMENT
from blockcert.dsse import PAYLOAD_TYPE, Envelope, Signature, add_signature, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import generate, keyid
from blockcert.revocation import RevokedKey, encode_state, new_list, parse_list, sign_list
from blockcert.rotation import sign_policy
from blockcert.times import format_time
from blockcert.trust import Revocation, TrustedKey, TrustPolicy, encode_policy
from blockcert_verifier import verify
from blockcert_verifier.text import render
from tests.support.bundles import NOW, Made, make_bundle

STRANGER, REVOKER = generate(), generate()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    """A bundle whose first signature is one that nobody knows."""
    made = original.copy(tmp_path)
    path = made.bundle / STATEMENT
    signed = parse_envelope(path.read_bytes(), STATEMENT)
    strange = add_signature(Envelope(signed.payload), STRANGER).signatures
    path.write_bytes(encode_envelope(Envelope(signed.payload, PAYLOAD_TYPE, (*strange, *signed.signatures))))
    return made


def trusting(made: Made, **fields: Any) -> TrustPolicy:
    policy = made.without_replay
    revoker = TrustedKey("rita", "ed25519", REVOKER.public.raw.hex(), ("revoker",), None, None)
    return replace(policy, keys=(replace(policy.keys[0], **fields), revoker))


def revoking(made: Made, tmp_path: Path) -> Path:
    entry = RevokedKey(made.key.public.raw.hex(), "2026-11-01T00:00:00Z", "key-compromise")
    found = new_list(None, (), (entry,), issued_at=NOW, next_update=NOW + timedelta(days=1))
    (tmp_path / "list").write_bytes(sign_list(found, REVOKER))
    return tmp_path / "list"


def test_a_revoked_key_is_said_before_a_signature_that_nobody_knows(made: Made, tmp_path: Path) -> None:
    report = verify(made.bundle, trusting(made), at=NOW, revocations=revoking(made, tmp_path))
    assert report.sentence.startswith("REJECTED: statement.dsse.json: $.signatures[1]: The key ")
    assert report.sentence.endswith("key compromise, since 2026-11-01T00:00:00Z [signature.key_revoked].")


def test_a_window_that_is_over_is_said_before_a_signature_that_nobody_knows(made: Made) -> None:
    report = verify(made.bundle, trusting(made, not_after="2026-11-01T00:00:00Z"), at=NOW)
    assert report.sentence.endswith("[signature.key_not_valid_now].")


def test_a_window_at_the_stated_time_too(made: Made) -> None:
    policy = trusting(made, not_before=format_time(NOW + timedelta(days=1)))
    report = verify(made.bundle, policy, at=NOW + timedelta(days=2))
    assert report.sentence.endswith("[signature.key_not_valid_when_issued].")


def test_a_spoiled_signature_of_a_trusted_key_is_said_before_one_that_nobody_knows(made: Made) -> None:
    path = made.bundle / STATEMENT
    signed = parse_envelope(path.read_bytes(), STATEMENT)
    spoiled = Signature(keyid(made.key.public), bytes(64))
    path.write_bytes(encode_envelope(Envelope(signed.payload, PAYLOAD_TYPE, (signed.signatures[0], spoiled))))
    assert verify(made.bundle, trusting(made), at=NOW).sentence.endswith("[signature.invalid].")


def test_what_is_open_is_named_although_nothing_was_re_run(made: Made) -> None:
    policy = trusting(made)
    limits = replace(policy.limits, least_audit_rows=2)
    report = verify(made.bundle, replace(policy, require=(*policy.require, "replay"), limits=limits), at=NOW)
    assert report.sentence.endswith("[policy.audit_rows].")
    asking = replace(policy, require=(*policy.require, "replay"), revocation=Revocation("the page"))
    assert verify(made.bundle, asking, at=NOW).sentence.endswith("[revocation.missing].")


def test_reasons_are_joined_without_two_marks(made: Made) -> None:
    policy = trusting(made)
    auditor = TrustedKey("ann", "ed25519", generate().public.raw.hex(), ("auditor",), None, None)
    policy = replace(policy, keys=(*policy.keys, auditor))
    (made.bundle / "appended").mkdir()
    signed = add_signature(Envelope(b"{}"), STRANGER)
    (made.bundle / "appended" / "a.dsse.json").write_bytes(encode_envelope(signed))
    report = verify(made.bundle, policy, at=NOW)
    reason = report.steps[1].reason or ""
    assert "No key of the trust policy made this signature; no auditor of the policy signed this" in reason
    for text in (reason, report.sentence, render(report)):
        assert ".;" not in text
        assert ".." not in text.replace("...", "")


OTHERS = {
    "a policy": (lambda made: encode_policy(trusting(made)), "This is a trust policy, which is given as --trust."),
    "a signed policy": (
        lambda made: sign_policy(trusting(made), STRANGER, None, "p"),
        "This is a signed trust policy: take it with blockcert trust accept.",
    ),
    "a certificate": (
        lambda made: (made.bundle / STATEMENT).read_bytes(),
        "This is a certificate or a review, and no revocation list.",
    ),
    "a state": (
        lambda _made: encode_state(parse_list(sign_list(an_empty_list(), REVOKER), "l"), ["0" * 64]),
        "This is a revocation state, which is given as --revocation-state.",
    ),
}


def an_empty_list() -> Any:
    return new_list(None, (), (), issued_at=NOW, next_update=NOW + timedelta(days=1))


@pytest.mark.parametrize("case", OTHERS)
def test_another_document_in_the_place_of_a_list_is_told_what_it_is(made: Made, tmp_path: Path, case: str) -> None:
    content, said = OTHERS[case]
    (tmp_path / "file").write_bytes(content(made))
    with pytest.raises(Refusal) as refused:
        verify(made.bundle, trusting(made), at=NOW, revocations=tmp_path / "file")
    assert refused.value.sentence.endswith(said)
