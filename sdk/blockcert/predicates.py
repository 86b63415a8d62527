"""Which rows of the evidence satisfy a population predicate (``spec/08-claims.md``, "Population"); all is exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.numbers import exact, parse_decimal
from blockcert.statement import PopulationPredicate, Thresholds

__all__ = ["satisfied"]


def satisfied(
    table: EvidenceTable, length: int, thresholds: Thresholds, predicate: PopulationPredicate
) -> tuple[bool, ...]:
    """For each row whether its prompt, of ``length`` tokens, satisfies the predicate.

    Raises:
        Refusal: ``claims.threshold`` and ``claims.predicate`` where the predicate is not one of the spec's.
    """
    test = _test(table, length, thresholds, predicate)
    return tuple(test(row) for row in range(table.shape.rows))


def _test(
    table: EvidenceTable, length: int, thresholds: Thresholds, predicate: PopulationPredicate
) -> Callable[[int], bool]:
    needs_share = predicate.kind in ("covered", "top1")
    needs_threshold = predicate.kind != "top1"
    if (predicate.share is not None) != needs_share or (predicate.threshold is not None) != needs_threshold:
        raise Refusal(
            "claims.predicate",
            f"predicate {predicate.kind}",
            "it has a share or a threshold too many or too few",
        )
    share = parse_decimal(predicate.share) if predicate.share is not None else Fraction(0)
    threshold = parse_decimal(predicate.threshold) if predicate.threshold is not None else Fraction(0)
    # counts are integers, so a share of the tokens is met from its ceiling on
    needed = math.ceil(share * length)
    sum_limit = threshold * (length - 1)
    match predicate.kind:
        case "covered":
            if predicate.threshold not in thresholds.relative:
                raise Refusal(
                    "claims.threshold",
                    "predicate covered",
                    f"{predicate.threshold} is not a listed threshold",
                )
            r = thresholds.relative.index(predicate.threshold)
            counts = [table.at("covered", i, r) for i in range(1, table.shape.blocks + 1)]
            return lambda row: all(column[row] >= needed for column in counts)
        case "top1":
            agree = table.flat("top1_agree")
            return lambda row: agree[row] >= needed
        case "kl":
            kl = table.flat("kl_sum")
            return lambda row: exact(kl[row]) <= sum_limit
        case "loss_difference":
            difference = table.flat("loss_difference")
            return lambda row: abs(exact(difference[row])) <= sum_limit
        case "logit_difference":
            logits = table.flat("logit_difference")
            return lambda row: exact(logits[row]) <= threshold
