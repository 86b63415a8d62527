"""A trust policy in words: what it says, and what another one says otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap as wrap_text

from blockcert import keys
from blockcert.printable import plain
from blockcert.statement import PopulationPredicate
from blockcert.trust import Limits, PopulationLimit, TrustedKey, TrustPolicy
from blockcert_verifier.counted import counted
from blockcert_verifier.layout import WIDTH, percent
from blockcert_verifier.steps.consequences import predicate_name

__all__ = ["differences", "fingerprint", "limits_in_words", "policy_lines", "printed"]


def printed(lines: Iterable[str]) -> str:
    """The lines as they are printed: of 80 columns, without what moves a cursor."""
    found: list[str] = []
    for line in map(plain, lines):
        indent = line[: len(line) - len(line.lstrip())]
        found += wrap_text(line, WIDTH, subsequent_indent=f"{indent}  ", break_on_hyphens=False) or [""]
    return "\n".join(found)


def fingerprint(key: TrustedKey) -> str:
    """The fingerprint of a policy's key."""
    return keys.fingerprint(keys.public_from_hex(key.public_key, key.name))


def policy_lines(policy: TrustPolicy) -> list[str]:
    """Whom a policy trusts, for what and until when, and what it asks for; a line each."""
    needed = policy.thresholds
    lines = [f"Policy number {policy.number}", f"Requires: {', '.join(policy.require)}.", "Trusts:"]
    for key in policy.keys:
        lines += [f"  {_key(key)}", f"    {fingerprint(key)}"]
    lines.append(f"Must sign a certificate: {counted(needed.producer, 'producer')}.")
    if needed.auditor or policy.able("auditor"):
        lines.append(f"Must approve it: {counted(needed.auditor, 'auditor')}.")
    if policy.able("owner"):
        lines.append(f"Must sign the policy that follows: {counted(needed.owner, 'owner')}.")
    if policy.able("revoker"):
        lines.append(f"Must sign a revocation list: {counted(needed.revoker, 'revoker')}.")
    if policy.revocation is not None:
        lines.append(f"Asks for a revocation list: {policy.revocation.source}")
    lines += [
        f"Accepts: {', '.join(policy.accept.predicate_types)}",
        f"  of version {', '.join(policy.accept.versions)}.",
    ]
    said = [words for _, words in limits_in_words(policy.limits)]
    lines.append("Limits: none." if not said else "Limits:")
    return [*lines, *(f"  {words}" for words in said)]


def _key(key: TrustedKey) -> str:
    return f"{key.name}: {', '.join(key.roles)}{_window(key)}"


def _window(key: TrustedKey) -> str:
    if key.not_before is None and key.not_after is None:
        return ""
    return f", {key.not_before or 'ever'} to {key.not_after or 'ever'}"


def limits_in_words(limits: Limits) -> list[tuple[str, str]]:
    """The name of each limit that is set, and what it asks of a certificate."""
    found: list[tuple[str, str]] = []
    for name in limits.__struct_fields__:
        value = getattr(limits, name)
        if value is not None:
            found += ((name, words) for words in _limit(name, limits))
    return found


def _limit(name: str, limits: Limits) -> Iterator[str]:
    value: object = getattr(limits, name)
    match name:
        case "least_audit_rows":
            yield f"a replay confirms at least {counted(limits.least_audit_rows or 0, 'row')}"
        case "coverage" if limits.coverage is not None:
            share = _percent(limits.coverage.share)
            yield f"in every stage {share} of tokens at least are within the relative error {limits.coverage.threshold}"
        case "relative_drift":
            yield f"relative drift end to end, and the head's relative error, at most {value}"
        case "top1_share" if limits.top1_share is not None:
            yield f"top-1 agrees at {_percent(limits.top1_share)} of positions at least"
        case "least_basis":
            yield f"no claim stands on a weaker basis than {value}"
        case "greatest_age_days":
            yield f"issued less than {counted(limits.greatest_age_days or 0, 'day')} ago"
        case "kl_mean":
            yield f"mean KL at most {value} nats"
        case "loss_difference":
            yield f"mean loss differs by at most {value} nats"
        case "logit_difference":
            yield f"logits differ by at most {value}"
        case _:
            yield from map(_population, limits.population or ())


def _population(limit: PopulationLimit) -> str:
    what = predicate_name(PopulationPredicate(limit.kind, limit.share, limit.threshold))
    return f"{_percent(limit.at_least)} of all windows at least: {what} (alpha at most {limit.alpha})"


def _percent(share: str) -> str:
    from blockcert.numbers import parse_decimal

    return f"{percent(parse_decimal(share))} %"


def differences(old: TrustPolicy, new: TrustPolicy) -> list[str]:
    """What `new` says otherwise than `old`, a line each; one line where it is nothing but the number."""
    lines = [*_keys(old, new), *_asked(old, new), *_limits(old.limits, new.limits)]
    if old.accept != new.accept:
        types, versions = new.accept.predicate_types, new.accept.versions
        lines.append(f"accepts: {', '.join(types)} of version {', '.join(versions)}")
    return lines or ["nothing but the number"]


def _keys(old: TrustPolicy, new: TrustPolicy) -> Iterator[str]:
    before = {key.public_key: key for key in old.keys}
    after = {key.public_key: key for key in new.keys}
    for raw, key in after.items():
        if raw not in before:
            yield f"trusts {_key(key)} ({fingerprint(key)})"
        elif key != before[raw]:
            yield f"has {_key(before[raw])} as {_key(key)}"
    for raw, key in before.items():
        if raw not in after:
            yield f"no longer trusts {_key(key)} ({fingerprint(key)})"


def _asked(old: TrustPolicy, new: TrustPolicy) -> Iterator[str]:
    does = {
        "producer": "must sign a certificate",
        "auditor": "must approve it",
        "revoker": "must sign a revocation list",
        "owner": "must sign the policy that follows",
    }
    for role, what in does.items():
        before, now = getattr(old.thresholds, role), getattr(new.thresholds, role)
        if before != now:
            yield f"{counted(now, role)} {what}, in place of {before}"
    for step in new.require:
        if step not in old.require:
            yield f"requires {step}"
    for step in old.require:
        if step not in new.require:
            yield f"no longer requires {step}"
    if old.revocation != new.revocation:
        if new.revocation is None:
            yield "no longer asks for a revocation list"
        else:
            yield f"asks for a revocation list: {new.revocation.source}"


def _limits(old: Limits, new: Limits) -> Iterator[str]:
    before, after = limits_in_words(old), limits_in_words(new)
    yield from (f"limit: {words}" for one in after if one not in before for words in one[1:])
    yield from (f"no longer a limit: {words}" for one in before if one not in after for words in one[1:])
