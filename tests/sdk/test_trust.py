"""The trust policy: what it may say, and whose signatures count.

Requirements: BC-TRU-01 to 09, BC-TRU-12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.authority import authorised
from blockcert.dsse import PAYLOAD_TYPE, Envelope, Signature, add_signature, pae
from blockcert.errors import Refusal
from blockcert.keys import NamedKey, PrivateKey, PublicKey, generate, keyid
from blockcert.trust import NO_LIMITS, Coverage, Limits, TrustPolicy, encode_policy, new_policy, parse_policy

KEYS = [generate() for _ in range(4)]
NAMES = ["ann", "ben", "cem", "dot"]
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EARLIER = datetime(2026, 5, 1, tzinfo=UTC)


def named(*indices: int) -> list[NamedKey]:
    return [NamedKey(NAMES[i], KEYS[i].public) for i in indices]


def key_json(i: int, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": NAMES[i],
        "algorithm": "ed25519",
        "public_key": KEYS[i].public.raw.hex(),
        "roles": ["producer"],
        "not_before": None,
        "not_after": None,
    }
    return fields | changes


def policy_json(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "type": "blockcert-trust-policy",
        "version": 1,
        "keys": [key_json(0), key_json(1)],
        "thresholds": {"producer": 1},
        "accept": {"predicate_types": ["urn:blockcert:certificate:v1"], "versions": ["1.0"]},
        "require": ["structure", "authenticity", "integrity", "recompute", "replay", "policy"],
        "limits": {
            "least_audit_rows": 16,
            "coverage": {"threshold": "0.05", "share": "0.95"},
            "relative_drift": "0.5",
            "top1_share": "0.99",
            "least_basis": "measurement",
            "greatest_age_days": 365,
            "kl_mean": "0.01",
            "loss_difference": "0.005",
            "logit_difference": "2",
        },
    }
    return json.dumps(fields | changes).encode()


def limits_json(**changes: Any) -> bytes:
    return policy_json(limits=json.loads(policy_json())["limits"] | changes)


def policy(**changes: Any) -> TrustPolicy:
    return parse_policy(policy_json(**changes), "trust.json")


# --- what a policy may say --------------------------------------------------------------------------------


def test_a_whole_policy_is_read() -> None:
    found = policy()
    assert found.limits == Limits(16, Coverage("0.05", "0.95"), "0.5", "0.99", "measurement", 365, "0.01", "0.005", "2")
    assert [key.name for key in found.keys] == ["ann", "ben"]


def test_no_limits() -> None:
    assert policy(limits=dict.fromkeys(json.loads(policy_json())["limits"])).limits == NO_LIMITS


@pytest.mark.parametrize("replay", [True, False])
def test_a_new_policy_comes_back_from_its_file(replay: bool) -> None:
    made = new_policy(named(0, 1), replay=replay, threshold=2, not_before=EARLIER, not_after=NOW)
    assert parse_policy(encode_policy(made), "trust.json") == made
    assert ("replay" in made.require) == replay
    assert made.keys[0].not_before == "2026-05-01T00:00:00Z"
    assert encode_policy(made).endswith(b"}\n")


SMALL_ORDER = "00" * 32

BAD_POLICIES: dict[str, tuple[bytes, str, str]] = {
    "not JSON": (b"trust me", "json.syntax", ""),
    "a duplicate field": (policy_json()[:-1] + b',"version":1}', "json.duplicate_key", ""),
    "another type": (policy_json(type="blockcert-report"), "json.type", "$.type"),
    "another version": (policy_json(version=2), "json.type", "$.version"),
    "an unknown field": (policy_json(revocations=[]), "json.type", "$"),
    "a field left out": (b'{"type":"blockcert-trust-policy","version":1}', "json.type", "$"),
    "a limit left out": (policy_json(limits={"coverage": None}), "json.type", "$.limits"),
    "an unknown field of a key": (policy_json(keys=[key_json(0, comment="")]), "json.type", "$.keys[0]"),
    "an algorithm that is not there yet": (
        policy_json(keys=[key_json(0, algorithm="ml-dsa-65")]),
        "json.type",
        "$.keys[0].algorithm",
    ),
    "an unknown role": (policy_json(keys=[key_json(0, roles=["root"])]), "json.type", "$.keys[0].roles[0]"),
    "a key without a role": (policy_json(keys=[key_json(0, roles=[])]), "json.type", "$.keys[0].roles"),
    "a role given twice": (
        policy_json(keys=[key_json(0, roles=["producer", "producer"])]),
        "trust.key",
        "$.keys[0].roles",
    ),
    "a key in upper case": (
        policy_json(keys=[key_json(0, public_key="AB" * 32)]),
        "json.type",
        "$.keys[0].public_key",
    ),
    "a short key": (policy_json(keys=[key_json(0, public_key="ab" * 31)]), "json.type", "$.keys[0].public_key"),
    "a small-order key": (
        policy_json(keys=[key_json(1), key_json(0, public_key=SMALL_ORDER)]),
        "key.public.small_order",
        "$.keys[1].public_key",
    ),
    "a key that is no point": (
        policy_json(keys=[key_json(0, public_key="02" + "00" * 31)]),
        "key.public.not_on_curve",
        "$.keys[0].public_key",
    ),
    "an unsafe name": (policy_json(keys=[key_json(0, name="a\u001b[2J")]), "key.name", "$.keys[0].name"),
    "one name twice": (policy_json(keys=[key_json(0), key_json(1, name="ann")]), "trust.key", "$.keys[1]"),
    "one name in two cases": (policy_json(keys=[key_json(0), key_json(1, name="Ann")]), "trust.key", "$.keys[1]"),
    "one key under two names": (
        policy_json(keys=[key_json(0), key_json(1), key_json(0, name="zed")], thresholds={"producer": 2}),
        "trust.key",
        "$.keys[2]",
    ),
    "a window that ends before it begins": (
        policy_json(keys=[key_json(0, not_before="2026-02-01T00:00:00Z", not_after="2026-01-01T00:00:00Z")]),
        "trust.window",
        "$.keys[0]",
    ),
    "a window of no length": (
        policy_json(keys=[key_json(0, not_before="2026-02-01T00:00:00Z", not_after="2026-02-01T00:00:00Z")]),
        "trust.window",
        "$.keys[0]",
    ),
    "a time in another spelling": (
        policy_json(keys=[key_json(0, not_before="2026-02-01")]),
        "json.type",
        "$.keys[0].not_before",
    ),
    "a day that does not exist": (
        policy_json(keys=[key_json(0, not_after="2026-02-30T00:00:00Z")]),
        "time.calendar",
        "$.keys[0].not_after",
    ),
    "no keys": (policy_json(keys=[]), "trust.threshold", "$.thresholds.producer"),
    "a threshold out of reach": (
        policy_json(thresholds={"producer": 3}),
        "trust.threshold",
        "$.thresholds.producer",
    ),
    "a threshold that only auditors could reach": (
        policy_json(keys=[key_json(0, roles=["auditor"])]),
        "trust.threshold",
        "$.thresholds.producer",
    ),
    "a threshold of none": (policy_json(thresholds={"producer": 0}), "json.type", "$.thresholds.producer"),
    "no threshold": (policy_json(thresholds={}), "json.type", "$.thresholds"),
    "a threshold that is no integer": (policy_json(thresholds={"producer": 1.0}), "json.number", ""),
    "nothing required": (policy_json(require=[]), "trust.require", "$.require"),
    "signatures not required": (policy_json(require=["structure", "integrity"]), "trust.require", "$.require"),
    "a step required twice": (
        policy_json(require=["structure", "authenticity", "integrity", "integrity"]),
        "trust.require",
        "$.require",
    ),
    "an unknown step": (policy_json(require=["luck"]), "json.type", "$.require[0]"),
    "no version accepted": (
        policy_json(accept={"predicate_types": ["urn:blockcert:certificate:v1"], "versions": []}),
        "json.type",
        "$.accept.versions",
    ),
    "a share above one": (limits_json(top1_share="1.01"), "trust.limit", "$.limits.top1_share"),
    "a negative share": (
        limits_json(coverage={"threshold": "0.05", "share": "-0.1"}),
        "trust.limit",
        "$.limits.coverage.share",
    ),
    "a negative threshold": (
        limits_json(coverage={"threshold": "-1", "share": "0.9"}),
        "trust.limit",
        "$.limits.coverage.threshold",
    ),
    "a population limit above one": (
        limits_json(population=[{"kind": "top1", "share": "1", "threshold": None, "at_least": "1.1", "alpha": "0.05"}]),
        "trust.limit",
        "$.limits.population[0].at_least",
    ),
    "a population limit of nothing": (limits_json(population=[]), "json.type", "$.limits.population"),
    "a negative divergence": (limits_json(kl_mean="-0.5"), "trust.limit", "$.limits.kl_mean"),
    "a limit and no step that applies it": (
        policy_json(require=["structure", "authenticity", "integrity", "replay"]),
        "trust.limit_unused",
        "$.limits.least_audit_rows",
    ),
    "an audit asked for and no replay": (
        policy_json(require=["structure", "authenticity", "integrity", "policy"]),
        "trust.limit_unused",
        "$.limits.least_audit_rows",
    ),
    "a negative drift": (limits_json(relative_drift="-0.5"), "trust.limit", "$.limits.relative_drift"),
    "a limit in another spelling": (limits_json(relative_drift="0.50"), "json.type", "$.limits.relative_drift"),
    "minus zero": (limits_json(relative_drift="-0"), "json.type", "$.limits.relative_drift"),
    "an audit of no rows": (limits_json(least_audit_rows=0), "json.type", "$.limits.least_audit_rows"),
    "an unknown basis": (limits_json(least_basis="faith"), "json.type", "$.limits.least_basis"),
    "too long": (policy_json(keys=[key_json(0)] * 20_000), "json.limit", ""),
}


@pytest.mark.parametrize("case", BAD_POLICIES)
def test_bad_policies(case: str) -> None:
    data, code, path = BAD_POLICIES[case]
    with pytest.raises(Refusal) as refusal:
        parse_policy(data, "trust.json")
    assert refusal.value.code == code
    file, _, inside = refusal.value.place.partition(": ")
    assert file == "trust.json"
    if path:
        assert inside == path
    assert re.fullmatch(r"[A-Z'].*\.", refusal.value.sentence)


def test_a_new_policy_is_checked_like_a_file() -> None:
    cases: list[Callable[[], TrustPolicy]] = [
        lambda: new_policy([], replay=True),
        lambda: new_policy(named(0), replay=True, threshold=2),
    ]
    for case in cases:
        with pytest.raises(Refusal) as refusal:
            case()
        assert refusal.value.code == "trust.threshold"
    with pytest.raises(Refusal) as refusal:
        new_policy([*named(0), NamedKey("zed", KEYS[0].public)], replay=True)
    assert refusal.value.code == "trust.key"


# --- whose signatures count -------------------------------------------------------------------------------


def signed(*keys: PrivateKey, payload: bytes = b"{}") -> Envelope:
    envelope = Envelope(payload)
    for key in keys:
        envelope = add_signature(envelope, key)
    return envelope


def signature(key: PrivateKey, hint: str, payload: bytes = b"{}") -> Signature:
    return Signature(hint, key.sign(pae(PAYLOAD_TYPE, payload)))


def outcome(found: TrustPolicy, envelope: Envelope) -> tuple[list[str], list[str]]:
    authority = authorised(found, envelope, NOW, EARLIER)
    return [s.name for s in authority.signers], [refusal.code for refusal in authority.discounted]


def test_each_trusted_key_counts() -> None:
    found = authorised(policy(), signed(KEYS[1], KEYS[0]), NOW, EARLIER)
    assert [signer.name for signer in found.signers] == ["ann", "ben"]
    assert found.count("producer") == 2
    assert found.discounted == ()


def test_an_unsigned_envelope_has_no_signers() -> None:
    assert outcome(policy(), Envelope(b"{}")) == ([], [])


def test_one_key_counts_once_however_often_it_signs() -> None:
    """The recurring mistake: a key that signs under several key ids is one key."""
    hints = (keyid(KEYS[0].public), "", "another", keyid(KEYS[1].public), "0" * 64)
    envelope = Envelope(b"{}", signatures=tuple(signature(KEYS[0], hint) for hint in hints))
    assert outcome(policy(), envelope) == (["ann"], ["signature.repeated"] * 4)
    assert authorised(policy(), envelope, NOW, EARLIER).count("producer") == 1


def test_a_key_id_neither_helps_nor_hurts() -> None:
    for hint in ("", "nonsense", keyid(KEYS[1].public), keyid(KEYS[3].public)):
        assert outcome(policy(), Envelope(b"{}", signatures=(signature(KEYS[0], hint),))) == (["ann"], [])
    stranger = Envelope(b"{}", signatures=(signature(KEYS[3], keyid(KEYS[0].public)),))
    assert outcome(policy(), stranger) == ([], ["signature.invalid"])


def test_a_hint_that_disagrees_is_told() -> None:
    for hint, agrees in (("", True), (keyid(KEYS[0].public), True), ("nonsense", False)):
        envelope = Envelope(b"{}", signatures=(signature(KEYS[0], hint),))
        assert authorised(policy(), envelope, NOW, None).signers[0].keyid_agrees == agrees


def test_a_stranger_does_not_count_and_does_no_harm() -> None:
    assert outcome(policy(), signed(KEYS[3], KEYS[0])) == (["ann"], ["signature.unknown_key"])


DAMAGE: dict[str, Callable[[Envelope], Envelope]] = {
    "the payload": lambda e: Envelope(e.payload + b" ", e.payload_type, e.signatures),
    "the payload type": lambda e: Envelope(e.payload, "application/json", e.signatures),
    "the signature": lambda e: Envelope(
        e.payload,
        e.payload_type,
        (Signature(e.signatures[0].keyid, e.signatures[0].sig[:-1] + bytes([e.signatures[0].sig[-1] ^ 1])),),
    ),
    "the signature's length": lambda e: Envelope(e.payload, e.payload_type, (Signature(e.signatures[0].keyid, b""),)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage(what: str) -> None:
    damaged = DAMAGE[what](signed(KEYS[0]))
    found = authorised(policy(), damaged, NOW, EARLIER)
    assert found.signers == ()
    (reason,) = found.discounted
    assert reason.code == "signature.invalid"
    assert reason.place == "statement.dsse.json: $.signatures[0]"
    assert "ann" in reason.sentence


WINDOWS: dict[str, tuple[str | None, str | None, list[str]]] = {
    "open": (None, None, []),
    "around both": ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", []),
    "exactly from the one to the other": ("2026-05-01T00:00:00Z", "2026-06-01T12:00:00Z", []),
    "over by now": (None, "2026-06-01T11:59:59Z", ["signature.key_not_valid_now"]),
    "begun only after now": ("2026-06-01T12:00:01Z", None, ["signature.key_not_valid_now"]),
    "begun after the stated time": ("2026-05-01T00:00:01Z", None, ["signature.key_not_valid_when_issued"]),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_a_key_counts_within_its_window_by_both_clocks(case: str) -> None:
    start, end, codes = WINDOWS[case]
    found = policy(keys=[key_json(0, not_before=start, not_after=end)])
    assert outcome(found, signed(KEYS[0])) == ([] if codes else ["ann"], codes)


def test_a_time_stated_after_the_window_does_not_count_either() -> None:
    found = policy(keys=[key_json(0, not_after="2026-07-01T00:00:00Z")])
    later = datetime(2026, 8, 1, tzinfo=UTC)
    assert [r.code for r in authorised(found, signed(KEYS[0]), NOW, later).discounted] == [
        "signature.key_not_valid_when_issued"
    ]


def test_before_the_statement_is_read_only_the_verifiers_clock_is_asked() -> None:
    found = policy(keys=[key_json(0, not_before="2026-05-15T00:00:00Z")])
    assert len(authorised(found, signed(KEYS[0]), NOW, None).signers) == 1
    assert len(authorised(found, signed(KEYS[0]), NOW, EARLIER).signers) == 0


def test_a_time_without_a_zone_is_our_fault() -> None:
    found = policy(keys=[key_json(0, not_before="2026-05-15T00:00:00Z")])
    with pytest.raises(TypeError):
        authorised(found, signed(KEYS[0]), NOW.replace(tzinfo=None), None)


def test_roles_are_counted_apart() -> None:
    keys = [key_json(0), key_json(1, roles=["auditor"]), key_json(2, roles=["producer", "auditor"])]
    found = authorised(policy(keys=keys), signed(*KEYS), NOW, EARLIER)
    assert (found.count("producer"), found.count("auditor"), found.count("revoker")) == (2, 2, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=4), st.booleans()), max_size=8))
def test_the_count_is_the_number_of_trusted_keys_with_a_good_signature(
    made: list[tuple[int, str, bool]],
) -> None:
    signatures = [signature(KEYS[i], hint, b"{}" if good else b"[]") for i, hint, good in made]
    found = authorised(policy(), Envelope(b"{}", signatures=tuple(signatures)), NOW, EARLIER)
    expected = {KEYS[i].public.raw for i, _, good in made if good and i < 2}
    assert {signer.key.raw for signer in found.signers} == expected
    assert found.count("producer") == len(expected) == len(found.signers)
    assert len(found.signers) + len(found.discounted) == len(signatures)


def test_a_policy_never_holds_a_key_that_could_not_be_a_public_key() -> None:
    for key in policy().keys:
        assert PublicKey(bytes.fromhex(key.public_key)).raw.hex() == key.public_key
