"""Policies that follow the one a verifier holds: number N + 1, signed by the owners of both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from blockcert.dsse import PAYLOAD_TYPE as CERTIFICATE_TYPE
from blockcert.keys import PrivateKey
from blockcert.rotation import PAYLOAD_TYPE
from blockcert_producers.conformance.draft import TRUSTED, Change, Draft, write_json
from blockcert_producers.conformance.entry import accepted, case, refused, rejected
from blockcert_producers.conformance.families.signatures import MET, STRANGER, trusted
from blockcert_producers.conformance.seeds import throwaway_key

__all__ = ["CASES"]

OLD, SECOND, NEW = throwaway_key("owner"), throwaway_key("second owner"), throwaway_key("next owner")
Edit: TypeAlias = Callable[[dict[str, Any]], object]


def owner(name: str, key: PrivateKey, **window: str) -> dict[str, Any]:
    return trusted(name, key, roles=["owner"], **window)


OWNER = owner("owner", OLD)
TWO = [OWNER, owner("second", SECOND)]


def rotated(
    *signers: PrivateKey,
    number: int = 2,
    held: Sequence[dict[str, Any]] = (OWNER,),
    owners: Sequence[dict[str, Any]] = (OWNER,),
    needed: tuple[int, int] = (1, 1),
    old: Edit = lambda _policy: None,
    new: Edit = lambda _policy: None,
    kind: str = PAYLOAD_TYPE,
) -> Change:
    """The verifier holds a policy of owners `held`, and gets one of `owners`, which these signed; `needed` of each."""

    def apply(draft: Draft) -> None:
        before, after = copy.deepcopy(draft.policy), copy.deepcopy(draft.policy)
        after["number"] = number
        for policy, entries, count, edit in ((before, held, needed[0], old), (after, owners, needed[1], new)):
            policy["keys"] += copy.deepcopy([*entries])
            policy["thresholds"]["owner"] = count
            edit(policy)
        draft.follows = before
        draft.policy_bytes = write_json(draft.envelope(write_json(after), signers, kind))

    return apply


def trusts_nobody_who_signed(policy: dict[str, Any]) -> None:
    """The policy's producer is a stranger to the certificate."""
    policy["keys"][0] = trusted("corpus", STRANGER)


def plain(draft: Draft) -> None:
    """What follows is a policy that nobody signed."""
    rotated()(draft)
    draft.policy_bytes = write_json(draft.policy | {"number": 2})


def without(name: str) -> Change:
    return lambda draft: draft.missing.add(name)


def threshold_beyond_its_keys(policy: dict[str, Any]) -> None:
    policy["thresholds"]["producer"] = 2


NUMBER, THRESHOLD = refused("trust.rotation.number"), refused("trust.rotation.threshold")
NO_OWNER = refused("trust.rotation.no_owner")

