"""Trust policies that are none: nothing is decided with them."""

from __future__ import annotations

from typing import Any

from blockcert_producers.conformance.changes import DROP, policy
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import accepted, case, indeterminate, refused, rejected
from blockcert_producers.conformance.families.signatures import MET, trusted

__all__ = ["CASES"]

FIELD = 2**255 - 19


def key(value: int) -> Change:
    """The policy's key is this point's encoding."""
    return policy("keys[0].public_key", value.to_bytes(32, "little").hex())


def another(**fields: Any) -> Change:
    def apply(draft: Draft) -> None:
        draft.policy["keys"].append(trusted("second") | fields)

    return apply


def twice(draft: Draft) -> None:
    draft.policy["keys"].append(draft.policy["keys"][0] | {"name": "other"})


CASES = (
    case("policy::type", "A policy of another type", "BC-TRU-01", refused("json.type"), policy("type", "policy")),
    case("policy::version", "A policy of another version", "BC-TRU-01", refused("json.type"), policy("version", 2)),
    case("policy::no-limits", "A policy without its limits", "BC-TRU-01", refused("json.type"), policy("limits", DROP)),
    case(
        "policy::algorithm",
        "An algorithm that is not there",
        "BC-TRU-03",
        refused("json.type"),
        policy("keys[0].algorithm", "rsa"),
    ),
    case(
        "policy::key-upper-case",
        "A public key in upper case",
        "BC-TRU-01",
        refused("json.type"),
        policy("keys[0].public_key", lambda s: s.upper()),
    ),
    case(
        "policy::key-small-order",
        "A point under which one signature fits several messages",
        "BC-TRU-03",
        refused("key.public.small_order"),
        key(1),
    ),
    case(
        "policy::key-small-order-signed",
        "The same with the sign bit set",
        "BC-TRU-03",
        refused("key.public.small_order"),
        key(1 | 1 << 255),
    ),
    case(
        "policy::key-not-canonical",
        "A second encoding of a point",
        "BC-TRU-03",
        refused("key.public.not_canonical"),
        key(FIELD + 3),
    ),
    case(
        "policy::key-not-on-the-curve",
        "Bytes that are no point",
        "BC-TRU-03",
        refused("key.public.not_on_curve"),
        key(2),
    ),
    case(
        "policy::key-name", "A key's name with a slash", "BC-TRU-02", refused("key.name"), policy("keys[0].name", "a/b")
    ),
    case(
        "policy::key-name-empty", "A key without a name", "BC-TRU-02", refused("key.name"), policy("keys[0].name", "")
    ),
    case("policy::key-twice", "One key under two names", "BC-TRU-02", refused("trust.key"), twice),
    case(
        "policy::name-twice",
        "Two keys whose names differ only in case",
        "BC-TRU-02",
        refused("trust.key"),
        another(name="CORPUS"),
    ),
    case(
        "policy::role-twice",
        "One role twice",
        "BC-TRU-04",
        refused("trust.key"),
        policy("keys[0].roles", ["producer"] * 2),
    ),
    case(
        "policy::window-empty",
        "A window that ends when it begins",
        "BC-TRU-04",
        refused("trust.window"),
        another(not_before="2026-11-22T10:00:00Z", not_after="2026-11-22T10:00:00Z"),
    ),
    case(
        "policy::window-calendar",
        "A window that begins on a day that does not exist",
        "BC-NUM-09 BC-TRU-04",
        refused("time.calendar"),
        another(not_before="2026-02-30T00:00:00Z"),
    ),
    case(
        "policy::threshold-of-none",
        "No key must sign",
        "BC-TRU-04",
        refused("json.type"),
        policy("thresholds.producer", 0),
    ),
    case(
        "policy::threshold-out-of-reach",
        "More keys must sign than there are",
        "BC-TRU-04",
        refused("trust.threshold"),
        policy("thresholds.producer", 2),
    ),
    case(
        "policy::threshold-of-another-role",
        "Enough keys, of another role",
        "BC-TRU-04",
        refused("trust.threshold"),
        another(roles=["auditor"]),
        policy("thresholds.producer", 2),
    ),
    case("policy::no-keys", "No key at all", "BC-TRU-04", refused("trust.threshold"), policy("keys", [])),
    case(
        "policy::auditors-out-of-reach",
        "More auditors must approve than there are",
        "BC-TRU-04 BC-TRU-13",
        refused("trust.threshold"),
        another(roles=["auditor"]),
        policy("thresholds.auditor", 2),
    ),
    case(
        "policy::no-revoker",
        "A revocation list is asked for, and nobody can sign one",
        "BC-TRU-04",
        refused("trust.threshold"),
        policy("revocation", {"source": "the vendor's page"}),
    ),
    case(
        "policy::revokers-out-of-reach",
        "More revokers must sign than there are, and no list is asked for",
        "BC-TRU-04",
        refused("trust.threshold"),
        another(roles=["revoker"]),
        policy("thresholds.revoker", 2),
    ),
    case(
        "policy::owners-out-of-reach",
        "More owners must sign than there are",
        "BC-TRU-04",
        refused("trust.threshold"),
        another(roles=["owner"]),
        policy("thresholds.owner", 2),
    ),
    case(
        "policy::thresholds-of-no-key",
        "Thresholds of roles that no key has, and that nothing asks for",
        "BC-TRU-04",
        accepted(),
        policy("thresholds", {"producer": 1, "revoker": 3, "owner": 3}),
    ),
    case(
        "policy::revokers-none",
        "No revoker must sign",
        "BC-TRU-01",
        refused("json.type"),
        policy("thresholds.revoker", 0),
    ),
    case("policy::role", "A role that is none", "BC-TRU-13", refused("json.type"), another(roles=["signer"])),
    case(
        "policy::auditor-signs",
        "A certificate signed by an auditor's key",
        "BC-TRU-13",
        rejected(MET),
        another(),
        policy("keys[0].roles", ["auditor"]),
    ),
    case(
        "policy::all-roles",
        "One key with every role, owner among them, in a policy that is a file of its own",
        "BC-TRU-13 BC-TRU-26",
        accepted(),
        policy("keys[0].roles", ["producer", "auditor", "revoker", "owner"]),
    ),
    case(
        "policy::older-fields",
        "A policy without the fields that may be absent",
        "BC-TRU-01",
        accepted(),
        policy("number", DROP),
        policy("revocation", DROP),
        policy("thresholds", {"producer": 1}),
    ),
    case("policy::number-0", "A policy of number 0", "BC-TRU-01", refused("json.type"), policy("number", 0)),
    case(
        "policy::no-source",
        "A revocation list is asked for, and nothing says where it is",
        "BC-TRU-01",
        refused("json.type"),
        another(roles=["revoker"]),
        policy("revocation", {"source": ""}),
    ),
    case(
        "policy::step-twice",
        "A step required twice",
        "BC-TRU-05",
        refused("trust.require"),
        policy("require", lambda steps: [*steps, "policy"]),
    ),
    case(
        "policy::without-integrity",
        "Integrity is not required",
        "BC-TRU-05",
        refused("trust.require"),
        policy("require", lambda steps: [s for s in steps if s != "integrity"]),
    ),
    case(
        "policy::unknown-step",
        "A step that is none",
        "BC-TRU-05 BC-RES-02",
        refused("json.type"),
        policy("require", lambda steps: [*steps, "trust"]),
    ),
    case(
        "policy::limit-negative",
        "A limit below 0",
        "BC-TRU-01",
        refused("trust.limit"),
        policy("limits.kl_mean", "-0.1"),
    ),
    case(
        "policy::share-above-one",
        "A share above 1",
        "BC-TRU-01",
        refused("trust.limit"),
        policy("limits.top1_share", "1.1"),
    ),
    case(
        "policy::limit-without-step",
        "A limit that no required step applies",
        "BC-TRU-12",
        refused("trust.limit_unused"),
        policy("require", ["structure", "authenticity", "integrity", "recompute"]),
        policy("limits.kl_mean", "1"),
    ),
    case(
        "policy::audit-without-replay",
        "Audited rows asked for, and no replay",
        "BC-TRU-12",
        refused("trust.limit_unused"),
        policy("limits.least_audit_rows", 1),
    ),
    case(
        "policy::few-steps",
        "A policy that requires no more than it must",
        "BC-TRU-05 BC-RES-05",
        accepted(),
        policy("require", ["structure", "authenticity", "integrity"]),
    ),
    case(
        "policy::replay-required",
        "Replay is required, and there is nothing to replay with",
        "BC-RES-04 BC-RES-05 BC-VER-17",
        indeterminate(notes="replay.not_run"),
        policy("require", lambda steps: [*steps, "replay"]),
    ),
    case(
        "policy::fresh-required",
        "Fresh prompts are required, and nobody asked for any",
        "BC-RES-04 BC-VER-23",
        indeterminate(notes="fresh.not_run"),
        policy("require", lambda steps: [*steps, "fresh"]),
    ),
)
