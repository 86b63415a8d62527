"""What a certificate itself proves, for a terminal: of which prompts, and who has proven it again."""

from __future__ import annotations

from decimal import Decimal

from blockcert.statement import Enclosures
from blockcert_verifier.counted import counted
from blockcert_verifier.layout import columns, share, short, wrap
from blockcert_verifier.report import Certificate

__all__ = ["enclosures_lines", "who_proved"]


def enclosures_lines(certificate: Certificate, proven: int) -> list[str]:
    """The certificate's enclosures, if it has any; ``proven`` rows of them were enclosed again here and hold."""
    stated = certificate.claims.enclosures
    if stated is None:
        return []
    worst = max(stated.stages, key=lambda stage: Decimal(stage.relative_error))
    at = certificate.relative_thresholds
    # an unchecked statement may have more or fewer of anything
    least = min((stage.covered[-1] for stage in stated.stages[1:-1] if stage.covered), default=None)
    rows = [
        ("top-1 agrees", f"at least {share(stated.top1_agree, stated.tokens)}"),
        ("decided", f"at least {share(stated.decided, stated.tokens)}"),
        ("largest logit difference", f"at most {short(stated.logit_difference)}"),
        ("largest drift after the last block", f"at most {short(stated.drift)}"),
        ("  relative to the hidden state", f"at most {short(stated.relative_drift)}"),
        ("largest KL, nats", f"at most {short(stated.kl_max)}"),
        (f"relative error, stage {worst.index} the worst", f"at most {short(worst.relative_error)}"),
    ]
    if least is not None:
        rows.append((f"tokens within {at[-1]}, in every block", f"at least {share(least, stated.tokens)}"))
    text = f"the first {counted(stated.rows, 'prompt')}, at up to {stated.bits} bits; {who_proved(stated, proven)}"
    return [
        f"Proven of the two exact programs [{stated.scope}, {stated.basis}]",
        *wrap(text, "  ", "  "),
        *columns(rows),
    ]


def who_proved(stated: Enclosures, proven: int) -> str:
    """Who stands behind the certificate's enclosures."""
    if not proven:
        return "by the producer; --prove N proves rows again"
    return f"by the producer, and again here on {'all' if proven == stated.rows else proven}"
