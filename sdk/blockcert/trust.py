"""The trust policy: whose signatures count, what has to be checked, and what the buyer will accept.

The normative text is ``spec/11-trust.md``; the JSON Schema is ``schemas/trust-policy.schema.json``. The
policy is the verifier's own file and its only trust input: nothing in a bundle chooses a key, an algorithm
or a step. Every field is written out, null where there is no limit, so that a reader of the file sees what
is not asked for.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert.findings import STEPS, StepName
from blockcert.keys import NamedKey, check_key_name, public_from_hex
from blockcert.numbers import parse_decimal
from blockcert.printable import PRINTABLE
from blockcert.program import Decimal, Hash
from blockcert.statement import PREDICATE_TYPE, PREDICATE_VERSION, Basis, Time
from blockcert.times import format_time, parse_time

__all__ = [
    "NO_LIMITS",
    "ROLES",
    "Accept",
    "Coverage",
    "Limits",
    "PopulationLimit",
    "Revocation",
    "Role",
    "Thresholds",
    "TrustPolicy",
    "TrustedKey",
    "encode_policy",
    "new_policy",
    "parse_policy",
    "window",
]

Role: TypeAlias = Literal["producer", "auditor", "revoker", "owner"]
ROLES: tuple[Role, ...] = ("producer", "auditor", "revoker", "owner")
"""What a key may sign: certificates, reviews of them, revocation lists, and the policy that follows this one."""
Positive: TypeAlias = Annotated[int, Meta(ge=1, lt=1 << 53)]
Label: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Source: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512, pattern=PRINTABLE)]

MOST_BYTES = 1 << 20
"""Most bytes of a policy's document (BC-NUM-11)."""
_GATE = strict_json.Limits(bytes=MOST_BYTES, nesting=8, nodes=1 << 14, string=1024)
_SIZES = ("relative_drift", "kl_mean", "loss_difference", "logit_difference")
"""Limits that are the largest size allowed."""
_FOUNDATION: tuple[StepName, ...] = ("structure", "authenticity", "integrity")
"""What every other step stands on; a policy without them would accept claims that nobody made."""


