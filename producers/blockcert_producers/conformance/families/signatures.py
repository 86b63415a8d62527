"""Signatures that do not count, and thresholds that are not met."""

from __future__ import annotations

import base64
import json
from typing import Any

from blockcert.bundle import STATEMENT
from blockcert.keys import keyid
from blockcert_producers.conformance.changes import envelope, options
from blockcert_producers.conformance.draft import TRUSTED, Change, Draft, write_json
from blockcert_producers.conformance.entry import accepted, case, rejected
from blockcert_producers.conformance.seeds import throwaway_key

__all__ = ["CASES", "MET", "STRANGER", "trusted"]

SECOND, STRANGER = throwaway_key("second producer"), throwaway_key("stranger")
ORDER = 2**252 + 27742317777372353535851937790883648493
MET = "signature.threshold_not_met"


def trusted(name: str, key: Any = SECOND, **fields: Any) -> dict[str, Any]:
    """An entry of the policy's keys."""
    entry = {"name": name, "algorithm": "ed25519", "public_key": key.public.raw.hex(), "roles": ["producer"]}
    return entry | {"not_before": None, "not_after": None} | fields


def signed_by(*keys: Any) -> Change:
    return lambda draft: setattr(draft, "signers", list(keys))


def two_trusted(threshold: int) -> Change:
    def apply(draft: Draft) -> None:
        draft.policy["keys"].append(trusted("second"))
        draft.policy["thresholds"]["producer"] = threshold

    return apply


def window(**ends: str) -> Change:
    """The window of the policy's only key."""
    return lambda draft: draft.policy["keys"][0].update(ends)


def changed(at: int) -> Change:
    """A byte of the signature changed."""

    def change(text: str) -> str:
        data = bytearray(base64.b64decode(text))
        data[at] ^= 1
        return base64.b64encode(data).decode()

    return envelope("signatures[0].sig", change)


def malleable(text: str) -> str:
    """The signature with the group's order added to S: an equation modulo the order still holds."""
    data = base64.b64decode(text)
    s = int.from_bytes(data[32:], "little") + ORDER
    return base64.b64encode(data[:32] + s.to_bytes(32, "little")).decode()


def over_the_bare_payload(draft: Draft) -> None:
    """The signature made over the payload alone, without its type and length."""

    def apply(d: Draft) -> None:
        document = json.loads(d.sealed[STATEMENT])
        payload = base64.b64decode(document["payload"])
        document["signatures"][0]["sig"] = base64.b64encode(TRUSTED.sign(payload)).decode()
        d.sealed[STATEMENT] = write_json(document)

    draft.later(apply)


def other_payload(draft: Draft) -> None:
    """One number of the payload changed after signing."""

    def apply(d: Draft) -> None:
        document = json.loads(d.sealed[STATEMENT])
        payload = base64.b64decode(document["payload"]).replace(b'"top1_agree":', b'"top1_agree":1', 1)
        document["payload"] = base64.b64encode(payload).decode()
        d.sealed[STATEMENT] = write_json(document)

    draft.later(apply)


def bare_type(draft: Draft) -> None:
    """The signature made for another payload type."""

    def apply(d: Draft) -> None:
        document = json.loads(d.sealed[STATEMENT])
        payload = base64.b64decode(document["payload"])
        message = b"DSSEv1 16 application/json " + b"%d " % len(payload) + payload
        document["signatures"][0]["sig"] = base64.b64encode(TRUSTED.sign(message)).decode()
        d.sealed[STATEMENT] = write_json(document)

    draft.later(apply)


