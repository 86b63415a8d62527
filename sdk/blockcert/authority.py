"""Whose signatures count: the keys of a trust policy that signed an envelope, each once (``spec/11-trust.md``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from blockcert.dsse import Envelope, pae
from blockcert.errors import Refusal
from blockcert.keys import PublicKey, keyid
from blockcert.times import format_time
from blockcert.trust import Role, TrustedKey, TrustPolicy, window

__all__ = ["Authority", "Signer", "authorised"]


SIGNATURE_BYTES = 64
"""Of an Ed25519 signature (RFC 8032, section 5.1.6)."""


class Signer(Struct, frozen=True):
    """A trusted key that signed and counts. ``keyid_agrees``: the hint was empty or this key's id."""

    name: str
    key: PublicKey
    roles: tuple[Role, ...]
    keyid_agrees: bool


class Authority(Struct, frozen=True):
    """Who signed: the keys that count, each once, in the policy's order, and why other signatures do not."""

    signers: tuple[Signer, ...]
    discounted: tuple[Refusal, ...]

    def count(self, role: Role) -> int:
        """The number of different keys of this role that signed."""
        return len({signer.key.raw for signer in self.signers if role in signer.roles})


def authorised(
    policy: TrustPolicy,
    envelope: Envelope,
    now: datetime,
    issued_at: datetime | None,
    place: str = "statement.dsse.json",
    revoked: Mapping[bytes, str] = {},
    look: Callable[[], None] = lambda: None,
    made: dict[bytes, bytes | None] | None = None,
) -> Authority:
    """Which keys of ``policy`` signed ``envelope`` and count, and why each other signature does not.

    1. Every key is tried on every signature of 64 bytes, the same signature once; key ids only say which to try first.
       Each try hashes the whole payload: before each ``look`` is called, and what it raises ends them. Whoever calls
       again for the same envelope and policy gives the same dictionary as ``made``, in which is kept whose each is.
    2. Keys are told apart by their public bytes, so one key counts once however often it signed.
    3. A key counts if ``now``, the verifier's clock, lies in its window, and so does ``issued_at``, the time that the
       statement gives itself. That time stands in the payload, which must not be read before it is verified: with None
       only ``now`` is asked for, and the call is made again once the statement has been read.
    4. A key among ``revoked``, raw bytes to why, counts for nothing, whenever it says that it signed.

    Reasons, in the order of the signatures: ``signature.unknown_key``, ``signature.invalid`` (the key that it names is
    trusted, and it is not that key's signature), ``signature.repeated``, ``signature.key_revoked``,
    ``signature.key_not_valid_now``, ``signature.key_not_valid_when_issued``.
    """
    message = pae(envelope.payload_type, envelope.payload)
    keys = [(entry, PublicKey(bytes.fromhex(entry.public_key))) for entry in policy.keys]
    ids = {keyid(key): entry.name for entry, key in keys}
    known = {} if made is None else made
    counted: dict[bytes, Signer] = {}

    def made_it(key: PublicKey, sig: bytes) -> bool:
        look()
        return key.verify(sig, message)

    discounted: list[Refusal] = []
    for i, signature in enumerate(envelope.signatures):
        at = f"{place}: $.signatures[{i}]"
        if len(signature.sig) != SIGNATURE_BYTES:
            known[signature.sig] = None
        elif signature.sig not in known:
            ordered = sorted((key for _, key in keys), key=lambda key: keyid(key) != signature.keyid)
            known[signature.sig] = next((key.raw for key in ordered if made_it(key, signature.sig)), None)
        found = next((pair for pair in keys if pair[1].raw == known[signature.sig]), None)
        if found is None:
            discounted.append(_unverified(ids.get(signature.keyid), at))
            continue
        entry, key = found
        if key.raw in counted:
            reason = _repeated(entry, at)
        elif key.raw in revoked:
            sentence = f"The key {entry.name} was revoked: {revoked[key.raw]}."
            reason = Refusal("signature.key_revoked", at, sentence)
        else:
            reason = _untimely(entry, now, issued_at, at)
        if reason is not None:
            discounted.append(reason)
        else:
            agrees = signature.keyid in ("", keyid(key))
            counted[key.raw] = Signer(entry.name, key, entry.roles, agrees)
    signers = tuple(counted[key.raw] for _, key in keys if key.raw in counted)
    return Authority(signers, tuple(discounted))


def _unverified(named: str | None, place: str) -> Refusal:
    if named is not None:
        sentence = f"This is not a signature of the key {named}, which it names, nor of another trusted key."
        return Refusal("signature.invalid", place, sentence)
    return Refusal("signature.unknown_key", place, "No key of the trust policy made this signature.")


def _repeated(entry: TrustedKey, place: str) -> Refusal:
    return Refusal("signature.repeated", place, f"The key {entry.name} has signed already and counts once.")


def _untimely(entry: TrustedKey, now: datetime, issued_at: datetime | None, place: str) -> Refusal | None:
    span = window(entry, place)
    if not _within(now, span):
        code, what, time = "signature.key_not_valid_now", "now", now
    elif issued_at is not None and not _within(issued_at, span):
        code, what, time = "signature.key_not_valid_when_issued", "when this was issued", issued_at
    else:
        return None
    valid = f"from {entry.not_before or 'ever'} to {entry.not_after or 'ever'}"
    sentence = f"The key {entry.name} is trusted {valid}, and not {what}, at {format_time(time)}."
    return Refusal(code, place, sentence)


def _within(time: datetime, window: tuple[datetime | None, datetime | None]) -> bool:
    start, end = window
    return (start is None or start <= time) and (end is None or time <= end)
