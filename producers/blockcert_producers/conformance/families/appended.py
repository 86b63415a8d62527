"""What stands beside a certificate and is no review: revocation lists, which only add refusals, reports, and junk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from blockcert.appended import MOST_BYTES, MOST_STATEMENTS, statement_name
from blockcert.digest import blake3_bytes
from blockcert.keys import PrivateKey
from blockcert.revocation import PAYLOAD_TYPE
from blockcert_producers.conformance.changes import policy
from blockcert_producers.conformance.draft import TRUSTED, Change, Draft, write_json
from blockcert_producers.conformance.entry import accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.packed import packed
from blockcert_producers.conformance.families.reviews import ANN, appended, auditors, says
from blockcert_producers.conformance.families.revocations import (
    REVOKER,
    SECOND,
    certificate,
    given,
    key,
    not_asked,
    payload,
    remembered,
    revokers,
    two_revokers,
)
from blockcert_producers.conformance.families.signatures import MET, STRANGER

__all__ = ["CASES"]


def beside(signers: Sequence[PrivateKey] = (REVOKER,), *, size: int = 0, **fields: Any) -> Change:
    """A list that the bundle holds, signed by these; spaces behind it make its file one of ``size`` bytes."""

    return lambda draft: draft.later(lambda d: put(d, payload(d, **fields), signers, size))


def put(draft: Draft, content: bytes, signers: Sequence[PrivateKey], size: int = 0) -> None:
    data = write_json(draft.envelope(content, signers, PAYLOAD_TYPE))
    draft.sealed[statement_name(data)] = data.ljust(size)


def escaped(draft: Draft) -> None:
    """A list whose payload type is spelled with escapes, which are the same characters."""

    def apply(d: Draft) -> None:
        document = d.envelope(payload(d, revoked=1), [REVOKER], PAYLOAD_TYPE)
        kind = document.pop("payloadType").replace("/", "\\u002f")
        data = b'{"payloadType":"' + kind.encode() + b'",' + json.dumps(document).encode()[1:]
        d.sealed["appended/escaped.dsse.json"] = data

    draft.later(apply)


def many(draft: Draft) -> None:
    """A list of four hundred certificates, the last of which is this one."""

    def apply(d: Draft) -> None:
        entries = [*(certificate(f"{i:064x}") for i in range(400)), certificate(blake3_bytes(d.signed))]
        put(d, payload(d, certificates=entries), [REVOKER])

    draft.later(apply)


def two_asked(draft: Draft) -> None:
    """The policy has two revokers, both of whom must sign, and asks for no list."""
    two_revokers(draft)
    draft.policy["revocation"] = None


def objection_by_a_lost_key(draft: Draft) -> None:
    auditors(0)(draft)
    says("objects", ANN)(draft)


CLEAR, UNKNOWN, MALFORMED = accepted("appended.list"), accepted("review.unknown_signer"), accepted("review.malformed")
REVOKED = rejected("certificate.revoked", "appended.list")

CASES = (
    case(
        "appended::list-names-it",
        "A list beside the certificate names it",
        "BC-TRU-15 BC-TRU-27",
        REVOKED,
        not_asked,
        beside(revoked=1),
    ),
    case(
        "appended::list-names-it-packed",
        "The same in a packed bundle",
        "BC-TRU-23 BC-TRU-27",
        REVOKED,
        not_asked,
        beside(revoked=1),
        packed(),
    ),
    case(
        "appended::list-spelled-with-escapes",
        "The payload type of the list has escapes in its JSON",
        "BC-TRU-20 BC-TRU-27",
        REVOKED,
        not_asked,
        escaped,
    ),
    case(
        "appended::list-of-others",
        "A list beside the certificate names others",
        "BC-TRU-27",
        CLEAR,
        not_asked,
        beside(),
    ),
    case(
        "appended::list-names-the-producers-key",
        "A list beside the certificate names the key that signed it",
        "BC-TRU-15 BC-TRU-27",
        rejected(f"signature.key_revoked {MET}", "appended.list"),
        not_asked,
        beside(keys=[key(TRUSTED)]),
    ),
    case(
        "appended::list-names-an-auditors-key",
        "A list beside the certificate names the key of an auditor who objects",
        "BC-TRU-21 BC-TRU-27",
        accepted("appended.list review.unknown_signer"),
        not_asked,
        objection_by_a_lost_key,
        beside(keys=[key(ANN)]),
    ),
    case(
        "appended::list-stale",
        "A list that is no longer current names the certificate",
        "BC-TRU-15 BC-TRU-27",
        REVOKED,
        not_asked,
        beside(revoked=1, next_update="2026-11-22T09:59:59Z"),
    ),
    case(
        "appended::list-stale-of-others",
        "A list that is no longer current names others",
        "BC-TRU-27",
        CLEAR,
        not_asked,
        beside(next_update="2026-11-22T09:59:59Z"),
    ),
    case(
        "appended::list-of-a-second-from-now",
        "A list of a second from now names the certificate",
        "BC-TRU-15 BC-TRU-27",
        REVOKED,
        not_asked,
        beside(revoked=1, issued_at="2026-11-22T10:00:01Z"),
    ),
    case(
        "appended::list-of-a-stranger",
        "A list beside the certificate that a stranger signed names it",
        "BC-TRU-15 BC-TRU-27",
        UNKNOWN,
        not_asked,
        beside([STRANGER], revoked=1),
    ),
    case(
        "appended::list-of-the-producer",
        "The producer signed the list",
        "BC-TRU-13 BC-TRU-27",
        UNKNOWN,
        not_asked,
        beside([TRUSTED], revoked=1),
    ),
    case(
        "appended::list-where-only-auditors-are",
        "A policy with auditors and no revoker",
        "BC-TRU-27",
        UNKNOWN,
        auditors(0),
        beside(revoked=1),
    ),
    case(
        "appended::list-of-one-of-two",
        "One revoker signed, and the policy asks for two",
        "BC-TRU-15 BC-TRU-27",
        UNKNOWN,
        two_asked,
        beside(revoked=1),
    ),
    case(
        "appended::list-of-two-of-two",
        "Both revokers signed",
        "BC-TRU-15 BC-TRU-27",
        REVOKED,
        two_asked,
        beside([REVOKER, SECOND], revoked=1),
    ),
    case(
        "appended::list-issued-before-the-key",
        "A list issued before its signer's window opened",
        "BC-TRU-15 BC-TRU-27",
        UNKNOWN,
        not_asked,
        policy("keys[1].not_before", "2026-11-22T00:00:00Z"),
        beside(revoked=1),
    ),
    case(
        "appended::list-answers-no-demand",
        "The policy asks for a list, and only one beside the certificate is there",
        "BC-TRU-16 BC-TRU-27",
        indeterminate("revocation.missing", "appended.list"),
        revokers,
        beside(),
    ),
    case(
        "appended::list-beside-a-given-one",
        "The list that was given names others, and the one beside the certificate names it",
        "BC-TRU-15 BC-TRU-27",
        rejected("certificate.revoked", "appended.list revocation.list"),
        revokers,
        given(number=6),
        beside(revoked=1),
    ),
    case(
        "appended::list-older-than-the-remembered",
        "A list beside the certificate is older than the highest that was seen, and no rollback",
        "BC-TRU-17 BC-TRU-27",
        accepted("appended.list revocation.list"),
        revokers,
        given(number=6),
        remembered(6),
        beside(number=4),
    ),
    case(
        "appended::list-newer-than-the-given",
        "A list beside the certificate is newer than the one that was given, and leaves that one current",
        "BC-TRU-17 BC-TRU-27",
        accepted("appended.list revocation.list"),
        revokers,
        given(),
        remembered(5),
        beside(number=9),
    ),
    case(
        "appended::list-twice",
        "A list that a revoker signed names the certificate twice, and is none",
        "BC-TRU-14 BC-TRU-27",
        MALFORMED,
        not_asked,
        beside(revoked=2),
    ),
    case(
        "appended::list-longer-than-a-review",
        "A list of more bytes than a review may have",
        "BC-TRU-20 BC-TRU-27",
        REVOKED,
        not_asked,
        many,
    ),
    case(
        "appended::list-as-long-as-is-read",
        "A list in a file of as many bytes as one beside a certificate may have",
        "BC-TRU-20",
        REVOKED,
        not_asked,
        beside(revoked=1, size=MOST_BYTES),
    ),
    case(
        "appended::list-too-long",
        "A list in a file of a byte more than one beside a certificate may have",
        "BC-TRU-20",
        MALFORMED,
        not_asked,
        beside(revoked=1, size=MOST_BYTES + 1),
    ),
    case(
        "appended::nobody-could-sign-it",
        "More statements than are read, and a policy that names nobody who could sign one",
        "BC-TRU-23",
        accepted("appended.not_read"),
        appended(b"{}", *(f"appended/{i:03}.dsse.json" for i in range(MOST_STATEMENTS + 1))),
    ),
    case(
        "appended::report",
        "A report beside the certificate, which nobody vouches for",
        "BC-TRU-28",
        accepted(),
        auditors(0),
        appended(b'{"type":"blockcert-report","verdict":"rejected"}', "appended/audit.report.json"),
    ),
    case(
        "appended::reports-of-junk",
        "More reports than statements are read, and none is one",
        "BC-TRU-28",
        accepted(),
        auditors(0),
        appended(b"\xff", *(f"appended/{i:03}.report.json" for i in range(MOST_STATEMENTS + 1))),
    ),
    *(
        case(
            f"appended::report-named-{name}",
            "A file whose name is no report's is a file that no statement lists",
            "BC-TRU-28 BC-BND-02",
            rejected("bundle.file.unlisted"),
            appended(b"{}", path),
        )
        for name, path in (
            ("nothing", "appended/.report.json"),
            ("deeper", "appended/deeper/a.report.json"),
            ("outside", "a.report.json"),
        )
    ),
)
