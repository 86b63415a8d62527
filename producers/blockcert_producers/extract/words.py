"""What became of a block, in words."""

from __future__ import annotations

from collections import Counter

from blockcert.program import Attention, Pattern
from blockcert.statement import Cost
from blockcert_producers.extract.plan import Structure
from blockcert_producers.extract.study import Study
from blockcert_verifier.mechanisms import pattern_words

__all__ = ["describe"]


def describe(
    study: Study, structure: Structure | None, form: str | None, before: Cost, after: Cost, *, polished: bool = False
) -> str:
    """One line for a person: what was kept, of what kind, in which number format or formats (None: as it was)."""
    if form is None:
        return "unchanged: nothing cheaper is within the budget"
    if structure is None:
        return f"every weight kept,{' polished,' if polished else ''} in {form}"
    share = 100 * after.multiply_adds / before.multiply_adds
    size = sum(support.size for support in structure.supports.values())
    kept = sum(
        structure.ranks[i] * sum(support.shape) if i in structure.ranks else int(support.sum())
        for i, support in structure.supports.items()
    )
    weights = "every weight" if kept == size else f"{100 * kept / size:.1f} % of the weights"
    parts = [f"{weights} kept, refitted,{' polished,' if polished else ''} in {form}"]
    parts.extend(f"{study.linear(i).out} of rank {rank}" for i, rank in structure.ranks.items())
    if structure.patterns is not None:
        parts.extend(_heads(structure.patterns, _before(study)))
    if structure.neurons is not None and study.anatomy.neurons is not None:
        count = study.matrix(study.anatomy.neurons.output).shape[1]
        parts.append(f"{len(structure.neurons)} of {count} neurons")
    return ", ".join(parts) + f": {share:.1f} % of the multiply-adds"


def _before(study: Study) -> tuple[Pattern, ...]:
    return next(step.patterns for step in study.stage.steps if isinstance(step, Attention))


def _heads(patterns: tuple[Pattern, ...], before: tuple[Pattern, ...]) -> list[str]:
    """What the heads became whose pattern is not the reference's, with the pattern's words as many heads say them."""
    kinds = Counter(pattern_words(pattern) for pattern, own in zip(patterns, before, strict=True) if pattern != own)
    found: list[str] = []
    for kind, count in kinds.items():
        verb, _, rest = kind.partition(" ")
        found.append(f"{count} of {len(patterns)} heads {verb if count == 1 else verb[:-1]} {rest}")
    return found
