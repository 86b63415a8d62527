"""What an audit leaves of the claims: how far each could be wrong if as many rows are false as a sample can miss.

Normative text: ``spec/10-verification.md``, "What a replay establishes".
"""

from __future__ import annotations

from fractions import Fraction

from blockcert.numbers import format_decimal, parse_decimal
from blockcert.statement import PopulationPredicate, Statement
from blockcert.statistics import population_bound

from blockcert_verifier.report import Consequence

__all__ = ["consequences", "predicate_name"]


def predicate_name(predicate: PopulationPredicate) -> str:
    """A population predicate in words."""
    share = "" if predicate.share is None else _percent(predicate.share)
    match predicate.kind:
        case "covered":
            return f"{share} of tokens within {predicate.threshold} in every block"
        case "top1":
            return f"top-1 agrees at {share} of positions"
        case "kl":
            return f"mean KL at most {predicate.threshold} nats"
        case "loss_difference":
            return f"mean loss differs by at most {predicate.threshold} nats"
        case "logit_difference":
            return f"logits differ by at most {predicate.threshold}"


def _percent(share: str) -> str:
    return f"{format_decimal(parse_decimal(share) * 100)} %"


def consequences(statement: Statement, bound: int, attributed: bool, beta: Fraction) -> tuple[Consequence, ...]:
    """The counts that hold although up to ``bound - 1`` rows may be false, at confidence ``1 - beta``.

    Maxima hold for at least ``N - bound + 1`` rows. Population bounds are computed again with ``bound - 1`` fewer
    successes and hold at ``1 - alpha - beta``. Loss coverage is stated only where attribution rows were sampled.
    """
    p = statement.predicate
    claims, length, missed = p.claims, p.prompts.frame.length, bound - 1
    rows = p.evidence.rows
    sure = format_decimal(1 - beta)
    found = [Consequence("prompts that stay within every stated maximum", rows, rows - missed, rows, sure)]
    blocks = claims.stages[1:-1]
    for r, threshold in enumerate(p.thresholds.relative):
        if blocks:
            worst = min(stage.covered[r] for stage in blocks)
            what = f"tokens within {threshold} in the worst block"
            found.append(Consequence(what, worst, max(0, worst - missed * length), blocks[0].tokens, sure))
    end = claims.end_to_end
    found.append(
        Consequence(
            "positions where top-1 agrees", end.top1_agree, _less(end.top1_agree, missed * length), end.tokens, sure
        )
    )
    if attributed:
        for q, threshold in enumerate(p.thresholds.loss):
            counted = [(s.loss_covered[q], s.loss_tokens) for s in blocks if s.loss_covered and s.loss_tokens]
            if counted:
                worst, total = min(counted)
                what = f"positions whose loss moves at most {threshold} nats in the worst block"
                found.append(Consequence(what, worst, _less(worst, missed * (length - 1)), total, sure))
    population = claims.population
    alpha = parse_decimal(population.alpha)
    for claim in population.claims:
        level = alpha / len(population.claims)
        successes = _less(claim.successes, missed)
        at_least = population_bound(population.windows, population.trials, successes, level)
        what = f"windows of the population: {predicate_name(claim.predicate)}"
        joint = format_decimal(max(Fraction(0), 1 - alpha - beta))
        found.append(Consequence(what, claim.at_least, at_least, population.windows, joint))
    return tuple(found)


def _less(value: int, lost: int) -> int:
    return max(0, value - lost)
