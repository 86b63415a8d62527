"""Reviews beside a certificate: whose count, which of several, and what junk does."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from blockcert.appended import MOST_STATEMENTS, statement_name
from blockcert.digest import blake3_bytes
from blockcert.keys import PrivateKey
from blockcert.review import MOST_BYTES
from blockcert_producers.conformance.changes import policy
from blockcert_producers.conformance.draft import TRUSTED, Change, Draft, write_json
from blockcert_producers.conformance.entry import accepted, case, indeterminate, rejected
from blockcert_producers.conformance.families.packed import packed
from blockcert_producers.conformance.families.revocations import given, key, revokers
from blockcert_producers.conformance.families.signatures import STRANGER, trusted
from blockcert_producers.conformance.seeds import throwaway_key

__all__ = ["ANN", "CASES", "appended", "auditors", "says"]

ANN, BEN = throwaway_key("auditor"), throwaway_key("second auditor")
EARLIER, LATER = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"


def auditors(approvals: int) -> Change:
    """The policy has two auditors, and asks for so many approvals."""

    def apply(draft: Draft) -> None:
        draft.policy["keys"] += [trusted(name, one, roles=["auditor"]) for name, one in (("ann", ANN), ("ben", BEN))]
        draft.policy["thresholds"]["auditor"] = approvals

    return apply


def digests(data: bytes) -> dict[str, str]:
    return {"blake3": blake3_bytes(data), "sha256": sha256(data).hexdigest()}


def says(
    outcome: str,
    *signers: PrivateKey,
    made_at: str = LATER,
    about: bytes | None = None,
    sha256: str | None = None,
    size: int = 0,
    name: str | None = None,
    **fields: Any,
) -> Change:
    """A review that the bundle holds, signed by these, of this certificate or of another payload or SHA-256; spaces
    behind it make its file one of ``size`` bytes, and ``name`` its place among others."""

    def apply(draft: Draft) -> None:
        review = {"version": "1.0", "outcome": outcome, "made_at": made_at, "note": "seen", "report": None} | fields
        digest = digests(draft.signed if about is None else about) | ({} if sha256 is None else {"sha256": sha256})
        subject = {"name": "statement.dsse.json", "digest": digest}
        document = {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicate": review}
        data = write_json(draft.envelope(write_json(document | {"predicateType": "urn:blockcert:review:v1"}), signers))
        draft.sealed[statement_name(data) if name is None else f"appended/{name}.dsse.json"] = data.ljust(size)

    return lambda draft: draft.later(apply)


def appended(data: bytes, *names: str) -> Change:
    """Files of these bytes put into the bundle when it is sealed."""
    return lambda draft: draft.later(lambda d: d.sealed.update(dict.fromkeys(names, data)))


def of_two(first: Sequence[str], second: Sequence[str]) -> tuple[Change, Change]:
    """Two reviews by one auditor: outcome and time of each."""
    return says(first[0], ANN, made_at=first[1]), says(second[0], ANN, made_at=second[1])


UNKNOWN, MALFORMED = accepted("review.unknown_signer"), accepted("review.malformed")

CASES = (
    case(
        "review::approved",
        "An auditor approves, and the policy asks for it",
        "BC-TRU-19 BC-TRU-21 BC-TRU-22",
        accepted("review.approved"),
        auditors(1),
        says("approves", ANN),
    ),
    case(
        "review::approved-by-two",
        "Both auditors approve",
        "BC-TRU-22",
        accepted("review.approved"),
        auditors(2),
        says("approves", ANN),
        says("approves", BEN),
    ),
    case(
        "review::rests-on-a-report",
        "A review that names a report",
        "BC-TRU-19",
        accepted("review.approved"),
        auditors(1),
        says("approves", ANN, report=digests(b"a report")),
    ),
    case(
        "review::none",
        "Nobody approves, or it was taken away, and the policy asks for it",
        "BC-TRU-22 BC-TRU-24",
        indeterminate("review.threshold_not_met"),
        auditors(1),
    ),
    case(
        "review::one-twice",
        "One auditor approves twice, and the policy asks for two",
        "BC-TRU-22",
        indeterminate("review.threshold_not_met"),
        auditors(2),
        *of_two(("approves", EARLIER), ("approves", LATER)),
    ),
    case(
        "review::objection",
        "An auditor objects, another approves",
        "BC-TRU-22",
        rejected("review.objection", "review.approved"),
        auditors(0),
        says("approves", BEN),
        says("objects", ANN),
    ),
    case(
        "review::objection-packed",
        "An objection in a packed bundle",
        "BC-TRU-23 BC-BND-27",
        rejected("review.objection"),
        auditors(0),
        says("objects", ANN),
        packed(),
    ),
    case(
        "review::later-approval",
        "An auditor who objected approves later",
        "BC-TRU-21",
        accepted("review.approved"),
        auditors(1),
        *of_two(("objects", EARLIER), ("approves", LATER)),
    ),
    case(
        "review::later-objection",
        "An auditor who approved objects later",
        "BC-TRU-21",
        rejected("review.objection"),
        auditors(0),
        *of_two(("approves", EARLIER), ("objects", LATER)),
    ),
    *(
        case(
            f"review::both-at-once-{which}",
            f"Of two of one time the objection counts, read {which}",
            "BC-TRU-21",
            rejected("review.objection"),
            auditors(0),
            *(says(outcome, ANN, name=name) for name, outcome in zip("ab", outcomes, strict=True)),
        )
        for which, outcomes in (("first", ("objects", "approves")), ("last", ("approves", "objects")))
    ),
    case(
        "review::stranger",
        "A stranger objects",
        "BC-TRU-21 BC-TRU-23",
        UNKNOWN,
        auditors(0),
        says("objects", STRANGER),
    ),
    case(
        "review::stranger-approves",
        "A stranger approves, and the policy asks for an approval",
        "BC-TRU-21 BC-TRU-24",
        indeterminate("review.threshold_not_met", "review.unknown_signer"),
        auditors(1),
        says("approves", STRANGER),
    ),
    case(
        "review::producer",
        "The producer objects",
        "BC-TRU-13 BC-TRU-21",
        UNKNOWN,
        auditors(0),
        says("objects", TRUSTED),
    ),
    case(
        "review::another-certificate",
        "An objection to another certificate",
        "BC-TRU-21",
        accepted("review.other"),
        auditors(0),
        says("objects", ANN, about=b"another payload"),
    ),
    case(
        "review::another-sha256",
        "An approval whose SHA-256 is not that of the certificate",
        "BC-TRU-19 BC-TRU-21",
        indeterminate("review.threshold_not_met", "review.other"),
        auditors(1),
        says("approves", ANN, sha256="0" * 64),
    ),
    case(
        "review::future",
        "An objection of a second from now",
        "BC-TRU-21",
        UNKNOWN,
        auditors(0),
        says("objects", ANN, made_at="2026-11-22T10:00:01Z"),
    ),
    case(
        "review::key-not-valid-now",
        "An objection by a key whose window is over",
        "BC-TRU-21",
        UNKNOWN,
        auditors(0),
        policy("keys[1].not_after", "2026-11-22T09:59:59Z"),
        says("objects", ANN),
    ),
    case(
        "review::key-not-valid-then",
        "An objection made before its key's window opened",
        "BC-TRU-21",
        UNKNOWN,
        auditors(0),
        policy("keys[1].not_before", "2026-11-22T00:00:00Z"),
        says("objects", ANN),
    ),
    case(
        "review::key-revoked",
        "An approval by a key that a list revokes",
        "BC-TRU-15 BC-TRU-21",
        indeterminate("review.threshold_not_met", "review.unknown_signer"),
        auditors(1),
        revokers,
        says("approves", ANN),
        given(keys=[key(ANN)]),
    ),
    case(
        "review::two-signatures",
        "An objection with two signatures",
        "BC-TRU-19",
        MALFORMED,
        auditors(0),
        says("objects", ANN, BEN),
    ),
    case(
        "review::unknown-field",
        "An objection with a field more",
        "BC-TRU-19 BC-NUM-12",
        MALFORMED,
        auditors(0),
        says("objects", ANN, verdict="rejected"),
    ),
    case(
        "review::junk",
        "Junk among the reviews",
        "BC-TRU-23",
        MALFORMED,
        auditors(0),
        appended(b"{", "appended/junk.dsse.json"),
    ),
    case(
        "review::as-large-as-is-read",
        "An objection in a file of as many bytes as a reader takes",
        "BC-TRU-20",
        rejected("review.objection"),
        auditors(0),
        says("objects", ANN, size=MOST_BYTES),
    ),
    case(
        "review::too-large",
        "An objection in a file of a byte more than a reader takes",
        "BC-TRU-20",
        MALFORMED,
        auditors(0),
        says("objects", ANN, size=MOST_BYTES + 1),
    ),
    case(
        "review::as-many-as-are-read",
        "As many statements as a reader takes",
        "BC-TRU-20",
        MALFORMED,
        auditors(0),
        appended(b"{}", *(f"appended/{i:03}.dsse.json" for i in range(MOST_STATEMENTS))),
    ),
    case(
        "review::too-many",
        "One statement more than a reader takes",
        "BC-TRU-20",
        indeterminate("review.malformed"),
        auditors(0),
        appended(b"{}", *(f"appended/{i:03}.dsse.json" for i in range(MOST_STATEMENTS + 1))),
    ),
    *(
        case(
            f"review::named-{name}",
            "A file whose name is no review's is a file that no statement lists",
            "BC-TRU-20 BC-BND-02",
            rejected("bundle.file.unlisted"),
            appended(b"{}", path),
        )
        for name, path in (
            ("deeper", "appended/deeper/a.dsse.json"),
            ("otherwise", "appended/a.json"),
            ("nothing", "appended/.dsse.json"),
            ("outside", "a.dsse.json"),
        )
    ),
)
