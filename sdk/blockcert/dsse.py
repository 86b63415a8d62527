"""DSSE 1.0 envelopes: a payload, its type, and any number of signatures over both.

The normative text is ``spec/04-statement.md``; the protocol is DSSE's (secure-systems-lab, protocol.md and
envelope.md, version 1.0.2). A signature covers the payload's bytes and type, so nothing has to be parsed
before it is verified, and no canonical JSON is needed. Reading takes either base64 alphabet, as DSSE
demands, but no second spelling within one; writing uses the standard one. BlockCert's envelope is closed: a
field that DSSE does not name is refused and not, as DSSE leaves to its consumers, ignored.
"""

import base64
import binascii
from typing import Annotated

import msgspec
from blake3 import blake3
from msgspec import Meta, Struct

from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert.keys import PublicKey, Signs, keyid

__all__ = [
    "LIMITS",
    "MAX_SIGNATURES",
    "PAYLOAD_TYPE",
    "Envelope",
    "Signature",
    "add_signature",
    "certificate_digest",
    "certificate_id",
    "encode_envelope",
    "pae",
    "parse_envelope",
    "verify_signature",
]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""The payload type of certificates and of what others state about them."""
MAX_SIGNATURES = 16
"""Most signatures of one envelope: each costs a pass over the payload for every key of the trust policy."""
LIMITS = strict_json.Limits(bytes=16 << 20, nesting=4, nodes=1024, string=16 << 20)
"""The caps on an envelope; its payload is one long string. With ``MAX_SIGNATURES`` they bound the work that anybody
can ask for before a signature is found to be nobody's."""


class Signature(Struct, frozen=True):
    """One signature, decoded. ``keyid`` is an unauthenticated hint and may be empty."""

    keyid: str
    sig: bytes


class Envelope(Struct, frozen=True):
    """An envelope, decoded: ``payload`` holds the very bytes that the signatures cover."""

    payload: bytes
    payload_type: str = PAYLOAD_TYPE
    signatures: tuple[Signature, ...] = ()


class _SignatureJson(Struct, frozen=True, forbid_unknown_fields=True):
    sig: Annotated[str, Meta(max_length=8192)]
    keyid: Annotated[str, Meta(max_length=256)] = ""


class _EnvelopeJson(Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payload_type: str = msgspec.field(name="payloadType")
    signatures: Annotated[tuple[_SignatureJson, ...], Meta(max_length=MAX_SIGNATURES)]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed (protocol.md, "Signature Definition")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def certificate_digest(payload: bytes) -> bytes:
    """The 32 bytes of the payload's BLAKE3 digest, as the replay draw takes them."""
    return blake3(payload).digest()


def certificate_id(payload: bytes) -> str:
    """``blake3:`` and the digest of the payload, in hexadecimal: an envelope has many spellings, it has one."""
    return "blake3:" + certificate_digest(payload).hex()


def parse_envelope(data: bytes, place: str, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """The envelope in ``data``, whose payload must be of ``payload_type``. No signature is verified here.

    Raises:
        Refusal: what the JSON gate refuses, ``envelope.base64``, ``envelope.payload_type``.
    """
    raw = strict_json.decode(data, _EnvelopeJson, place, LIMITS)
    if raw.payload_type != payload_type:
        raise Refusal(
            "envelope.payload_type",
            f"{place}: $.payloadType",
            f"The payload's type must be {payload_type}, not {raw.payload_type[:80]!r}.",
        )
    signatures = tuple(
        Signature(signature.keyid, _base64(signature.sig, f"{place}: $.signatures[{i}].sig"))
        for i, signature in enumerate(raw.signatures)
    )
    return Envelope(_base64(raw.payload, f"{place}: $.payload"), raw.payload_type, signatures)


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope as JSON: keys sorted, compact, standard base64; the same envelope gives the same bytes.

    Raises:
        Refusal: ``json.limit`` where the envelope would be larger than a reader accepts.
    """
    signatures = tuple(
        _SignatureJson(base64.b64encode(signature.sig).decode("ascii"), signature.keyid)
        for signature in envelope.signatures
    )
    payload = base64.b64encode(envelope.payload).decode("ascii")
    data = msgspec.json.encode(_EnvelopeJson(payload, envelope.payload_type, signatures), order="sorted")
    if len(data) > LIMITS.bytes:
        sentence = f"The envelope has {len(data)} bytes; at most {LIMITS.bytes} are accepted."
        raise Refusal("json.limit", "envelope", sentence)
    return data


def add_signature(envelope: Envelope, key: Signs, place: str = "envelope") -> Envelope:
    """The envelope with one more signature at the end; its payload and other signatures stay as they are.

    Raises:
        Refusal: ``signature.exists`` where this key has signed already, ``envelope.full`` at the cap,
            ``signature.not_made`` where what ``key`` made is not its public key's signature.
    """
    message = pae(envelope.payload_type, envelope.payload)
    if any(key.public.verify(signature.sig, message) for signature in envelope.signatures):
        raise Refusal("signature.exists", place, "This key has signed this already; a second signature adds nothing.")
    if len(envelope.signatures) >= MAX_SIGNATURES:
        raise Refusal("envelope.full", place, f"An envelope has at most {MAX_SIGNATURES} signatures; this one is full.")
    signature = Signature(keyid(key.public), key.sign(message))
    if not key.public.verify(signature.sig, message):
        sentence = "What the signer gave back is not a signature of this by the public key that was named."
        raise Refusal("signature.not_made", place, sentence)
    return Envelope(envelope.payload, envelope.payload_type, (*envelope.signatures, signature))


def verify_signature(key: PublicKey, payload_type: str, payload: bytes, sig: bytes) -> bool:
    """Whether ``sig`` is ``key``'s signature of the payload and its type.

    Encodes the payload anew; who has several keys or signatures to try makes the :func:`pae` once.
    """
    return key.verify(sig, pae(payload_type, payload))


def _base64(text: str, place: str) -> bytes:
    """The bytes of padded base64 in one of RFC 4648's alphabets, whose unused bits are zero."""
    standard = text.replace("-", "+").replace("_", "/") if not ("+" in text or "/" in text) else text
    try:
        data = base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError):
        data = None
    # b64decode passes over stray bits in the last digit: two spellings of one payload
    if data is None or base64.b64encode(data).decode("ascii") != standard:
        raise Refusal(
            "envelope.base64", place, "This is not base64: padded, one alphabet throughout, unused bits zero."
        )
    return data
