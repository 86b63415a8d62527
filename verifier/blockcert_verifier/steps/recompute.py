"""Recompute: the draw, the evidence and every claim follow from what was signed, exactly.

Rules BC-STM-11, BC-PRM-03 to 05, BC-EVD-01 to 05, 10, BC-CLM-01 to 09, 14, 16, 18. No numpy; no floating arithmetic
on claims.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import msgspec

from blockcert.claims import ClaimTerms, summarise
from blockcert.errors import Refusal
from blockcert.evidence import ENCLOSED, ENCLOSURE, EvidenceShape
from blockcert.evidence_file import EvidenceTable
from blockcert.findings import Finding
from blockcert.numbers import parse_decimal
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Claims, PopulationPredicate, Statement
from blockcert.strata import strata_of
from blockcert_verifier.steps.outcome import capped, failed, failures, inconclusive, passed

__all__ = ["claims", "evidence_shape", "from_evidence", "recompute", "terms", "thresholds"]

PLACE = "statement.dsse.json"
SPEC_RELATIVE = frozenset({"0.01", "0.02", "0.05"})
SPEC_LOSS = frozenset({"0.001", "0.01", "0.1"})
SHARES = frozenset({"0.95", "1"})
MOST_DIFFERENCES = 20
"""Differing claims that a report lists one by one."""

_CODES = {
    "stages": "recompute.claim.mismatch",
    "end_to_end": "recompute.claim.mismatch",
    "composition": "recompute.composition.mismatch",
    "population": "recompute.population.mismatch",
    "control": "recompute.control.mismatch",
    "enclosures": "recompute.claim.mismatch",
}


def evidence_shape(statement: Statement) -> EvidenceShape:
    """The sizes that fix the evidence's columns."""
    p = statement.predicate
    return EvidenceShape(
        blocks=p.reference.blocks,
        rows=p.evidence.rows,
        attribution_rows=p.evidence.attribution_rows,
        relative_thresholds=len(p.thresholds.relative),
        loss_thresholds=len(p.thresholds.loss),
        enclosed_rows=0 if p.claims.enclosures is None else p.claims.enclosures.rows,
    )


def recompute(statement: Statement, programs: tuple[Program, Program], table: EvidenceTable) -> list[Finding]:
    """Whether thresholds, evidence and claims are what the format's arithmetic gives; `table` is the signed evidence.

    The draw is compared apart, in `steps.prompts`.
    """
    return from_evidence(statement, same_stages(*programs), table)


def from_evidence(statement: Statement, same: tuple[bool, ...], table: EvidenceTable) -> list[Finding]:
    """The same where ``same[i]`` says whether stage ``i`` is one program on both sides."""
    findings = [*thresholds(statement), *_predicates(statement), *_negative(statement)]
    findings += _evidence(statement, same, table)
    if failures(findings):
        return capped(findings)
    findings += _claims(statement, same, table)
    findings += capped(_constants(statement))
    return findings


def thresholds(statement: Statement) -> list[Finding]:
    """Whether the thresholds are positive, increasing, and marked where one is not in the spec's list (BC-STM-11)."""
    stated = statement.predicate.thresholds
    findings: list[Finding] = []
    for name in ("relative", "loss"):
        values = [parse_decimal(text) for text in getattr(stated, name)]
        if values[0] <= 0 or any(a >= b for a, b in pairwise(values)):
            sentence = "thresholds must be above 0 and each above the one before"
            findings.append(
                failed("recompute", "thresholds.order", f"{PLACE}: $.predicate.thresholds.{name}", sentence)
            )
    outside = [t for t in stated.relative if t not in SPEC_RELATIVE] + [t for t in stated.loss if t not in SPEC_LOSS]
    # the spec lists no threshold for logits: whoever names one has chosen it
    for claim in statement.predicate.claims.population.claims:
        if claim.predicate.kind == "logit_difference":
            outside.append(f"a logit difference of {claim.predicate.threshold}")
    if bool(outside) != stated.post_hoc:
        why = f"{outside[0]} is not in the spec's list" if outside else "all thresholds are in the spec's list"
        sentence = f"post_hoc is {_json(stated.post_hoc)}, but {why}"
        findings.append(
            failed("recompute", "thresholds.post_hoc", f"{PLACE}: $.predicate.thresholds.post_hoc", sentence)
        )
    return findings


