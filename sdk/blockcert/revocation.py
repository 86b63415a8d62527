"""Revocation lists: certificates and keys that no longer count, signed, numbered, and valid until the next update.

The normative text is ``spec/11-trust.md``, "Revocation"; the JSON Schema is ``schemas/revocation-list.schema.json``.
A list stands in a DSSE envelope of its own payload type. The clock is the caller's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from blake3 import blake3
from msgspec import Meta, Struct

from blockcert import strict_json
from blockcert.dsse import Envelope, add_signature, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import Signs, public_from_hex
from blockcert.program import Hash
from blockcert.statement import Text, Time
from blockcert.times import format_time, parse_time

__all__ = [
    "PAYLOAD_TYPE",
    "Reason",
    "RevocationList",
    "RevocationState",
    "RevokedCertificate",
    "RevokedKey",
    "SignedList",
    "add_to_list",
    "check_carries_on",
    "encode_state",
    "new_list",
    "parse_list",
    "parse_state",
    "read_list",
    "sign_list",
]

PAYLOAD_TYPE = "application/vnd.blockcert.revocations+json"
"""The payload type of a revocation list's envelope."""
Reason: TypeAlias = Literal["error", "superseded", "withdrawn", "key-compromise"]
Positive: TypeAlias = Annotated[int, Meta(ge=1, lt=1 << 53)]

_GATE = strict_json.Limits(bytes=8 << 20, nesting=5, nodes=1 << 18, string=4096)
_STATE_GATE = strict_json.Limits(bytes=1 << 15, nesting=2, nodes=512, string=256)


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen and closed to unknown fields."""


class RevokedCertificate(_Record, frozen=True):
    """A certificate that no longer counts: the digest part of its id, since when, why, and what replaces it."""

    certificate: Hash
    revoked_at: Time
    reason: Reason
    note: Text = ""
    superseded_by: Hash | None = None


class RevokedKey(_Record, frozen=True):
    """A key whose certificates and reviews no longer count, whenever they say that they were made."""

    public_key: Hash
    revoked_at: Time
    reason: Reason
    note: Text = ""


class RevocationList(_Record, frozen=True):
    """A whole list. ``number`` grows with every list of one owner; each list replaces those before it."""

    type: Literal["blockcert-revocations"]
    version: Literal[1]
    number: Positive
    issued_at: Time
    next_update: Time
    certificates: Annotated[tuple[RevokedCertificate, ...], Meta(max_length=1 << 16)]
    keys: Annotated[tuple[RevokedKey, ...], Meta(max_length=4096)]


class SignedList(Struct, frozen=True):
    """A list, the envelope that it came in, and the BLAKE3 of its payload, in hexadecimal."""

    list: RevocationList
    envelope: Envelope
    digest: str


class RevocationState(_Record, frozen=True):
    """The highest list that ever counted: its number, the BLAKE3 of its payload, and the revokers' keys that signed it.

    Lists are numbered by their owner, and nothing in one names its owner but who signed it: with ``revokers`` a memory
    of another owner's lists is told apart.
    """

    type: Literal["blockcert-revocation-state"]
    version: Literal[1]
    number: Positive
    digest: Hash
    revokers: Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=256)]


def parse_list(data: bytes, place: str) -> SignedList:
    """The list in an envelope. No signature is verified here.

    Raises:
        Refusal: what the JSON gate and ``parse_envelope`` refuse, ``time.*``, ``key.public.*``, ``revocation.window``
            where the list ends before it begins, ``revocation.repeated`` where an entry stands twice.
    """
    envelope = parse_envelope(data, place, PAYLOAD_TYPE)
    return SignedList(read_list(envelope.payload, place), envelope, blake3(envelope.payload).hexdigest())


def read_list(payload: bytes, place: str) -> RevocationList:
    """The list in an envelope's payload; refuses as :func:`parse_list`, but for the envelope."""
    found = strict_json.decode(payload, RevocationList, place, _GATE)
    _check(found, place)
    return found


