"""One key in every role: what it signed as one kind of statement is never taken for another (BC-TRU-13, 14, 19, 25)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.review import new_review, sign_review
from blockcert.revocation import new_list, sign_list
from blockcert.rotation import sign_policy, successor
from blockcert.trust import ROLES, TrustPolicy
from blockcert_verifier import verify
from tests.support.bundles import NOW, Made, make_bundle

KINDS = ("certificate", "review", "list", "policy")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def made(original: Made, tmp_path: Path) -> Made:
    return original.copy(tmp_path)


def trusting(made: Made) -> TrustPolicy:
    (key,) = made.without_replay.keys
    return replace(made.without_replay, keys=(replace(key, roles=ROLES),))


def signed(made: Made, kind: str) -> bytes:
    """A statement of that kind by the key that has every role."""
    certificate = (made.bundle / STATEMENT).read_bytes()
    match kind:
        case "certificate":
            return certificate
        case "review":
            payload = parse_envelope(certificate, STATEMENT).payload
            return sign_review(new_review(payload, "objects", made_at=NOW, note="", report=None), made.key)[1]
        case "list":
            return sign_list(new_list(None, (), (), issued_at=NOW, next_update=NOW + timedelta(days=1)), made.key)
        case _:
            policy = trusting(made)
            return sign_policy(replace(policy, number=policy.number + 1), made.key, None, "policy")


@pytest.mark.parametrize("kind", KINDS)
def test_as_a_certificate(made: Made, kind: str) -> None:
    (made.bundle / STATEMENT).write_bytes(signed(made, kind))
    assert verify(made.bundle, trusting(made), at=NOW).verdict == ("accepted" if kind == "certificate" else "rejected")


@pytest.mark.parametrize("kind", KINDS)
def test_beside_a_certificate(made: Made, kind: str) -> None:
    data = signed(made, kind)
    (made.bundle / "appended").mkdir()
    (made.bundle / "appended" / "a.dsse.json").write_bytes(data)
    report = verify(made.bundle, trusting(made), at=NOW)
    said = {finding.code for finding in report.findings if finding.code.startswith(("appended.", "review."))}
    assert said == {{"review": "review.objection", "list": "appended.list"}.get(kind, "review.malformed")}
    assert report.verdict == ("rejected" if kind == "review" else "accepted")


@pytest.mark.parametrize("kind", KINDS)
def test_as_a_revocation_list(made: Made, tmp_path: Path, kind: str) -> None:
    (tmp_path / "given").write_bytes(signed(made, kind))
    if kind == "list":
        assert verify(made.bundle, trusting(made), at=NOW, revocations=tmp_path / "given").verdict == "accepted"
        return
    with pytest.raises(Refusal) as refused:
        verify(made.bundle, trusting(made), at=NOW, revocations=tmp_path / "given")
    assert refused.value.code == "envelope.payload_type"


@pytest.mark.parametrize("kind", KINDS)
def test_as_the_policy_that_follows(made: Made, kind: str) -> None:
    if kind == "policy":
        assert successor(trusting(made), signed(made, kind), NOW, "given").number == 2
        return
    with pytest.raises(Refusal) as refused:
        successor(trusting(made), signed(made, kind), NOW, "given")
    assert refused.value.code == "envelope.payload_type"
