"""Revocation lists: what they reject, what they leave open, and which are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockcert.digest import blake3_bytes
from blockcert.keys import PrivateKey
from blockcert.revocation import PAYLOAD_TYPE
from blockcert_producers.conformance.changes import DROP, policy
from blockcert_producers.conformance.draft import TRUSTED, Change, Draft, write_json
from blockcert_producers.conformance.entry import accepted, case, indeterminate, refused, rejected
from blockcert_producers.conformance.families.signatures import MET, STRANGER, trusted
from blockcert_producers.conformance.seeds import throwaway_key

__all__ = [
    "CASES",
    "REVOKER",
    "SECOND",
    "certificate",
    "given",
    "key",
    "not_asked",
    "payload",
    "remembered",
    "revokers",
    "two_revokers",
]

REVOKER, SECOND = throwaway_key("revoker"), throwaway_key("second revoker")
SINCE = "2026-11-01T00:00:00Z"


def revokers(draft: Draft) -> None:
    """The policy has a revoker, and asks for a list."""
    draft.policy["keys"].append(trusted("revoker", REVOKER, roles=["revoker"]))
    draft.policy["revocation"] = {"source": "the vendor's page"}


def not_asked(draft: Draft) -> None:
    """The policy has a revoker, and asks for no list."""
    revokers(draft)
    draft.policy["revocation"] = None


def two_revokers(draft: Draft) -> None:
    """The policy asks for a list that two revokers signed."""
    revokers(draft)
    draft.policy["keys"].append(trusted("revoker-2", SECOND, roles=["revoker"]))
    draft.policy["thresholds"]["revoker"] = 2


def key(revoked: PrivateKey, **fields: Any) -> dict[str, Any]:
    """An entry of a list's keys."""
    return {"public_key": revoked.public.raw.hex(), "revoked_at": SINCE, "reason": "key-compromise"} | fields


def certificate(digest: str, **fields: Any) -> dict[str, Any]:
    """An entry of a list's certificates."""
    return {"certificate": digest, "revoked_at": SINCE, "reason": "superseded"} | fields


def payload(draft: Draft, *, revoked: int = 0, **fields: Any) -> bytes:
    """A list; `revoked`: how often it names this certificate."""
    digest = blake3_bytes(draft.signed)
    document: dict[str, Any] = {"type": "blockcert-revocations", "version": 1, "number": 5, "keys": []}
    document |= {"issued_at": "2026-11-21T10:00:00Z", "next_update": "2026-12-22T10:00:00Z"}
    document["certificates"] = [certificate("a" * 64), *(certificate(digest, note="too wide") for _ in range(revoked))]
    return write_json({name: value for name, value in (document | fields).items() if value is not DROP})


def given(signers: Sequence[PrivateKey] = (REVOKER,), kind: str = PAYLOAD_TYPE, **fields: Any) -> Change:
    """The verifier has a list, signed by these."""

    def apply(draft: Draft) -> None:
        draft.revocations = write_json(draft.envelope(payload(draft, **fields), signers, kind))

    return lambda draft: draft.later(apply)


def remembered(number: int, by: PrivateKey = REVOKER, state: dict[str, Any] | None = None, **fields: Any) -> Change:
    """The verifier remembers a list of this number, which had these fields and this signer, but for `state`."""

    def apply(draft: Draft) -> None:
        digest = blake3_bytes(payload(draft, number=number, **fields))
        kept = {"type": "blockcert-revocation-state", "version": 1, "number": number, "digest": digest}
        draft.revocation_state = write_json(kept | {"revokers": [by.public.raw.hex()]} | (state or {}))

    return lambda draft: draft.later(apply)


def no_envelope(draft: Draft) -> None:
    draft.revocations = b"{}"


