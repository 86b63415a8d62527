"""Rotation of a trust policy: number N + 1, signed by the owners of N and by its own.

The normative text is ``spec/11-trust.md``, "Rotation". As TUF rotates its root: whoever holds policy N need trust
nobody new to take N + 1.
"""

from __future__ import annotations

from datetime import datetime

from blockcert.authority import authorised
from blockcert.dsse import Envelope, add_signature, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.keys import Signs
from blockcert.trust import TrustPolicy, encode_policy, parse_policy

__all__ = ["PAYLOAD_TYPE", "check_follows", "missing", "sign_policy", "successor"]

PAYLOAD_TYPE = "application/vnd.blockcert.trust-policy+json"
"""The payload type of a signed policy's envelope."""


def sign_policy(policy: TrustPolicy, key: Signs, signed: bytes | None, place: str) -> bytes:
    """The envelope of a policy with the signature of one of its owners; beside those in ``signed``, where given.

    Raises:
        Refusal: ``trust.rotation.other`` where ``signed`` holds another policy, ``signature.exists``, and what
            ``parse_envelope`` refuses.
    """
    payload = encode_policy(policy)
    envelope = Envelope(payload, PAYLOAD_TYPE) if signed is None else parse_envelope(signed, place, PAYLOAD_TYPE)
    if envelope.payload != payload:
        raise Refusal(
            "trust.rotation.other", place, "This envelope holds another policy; name a new file for this one."
        )
    return encode_envelope(add_signature(envelope, key, place))


def missing(old: TrustPolicy, new: TrustPolicy, envelope: Envelope, now: datetime, place: str) -> dict[str, int]:
    """How many owners' signatures lack under either policy's threshold, by ``old`` and ``new``; empty: enough."""
    found: dict[str, int] = {}
    for name, policy in (("old", old), ("new", new)):
        lacking = policy.thresholds.owner - authorised(policy, envelope, now, None, place).count("owner")
        if lacking > 0:
            found[name] = lacking
    return found


def check_follows(old: TrustPolicy, new: TrustPolicy, place: str) -> None:
    """Refuses a policy that cannot follow ``old``: ``trust.rotation.number``, ``trust.rotation.no_owner``."""
    for which, policy in (("present", old), ("new", new)):
        if not policy.able("owner"):
            sentence = f"The {which} policy names no key of the role owner, and owners sign what follows a policy."
            raise Refusal("trust.rotation.no_owner", place, sentence)
    if new.number != old.number + 1:
        sentence = f"The policy is number {new.number}; number {old.number + 1} follows the present one."
        raise Refusal("trust.rotation.number", f"{place}: $.number", sentence)


def successor(old: TrustPolicy, signed: bytes, now: datetime, place: str) -> TrustPolicy:
    """The policy that follows ``old``, from its envelope.

    Raises:
        Refusal: what ``parse_envelope`` and ``parse_policy`` refuse, ``trust.rotation.number`` where it is not the next
            one, ``trust.rotation.no_owner``, ``trust.rotation.threshold`` where too few owners signed.
    """
    envelope = parse_envelope(signed, place, PAYLOAD_TYPE)
    new = parse_policy(envelope.payload, place)
    check_follows(old, new, place)
    lacking = missing(old, new, envelope, now, place)
    if lacking:
        said = " and ".join(f"{count} more of the {which} policy's owners" for which, count in lacking.items())
        raise Refusal("trust.rotation.threshold", f"{place}: $.signatures", f"It must be signed by {said}.")
    return new
