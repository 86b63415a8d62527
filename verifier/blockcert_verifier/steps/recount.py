"""What the surrogate kept, counted again from programs and weights (BC-CLM-10 to 13)."""

from __future__ import annotations

from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.program import Program
from blockcert.statement import Statement
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.steps.outcome import failed, from_refusal
from blockcert_verifier.steps.plan import Look
from blockcert_verifier.work.chunks import CRASHES

__all__ = ["recount"]


def recount(
    statement: Statement, reference: Program, surrogate: Program, store: WeightStore, look: Look = lambda: None
) -> list[Finding]:
    """A finding for every stated cost that is not what is counted; none where all are.

    Every weight is read once. ``look`` is called before each stage, and raises where there is no more time.
    """
    kept = statement.predicate.surrogate.kept
    length = statement.predicate.prompts.frame.length
    findings: list[Finding] = []
    for side, program, stated in (("reference", reference, kept.reference), ("surrogate", surrogate, kept.surrogate)):
        place = f"statement.dsse.json: $.predicate.surrogate.kept.{side}"
        try:
            counted = program_costs(program, store, length, look)
        except Refusal as refusal:
            if refusal.code == "limit.seconds":
                raise
            findings.append(from_refusal("replay", refusal))
            continue
        except CRASHES as fault:
            reason = " ".join(str(fault).split())[:200]
            sentence = f"counting fails: {type(fault).__name__}: {reason}"
            findings.append(failed("replay", "replay.kept.mismatch", place, sentence))
            continue
        if len(counted) != len(stated):
            sentence = f"{len(stated)} costs are stated for {len(counted)} stages"
            findings.append(failed("replay", "replay.kept.mismatch", place, sentence))
            continue
        for i, (found, said) in enumerate(zip(counted, stated, strict=True)):
            for name in found.__struct_fields__:
                if getattr(found, name) != getattr(said, name):
                    sentence = f"{getattr(said, name)} stands here, and {getattr(found, name)} are counted"
                    findings.append(failed("replay", "replay.kept.mismatch", f"{place}[{i}].{name}", sentence))
    return findings