def _predicates(statement: Statement) -> list[Finding]:
    """Whether the population predicates are the spec's, and none is stated twice (BC-CLM-08)."""
    population = statement.predicate.claims.population
    place = f"{PLACE}: $.predicate.claims.population"
    findings: list[Finding] = []
    if not 0 < parse_decimal(population.alpha) < 1:
        sentence = f"alpha is {population.alpha} and must be between 0 and 1"
        findings.append(failed("recompute", "population.alpha", f"{place}.alpha", sentence))
    seen: set[PopulationPredicate] = set()
    for i, claim in enumerate(population.claims):
        at = f"{place}.claims[{i}].predicate"
        if claim.predicate in seen:
            findings.append(failed("recompute", "population.duplicate", at, "the predicate is stated twice"))
        seen.add(claim.predicate)
        share = claim.predicate.share
        if share is not None and share not in SHARES:
            findings.append(failed("recompute", "population.share", at, f"the share is {share} and must be 0.95 or 1"))
        threshold = claim.predicate.threshold
        if claim.predicate.kind in ("kl", "loss_difference") and threshold not in statement.predicate.thresholds.loss:
            sentence = f"the threshold {threshold} is not among the certificate's loss thresholds"
            findings.append(failed("recompute", "population.threshold", at, sentence))
        if threshold is not None and parse_decimal(threshold) < 0:
            sentence = f"the threshold is {threshold}: nothing is below 0"
            findings.append(failed("recompute", "population.threshold", at, sentence))
    return findings


def _evidence(statement: Statement, same: tuple[bool, ...], table: EvidenceTable) -> list[Finding]:
    """Counts within their range, and what is exactly so by definition, proven ends included (BC-EVD-03 to 05, 10)."""
    p, shape = statement.predicate, table.shape
    length, last = p.prompts.frame.length, table.shape.stages - 1
    findings: list[Finding] = []

    def both(name: str) -> tuple[str, ...]:
        return (name, ENCLOSURE + name) if shape.enclosed_rows and name in ENCLOSED else (name,)

    def bounded(name: str, most: int) -> None:
        for column in both(name):
            cells = table.flat(column)
            if len(cells) and max(cells) > most:
                sentence = f"a count is {max(cells)}, of {most} positions"
                findings.append(failed("recompute", "evidence.count", f"{p.evidence.file}: {column}", sentence))

    def exactly(name: str, index: tuple[int, ...], value: int, why: str) -> None:
        for column in both(name):
            cells = table.at(column, *index)
            row = next((row for row, cell in enumerate(cells) if cell != value), None)
            if row is not None:
                place = f"{p.evidence.file}: {column}[{', '.join(map(str, (row, *index)))}]"
                sentence = f"the cell is {cells[row]}, and is {value} by definition: {why}"
                findings.append(failed("recompute", "evidence.definition", place, sentence))

    for name in ("covered", "identity.covered", "top1_agree", "decided", "identity.top1_agree", "identity.decided"):
        bounded(name, length)
    bounded("loss_within", length - 1)
    if shape.attribution_rows:
        bounded("attribution.loss_within", length - 1)
    r_all, q_all = range(shape.relative_thresholds), range(shape.loss_thresholds)
    for i in range(shape.stages):
        block = 1 <= i <= shape.blocks
        if same[i]:
            why = f"stage {i} is one program on both sides"
            exactly("error", (i,), 0, why)
            exactly("relative_error", (i,), 0, why)
            if block:
                exactly("relative_update_error", (i - 1,), 0, why)
            for r in r_all:
                exactly("covered", (i, r), length, why)
            if shape.attribution_rows:
                for q in q_all:
                    exactly("attribution.loss_within", (i, q), length - 1, why)
                if i < last:
                    exactly("attribution.hybrid_step", (i,), 0, why)
        if all(same[: i + 1]):
            exactly("drift", (i,), 0, "every stage so far is one program on both sides")
            exactly("relative_drift", (i,), 0, "every stage so far is one program on both sides")
        if not block:
            why = "the control leaves embedding and head as they are"
            exactly("identity.error", (i,), 0, why)
            exactly("identity.relative_error", (i,), 0, why)
            for r in r_all:
                exactly("identity.covered", (i, r), length, why)
    exactly("identity.drift", (0,), 0, "the control leaves the embedding as it is")
    exactly("identity.relative_drift", (0,), 0, "the control leaves the embedding as it is")
    if all(same):
        why = "every stage is one program on both sides"
        for name in ("logit_difference", "loss_difference", "kl_sum", "kl_max"):
            exactly(name, (), 0, why)
        exactly("top1_agree", (), length, why)
        for q in q_all:
            exactly("loss_within", (q,), length - 1, why)
    return findings


