"""Reviews: what other parties put beside the certificate, each verified on its own.

Normative text: `spec/11-trust.md`, "Reviews" (BC-TRU-19 to 24). Anybody can put one there, so one that cannot be read,
is not about this certificate or not by an auditor of the policy counts for nothing, and is said to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from blockcert.authority import Signer, authorised
from blockcert.dsse import Envelope
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.review import Review, digests, parse_review
from blockcert.statement import Digests
from blockcert.times import format_time, parse_time
from blockcert.trust import TrustPolicy
from blockcert_verifier.steps.appended import uncounted
from blockcert_verifier.steps.outcome import failed, inconclusive, passed

__all__ = ["reviews"]

_NOBODYS = frozenset({"signature.unknown_key", "signature.invalid"})


def reviews(
    policy: TrustPolicy,
    payload: bytes,
    given: Sequence[tuple[str, Envelope]],
    now: datetime,
    revoked: Mapping[bytes, str],
    look: Callable[[], None] = lambda: None,
) -> list[Finding]:
    """What the trusted auditors say of the certificate whose payload is `payload`, which is not read.

    `given` are the reviews beside it, by name. Of several by one key the latest counts; of two of one time, the
    objection.
    """
    if not given and not policy.thresholds.auditor:
        return []  # and the payload is not hashed for nobody
    findings: list[Finding] = []
    auditors = replace(policy, keys=tuple(key for key in policy.keys if "auditor" in key.roles))
    about = digests(payload)
    latest: dict[bytes, tuple[Signer, Review, str]] = {}
    for name, envelope in given:
        try:
            signer, review = _one(auditors, about, name, envelope, now, revoked, look)
        except Refusal as refusal:
            findings.append(uncounted(name, refusal))
            continue
        before = latest.get(signer.key.raw)
        if before is None or _order(review) > _order(before[1]):
            latest[signer.key.raw] = (signer, review, name)
    approving = [entry for entry in latest.values() if entry[1].outcome == "approves"]
    for signer, review, name in latest.values():
        if review.outcome == "objects":
            sentence = f"the auditor {signer.name} objects (at {review.made_at}): {review.note or 'without a word'}"
            findings.append(failed("authenticity", "review.objection", name, sentence))
    needed = policy.thresholds.auditor
    if len(approving) < needed:
        asked = "1 trusted auditor" if needed == 1 else f"{needed} trusted auditors"
        sentence = f"{len(approving)} of the {asked} that the policy asks for approve the certificate"
        findings.append(inconclusive("authenticity", "review.threshold_not_met", "appended/", sentence))
    elif approving:
        said = ", ".join(f"{signer.name} (at {review.made_at})" for signer, review, _ in approving)
        findings.append(passed("authenticity", "review.approved", "appended/", f"approved by {said}"))
    return findings


def _order(review: Review) -> tuple[datetime, bool]:
    return parse_time(review.made_at), review.outcome == "objects"


def _one(
    auditors: TrustPolicy,
    about: Digests,
    name: str,
    envelope: Envelope,
    now: datetime,
    revoked: Mapping[bytes, str],
    look: Callable[[], None],
) -> tuple[Signer, Review]:
    """The auditor that signed one statement, and what it says; refuses what counts for nothing."""
    if len(envelope.signatures) != 1:
        sentence = f"a review has one signature, its author's, and this has {len(envelope.signatures)}"
        raise Refusal("review.malformed", name, sentence)
    made_by: dict[bytes, bytes | None] = {}
    _signer(auditors, envelope, now, None, name, revoked, look, made_by)
    found = parse_review(envelope.payload, name)  # only what a trusted key signed is read
    made = parse_time(found.predicate.made_at)
    signer = _signer(auditors, envelope, now, made, name, revoked, look, made_by)
    if made > now:
        sentence = f"it says that it was made at {found.predicate.made_at}, and the clock here says {format_time(now)}"
        raise Refusal("review.unknown_signer", name, sentence)
    if found.subject[0].digest != about:
        sentence = f"it is about the certificate blake3:{found.subject[0].digest.blake3}"
        if found.subject[0].digest.blake3 == about.blake3:
            sentence = "the SHA-256 digest that it gives of the certificate is another's"
        raise Refusal("review.other", name, sentence)
    return signer, found.predicate


def _signer(
    auditors: TrustPolicy,
    envelope: Envelope,
    now: datetime,
    made: datetime | None,
    name: str,
    revoked: Mapping[bytes, str],
    look: Callable[[], None],
    made_by: dict[bytes, bytes | None],
) -> Signer:
    """The auditor whose signature counts; refuses with why it does not."""
    authority = authorised(auditors, envelope, now, made, name, revoked, look, made_by)
    if authority.signers:
        return authority.signers[0]
    why = authority.discounted[0]
    sentence = "no auditor of the policy signed this" if why.code in _NOBODYS else why.sentence
    raise Refusal("review.unknown_signer", name, sentence)
