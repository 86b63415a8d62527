"""A report for a terminal: 80 columns, the verdict first, readable without colour."""

from __future__ import annotations

from msgspec.structs import replace

from blockcert.findings import Status
from blockcert_verifier.audit_text import audit_lines
from blockcert_verifier.claims_text import claims_lines
from blockcert_verifier.frame_text import frame_lines
from blockcert_verifier.fresh_text import fresh_lines
from blockcert_verifier.ladder_text import ladder_lines
from blockcert_verifier.layout import WIDTH, field, joined, wrap
from blockcert_verifier.point_text import point_lines
from blockcert_verifier.proof_text import proof_lines
from blockcert_verifier.report import Certificate, Report
from blockcert_verifier.rests_text import rests_lines

__all__ = ["WIDTH", "render", "render_certificate", "sections"]

_MARK: dict[Status, str] = {"passed": "ok", "failed": "FAILED", "skipped": "skipped", "inconclusive": "undecided"}
_COLOUR = {"accepted": "32", "rejected": "31", "indeterminate": "33"}
MOST_FINDINGS = 12


def render(report: Report, *, colour: bool = False) -> str:
    """The report as lines of at most 80 columns, ending in a newline; `colour` marks the verdict's word too."""
    text = joined(sections(report))
    if colour:
        word, space, rest = text.partition(" ")
        text = f"\x1b[1;{_COLOUR[report.verdict]}m{word}\x1b[0m{space}{rest}"
    return text


def sections(report: Report) -> list[list[str]]:
    """The report's paragraphs of lines: the verdict's sentence, then each with its title first."""
    blocks = [wrap(report.sentence), _identity(report)]
    # claims that nobody's signature or arithmetic stands behind are not shown as if they were
    recomputed = any(s.step == "recompute" and s.status == "passed" for s in report.steps)
    shown = report.certificate if recomputed and report.verdict != "rejected" else None
    if shown is not None:
        blocks.append(rests_lines(report, shown))
    blocks.append(_steps(report))
    if shown is not None:
        verified = report.frame is not None and report.frame.status == "verified"
        recounted = report.audit is not None
        again = None if report.proof is None else report.proof.enclosures
        blocks += claims_lines(
            shown,
            recounted=recounted,
            frame_verified=verified,
            depth=report.depth,
            proven=0 if again is None else again.confirmed,
        )
    if report.frame is not None and report.verdict != "rejected":
        blocks.append(frame_lines(report.frame))
    if report.audit is not None:
        rejected = report.verdict == "rejected"
        # what is left of the claims is a claim too
        blocks.append(audit_lines(replace(report.audit, false_rows_below=None) if rejected else report.audit))
    if report.proof is not None and report.verdict != "rejected":
        blocks.append(proof_lines(report.proof))
    if report.points is not None and report.verdict != "rejected":
        blocks.append(point_lines(report.points))
    if report.verdict != "rejected":
        blocks += fresh_lines(report.fresh)
    blocks.append(_problems(report))
    if report.verdict != "rejected":
        blocks.append(ladder_lines(report.ladder))
    blocks.append(_unchecked(report))
    return [block for block in blocks if block]


def render_certificate(
    certificate: Certificate, certificate_id: str, signatures: int, appended: list[str] | None = None
) -> str:
    """What a certificate says, for `show`: the first sentence says that nothing of it was checked.

    `appended` are the lines on what others put beside it.
    """
    signed = "carries no signature" if not signatures else f"carries {signatures} signature{'s' * (signatures > 1)}"
    first = f"UNVERIFIED: this is what the bundle says of itself; nothing was checked. It {signed}."
    blocks = [
        wrap(first),
        ["Certificate", f"  {certificate_id}", *_about(certificate)],
        *claims_lines(certificate, recounted=False),
    ]
    if appended:
        blocks.append(appended)
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
    # what a rung of the ladder says already is not said twice
    left = [item for item in report.unchecked if item.rung is None]
    lines = ["Not checked, beside the rungs not climbed"] if left else []
    for item in left:
        lines += wrap(f"{item.what}: {item.how}", "  - ", "    ")
    return lines
