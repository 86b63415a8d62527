"""The work of finding out whose signatures count: as little as there must be, and ended by whoever looks at a clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from blockcert.authority import authorised
from blockcert.dsse import Envelope, Signature, pae
from blockcert.errors import Refusal
from blockcert.keys import NamedKey, PublicKey, generate
from blockcert.trust import TrustPolicy, new_policy

KEYS = [generate() for _ in range(4)]
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MESSAGE = pae("application/vnd.in-toto+json", b"{}")


def policy() -> TrustPolicy:
    return new_policy([NamedKey(f"key-{i}", key.public) for i, key in enumerate(KEYS)], replay=False)


def envelope(*sigs: bytes) -> Envelope:
    return Envelope(b"{}", signatures=tuple(Signature("", sig) for sig in sigs))


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    found: list[bytes] = []
    verify = PublicKey.verify

    def counted(self: PublicKey, signature: bytes, message: bytes) -> bool:
        found.append(signature)
        return verify(self, signature, message)

    monkeypatch.setattr(PublicKey, "verify", counted)
    return found


def test_a_signature_of_another_length_is_not_tried(tries: list[bytes]) -> None:
    found = authorised(policy(), envelope(b"", b"x" * 63, b"x" * 65), NOW, None)
    assert [one.code for one in found.discounted] == ["signature.unknown_key"] * 3
    assert not tries


def test_the_same_signature_is_tried_once(tries: list[bytes]) -> None:
    good = KEYS[2].sign(MESSAGE)
    found = authorised(policy(), envelope(good, b"x" * 64, good, b"x" * 64), NOW, None)
    assert [signer.name for signer in found.signers] == ["key-2"]
    assert sorted(one.code for one in found.discounted) == [
        "signature.repeated",
        "signature.unknown_key",
        "signature.unknown_key",
    ]
    assert len(tries) == 3 + len(KEYS)


def test_a_second_question_about_one_envelope_tries_nothing_again(tries: list[bytes]) -> None:
    made: dict[bytes, bytes | None] = {}
    both = [
        authorised(policy(), envelope(KEYS[0].sign(MESSAGE), b"x" * 64), NOW, issued, made=made)
        for issued in (None, NOW)
    ]
    assert both[0].signers == both[1].signers
    assert len(tries) == 1 + len(KEYS)


def test_whoever_looks_ends_the_tries(tries: list[bytes]) -> None:
    left = 5

    def look() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Refusal("limit.seconds", "verification", "no time left")

    junk = [bytes([i]) * 64 for i in range(16)]
    with pytest.raises(Refusal) as refused:
        authorised(policy(), envelope(*junk), NOW, None, look=look)
    assert refused.value.code == "limit.seconds"
    assert len(tries) == 5
