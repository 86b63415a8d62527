"""What other parties put beside the certificate, read and told apart: reviews, and revocation lists.

Normative text: `spec/11-trust.md`, "What is appended" (BC-TRU-20, 23, 27). Anybody can put a file there, so one that
cannot be read counts for nothing, and is said to; where the policy names nobody who could sign one, none is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from blockcert import revocation
from blockcert.appended import MOST_BYTES, MOST_STATEMENTS, is_statement
from blockcert.dsse import Envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.review import MOST_BYTES as MOST_REVIEW_BYTES
from blockcert.trust import TrustPolicy
from blockcert_verifier.steps.outcome import inconclusive, skipped

__all__ = ["Appended", "appended", "uncounted"]

FOLDER = "appended/"


class Appended(Struct, frozen=True):
    """Envelopes beside the certificate, by name, in the order of the names; nobody has verified one."""

    reviews: tuple[tuple[str, Envelope], ...] = ()
    lists: tuple[tuple[str, Envelope], ...] = ()


def appended(
    policy: TrustPolicy, names: Mapping[str, int], read: Callable[[str, int], bytes]
) -> tuple[Appended, list[Finding]]:
    """What stands beside the certificate, as far as `policy` names somebody who could have signed it.

    `names` are the bundle's files; `read` gives one of at most so many bytes.
    """
    found = sorted(filter(is_statement, names))
    if not found:
        return Appended(), []
    if not policy.able("auditor") and not policy.able("revoker"):
        sentence = f"the policy names no auditor and no revoker: what stands there ({len(found)}) was not read"
        return Appended(), [skipped("authenticity", "appended.not_read", FOLDER, sentence)]
    most = MOST_BYTES if policy.able("revoker") else MOST_REVIEW_BYTES
    reviews: list[tuple[str, Envelope]] = []
    lists: list[tuple[str, Envelope]] = []
    findings: list[Finding] = []
    for name in found[:MOST_STATEMENTS]:
        try:
            envelope = _envelope(read(name, most), name)
        except Refusal as refusal:
            findings.append(uncounted(name, refusal))
            continue
        (lists if envelope.payload_type == revocation.PAYLOAD_TYPE else reviews).append((name, envelope))
    if len(found) > MOST_STATEMENTS:
        sentence = f"only the first {MOST_STATEMENTS} of {len(found)} statements beside the certificate were read"
        findings.append(inconclusive("authenticity", "review.malformed", FOLDER, sentence))
    return Appended(tuple(reviews), tuple(lists)), findings


def uncounted(name: str, refusal: Refusal) -> Finding:
    """The finding that a statement counts for nothing, and why; it changes no verdict.

    A limit of the caller's own that is exceeded is raised again: it ends the verification.
    """
    if refusal.code.startswith("limit."):
        raise refusal
    code = refusal.code if refusal.code.startswith("review.") else "review.malformed"
    return skipped("authenticity", code, name, refusal.sentence.removesuffix("."))


def _envelope(data: bytes, name: str) -> Envelope:
    """The envelope of a list, or else of a review, which is at most as long as a review may be."""
    try:
        found = parse_envelope(data, name)
    except Refusal as refusal:
        if refusal.code != "envelope.payload_type":
            raise
        return parse_envelope(data, name, revocation.PAYLOAD_TYPE)
    if len(data) > MOST_REVIEW_BYTES:
        sentence = f"a review has at most {MOST_REVIEW_BYTES} bytes, and this has {len(data)}"
        raise Refusal("review.malformed", name, sentence)
    return found
