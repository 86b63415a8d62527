"""Revocation: whether a current list of the policy's revokers names the certificate or a key that signed it.

Normative text: `spec/11-trust.md`, "Revocation" (BC-TRU-14 to 18, 27). A list that is missing, stale, older than one
that was seen, or not signed by enough revokers leaves the question open: it is neither silence nor a revocation. A list
beside the certificate adds refusals, and answers no question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from blockcert.authority import Authority, authorised
from blockcert.dsse import Envelope
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.revocation import RevocationList, RevocationState, RevokedCertificate, RevokedKey, SignedList, read_list
from blockcert.times import format_time, parse_time
from blockcert.trust import TrustPolicy
from blockcert_verifier.steps.appended import uncounted
from blockcert_verifier.steps.outcome import failed, inconclusive, passed

__all__ = ["Given", "Revocations", "beside", "certificate", "revocations"]

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
    if (why := _too_few(policy, authority)) is not None:
        return Revocations(None, place, {}), [inconclusive("authenticity", "revocation.untrusted", place, why)]
    return Revocations(found, place, _keys(found), signers), _current(given.signed, given.seen, place, now)


def beside(
    policy: TrustPolicy,
    given: Sequence[tuple[str, Envelope]],
    now: datetime,
    look: Callable[[], None] = lambda: None,
) -> tuple[list[Revocations], list[Finding]]:
    """What the lists beside the certificate say, as far as enough revokers of the policy signed them.

    `given` are their envelopes, by name. One that does not count changes nothing, and none is asked whether it is
    current: who wants to hide a revocation leaves it out. ``look`` as for :func:`revocations`.
    """
    said: list[Revocations] = []
    findings: list[Finding] = []
    # anybody's envelope is tried with every key: with no more of them than could count
    revokers = replace(policy, keys=tuple(key for key in policy.keys if "revoker" in key.roles))
    for place, envelope in given:
        try:
            found = _beside(revokers, envelope, place, now, look)
        except Refusal as refusal:
            findings.append(uncounted(place, refusal))
            continue
        said.append(Revocations(found, place, _keys(found)))
        sentence = (
            f"list number {found.number} of {found.issued_at}, beside the certificate, counts for what it revokes; "
            "whether it is the newest is not known"
        )
        findings.append(passed("authenticity", "appended.list", place, sentence))
    return said, findings


def _beside(
    policy: TrustPolicy, envelope: Envelope, place: str, now: datetime, look: Callable[[], None]
) -> RevocationList:
    """The list in an envelope; refuses what counts for nothing."""
    made: dict[bytes, bytes | None] = {}

    def require(issued_at: datetime | None) -> None:
        why = _too_few(policy, authorised(policy, envelope, now, issued_at, place, look=look, made=made))
        if why is not None:
            raise Refusal("review.unknown_signer", place, why)

    require(None)
    found = read_list(envelope.payload, place)  # only what trusted keys signed is read
    require(parse_time(found.issued_at))
    return found


def _too_few(policy: TrustPolicy, authority: Authority) -> str | None:
    """Why a list counts for nothing; None where enough revokers signed it."""
    count, needed = authority.count("revoker"), policy.thresholds.revoker
    if count >= needed:
        return None
    why = "".join(f"; {one.sentence.removesuffix('.')}" for one in authority.discounted if one.code in _TRUSTED)
    asked = f"{count} of the {needed} trusted revoker{'s' * (needed != 1)} that the policy asks for signed this list"
    return f"{asked} with a key that counts, so it counts for nothing{why}"


def _keys(found: RevocationList) -> dict[bytes, str]:
    return {bytes.fromhex(key.public_key): _why(key) for key in found.keys}


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
