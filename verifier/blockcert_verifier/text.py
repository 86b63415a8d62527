"""A report for a terminal: 80 columns, the verdict first, readable without colour."""

from __future__ import annotations

from blockcert.findings import Status
from blockcert.numbers import parse_decimal
from blockcert.statement import Scope
from blockcert_verifier.claims_text import claims_lines
from blockcert_verifier.frame_text import frame_lines
from blockcert_verifier.layout import WIDTH, columns, field, joined, percent, wrap
from blockcert_verifier.report import Audit, Certificate, Report

__all__ = ["WIDTH", "render", "render_certificate"]

_MARK: dict[Status, str] = {"passed": "ok", "failed": "FAILED", "skipped": "skipped", "inconclusive": "undecided"}
_COLOUR = {"accepted": "32", "rejected": "31", "indeterminate": "33"}
MOST_FINDINGS = 12
_HELD: dict[Scope, str] = {"listed-prompts": "of the listed prompts", "population": "of the population's windows"}


def render(report: Report, *, colour: bool = False) -> str:
    """The report as lines of at most 80 columns, ending in a newline; `colour` marks the verdict's word too."""
    blocks = [wrap(report.sentence), _identity(report), _steps(report)]
    # claims that nobody's signature or arithmetic stands behind are not shown as if they were
    recomputed = any(s.step == "recompute" and s.status == "passed" for s in report.steps)
    if report.certificate is not None and recomputed and report.verdict != "rejected":
        verified = report.frame is not None and report.frame.status == "verified"
        blocks += claims_lines(report.certificate, recounted=report.audit is not None, frame_verified=verified)
    if report.frame is not None and report.verdict != "rejected":
        blocks.append(frame_lines(report.frame))
    if report.audit is not None:
        blocks.append(_audit(report.audit))
    blocks += [_problems(report), _unchecked(report)]
    text = joined(blocks)
    if colour:
        word, space, rest = text.partition(" ")
        text = f"\x1b[1;{_COLOUR[report.verdict]}m{word}\x1b[0m{space}{rest}"
    return text


def render_certificate(certificate: Certificate, certificate_id: str, signatures: int) -> str:
    """What a certificate says, for `show`: the first sentence says that nothing of it was checked."""
    signed = "carries no signature" if not signatures else f"carries {signatures} signature{'s' * (signatures > 1)}"
    first = f"UNVERIFIED: this is what the bundle says of itself; nothing was checked. It {signed}."
    blocks = [
        wrap(first),
        ["Certificate", f"  {certificate_id}", *_about(certificate)],
        *claims_lines(certificate, recounted=False),
    ]
    blocks.append(wrap("To check it: blockcert verify BUNDLE --trust trust.json --reference MODEL"))
    return joined(blocks)


def _identity(report: Report) -> list[str]:
    lines: list[str] = []
    if report.certificate_id is not None:
        lines += ["Certificate", f"  {report.certificate_id}"]
    for signer in report.signers:
        lines += field("Signed by", f"{signer.name} ({signer.fingerprint})")
    if report.certificate is not None:
        lines += _about(report.certificate)
    return [*lines, *field("Checked", f"{report.checked_at} by blockcert {report.verifier}, offline")]


def _about(certificate: Certificate) -> list[str]:
    c = certificate
    how = "extracted from it" if c.kind == "extract" else "a copy of it"
    return [
        *field("Reference", f"{c.architecture}, {c.blocks} blocks, width {c.hidden_size}, {c.vocabulary} tokens"),
        *field("Surrogate", f"{how} ({c.producer}), stated {c.issued_at}, valid to {c.not_after}"),
        *field("Prompts", f"{c.prompts} of {c.prompt_length} tokens, out of {c.windows} windows"),
    ]


def _steps(report: Report) -> list[str]:
    lines = ["Steps"]
    for step in report.steps:
        text = step.reason or ""
        if step.status == "passed":
            text = step.establishes + (f"; not checked: {step.reason}" if step.reason else "")
        needed = "" if step.required else " (not required)"
        head = f"  {step.step:<13}{_MARK[step.status]:<10}"
        lines += wrap(text + needed, head, " " * len(head))
    return lines


def _audit(audit: Audit) -> list[str]:
    lines = ["Replay"]
    text = f"{audit.confirmed} of {audit.sampled} sampled rows confirmed, out of {audit.rows}"
    if audit.sampled < audit.rows:
        known = "the seed you gave: repeatable, but not an audit"
        text += f", drawn with {known if audit.repeatable else 'a seed the producer could not know'}"
    lines += [*wrap(f"{text}; seed:", "  ", "  "), f"  {audit.seed}"]
    if audit.largest_disagreement is not None:
        where = f" (in {audit.largest_disagreement_at})" if audit.largest_disagreement_at else ""
        text = f"Largest disagreement: {audit.largest_disagreement} of the tolerance{where}."
        lines += wrap(text, "  ", "  ")
    if audit.false_rows_below is None or (audit.repeatable and audit.sampled < audit.rows):
        return lines
    lines += wrap(_bound(audit), "  ", "  ")
    if audit.sampled < audit.rows:
        rows: list[tuple[str, str, str, str, str]] = []
        for scope, title in _HELD.items():
            held = [c for c in audit.consequences if c.scope == scope]
            rows += [(title, "", "", "", "")] if held else []
            rows += [(f"  {c.claim}", f"{c.stated}", f"{c.at_least}", f"{c.of}", _percent(c.confidence)) for c in held]
        lines += columns([("", "stated", "at least", "of", "confidence"), *rows])
        lines += wrap("Recorded means are not bounded by a sample; --replay all confirms them.", "  ", "  ")
    return lines


def _percent(confidence: str) -> str:
    return f"{percent(parse_decimal(confidence))} %"


def _bound(audit: Audit) -> str:
    if audit.sampled == audit.rows:
        return f"All {audit.rows} rows were measured again: none is false, within the replay's tolerance."
    return (
        f"At {_percent(audit.confidence)} confidence fewer than {audit.false_rows_below} of the {audit.rows} rows are "
        "false. What holds even so, within the replay's tolerance:"
    )


def _problems(report: Report) -> list[str]:
    wrong = [f for f in report.findings if f.status in ("failed", "inconclusive")]
    if not wrong:
        return []
    lines = ["What is wrong"] if any(f.status == "failed" for f in wrong) else ["What could not be decided"]
    for finding in wrong[:MOST_FINDINGS]:
        lines += wrap(f"{finding.code}  {finding.place}", "  ", "    ")
        lines += wrap(finding.message, "      ", "      ")
    if len(wrong) > MOST_FINDINGS:
        lines.append(f"  and {len(wrong) - MOST_FINDINGS} more; --json FILE has them all")
    return lines


def _unchecked(report: Report) -> list[str]:
    lines: list[str] = ["Not checked"] if report.unchecked else []
    for item in report.unchecked:
        lines += wrap(f"{item.what}: {item.how}", "  - ", "    ")
    return lines
