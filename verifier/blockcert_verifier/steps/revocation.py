"""Revocation: whether a current list of the policy's revokers names the certificate or a key that signed it.

Normative text: `spec/11-trust.md`, "Revocation" (BC-TRU-14 to 18). A list that is missing, stale, older than one that
was seen, or not signed by enough revokers leaves the question open: it is neither silence nor a revocation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from blockcert.authority import authorised
from blockcert.findings import Finding
from blockcert.revocation import RevocationList, RevocationState, RevokedCertificate, RevokedKey, SignedList
from blockcert.times import format_time, parse_time
from blockcert.trust import TrustPolicy
from blockcert_verifier.steps.outcome import failed, inconclusive, passed

__all__ = ["Given", "Revocations", "certificate", "revocations"]

_TRUSTED = frozenset({"signature.key_not_valid_now", "signature.key_not_valid_when_issued"})
"""Why the signature of a key that the policy has does not count."""


class Given(Struct, frozen=True):
    """The list that the caller gave, its path, and the highest one that the caller's state file has seen.

    Where none was given, ``signed`` is None and ``place`` the state file's path.
    """

    signed: SignedList | None
    place: str
    seen: RevocationState | None = None


class Revocations(Struct, frozen=True):
    """What a genuine list says: the list itself, None without one, and the keys that count for nothing.

    ``signers`` are the public keys, in hexadecimal, of the revokers that signed it.
    """

    list: RevocationList | None
    place: str
    keys: dict[bytes, str]
    signers: tuple[str, ...] = ()


def revocations(
    policy: TrustPolicy, given: Given | None, now: datetime, look: Callable[[], None] = lambda: None
) -> tuple[Revocations, list[Finding]]:
    """What the given list says, as far as it is genuine, and what keeps it from being the last word.

    ``look`` is called before each signature is tried, and raises where there is no more time.
    """
    if given is None or given.signed is None:
        return Revocations(None, "revocation list", {}), _missing(policy, None if given is None else given.seen)
    found, place = given.signed.list, given.place
    authority = authorised(policy, given.signed.envelope, now, parse_time(found.issued_at), place, look=look)
    signers = tuple(signer.key.raw.hex() for signer in authority.signers if "revoker" in signer.roles)
    count = authority.count("revoker")
    if count < policy.thresholds.revoker:
        why = "".join(f"; {one.sentence}" for one in authority.discounted if one.code in _TRUSTED)
        sentence = f"{count} of the {policy.thresholds.revoker} trusted revokers that the policy asks for signed this"
        sentence += f" list with a key that counts, so it counts for nothing{why}"
        return Revocations(None, place, {}), [inconclusive("authenticity", "revocation.untrusted", place, sentence)]
    keys = {bytes.fromhex(key.public_key): _why(key) for key in found.keys}
    return Revocations(found, place, keys, signers), _current(given.signed, given.seen, place, now)


def _missing(policy: TrustPolicy, seen: RevocationState | None) -> list[Finding]:
    """The finding that no list was given where the policy asks for one, or where one is known to exist."""
    if policy.revocation is not None:
        sentence = (
            "the policy asks for a revocation list and none was given; "
            f"its owner publishes it here: {policy.revocation.source}. Pass it as --revocations FILE"
        )
    elif seen is not None:
        sentence = (
            f"list number {seen.number} was seen before and none was given: what it revokes is not known here. "
            "Pass it, or a later one, as --revocations FILE"
        )
    else:
        return []
    return [inconclusive("authenticity", "revocation.missing", "--revocations", sentence)]


def _current(signed: SignedList, seen: RevocationState | None, place: str, now: datetime) -> list[Finding]:
    found = signed.list
    findings: list[Finding] = []
    if now < parse_time(found.issued_at):
        sentence = f"the list says that it was issued at {found.issued_at}, and the clock here says {format_time(now)}"
        findings.append(inconclusive("authenticity", "revocation.not_yet_valid", place, sentence))
    if now > parse_time(found.next_update):
        sentence = f"the list was to be replaced at {found.next_update}, and the clock here says {format_time(now)}"
        findings.append(inconclusive("authenticity", "revocation.stale", place, f"{sentence}; get the next one"))
    if seen is not None and (found.number, signed.digest) != (seen.number, seen.digest) and found.number <= seen.number:
        what = "another list of that number" if found.number == seen.number else f"number {seen.number}"
        sentence = f"this is list number {found.number}, and {what} was seen before: it may hide a revocation"
        findings.append(inconclusive("authenticity", "revocation.rollback", place, sentence))
    return findings


def certificate(said: Revocations, certificate_id: str, *, current: bool) -> list[Finding]:
    """Whether the certificate itself is revoked; that it is not, is only said of a `current` list."""
    if said.list is None:
        return []
    digest = certificate_id.removeprefix("blake3:")
    entry = next((one for one in said.list.certificates if one.certificate == digest), None)
    if entry is not None:
        by = "" if entry.superseded_by is None else f"; blake3:{entry.superseded_by} replaces it"
        return [
            failed("authenticity", "certificate.revoked", said.place, f"the certificate was revoked: {_why(entry)}{by}")
        ]
    if not current:
        return []
    sentence = f"list number {said.list.number} of {said.list.issued_at} does not name the certificate"
    return [passed("authenticity", "revocation.list", said.place, sentence)]


def _why(entry: RevokedCertificate | RevokedKey) -> str:
    note = f", {entry.note!r}" if entry.note else ""
    return f"{entry.reason.replace('-', ' ')}, since {entry.revoked_at}{note}"