CASES = (
    case("rotation::next", "The next policy, signed by the owner of both", "BC-TRU-25", accepted(), rotated(OLD)),
    case(
        "rotation::next-owner",
        "Another owner answers for the next policy, and both signed",
        "BC-TRU-25",
        accepted(),
        rotated(OLD, NEW, owners=[owner("next", NEW)]),
    ),
    case(
        "rotation::two-of-two",
        "Both owners that the old policy asks for signed",
        "BC-TRU-25",
        accepted(),
        rotated(OLD, SECOND, held=TWO, needed=(2, 1)),
    ),
    case(
        "rotation::beside-a-stranger",
        "A signature that nobody knows stands before that of the owner",
        "BC-TRU-25",
        accepted(),
        rotated(STRANGER, OLD),
    ),
    case(
        "rotation::the-next-one-decides",
        "The held policy does not trust the certificate's signer, and the next one does",
        "BC-TRU-25",
        accepted(),
        rotated(OLD, old=trusts_nobody_who_signed),
    ),
    case(
        "rotation::a-key-taken-out",
        "The held policy trusts the certificate's signer, and the next one does not",
        "BC-TRU-25",
        rejected(f"signature.unknown_key {MET}"),
        rotated(OLD, new=trusts_nobody_who_signed),
    ),
    case(
        "rotation::last-second",
        "The last second of the owner's key",
        "BC-TRU-25",
        accepted(),
        rotated(OLD, held=[owner("owner", OLD, not_after="2026-11-22T10:00:00Z")]),
    ),
    case("rotation::same-number", "The number that is held", "BC-TRU-25", NUMBER, rotated(OLD, number=1)),
    case("rotation::number-left-out", "The number after the next", "BC-TRU-25", NUMBER, rotated(OLD, number=3)),
    case(
        "rotation::lower-number",
        "A number below the held one",
        "BC-TRU-25",
        NUMBER,
        rotated(OLD, number=6, old=lambda policy: policy.update(number=7)),
    ),
    case("rotation::unsigned", "Nobody signed", "BC-TRU-25", THRESHOLD, rotated()),
    case("rotation::stranger", "A key that neither policy knows signed", "BC-TRU-25", THRESHOLD, rotated(STRANGER)),
    case(
        "rotation::producer",
        "The producer of both policies signed",
        "BC-TRU-13 BC-TRU-25",
        THRESHOLD,
        rotated(TRUSTED),
    ),
    case(
        "rotation::one-of-two",
        "One owner signed, and the held policy asks for two",
        "BC-TRU-25",
        THRESHOLD,
        rotated(OLD, held=TWO, owners=TWO, needed=(2, 1)),
    ),
    case(
        "rotation::one-twice",
        "One owner signed twice, and the held policy asks for two",
        "BC-TRU-07 BC-TRU-25",
        THRESHOLD,
        rotated(OLD, OLD, held=TWO, owners=TWO, needed=(2, 1)),
    ),
    case(
        "rotation::one-of-the-next-two",
        "One owner signed, and the next policy asks for two of its own",
        "BC-TRU-25",
        THRESHOLD,
        rotated(OLD, owners=TWO, needed=(1, 2)),
    ),
    case(
        "rotation::only-the-old",
        "The owner of the held policy signed, and that of the next did not",
        "BC-TRU-25",
        THRESHOLD,
        rotated(OLD, owners=[owner("next", NEW)]),
    ),
    case(
        "rotation::only-the-next",
        "The owner of the next policy signed, and that of the held one did not",
        "BC-TRU-25",
        THRESHOLD,
        rotated(NEW, owners=[owner("next", NEW)]),
    ),
    case(
        "rotation::owners-window-over",
        "A second after the last of the owner's key",
        "BC-TRU-08 BC-TRU-25",
        THRESHOLD,
        rotated(OLD, held=[owner("owner", OLD, not_after="2026-11-22T09:59:59Z")]),
    ),
    case("rotation::nobody-owns-the-held", "A policy without owners", "BC-TRU-25", NO_OWNER, rotated(OLD, held=[])),
    case("rotation::nobody-owns-the-next", "It has no owner", "BC-TRU-25", NO_OWNER, rotated(OLD, owners=[])),
    case(
        "rotation::payload-type",
        "It is signed as a certificate is",
        "BC-TRU-25",
        refused("envelope.payload_type"),
        rotated(OLD, kind=CERTIFICATE_TYPE),
    ),
    case("rotation::no-envelope", "A policy that nobody signed", "BC-TRU-25", refused("json.type"), plain),
    case(
        "rotation::no-policy",
        "What follows is signed, and asks for more producers than it has",
        "BC-TRU-04 BC-TRU-25",
        refused("trust.threshold"),
        rotated(OLD, new=threshold_beyond_its_keys),
    ),
    case(
        "rotation::nothing-held",
        "No policy at the path of the one that is held",
        "BC-RES-06 BC-TRU-25",
        refused("trust.not_found"),
        rotated(OLD),
        without("follows"),
    ),
    case(
        "rotation::nothing-follows",
        "Nothing at the path of the one that follows",
        "BC-RES-06 BC-TRU-25",
        refused("trust.not_found"),
        rotated(OLD),
        without("policy"),
    ),
)
