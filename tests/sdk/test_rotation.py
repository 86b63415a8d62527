"""Rotation: who may follow a policy, and who may say so (BC-TRU-25)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from blockcert.dsse import Envelope, add_signature, encode_envelope
from blockcert.errors import Refusal
from blockcert.keys import NamedKey, PrivateKey, generate
from blockcert.rotation import PAYLOAD_TYPE, sign_policy, successor
from blockcert.trust import TrustPolicy, encode_policy, new_policy

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
PRODUCER, *OWNERS = (generate() for _ in range(5))


def policy(number: int, owners: Sequence[int], threshold: int = 1) -> TrustPolicy:
    named = [NamedKey(f"owner-{i}", OWNERS[i].public) for i in owners]
    made = new_policy([NamedKey("vendor", PRODUCER.public)], replay=True, others={"owner": named})
    return replace(made, number=number, thresholds=replace(made.thresholds, owner=threshold))


def signed(new: TrustPolicy, *keys: PrivateKey) -> bytes:
    data: bytes | None = None
    for key in keys:
        data = sign_policy(new, key, data, "signed")
    assert data is not None
    return data


def test_the_next_policy_signed_by_both_is_taken() -> None:
    old, new = policy(1, [0, 1], 2), policy(2, [1, 2], 2)
    assert successor(old, signed(new, *OWNERS[:3]), NOW, "signed") == new


REFUSED: dict[str, tuple[TrustPolicy, TrustPolicy, list[int], str]] = {
    "too few of the old": (policy(1, [0, 1], 2), policy(2, [1, 2], 2), [1, 2], "trust.rotation.threshold"),
    "too few of the new": (policy(1, [0, 1], 2), policy(2, [2, 3], 2), [0, 1, 2], "trust.rotation.threshold"),
    "by a stranger": (policy(1, [0]), policy(2, [0]), [3], "trust.rotation.threshold"),
    "a number left out": (policy(1, [0]), policy(3, [0]), [0], "trust.rotation.number"),
    "the same number": (policy(2, [0]), policy(2, [0]), [0], "trust.rotation.number"),
    "a number back": (policy(2, [0]), policy(1, [0]), [0], "trust.rotation.number"),
    "nobody owned the old": (policy(1, []), policy(2, [0]), [0], "trust.rotation.no_owner"),
    "nobody owns the new": (policy(1, [0]), policy(2, []), [0], "trust.rotation.no_owner"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_taken(case: str) -> None:
    old, new, keys, code = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        successor(old, signed(new, *(OWNERS[i] for i in keys)), NOW, "signed")
    assert refused.value.code == code


def test_a_producers_signature_is_no_owners() -> None:
    with pytest.raises(Refusal) as refused:
        successor(policy(1, [0]), signed(policy(2, [0]), PRODUCER), NOW, "signed")
    assert refused.value.code == "trust.rotation.threshold"


def test_an_owner_outside_its_window_does_not_count() -> None:
    old, new = policy(1, [0]), policy(2, [0])
    ended = tuple(replace(k, not_after="2026-05-01T00:00:00Z") if "owner" in k.roles else k for k in old.keys)
    data = signed(new, OWNERS[0])
    assert successor(old, data, NOW, "signed") == new
    with pytest.raises(Refusal) as refused:
        successor(replace(old, keys=ended), data, NOW, "signed")
    assert refused.value.code == "trust.rotation.threshold"


def test_a_policy_as_the_payload_of_a_certificate_is_no_signed_policy() -> None:
    new = policy(2, [0])
    data = encode_envelope(add_signature(Envelope(encode_policy(new)), OWNERS[0]))
    with pytest.raises(Refusal) as refused:
        successor(policy(1, [0]), data, NOW, "signed")
    assert refused.value.code == "envelope.payload_type"


def test_a_bad_policy_is_refused_however_well_signed() -> None:
    payload = encode_policy(policy(2, [0])).replace(b'"structure",', b"")
    data = encode_envelope(add_signature(Envelope(payload, PAYLOAD_TYPE), OWNERS[0]))
    with pytest.raises(Refusal) as refused:
        successor(policy(1, [0]), data, NOW, "signed")
    assert refused.value.code == "trust.require"


def test_signatures_are_added_to_the_same_policy_only() -> None:
    data = signed(policy(2, [0]), OWNERS[0])
    for other, key, code in (
        (policy(2, [0, 1]), OWNERS[1], "trust.rotation.other"),
        (policy(2, [0]), OWNERS[0], "signature.exists"),
    ):
        with pytest.raises(Refusal) as refused:
            sign_policy(other, key, data, "signed")
        assert refused.value.code == code
