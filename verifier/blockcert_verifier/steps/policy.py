"""Policy: what the buyer asks of a certificate beyond that it holds (`spec/11-trust.md`, "Limits")."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction

from blockcert.composition import BASES
from blockcert.findings import Finding
from blockcert.numbers import parse_decimal
from blockcert.statement import Basis, PopulationPredicate, Statement
from blockcert.times import parse_time
from blockcert.trust import Coverage, PopulationLimit, TrustPolicy
from blockcert_verifier.report import Audit
from blockcert_verifier.steps.outcome import failed, inconclusive, passed

__all__ = ["limits_of", "met", "policy"]

PLACE = "statement.dsse.json"
NOTHING_ASKED = "the policy sets no limits: whatever drift is stated is accepted"
_AT_MOST = {
    "kl_mean": ("policy.kl_mean", "mean divergence"),
    "loss_difference": ("policy.loss_difference", "mean loss difference"),
    "logit_difference": ("policy.logit_difference", "largest logit difference"),
}
"""Limits on the size of a claim end to end."""


def policy(trust: TrustPolicy, statement: Statement, audit: Audit | None, now: datetime) -> list[Finding]:
    """Whether the certificate meets every limit of the trust policy; `audit` is what was re-run."""
    findings = [
        *_accepted(trust, statement),
        *_coverage(trust.limits.coverage, statement),
        *_end_to_end(trust, statement),
        *_population(trust.limits.population or (), statement),
        *_basis(trust.limits.least_basis, statement),
        *_age(trust.limits.greatest_age_days, statement, now),
        *_audited(trust.limits.least_audit_rows, audit),
    ]
    if findings:
        return findings
    asked = limits_of(trust)
    sentence = f"{met(asked)} met" if asked else NOTHING_ASKED
    return [passed("policy", "policy.limits", "policy", sentence)]


def limits_of(trust: TrustPolicy) -> int:
    """How many limits the policy sets."""
    limits = trust.limits
    return sum(getattr(limits, name) is not None for name in limits.__struct_fields__)


def met(asked: int) -> str:
    """The limits of a policy that sets so many, as the beginning of a sentence that ends in `met`."""
    return "the one limit of the policy is" if asked == 1 else f"all {asked} limits of the policy are"


def _accepted(trust: TrustPolicy, statement: Statement) -> Iterator[Finding]:
    if statement.predicate_type not in trust.accept.predicate_types:
        sentence = f"the policy does not accept certificates of type {statement.predicate_type}"
        yield failed("policy", "policy.predicate_type", f"{PLACE}: $.predicateType", sentence)
    version = statement.predicate.version
    if version not in trust.accept.versions:
        accepted = ", ".join(trust.accept.versions)
        sentence = f"the certificate is of version {version}, and the policy accepts {accepted}"
        yield failed("policy", "policy.version", f"{PLACE}: $.predicate.version", sentence)


def _coverage(limit: Coverage | None, statement: Statement) -> Iterator[Finding]:
    if limit is None:
        return
    listed = statement.predicate.thresholds.relative
    if limit.threshold not in listed:
        sentence = (
            f"the policy asks for coverage at {limit.threshold}, and the certificate counts at {', '.join(listed)}"
        )
        yield failed("policy", "policy.coverage", f"{PLACE}: $.predicate.thresholds.relative", sentence)
        return
    r, share = listed.index(limit.threshold), parse_decimal(limit.share)
    # embedding and head too: what a block does is little where the head does the work
    for stage in statement.predicate.claims.stages:
        if Fraction(stage.covered[r], stage.tokens) < share:
            sentence = (
                f"stage {stage.index} keeps {stage.covered[r]} of {stage.tokens} tokens within {limit.threshold}, "
                f"and the policy asks for a share of {limit.share}"
            )
            yield failed("policy", "policy.coverage", f"{PLACE}: $.predicate.claims.stages[{stage.index}]", sentence)


def _end_to_end(trust: TrustPolicy, statement: Statement) -> Iterator[Finding]:
    end, limits = statement.predicate.claims.end_to_end, trust.limits
    place = f"{PLACE}: $.predicate.claims.end_to_end"
    if limits.relative_drift is not None and parse_decimal(end.relative_drift) > parse_decimal(limits.relative_drift):
        sentence = f"the relative drift is {end.relative_drift}, and the policy allows {limits.relative_drift}"
        yield failed("policy", "policy.relative_drift", f"{place}.relative_drift", sentence)
    head = statement.predicate.claims.stages[-1]
    if limits.relative_drift is not None and parse_decimal(head.relative_error) > parse_decimal(limits.relative_drift):
        sentence = f"the head's relative error is {head.relative_error}, and the policy allows {limits.relative_drift}"
        at = f"{PLACE}: $.predicate.claims.stages[{head.index}].relative_error"
        yield failed("policy", "policy.relative_drift", at, sentence)
    for name, (code, what) in _AT_MOST.items():
        stated, most = getattr(end, name), getattr(limits, name)
        if most is not None and abs(parse_decimal(stated)) > parse_decimal(most):
            sentence = f"the {what} is {stated}, and the policy allows {most}"
            yield failed("policy", code, f"{place}.{name}", sentence)
    if limits.top1_share is not None and Fraction(end.top1_agree, end.tokens) < parse_decimal(limits.top1_share):
        sentence = (
            f"top-1 agrees at {end.top1_agree} of {end.tokens} positions, and the policy asks for {limits.top1_share}"
        )
        yield failed("policy", "policy.top1_share", f"{place}.top1_agree", sentence)


def _population(limits: tuple[PopulationLimit, ...], statement: Statement) -> Iterator[Finding]:
    stated = statement.predicate.claims.population
    place = f"{PLACE}: $.predicate.claims.population"
    for limit in limits:
        words = ", ".join(f"{name} {text}" for name in ("share", "threshold") if (text := getattr(limit, name)))
        asked = f"the policy asks for a bound on {limit.kind}" + (f" ({words})" if words else "")
        wanted = PopulationPredicate(limit.kind, limit.share, limit.threshold)
        at = next((i for i, claim in enumerate(stated.claims) if claim.predicate == wanted), None)
        if at is None:
            yield failed("policy", "policy.population", place, f"{asked}, and the certificate has none")
            continue
        if parse_decimal(stated.alpha) > parse_decimal(limit.alpha):
            sentence = f"{asked} at a level of {limit.alpha}, and the certificate's is {stated.alpha}"
            yield failed("policy", "policy.population", f"{place}.alpha", sentence)
        found = stated.claims[at].at_least
        if found < parse_decimal(limit.at_least) * stated.windows:
            sentence = f"{asked} of {limit.at_least}, and the certificate's is {found} of {stated.windows} windows"
            yield failed("policy", "policy.population", f"{place}.claims[{at}].at_least", sentence)


def _basis(least: Basis | None, statement: Statement) -> Iterator[Finding]:
    if least is None:
        return
    claims = statement.predicate.claims
    stated: list[tuple[str, Basis]] = [
        *((f"stages[{stage.index}]", stage.basis) for stage in claims.stages),
        *((f"composition[{i}]", claim.basis) for i, claim in enumerate(claims.composition)),
        ("end_to_end", claims.end_to_end.basis),
        ("population", claims.population.basis),
        *([] if claims.enclosures is None else [("enclosures", claims.enclosures.basis)]),
    ]
    for path, basis in stated:
        if BASES.index(basis) > BASES.index(least):
            sentence = f"the claim is of basis {basis}, and the policy asks for {least} or stronger"
            yield failed("policy", "policy.basis", f"{PLACE}: $.predicate.claims.{path}.basis", sentence)


def _age(days: int | None, statement: Statement, now: datetime) -> Iterator[Finding]:
    if days is None:
        return
    issued = statement.predicate.issued_at
    # in whole days, so that a limit of any size is compared without overflow
    if (now - parse_time(issued)) // timedelta(days=1) >= days:
        sentence = f"the certificate was issued at {issued}, and the policy allows {days} days"
        yield failed("policy", "policy.age", f"{PLACE}: $.predicate.issued_at", sentence)


def _audited(least: int | None, audit: Audit | None) -> Iterator[Finding]:
    if least is None:
        return
    if audit is None:
        sentence = f"the policy asks for {least} audited rows, and nothing was re-run"
        yield inconclusive("policy", "policy.audit_rows", "replay", sentence)
    elif audit.repeatable and audit.sampled < audit.rows:
        sentence = f"the policy asks for {least} audited rows, and rows chosen by a given seed are not an audit"
        yield inconclusive("policy", "policy.audit_rows", "replay", sentence)
    elif audit.confirmed < min(least, audit.rows):
        sentence = f"the policy asks for {least} audited rows, and {audit.confirmed} were confirmed"
        yield inconclusive("policy", "policy.audit_rows", "replay", sentence)