CASES = (
    case(
        "signature::none", "A bundle that nobody signed", "BC-STM-02 BC-TRU-07", rejected("signature.none"), signed_by()
    ),
    case(
        "signature::unknown-key",
        "Signed by a key that the policy does not have",
        "BC-TRU-06 BC-TRU-07",
        rejected(f"signature.unknown_key {MET}"),
        signed_by(STRANGER),
    ),
    case(
        "signature::unknown-key-with-trusted-keyid",
        "Signed by a stranger who writes the trusted key's id",
        "BC-STM-07 BC-TRU-06",
        rejected(f"signature.invalid {MET}"),
        signed_by(STRANGER),
        envelope("signatures[0].keyid", keyid(TRUSTED.public)),
    ),
    case(
        "signature::one-bit-of-r", "One bit of R changed", "BC-STM-04", rejected(f"signature.invalid {MET}"), changed(0)
    ),
    case(
        "signature::one-bit-of-s",
        "One bit of S changed",
        "BC-STM-04",
        rejected(f"signature.invalid {MET}"),
        changed(32),
    ),
    case(
        "signature::malleable",
        "S with the group's order added to it",
        "BC-STM-04",
        rejected(f"signature.invalid {MET}"),
        envelope("signatures[0].sig", malleable),
    ),
    case(
        "signature::of-63-bytes",
        "A signature of 63 bytes is nobody's",
        "BC-STM-01",
        rejected(f"signature.invalid {MET}"),
        envelope("signatures[0].sig", lambda s: base64.b64encode(base64.b64decode(s)[:-1]).decode()),
    ),
    case(
        "signature::empty",
        "A signature of no bytes is nobody's",
        "BC-STM-01",
        rejected(f"signature.invalid {MET}"),
        envelope("signatures[0].sig", ""),
    ),
    case(
        "signature::of-the-bare-payload",
        "A signature over the payload without its type",
        "BC-STM-04",
        rejected(f"signature.invalid {MET}"),
        over_the_bare_payload,
    ),
    case(
        "signature::of-another-type",
        "A signature over the payload with another type",
        "BC-STM-04",
        rejected(f"signature.invalid {MET}"),
        bare_type,
    ),
    case(
        "signature::another-payload",
        "The payload changed after signing",
        "BC-STM-04 BC-STM-05 BC-VER-01",
        rejected(f"signature.invalid {MET}"),
        other_payload,
    ),
    case(
        "signature::two-of-two",
        "Two keys of two",
        "BC-TRU-07",
        accepted("authenticity.signatures"),
        two_trusted(2),
        signed_by(TRUSTED, SECOND),
    ),
    case("signature::one-of-two", "One key of two", "BC-TRU-07", rejected(MET), two_trusted(2)),
    case(
        "signature::one-key-twice",
        "One key twice, with two key ids, where two must sign",
        "BC-TRU-07",
        rejected(f"signature.repeated {MET}"),
        two_trusted(2),
        signed_by(TRUSTED, TRUSTED),
        envelope("signatures[1].keyid", "11" * 32),
    ),
    case(
        "signature::one-key-twice-and-enough",
        "One key twice, where one must sign",
        "BC-TRU-07 BC-RES-08",
        accepted("signature.repeated"),
        signed_by(TRUSTED, TRUSTED),
    ),
    case(
        "signature::a-stranger-beside",
        "A stranger's signature beside a trusted one",
        "BC-RES-08",
        accepted("signature.unknown_key"),
        signed_by(STRANGER, TRUSTED),
    ),
    case(
        "signature::broken-beside",
        "A broken signature beside a trusted one",
        "BC-RES-08",
        accepted("signature.invalid"),
        two_trusted(1),
        signed_by(SECOND, TRUSTED),
        changed(0),
    ),
    case(
        "signature::auditor-for-producer",
        "A key of another role does not count as a producer's",
        "BC-TRU-04 BC-TRU-07",
        rejected(MET),
        lambda d: d.policy["keys"].append(trusted("auditor", SECOND, roles=["auditor"])),
        signed_by(SECOND),
    ),
    case(
        "signature::key-not-yet-valid",
        "The key's window opens after the verifier's time",
        "BC-TRU-08",
        rejected(f"signature.key_not_valid_now {MET}"),
        window(not_before="2026-11-22T10:00:01Z"),
    ),
    case(
        "signature::key-no-longer-valid",
        "The key's window closed before the verifier's time",
        "BC-TRU-08",
        rejected(f"signature.key_not_valid_now {MET}"),
        window(not_after="2026-11-22T23:59:59Z"),
        options(at="2026-11-23T00:00:00Z"),
    ),
    case(
        "signature::last-second-of-the-key",
        "The last second of the key's window",
        "BC-TRU-04 BC-TRU-08",
        accepted(),
        window(not_after="2026-11-22T10:00:00Z"),
    ),
    case(
        "signature::issued-before-the-key",
        "Issued before the key's window opened, looked at inside it",
        "BC-TRU-09 BC-STM-05",
        rejected(f"signature.key_not_valid_when_issued {MET}"),
        window(not_before="2026-11-23T00:00:00Z"),
        options(at="2026-11-24T00:00:00Z"),
    ),
    case(
        "signature::a-key-outside-its-window-beside",
        "A key outside its window beside one inside",
        "BC-RES-08",
        accepted("signature.key_not_valid_now"),
        lambda d: d.policy["keys"].append(trusted("old", SECOND, not_after="2026-01-01T00:00:00Z")),
        signed_by(SECOND, TRUSTED),
    ),
)