def terms(statement: Statement, same: tuple[bool, ...]) -> ClaimTerms:
    """What the claims depend on beside the evidence, taken from the statement, and the strata from the draw.

    Refuses `draw.count` where the frame lists more prompts than it has windows.
    """
    p = statement.predicate
    digests = {subject.name: subject.digest.blake3 for subject in statement.subject}
    return ClaimTerms(
        length=p.prompts.frame.length,
        same=same,
        thresholds=p.thresholds,
        windows=p.prompts.frame.windows - p.prompts.frame.calibration,
        alpha=p.claims.population.alpha,
        predicates=tuple(claim.predicate for claim in p.claims.population.claims),
        lipschitz=tuple(stage.lipschitz for stage in p.claims.stages),
        strata=strata_of(p.prompts.frame, digests[p.reference.program], digests[p.surrogate.program]),
    )


def _claims(statement: Statement, same: tuple[bool, ...], table: EvidenceTable) -> list[Finding]:
    stated = statement.predicate.claims
    place = f"{PLACE}: $.predicate.claims"
    if len(stated.stages) != table.shape.stages:
        sentence = f"{len(stated.stages)} stages are claimed, and the programs have {table.shape.stages}"
        return [failed("recompute", "recompute.claim.mismatch", f"{place}.stages", sentence)]
    try:
        found = summarise(table, terms(statement, same))
    except Refusal as refusal:
        if refusal.code == "limit.seconds":
            raise
        return [failed("recompute", refusal.code, f"{place}: {refusal.place}", refusal.sentence)]
    return claims(stated, found)


def claims(stated: Claims, found: Claims) -> list[Finding]:
    """Every place where the stated claims are not those that the evidence gives, with both values."""
    place = f"{PLACE}: $.predicate.claims"
    findings: list[Finding] = []
    for name, code in _CODES.items():
        pairs = _differences(msgspec.to_builtins(getattr(stated, name)), msgspec.to_builtins(getattr(found, name)), "")
        findings += [
            failed("recompute", code, f"{place}.{name}{path}", f"{_json(a)} is stated, the evidence gives {_json(b)}")
            for path, a, b in pairs
        ]
    if not findings:
        sentence = "every claim is exactly what the evidence gives"
        return [passed("recompute", "recompute.claims", place, sentence)]
    more = len(findings) - MOST_DIFFERENCES
    if more > 0:
        rest = failed("recompute", findings[MOST_DIFFERENCES].code, place, f"{more} more values differ")
        return [*findings[:MOST_DIFFERENCES], rest]
    return findings


_ABSENT = object()


def _differences(stated: Any, found: Any, path: str) -> list[tuple[str, Any, Any]]:
    """The paths at which two JSON values differ, each with both values."""
    if isinstance(stated, dict) and isinstance(found, dict):
        a, b = cast(dict[str, Any], stated), cast(dict[str, Any], found)
        keys = sorted(a.keys() | b.keys())
        return [d for key in keys for d in _differences(a.get(key, _ABSENT), b.get(key, _ABSENT), f"{path}.{key}")]
    if isinstance(stated, list | tuple) and isinstance(found, list | tuple):
        x, y = cast(list[Any], stated), cast(list[Any], found)
        if len(x) != len(y):
            return [(path, f"{len(x)} entries", f"{len(y)} entries")]
        return [d for i in range(len(x)) for d in _differences(x[i], y[i], f"{path}[{i}]")]
    # True == 1 in Python, and not in JSON
    return [] if stated == found and type(stated) is type(found) else [(path, stated, found)]  # pyright: ignore[reportUnknownArgumentType]


def _json(value: object) -> str:
    return "nothing" if value is _ABSENT else msgspec.json.encode(value).decode()


def _negative(statement: Statement) -> list[Finding]:
    """A finding for each Lipschitz constant below 0, also where it composes nothing (BC-CLM-03)."""
    return [
        failed(
            "recompute",
            "lipschitz.negative",
            f"{PLACE}: $.predicate.claims.stages[{stage.index}].lipschitz.constant",
            f"the constant is {stage.lipschitz.constant}, and a ratio of distances is not negative",
        )
        for stage in statement.predicate.claims.stages
        if stage.lipschitz is not None and parse_decimal(stage.lipschitz.constant) < 0
    ]


def _constants(statement: Statement) -> list[Finding]:
    """Lipschitz constants follow from nothing in the evidence; this verifier cannot confirm one (BC-CLM-03)."""
    return [
        inconclusive(
            "recompute",
            "lipschitz.unverified",
            f"{PLACE}: $.predicate.claims.stages[{stage.index}].lipschitz",
            f"a constant of basis {stage.lipschitz.basis} is stated, and this verifier has no way to check it",
        )
        for stage in statement.predicate.claims.stages
        if stage.lipschitz is not None and stage.lipschitz.basis != "estimate"
    ]