def a_folder(name: str) -> Change:
    """A folder in the place of the file that the verifier is told of."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return lambda draft: draft.on_disk(change)


CASES = (
    case(
        "revocation::a-folder",
        "A folder in the place of the list",
        "BC-RES-06",
        refused("file.unreadable"),
        revokers,
        given(),
        a_folder("revocations.dsse.json"),
    ),
    case(
        "revocation::state-a-folder",
        "A folder in the place of what is remembered",
        "BC-RES-06 BC-TRU-17",
        refused("file.unreadable"),
        revokers,
        given(),
        remembered(4),
        a_folder("revocation-state.json"),
    ),
    case("revocation::clear", "A current list of others", "BC-TRU-14", accepted("revocation.list"), revokers, given()),
    case(
        "revocation::not-asked-for",
        "No list, and the policy asks for none",
        "BC-TRU-16 BC-TRU-18",
        accepted(),
        not_asked,
    ),
    case(
        "revocation::revoked",
        "A list names the certificate",
        "BC-TRU-15",
        rejected("certificate.revoked"),
        revokers,
        given(revoked=1),
    ),
    case(
        "revocation::revoked-not-asked-for",
        "A list that nobody asked for names the certificate",
        "BC-TRU-15",
        rejected("certificate.revoked"),
        not_asked,
        given(revoked=1),
    ),
    case(
        "revocation::revoked-stale",
        "A list that is no longer current names the certificate",
        "BC-TRU-15 BC-TRU-16",
        rejected("certificate.revoked revocation.stale"),
        revokers,
        given(revoked=1, next_update="2026-11-22T09:00:00Z"),
    ),
    case(
        "revocation::key",
        "A list names the producer's key, since after the certificate was issued",
        "BC-TRU-15",
        rejected(f"signature.key_revoked {MET}"),
        revokers,
        given(keys=[key(TRUSTED, revoked_at="2026-11-22T10:00:00Z")]),
    ),
    case(
        "revocation::own-key",
        "A list names the key that signed it, and the certificate: it counts",
        "BC-TRU-15",
        rejected("certificate.revoked"),
        revokers,
        given(revoked=1, keys=[key(REVOKER)]),
    ),
    case("revocation::missing", "No list", "BC-TRU-16", indeterminate("revocation.missing"), revokers),
    case(
        "revocation::stranger",
        "A list by nobody whom the policy trusts names the certificate",
        "BC-TRU-15 BC-TRU-16",
        indeterminate("revocation.untrusted"),
        revokers,
        given([STRANGER], revoked=1),
    ),
    case(
        "revocation::producer",
        "A list that the producer signed",
        "BC-TRU-13 BC-TRU-16",
        indeterminate("revocation.untrusted"),
        revokers,
        given([TRUSTED]),
    ),
    case(
        "revocation::one-of-two",
        "One revoker signed, and the policy asks for two",
        "BC-TRU-15",
        indeterminate("revocation.untrusted"),
        two_revokers,
        given(revoked=1),
    ),
    case(
        "revocation::two-of-two",
        "Both revokers signed",
        "BC-TRU-15",
        rejected("certificate.revoked"),
        two_revokers,
        given([REVOKER, SECOND], revoked=1),
    ),
    case(
        "revocation::issued-before-the-key",
        "A list issued before its signer's window opened",
        "BC-TRU-15",
        indeterminate("revocation.untrusted"),
        revokers,
        policy("keys[1].not_before", "2026-11-22T00:00:00Z"),
        given(revoked=1),
    ),
    case(
        "revocation::last-second",
        "The last second of a list",
        "BC-TRU-16",
        accepted("revocation.list"),
        revokers,
        given(next_update="2026-11-22T10:00:00Z"),
    ),
    case(
        "revocation::stale",
        "A second after the last",
        "BC-TRU-16",
        indeterminate("revocation.stale"),
        revokers,
        given(next_update="2026-11-22T09:59:59Z"),
    ),
    case(
        "revocation::future",
        "A list of a second from now",
        "BC-TRU-16",
        indeterminate("revocation.not_yet_valid"),
        revokers,
        given(issued_at="2026-11-22T10:00:01Z"),
    ),
    case(
        "revocation::the-same-again",
        "The list that was seen last",
        "BC-TRU-17",
        accepted("revocation.list"),
        revokers,
        given(),
        remembered(5),
    ),
    case(
        "revocation::higher",
        "A list of a higher number",
        "BC-TRU-17",
        accepted("revocation.list"),
        revokers,
        given(),
        remembered(4),
    ),
    case(
        "revocation::lower",
        "A list of a lower number",
        "BC-TRU-17",
        indeterminate("revocation.rollback"),
        revokers,
        given(),
        remembered(6),
    ),
    case(
        "revocation::another-of-the-number",
        "Another list of the number that was seen last",
        "BC-TRU-17",
        indeterminate("revocation.rollback"),
        revokers,
        given(),
        remembered(5, next_update="2026-12-23T10:00:00Z"),
    ),
    case(
        "revocation::lower-revoked",
        "A list of a lower number names the certificate",
        "BC-TRU-15 BC-TRU-17",
        rejected("certificate.revoked revocation.rollback"),
        revokers,
        given(revoked=1),
        remembered(6),
    ),
    case(
        "revocation::remembered-and-none",
        "A list is remembered, none is given, and the policy asks for none",
        "BC-TRU-16 BC-TRU-17",
        indeterminate("revocation.missing"),
        not_asked,
        remembered(5),
    ),
    case(
        "revocation::remembered-of-others",
        "The verifier remembers a list of somebody whom the policy does not name",
        "BC-TRU-17",
        refused("revocation.other_state"),
        revokers,
        given(),
        remembered(4, by=STRANGER),
    ),
    case(
        "revocation::remembered-of-the-producer",
        "The verifier remembers a list of a key that the policy names, and not as revoker",
        "BC-TRU-13 BC-TRU-17",
        refused("revocation.other_state"),
        revokers,
        given(),
        remembered(4, by=TRUSTED),
    ),
    case(
        "revocation::remembered-of-the-other-revoker",
        "The list that is remembered was signed by another of the policy's revokers",
        "BC-TRU-17",
        indeterminate("revocation.rollback"),
        two_revokers,
        given([REVOKER, SECOND]),
        remembered(6, by=SECOND),
    ),
    case(
        "revocation::remembered-number-0",
        "A list of number 0 is remembered, which there is none",
        "BC-TRU-17",
        refused("json.type"),
        revokers,
        given(),
        remembered(4, state={"number": 0}),
    ),
    case(
        "revocation::remembered-of-nobody",
        "A state without a revoker",
        "BC-TRU-17",
        refused("json.type"),
        revokers,
        given(),
        remembered(4, state={"revokers": []}),
    ),
    case(
        "revocation::twice",
        "A certificate stands in a list twice",
        "BC-TRU-14 BC-TRU-16",
        refused("revocation.repeated"),
        revokers,
        given(revoked=2),
    ),
    case(
        "revocation::key-twice",
        "A key stands in a list twice",
        "BC-TRU-14",
        refused("revocation.repeated"),
        revokers,
        given(keys=[key(STRANGER), key(STRANGER, reason="error")]),
    ),
    case(
        "revocation::window",
        "A list to be replaced when it is issued",
        "BC-TRU-14",
        refused("revocation.window"),
        revokers,
        given(next_update="2026-11-21T10:00:00Z"),
    ),
    case("revocation::number-0", "A list of number 0", "BC-TRU-14", refused("json.type"), revokers, given(number=0)),
    case(
        "revocation::unknown-field",
        "A list with a field more",
        "BC-TRU-14 BC-NUM-12",
        refused("json.type"),
        revokers,
        given(more=1),
    ),
    case(
        "revocation::reason",
        "A reason that is none",
        "BC-TRU-14",
        refused("json.type"),
        revokers,
        given(keys=[key(STRANGER, reason="boredom")]),
    ),
    case(
        "revocation::key-small-order",
        "A key of small order",
        "BC-TRU-03 BC-TRU-14",
        refused("key.public.small_order"),
        revokers,
        given(keys=[key(STRANGER, public_key="00" * 32)]),
    ),
    case(
        "revocation::payload-type",
        "A list in a certificate's envelope",
        "BC-TRU-14",
        refused("envelope.payload_type"),
        revokers,
        given(kind="application/vnd.in-toto+json"),
    ),
    case("revocation::no-envelope", "No envelope", "BC-TRU-14 BC-TRU-16", refused("json.type"), revokers, no_envelope),
)