def _check(found: RevocationList, place: str) -> None:
    issued = parse_time(found.issued_at, f"{place}: $.issued_at")
    if parse_time(found.next_update, f"{place}: $.next_update") <= issued:
        sentence = f"The list is issued at {found.issued_at} and to be replaced at {found.next_update}: it never holds."
        raise Refusal("revocation.window", f"{place}: $.next_update", sentence)
    for name, entries in (("certificates", found.certificates), ("keys", found.keys)):
        seen: set[str] = set()
        for i, entry in enumerate(entries):
            at = f"{place}: $.{name}[{i}]"
            parse_time(entry.revoked_at, f"{at}.revoked_at")
            if isinstance(entry, RevokedKey):
                public_from_hex(entry.public_key, f"{at}.public_key")
            what = entry.public_key if isinstance(entry, RevokedKey) else entry.certificate
            if what in seen:
                raise Refusal("revocation.repeated", at, f"This stands in the list twice: {what}.")
            seen.add(what)


def new_list(
    before: RevocationList | None,
    certificates: Sequence[RevokedCertificate],
    keys: Sequence[RevokedKey],
    *,
    issued_at: datetime,
    next_update: datetime,
    place: str = "new list",
) -> RevocationList:
    """The list that follows ``before``: its entries, and the new ones.

    Raises:
        Refusal: as :func:`parse_list`.
    """
    found = RevocationList(
        type="blockcert-revocations",
        version=1,
        number=1 if before is None else before.number + 1,
        issued_at=format_time(issued_at),
        next_update=format_time(next_update),
        certificates=(*(() if before is None else before.certificates), *certificates),
        keys=(*(() if before is None else before.keys), *keys),
    )
    _check(found, place)
    return found


def sign_list(found: RevocationList, key: Signs) -> bytes:
    """The envelope of a list with one signature, deterministic.

    Raises:
        Refusal: as :func:`read_list`, for a list that no verifier would take.
    """
    payload = msgspec.json.encode(found, order="sorted")
    read_list(payload, "revocation list")
    return encode_envelope(add_signature(Envelope(payload, PAYLOAD_TYPE), key, "revocation list"))


def add_to_list(signed: SignedList, key: Signs, place: str) -> bytes:
    """The envelope of a list with one more signature; refuses as ``blockcert.dsse.add_signature``."""
    return encode_envelope(add_signature(signed.envelope, key, place))


def check_carries_on(before: RevocationList, found: RevocationList, place: str) -> None:
    """Returns None where ``found`` follows ``before``: the next number, and every entry of it as it stood.

    Raises:
        Refusal: ``revocation.dropped``.
    """
    if found.number != before.number + 1:
        sentence = f"The list is number {found.number}; number {before.number + 1} follows the one before."
        raise Refusal("revocation.dropped", f"{place}: $.number", sentence)
    for name in ("certificates", "keys"):
        carried = set(getattr(found, name))
        lost = [entry for entry in getattr(before, name) if entry not in carried]
        if lost:
            what = lost[0].public_key if isinstance(lost[0], RevokedKey) else lost[0].certificate
            sentence = f"The list before revokes {what}, and this one does not, or says otherwise of it."
            raise Refusal("revocation.dropped", f"{place}: $.{name}", sentence)


def parse_state(data: bytes, place: str) -> RevocationState:
    """The state in a file of the verifier's own; refuses what the JSON gate refuses."""
    return strict_json.decode(data, RevocationState, place, _STATE_GATE)


def encode_state(found: SignedList, revokers: Sequence[str]) -> bytes:
    """The state after ``found`` counted; ``revokers`` are the keys of that role that signed it, in hexadecimal."""
    state = RevocationState("blockcert-revocation-state", 1, found.list.number, found.digest, tuple(sorted(revokers)))
    return msgspec.json.encode(state) + b"\n"
