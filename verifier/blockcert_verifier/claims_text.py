"""Claims for a terminal: each table with its control beside it, scope and basis above it (BC-CLM-09, 15)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from blockcert.numbers import parse_decimal
from blockcert.printable import plain
from blockcert.statement import Cost, StageClaim
from blockcert_verifier.counted import counted
from blockcert_verifier.depth_text import depth_lines
from blockcert_verifier.enclosures_text import enclosures_lines
from blockcert_verifier.layout import columns, percent, share, short
from blockcert_verifier.report import Certificate, DepthRow
from blockcert_verifier.steps.consequences import predicate_name

__all__ = ["claims_lines", "columns", "percent", "share", "short"]

MOST_FILES = 8
"""Corpus files listed one by one."""
MOST_BLOCKS = 16
"""Blocks listed one by one; of a deeper model only the worst are."""


def claims_lines(
    certificate: Certificate,
    *,
    recounted: bool,
    frame_verified: bool = False,
    depth: Sequence[DepthRow] | None = None,
    proven: int = 0,
) -> list[list[str]]:
    """The claims as paragraphs of lines.

    `recounted` says that the costs were counted again from the weights, `frame_verified` that the listed prompts were
    derived again from the corpus; `depth` was read off the evidence; `proven` counts the rows of the certificate's
    enclosures that were enclosed again and hold.
    """
    return [
        _end_to_end(certificate),
        _blocks(certificate),
        *(depth_lines(depth, certificate) if depth else []),
        enclosures_lines(certificate, proven),
        _composition(certificate),
        _population(certificate, frame_verified),
        _kept(certificate, recounted),
        _estimates(certificate),
    ]


def _end_to_end(certificate: Certificate) -> list[str]:
    end, control = certificate.claims.end_to_end, certificate.claims.control.identity
    rows = [
        ("", "surrogate", "blocks removed"),
        ("top-1 agrees", share(end.top1_agree, end.tokens), share(control.top1_agree, end.tokens)),
        ("decided", share(end.decided, end.tokens), share(control.decided, end.tokens)),
        ("largest logit difference", short(end.logit_difference), short(control.logit_difference)),
        ("largest drift after the last block", short(end.drift), short(control.drift)),
        ("  relative to the hidden state", short(end.relative_drift), short(control.relative_drift)),
        ("mean KL, nats", short(end.kl_mean, nearest=True), ""),
        ("largest KL, nats", short(end.kl_max), ""),
        ("mean loss difference, nats", short(end.loss_difference, nearest=True), ""),
    ]
    losses = f"{short(end.loss_reference, nearest=True)} and {short(end.loss_surrogate, nearest=True)} nats"
    return [
        f"End to end [{end.scope}, {end.basis}]",
        *columns(rows),
        "  decided: the reference's first choice leads by more than twice the largest",
        "  logit difference at that position, so the surrogate's choice must be the same",
        f"  mean loss of reference and surrogate: {losses}",
    ]


def _blocks(certificate: Certificate) -> list[str]:
    blocks = certificate.claims.stages[1:-1]
    if not blocks:
        return []
    shown: list[StageClaim] = list(blocks)
    note: list[str] = []
    if len(shown) > MOST_BLOCKS:
        shown = sorted(shown, key=lambda stage: Decimal(stage.relative_error), reverse=True)[:MOST_BLOCKS]
        shown.sort(key=lambda stage: stage.index)
        note = [f"  the {MOST_BLOCKS} worst of {len(blocks)} blocks; --json FILE has them all"]
    control = certificate.claims.control.identity
    head = (
        "block",
        "error",
        "relative",
        "of update",
        *(f"<={threshold}" for threshold in certificate.relative_thresholds),
        "control",
    )
    rows = [
        (
            f"{stage.index}{' (same)' if stage.same_program else ''}",
            short(stage.error),
            short(stage.relative_error),
            short(stage.relative_update_error or "0"),
            *(share(covered, stage.tokens).removesuffix(" %") for covered in stage.covered),
            short(control.relative_error[stage.index]),
        )
        for stage in shown
    ]
    late = ["  thresholds chosen after the fact"] if certificate.post_hoc else []
    return [
        f"Blocks, at the reference's own input [{blocks[0].scope}, {blocks[0].basis}]",
        "  largest errors: absolute, relative to the state that the block gives, and to",
        "  what it adds; tokens within each relative error in %; control: block removed",
        *late,
        *columns([head, *rows]),
        *note,
    ]


def _composition(certificate: Certificate) -> list[str]:
    lines: list[str] = []
    for claim in certificate.claims.composition:
        ratio = "" if claim.ratio is None else f", {short(claim.ratio)} times what was measured"
        bound = f"{claim.method}: at most {short(claim.bound)}{ratio}, on {counted(claim.rows, 'prompt')}"
        estimate = "; an estimate, no guarantee" if claim.basis == "estimate" else ""
        lines += [
            f"  {'VACUOUS: ' if claim.vacuous else ''}{bound}",
            f"    [{claim.scope}, {claim.basis}{estimate}]",
        ]
    if any(claim.method == "telescoping" for claim in certificate.claims.composition):
        lines += [
            "  telescoping: the largest sum of what the stages move, one after another; never",
            "  less than the drift itself, and no evidence of it beside the measurement",
        ]
    return ["Drift after the last block, composed from stages", *lines] if lines else []


def _population(certificate: Certificate, frame_verified: bool) -> list[str]:
    population = certificate.claims.population
    if not population.claims:
        return []
    rows = [
        (predicate_name(claim.predicate), f"{claim.successes}/{population.trials}", f"{claim.at_least}")
        for claim in population.claims
    ]
    sure = percent(1 - parse_decimal(population.alpha))
    frame = "frame verified" if frame_verified else "frame unverified without the corpus"
    return [
        f"Population of {population.windows} windows [{population.scope}, {population.basis}]",
        f"  jointly at {sure} % confidence; {frame}",
        *columns([("prompts of which", "listed", "at least"), *rows]),
        *_strata(certificate, sure),
    ]


def _strata(certificate: Certificate, sure: str) -> list[str]:
    """The bounds of each corpus file; its name is its producer's."""
    population = certificate.claims.population
    if population.strata is None:
        return []
    rows: list[tuple[str, str, str]] = []
    # an unchecked statement may have more or fewer of anything
    for name, stratum in list(zip(certificate.corpus, population.strata, strict=False))[:MOST_FILES]:
        rows.append((f"{_shortened(name)}, {stratum.windows} windows", "", ""))
        rows += [
            (f"  {predicate_name(claim.predicate)}", f"{successes}/{stratum.trials}", f"{at_least}")
            for claim, successes, at_least in zip(population.claims, stratum.successes, stratum.at_least, strict=False)
        ]
    more = len(population.strata) - MOST_FILES
    return [
        f"  Each corpus file alone, given its number of listed prompts; jointly at {sure} %",
        *columns([("", "listed", "at least"), *rows]),
        *([f"  {more} more corpus files; --json FILE has them all"] if more > 0 else []),
    ]