class _Record(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen and closed to unknown fields."""


class TrustedKey(_Record, frozen=True):
    """A key, what it may sign, and from when to when (both ends included; null: no end)."""

    name: str
    algorithm: Literal["ed25519"]
    public_key: Hash
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=4)]
    not_before: Time | None
    not_after: Time | None


class Thresholds(_Record, frozen=True):
    """How many different keys of a role must have signed; ``auditor``: must have approved the certificate."""

    producer: Annotated[int, Meta(ge=1, le=256)]
    auditor: Annotated[int, Meta(ge=0, le=256)] = 0
    revoker: Annotated[int, Meta(ge=1, le=256)] = 1
    owner: Annotated[int, Meta(ge=1, le=256)] = 1


class Revocation(_Record, frozen=True):
    """A revocation list is asked for; ``source`` says in words where its owner publishes it."""

    source: Source


class Accept(_Record, frozen=True):
    """The predicate types and versions that are accepted."""

    predicate_types: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=64)]
    versions: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=64)]


class Coverage(_Record, frozen=True):
    """In every stage, at least ``share`` of the tokens must be within the relative ``threshold``."""

    threshold: Decimal
    share: Decimal


class PopulationLimit(_Record, frozen=True):
    """The certificate bounds this predicate: at least ``at_least`` of all windows satisfy it, at a level of at most
    ``alpha``. ``kind``, ``share`` and ``threshold`` are those of the predicate."""

    kind: Literal["covered", "top1", "kl", "loss_difference", "logit_difference"]
    share: Decimal | None
    threshold: Decimal | None
    at_least: Decimal
    alpha: Decimal


class Limits(_Record, frozen=True):
    """What the buyer asks of a certificate; null: nothing."""

    least_audit_rows: Positive | None
    coverage: Coverage | None
    relative_drift: Decimal | None
    top1_share: Decimal | None
    least_basis: Basis | None
    greatest_age_days: Positive | None
    kl_mean: Decimal | None
    loss_difference: Decimal | None
    logit_difference: Decimal | None
    population: Annotated[tuple[PopulationLimit, ...], Meta(min_length=1, max_length=32)] | None = None


class TrustPolicy(_Record, frozen=True):
    """A whole policy. Made by :func:`parse_policy` or :func:`new_policy`, which check it.

    ``number`` counts the policies of one owner, from 1; ``revocation`` is null where no list is asked for.
    """

    type: Literal["blockcert-trust-policy"]
    version: Literal[1]
    keys: Annotated[tuple[TrustedKey, ...], Meta(max_length=256)]
    thresholds: Thresholds
    accept: Accept
    require: Annotated[tuple[StepName, ...], Meta(max_length=7)]
    limits: Limits
    number: Positive = 1
    revocation: Revocation | None = None

    def able(self, role: Role) -> int:
        """How many keys have the role."""
        return sum(role in key.roles for key in self.keys)


NO_LIMITS = Limits(None, None, None, None, None, None, None, None, None)
"""Nothing asked of a certificate but that it holds."""


def parse_policy(data: bytes, place: str) -> TrustPolicy:
    """The policy in a JSON document.

    Raises:
        Refusal: what the JSON gate refuses, what :mod:`blockcert.keys` refuses of a key, and ``trust.key``,
            ``trust.threshold``, ``trust.window``, ``trust.require``, ``trust.limit``, ``trust.limit_unused``.
    """
    policy = strict_json.decode(data, TrustPolicy, place, _GATE)
    _check(policy, place)
    return policy


def new_policy(
    producers: Sequence[NamedKey],
    *,
    replay: bool,
    threshold: int = 1,
    limits: Limits = NO_LIMITS,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    others: Mapping[Role, Sequence[NamedKey]] = {},
    auditors: int = 0,
    revokers: int = 1,
    owners: int = 1,
    revocation: Revocation | None = None,
) -> TrustPolicy:
    """A policy that trusts ``producers``; with ``replay`` it requires rows to be measured again.

    ``others`` are the keys of the other roles; one that stands in several places is one key with several roles.
    ``auditors`` is how many of them must approve a certificate, ``revokers`` how many must sign a revocation list, and
    ``owners`` the policy that follows.

    Raises:
        Refusal: as :func:`parse_policy`, with the place ``new policy``.
    """
    start = None if not_before is None else format_time(not_before)
    end = None if not_after is None else format_time(not_after)
    roles: dict[tuple[str, str], list[Role]] = {}
    for role in ROLES:
        for name, key in producers if role == "producer" else others.get(role, ()):
            roles.setdefault((name, key.raw.hex()), []).append(role)
    policy = TrustPolicy(
        type="blockcert-trust-policy",
        version=1,
        keys=tuple(TrustedKey(name, "ed25519", key, tuple(found), start, end) for (name, key), found in roles.items()),
        thresholds=Thresholds(threshold, auditors, revokers, owners),
        accept=Accept((PREDICATE_TYPE,), (PREDICATE_VERSION,)),
        require=tuple(step for step in STEPS if step != "fresh" and (replay or step != "replay")),
        limits=limits,
        revocation=revocation,
    )
    return parse_policy(encode_policy(policy), "new policy")


def encode_policy(policy: TrustPolicy) -> bytes:
    """The policy as JSON for a person to read and edit: fields in the spec's order, indented."""
    return msgspec.json.format(msgspec.json.encode(policy), indent=2) + b"\n"


# --- what a schema cannot say -----------------------------------------------------------------------------


def _check(policy: TrustPolicy, place: str) -> None:
    _check_keys(policy, place)
    for role in ROLES:
        able, needed = policy.able(role), getattr(policy.thresholds, role)
        # a policy without owners or revokers is never rotated and asks for no list: one that has them must manage
        asked = able > 0 or role in ("producer", "auditor") or (role == "revoker" and policy.revocation is not None)
        if asked and needed > able:
            has = "1 key has" if able == 1 else f"{able} keys have"
            sentence = f"The threshold of the role {role} is {needed}, and {has} that role."
            raise Refusal("trust.threshold", f"{place}: $.thresholds.{role}", sentence)
    if len(set(policy.require)) != len(policy.require):
        raise Refusal("trust.require", f"{place}: $.require", "A step is required twice.")
    for step in _FOUNDATION:
        if step not in policy.require:
            raise Refusal(
                "trust.require",
                f"{place}: $.require",
                f"The policy does not require {step}, on which every other step stands.",
            )
    _check_limits(policy.limits, f"{place}: $.limits")
    _check_applied(policy, f"{place}: $.limits")


def _check_keys(policy: TrustPolicy, place: str) -> None:
    names: dict[str, int] = {}
    raws: dict[bytes, int] = {}
    for i, key in enumerate(policy.keys):
        at = f"{place}: $.keys[{i}]"
        check_key_name(key.name, f"{at}.name")
        raw = public_from_hex(key.public_key, f"{at}.public_key").raw
        # a name told apart only by case would be one name to a reader
        for what, other in (("name", names.get(key.name.casefold())), ("public key", raws.get(raw))):
            if other is not None:
                raise Refusal("trust.key", at, f"Keys {other} and {i} have the same {what}.")
        names[key.name.casefold()], raws[raw] = i, i
        if len(set(key.roles)) != len(key.roles):
            raise Refusal("trust.key", f"{at}.roles", "A role is given twice.")
        start, end = window(key, at)
        if start is not None and end is not None and start >= end:
            raise Refusal("trust.window", at, f"The key is valid from {key.not_before} to {key.not_after}: never.")


def window(key: TrustedKey, place: str) -> tuple[datetime | None, datetime | None]:
    """From when to when a key is trusted, both ends included; None: no end. Refuses ``time.calendar``."""
    start = None if key.not_before is None else parse_time(key.not_before, f"{place}.not_before")
    end = None if key.not_after is None else parse_time(key.not_after, f"{place}.not_after")
    return start, end


def _check_limits(limits: Limits, place: str) -> None:
    shares = {"top1_share": limits.top1_share}
    sizes = {name: getattr(limits, name) for name in _SIZES}
    if limits.coverage is not None:
        shares["coverage.share"] = limits.coverage.share
        sizes["coverage.threshold"] = limits.coverage.threshold
    for i, one in enumerate(limits.population or ()):
        shares |= {f"population[{i}].{name}": getattr(one, name) for name in ("share", "at_least", "alpha")}
        sizes[f"population[{i}].threshold"] = one.threshold
    for name, text in (shares | sizes).items():
        if text is None:
            continue
        value = parse_decimal(text, f"{place}.{name}")
        if value < 0 or (name in shares and value > Fraction(1)):
            wanted = "between 0 and 1" if name in shares else "at least 0"
            raise Refusal("trust.limit", f"{place}.{name}", f"The limit is {text} and must be {wanted}.")


def _check_applied(policy: TrustPolicy, place: str) -> None:
    """A limit that no required step applies would be read as one that was met."""
    for name in policy.limits.__struct_fields__:
        if getattr(policy.limits, name) is None:
            continue
        for step in ("policy", "replay") if name == "least_audit_rows" else ("policy",):
            if step not in policy.require:
                sentence = f"The policy sets this limit and does not require the step {step}, which it needs to be met."
                raise Refusal("trust.limit_unused", f"{place}.{name}", sentence)
