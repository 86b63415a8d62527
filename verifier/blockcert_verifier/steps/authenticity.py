"""Authenticity: enough trusted keys signed these very bytes, and both clocks allow it.

The signatures are checked before the payload is read; the times that the payload states, after. Only the trust policy
chooses keys and algorithms. Normative text: `spec/11-trust.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from blockcert.authority import Authority, authorised
from blockcert.dsse import Envelope
from blockcert.findings import Finding
from blockcert.statement import Statement
from blockcert.times import format_time, parse_time
from blockcert.trust import TrustPolicy
from blockcert_verifier.steps.outcome import failed, failures, from_refusal, passed

__all__ = ["signatures", "times"]

PLACE = "statement.dsse.json"


def signatures(
    policy: TrustPolicy,
    envelope: Envelope,
    now: datetime,
    revoked: Mapping[bytes, str] = {},
    look: Callable[[], None] = lambda: None,
    made: dict[bytes, bytes | None] | None = None,
) -> tuple[Authority, list[Finding]]:
    """Who signed the payload, unread; a failed finding where the policy's threshold is not met.

    Keys among `revoked`, raw bytes to why, count for nothing. `look` and `made` are those of `authorised`.
    """
    if not envelope.signatures:
        sentence = "the certificate is not signed, so nobody answers for it"
        return Authority((), ()), [failed("authenticity", "signature.none", f"{PLACE}: $.signatures", sentence)]
    authority = authorised(policy, envelope, now, None, PLACE, revoked, look, made)
    return authority, _threshold(policy, authority)


_TELLING = (
    "signature.key_revoked",
    "signature.key_not_valid_now",
    "signature.key_not_valid_when_issued",
    "signature.invalid",
    "signature.repeated",
    "signature.unknown_key",
)
"""Why signatures do not count, from what says most: anybody can append one that nobody knows, and put it first."""


def _threshold(policy: TrustPolicy, authority: Authority) -> list[Finding]:
    discounted = sorted(authority.discounted, key=lambda why: _TELLING.index(why.code))
    found, needed = authority.count("producer"), policy.thresholds.producer
    if found >= needed:
        names = ", ".join(signer.name for signer in authority.signers if "producer" in signer.roles)
        sentence = f"signed by {names}" + (f" ({needed} needed)" if needed > 1 else "")
        # a signature that does not count, beside enough that do, changes nothing
        rest = [from_refusal("authenticity", refusal, "skipped") for refusal in discounted]
        return [passed("authenticity", "authenticity.signatures", f"{PLACE}: $.signatures", sentence), *rest]
    keys = "key" if needed == 1 else "keys"
    sentence = f"{found} of the {needed} trusted producer {keys} that the policy asks for signed this"
    return [
        *(from_refusal("authenticity", refusal) for refusal in discounted),
        failed("authenticity", "signature.threshold_not_met", f"{PLACE}: $.signatures", sentence),
    ]


def times(
    policy: TrustPolicy,
    envelope: Envelope,
    statement: Statement,
    now: datetime,
    revoked: Mapping[bytes, str] = {},
    look: Callable[[], None] = lambda: None,
    made: dict[bytes, bytes | None] | None = None,
) -> tuple[Authority, list[Finding]]:
    """Who signed within the windows of their keys at the time that the statement gives, and whether it holds `now`."""
    p = statement.predicate
    issued, end = parse_time(p.issued_at), parse_time(p.not_after)
    authority = authorised(policy, envelope, now, issued, PLACE, revoked, look, made)
    findings = [finding for finding in _threshold(policy, authority) if finding.status == "failed"]
    if now < issued:
        sentence = f"the certificate says it was issued at {p.issued_at}, and the clock here says {format_time(now)}"
        findings.append(failed("authenticity", "statement.not_yet_valid", f"{PLACE}: $.predicate.issued_at", sentence))
    if now > end:
        sentence = f"the certificate was valid until {p.not_after}, and the clock here says {format_time(now)}"
        findings.append(failed("authenticity", "statement.expired", f"{PLACE}: $.predicate.not_after", sentence))
    if failures(findings):
        return authority, findings
    sentence = f"issued {p.issued_at}, valid until {p.not_after}"
    return authority, [passed("authenticity", "authenticity.times", f"{PLACE}: $.predicate", sentence)]
