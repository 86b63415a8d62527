"""Envelopes: DSSE's published vectors, one reading of every envelope, and signatures that disturb nothing.

Requirements: BC-STM-01 to 07.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from blockcert.authority import authorised
from blockcert.dsse import (
    LIMITS,
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    add_signature,
    certificate_digest,
    certificate_id,
    encode_envelope,
    pae,
    parse_envelope,
    verify_signature,
)
from blockcert.errors import Refusal
from blockcert.keys import NamedKey, PrivateKey, PublicKey, generate, keyid, public_from_hex
from blockcert.trust import new_policy

# The keys of RFC 8032, section 7.1, tests 1 and 2, with which DSSE's vectors (testvectors/vectors.json) are
# signed.
A = PrivateKey(
    public_from_hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "A"),
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
)
B = PrivateKey(
    public_from_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "B"),
    bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
)
BODY = b'{"_type":"https://in-toto.io/Statement/v1"}'

# name: key, payload type, payload, base64 of the signature that DSSE publishes
PUBLISHED = {
    "single-signature": (
        A,
        PAYLOAD_TYPE,
        BODY,
        "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA==",
    ),
    "url-safe-base64": (
        A,
        PAYLOAD_TYPE,
        b"\xfb\xff\xbf>?",
        "P+/KHICeR7tI6S/YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU/svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw==",
    ),
    "non-ascii-payload-type": (
        A,
        "application/vnd.exämple+json",
        BODY,
        "xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw==",
    ),
    "empty-payload": (
        A,
        PAYLOAD_TYPE,
        b"",
        "gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg==",
    ),
    "empty-payload-type": (
        A,
        "",
        BODY,
        "iC3q/+3Rm0+lpAJRueDmDh15PnwCfxKmS0NAfKsbv+zgulXQC/WM9trc+j1XEqlwDIg/vf/uNfebeD6sxInrDg==",
    ),
    "threshold-two-distinct-keys": (
        B,
        PAYLOAD_TYPE,
        BODY,
        "c1+67/aT0yqEpwx8PsVY3MLHsj9D0CZ014/Fv/QlG59P+9CobUZ7xECJ/V3USG0Ob9CiE5LjReEZUzNF2l7eBw==",
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_signatures(case: str) -> None:
    key, kind, payload, text = PUBLISHED[case]
    signature = base64.b64decode(text)
    assert key.sign(pae(kind, payload)) == signature
    assert verify_signature(key.public, kind, payload, signature)
    assert not verify_signature(key.public, kind + "x", payload, signature)
    assert not verify_signature(key.public, kind, payload + b"x", signature)


def test_published_pre_authentication_encoding() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


@given(st.tuples(st.text(), st.binary()), st.tuples(st.text(), st.binary()))
def test_pre_authentication_encoding_is_injective(one: tuple[str, bytes], two: tuple[str, bytes]) -> None:
    assert (pae(*one) == pae(*two)) == (one == two)


def envelope_json(**changes: object) -> bytes:
    fields: dict[str, object] = {"payload": "e30=", "payloadType": PAYLOAD_TYPE, "signatures": []}
    return json.dumps(fields | changes, ensure_ascii=False).encode()


def test_url_safe_base64_is_read_and_standard_base64_written() -> None:
    sig = PUBLISHED["url-safe-base64"][3].replace("+", "-").replace("/", "_")
    envelope = parse_envelope(envelope_json(payload="-_-_Pj8=", signatures=[{"sig": sig}]), "e")
    assert envelope.payload == b"\xfb\xff\xbf>?"
    assert verify_signature(A.public, envelope.payload_type, envelope.payload, envelope.signatures[0].sig)
    written = json.loads(encode_envelope(envelope))
    assert written["payload"] == "+/+/Pj8="
    assert written["signatures"] == [{"keyid": "", "sig": PUBLISHED["url-safe-base64"][3]}]


BAD_ENVELOPES = {
    "no payload": (b'{"payloadType":"application/vnd.in-toto+json","signatures":[]}', "json.type"),
    "no signatures": (b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json"}', "json.type"),
    "another payload type": (envelope_json(payloadType="application/json"), "envelope.payload_type"),
    "payload type in another case": (envelope_json(payloadType=PAYLOAD_TYPE.upper()), "envelope.payload_type"),
    "an unknown field": (envelope_json(extra=1), "json.type"),
    "an unknown field of a signature": (envelope_json(signatures=[{"sig": "", "cert": ""}]), "json.type"),
    "a signature without sig": (envelope_json(signatures=[{"keyid": "a"}]), "json.type"),
    "a keyid that is null": (envelope_json(signatures=[{"keyid": None, "sig": ""}]), "json.type"),
    "too many signatures": (envelope_json(signatures=[{"sig": "e30="}] * (MAX_SIGNATURES + 1)), "json.type"),
    "a duplicate key": (envelope_json()[:-1] + b',"payload":"e30="}', "json.duplicate_key"),
    "a byte-order mark": (b"\xef\xbb\xbf" + envelope_json(), "json.encoding"),
    "two documents": (envelope_json() * 2, "json.syntax"),
    "deep nesting": (envelope_json(payload=[[[[[]]]]]), "json.limit"),
    "an array": (b"[]", "json.type"),
    "nothing": (b"", "json.syntax"),
    "base64 without padding": (envelope_json(payload="e30"), "envelope.base64"),
    "too much padding": (envelope_json(payload="e30=="), "envelope.base64"),
    "padding inside": (envelope_json(payload="e30=e30="), "envelope.base64"),
    "stray bits": (envelope_json(payload="e31="), "envelope.base64"),
    "a line break": (envelope_json(payload="e30=\n"), "envelope.base64"),
    "a space": (envelope_json(payload=" e30="), "envelope.base64"),
    "both alphabets": (envelope_json(payload="+_+_Pj8="), "envelope.base64"),
    "not ASCII": (envelope_json(payload="é30="), "envelope.base64"),
    "a signature that is no base64": (envelope_json(signatures=[{"sig": "!"}]), "envelope.base64"),
}


@pytest.mark.parametrize("case", BAD_ENVELOPES)
def test_bad_envelopes(case: str) -> None:
    data, code = BAD_ENVELOPES[case]
    with pytest.raises(Refusal) as refusal:
        parse_envelope(data, "statement.dsse.json")
    assert refusal.value.code == code
    assert refusal.value.place.startswith("statement.dsse.json")
    assert re.fullmatch(r"[A-Z].*\.", refusal.value.sentence)


def test_the_place_names_the_signature_that_is_wrong() -> None:
    with pytest.raises(Refusal) as refusal:
        parse_envelope(envelope_json(signatures=[{"sig": "e30="}, {"sig": "?"}]), "e")
    assert refusal.value.place == "e: $.signatures[1].sig"


envelopes = st.builds(
    Envelope,
    st.binary(max_size=100),
    st.just(PAYLOAD_TYPE),
    st.lists(
        st.builds(Signature, st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=80)), max_size=5
    ).map(tuple),
)


@given(envelopes)
def test_an_envelope_comes_back(envelope: Envelope) -> None:
    assert parse_envelope(encode_envelope(envelope), "e") == envelope


@given(envelopes)
def test_a_new_signature_leaves_the_rest_alone(envelope: Envelope) -> None:
    signed = add_signature(envelope, A)
    assert signed.payload == envelope.payload
    assert signed.signatures[:-1] == envelope.signatures
    assert signed.signatures[-1].keyid == keyid(A.public)
    assert verify_signature(A.public, signed.payload_type, signed.payload, signed.signatures[-1].sig)
    assert certificate_id(signed.payload) == certificate_id(envelope.payload)


def test_a_key_signs_once_and_another_key_after_it() -> None:
    signed = add_signature(add_signature(Envelope(b"{}"), A), B)
    for key in (A, B):
        with pytest.raises(Refusal) as refusal:
            add_signature(signed, key)
        assert refusal.value.code == "signature.exists"


def test_a_foreign_signature_under_this_keys_id_does_not_keep_the_key_from_signing() -> None:
    planted = Envelope(b"{}", signatures=(Signature(keyid(A.public), bytes(64)),))
    assert len(add_signature(planted, A).signatures) == 2


def test_a_signature_under_another_keyid_still_counts_as_this_keys() -> None:
    renamed = Envelope(b"{}", signatures=(Signature("other", A.sign(pae(PAYLOAD_TYPE, b"{}"))),))
    with pytest.raises(Refusal) as refusal:
        add_signature(renamed, A)
    assert refusal.value.code == "signature.exists"


def test_a_full_envelope_takes_no_more() -> None:
    full = Envelope(b"{}", signatures=(Signature("", b""),) * MAX_SIGNATURES)
    with pytest.raises(Refusal) as refusal:
        add_signature(full, generate())
    assert refusal.value.code == "envelope.full"


def test_certificate_id_is_the_digest_of_the_payload() -> None:
    assert certificate_id(b"") == "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert certificate_id(b"abc") == f"blake3:{blake3(b'abc').hexdigest()}"
    assert certificate_digest(b"abc").hex() == certificate_id(b"abc").removeprefix("blake3:")


def test_an_unsigned_envelope_is_spelled_exactly_so() -> None:
    expected = b'{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[]}'
    assert encode_envelope(Envelope(b"{}")) == expected


def test_a_large_payload_passes_the_gate() -> None:
    payload = bytes(range(256)) * (1 << 14)
    assert parse_envelope(encode_envelope(Envelope(payload)), "e").payload == payload


def test_a_payload_that_no_reader_would_take_is_not_written() -> None:
    largest = LIMITS.bytes // 4 * 3
    with pytest.raises(Refusal) as refusal:
        encode_envelope(Envelope(bytes(largest)))
    assert refusal.value.code == "json.limit"
    with pytest.raises(Refusal) as refusal:
        parse_envelope(b" " * (LIMITS.bytes + 1), "e")
    assert refusal.value.code == "json.limit"


def test_signatures_of_nobody_cost_a_bounded_number_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone can write them: each is tried on each key, once, over an encoding of the payload that is made once."""
    passes: list[int] = []

    def verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
        passes.append(id(message))
        return False

    monkeypatch.setattr(PublicKey, "verify", verify)
    policy = new_policy([NamedKey(f"k{i}", generate().public) for i in range(3)], replay=False)
    signatures = tuple(Signature("", bytes([i]) * 64) for i in range(MAX_SIGNATURES))
    authority = authorised(policy, Envelope(b"{}", signatures=signatures), datetime(2026, 11, 22, tzinfo=UTC), None)
    assert authority.signers == ()
    assert len(passes) == 3 * 16
    assert len(set(passes)) == 1


def test_a_public_key_is_all_that_verification_needs() -> None:
    signed = add_signature(Envelope(b"{}"), A)
    assert verify_signature(PublicKey(A.public.raw), PAYLOAD_TYPE, b"{}", signed.signatures[0].sig)
