"""What a certificate claims to be proven, from its evidence: exact arithmetic over the columns of proven ends.

Normative text: ``spec/08-claims.md``, "Enclosures". Whoever recomputes these claims needs no ball arithmetic: the ends
stand in the evidence, row by row.
"""

from __future__ import annotations

from blockcert.evidence import ENCLOSURE
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import exact, round_bound
from blockcert.statement import EnclosedStage, Enclosures

__all__ = ["enclosure_claims"]


def enclosure_claims(table: EvidenceTable, length: int, same: tuple[bool, ...]) -> Enclosures | None:
    """The claims about the rows that have proven ends, None where no row has.

    ``length`` is ``T``; ``same[i]`` says that stage ``i`` is one program on both sides.

    Raises:
        Refusal: ``number.not_decimal`` where an end is too large to be stated.
    """
    shape, n = table.shape, table.shape.blocks
    rows = shape.enclosed_rows
    if not rows:
        return None

    def most(name: str, sides: bool, *index: int) -> str:
        return round_bound(exact(max(table.at(ENCLOSURE + name, *index))), sides)

    def total(name: str, *index: int) -> int:
        return sum(int(cell) for cell in table.at(ENCLOSURE + name, *index))

    stages = tuple(
        EnclosedStage(
            index=i,
            error=most("error", same[i], i),
            relative_error=most("relative_error", same[i], i),
            relative_update_error=most("relative_update_error", same[i], i - 1) if 1 <= i <= n else None,
            covered=tuple(total("covered", i, r) for r in range(shape.relative_thresholds)),
        )
        for i in range(shape.stages)
    )
    return Enclosures(
        rows=rows,
        bits=int(max(table.at("enclosure.bits"))),
        stages=stages,
        drift=most("drift", all(same[: n + 1]), n),
        relative_drift=most("relative_drift", all(same[: n + 1]), n),
        logit_difference=most("logit_difference", all(same)),
        tokens=rows * length,
        top1_agree=total("top1_agree"),
        decided=total("decided"),
        loss_tokens=rows * (length - 1),
        loss_within=tuple(total("loss_within", q) for q in range(shape.loss_thresholds)),
        kl_max=most("kl_max", all(same)),
        scope="listed-prompts",
        basis="enclosure",
    )
