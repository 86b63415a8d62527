"""Other people's tools read our envelopes and statements, and ours theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import PAYLOAD_TYPE, Envelope, add_signature, encode_envelope, pae, parse_envelope, verify_signature
from blockcert.errors import Refusal
from blockcert.keys import PublicKey, generate
from blockcert.statement import PREDICATE_TYPE, Statement
from blockcert_verifier import verify
from blockcert_verifier.steps import structure
from tests.support.bundles import NOW, Made, make_bundle

dsse = pytest.importorskip("securesystemslib.dsse", reason="needs securesystemslib")
signer = pytest.importorskip("securesystemslib.signer")
failed = pytest.importorskip("securesystemslib.exceptions").VerificationError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def theirs(key: PublicKey, name: str) -> object:
    """A public key as securesystemslib has it."""
    return signer.SSlibKey(name, "ed25519", "ed25519", {"public": key.raw.hex()})


def test_their_verifier_accepts_our_envelope_and_no_other(made: Made) -> None:
    document = json.loads((made.bundle / STATEMENT).read_bytes())
    envelope = dsse.Envelope.from_dict(document)
    [keyid] = envelope.signatures
    accepted = envelope.verify([theirs(made.key.public, keyid)], 1)
    assert list(accepted) == [keyid]
    assert envelope.pae() == pae(PAYLOAD_TYPE, envelope.payload)
    with pytest.raises(failed):
        envelope.verify([theirs(generate().public, keyid)], 1)
    envelope.payload += b" "
    with pytest.raises(failed):
        envelope.verify([theirs(made.key.public, keyid)], 1)


def test_two_of_our_signatures_meet_their_threshold() -> None:
    first, second = generate(), generate()
    ours = add_signature(add_signature(Envelope(b"{}"), first), second)
    envelope = dsse.Envelope.from_dict(json.loads(encode_envelope(ours)))
    keys = [theirs(key.public, s.keyid) for key, s in zip((first, second), ours.signatures, strict=True)]
    assert len(envelope.verify(keys, 2)) == 2


def test_our_verifier_accepts_a_bundle_that_they_signed(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    payload = parse_envelope((copy.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    theirs_key = signer.CryptoSigner.generate_ed25519()
    envelope = dsse.Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(theirs_key)
    (copy.bundle / STATEMENT).write_text(json.dumps(envelope.to_dict(), indent=2))
    public = PublicKey(bytes.fromhex(theirs_key.public_key.keyval["public"]))
    [signature] = parse_envelope((copy.bundle / STATEMENT).read_bytes(), STATEMENT).signatures
    assert verify_signature(public, PAYLOAD_TYPE, payload, signature.sig)

    from blockcert.keys import NamedKey
    from blockcert.trust import new_policy

    policy = new_policy([NamedKey("theirs", public)], replay=False)
    assert verify(copy.bundle, policy, at=NOW).verdict == "accepted"
    assert verify(copy.bundle, made.without_replay, at=NOW).verdict == "rejected"


def test_their_statement_type_reads_all_of_ours(made: Made) -> None:
    pytest.importorskip("in_toto_attestation", reason="needs in-toto-attestation")
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement, statement_pb2

    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    found = statement.Statement.copy_from_pb(json_format.Parse(payload, statement_pb2.Statement()))
    found.validate()
    ours = strict_json.decode(payload, Statement, STATEMENT)
    assert found.pb.predicate_type == PREDICATE_TYPE
    assert [(s.name, dict(s.digest)) for s in found.pb.subject] == [
        (s.name, {"blake3": s.digest.blake3, "sha256": s.digest.sha256}) for s in ours.subject
    ]
    # nothing is lost; but protobuf has floats alone, so that what it writes is another document than the signed one
    written = json_format.MessageToJson(found.pb).encode()
    assert json.loads(written) == json.loads(payload)
    with pytest.raises(Refusal) as refused:
        strict_json.decode(written, Statement, STATEMENT)
    assert refused.value.code == "json.number"


def test_a_statement_of_theirs_about_something_else_is_refused_by_its_type() -> None:
    pytest.importorskip("in_toto_attestation", reason="needs in-toto-attestation")
    from google.protobuf import json_format
    from in_toto_attestation.v1 import resource_descriptor, statement

    subject = resource_descriptor.ResourceDescriptor(name="model", digest={"sha256": "ab" * 32}).pb
    made = statement.Statement([subject], "https://slsa.dev/provenance/v1", {"buildType": "x"})
    made.validate()
    found, findings = structure.statement(json_format.MessageToJson(made.pb).encode())
    assert found is None
    assert [finding.code for finding in findings] == ["statement.predicate_type"]