def _shortened(name: str) -> str:
    shown = plain(name)
    return shown if len(shown) <= 32 else f"{shown[:29]}..."


def _kept(certificate: Certificate, recounted: bool) -> list[str]:
    f, g = certificate.kept.reference, certificate.kept.surrogate

    def of(name: str, costs: tuple[Cost, ...]) -> int:
        return sum(getattr(cost, name) for cost in costs)

    rows = [
        (what, str(of(name, f)), str(of(name, g)), share(of(name, g), of(name, f)))
        for what, name in (
            ("nonzero parameters", "parameters"),
            ("bits stored", "bits"),
            ("multiply-adds per prompt", "multiply_adds"),
        )
    ]
    how = "counted again" if recounted else "the producer's own count; --reference MODEL counts again"
    return [f"Kept [{how}]", *columns([("", "reference", "surrogate", ""), *rows])]


def _estimates(certificate: Certificate) -> list[str]:
    floor = max(certificate.claims.control.float32_floor.relative_error, key=parse_decimal)
    lines = [
        "Estimates, no guarantees",
        f"  float32 rounding alone: relative error up to {short(floor)} per stage",
    ]
    if certificate.fidelity is not None:
        most = short(certificate.fidelity.max_logit_difference)
        lines += [
            f"  the reference program against {certificate.fidelity.against}:",
            f"    logits differ by up to {most}, by the producer's own measurement",
        ]
    lines += [
        f"  stage {stage.index}: Lipschitz constant {stage.lipschitz.constant}"
        for stage in certificate.claims.stages
        if stage.lipschitz is not None and stage.lipschitz.basis == "estimate"
    ]
    return lines
