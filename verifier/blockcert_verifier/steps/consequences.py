"""What an audit leaves of the claims: how far each could be wrong if as many rows are false as a sample can miss.

Normative text: ``spec/10-verification.md``, "What a replay establishes".
"""

from __future__ import annotations

from fractions import Fraction

from blockcert.claims import stratum_bounds
from blockcert.numbers import format_decimal, parse_decimal
from blockcert.statement import PopulationPredicate, Statement
from blockcert.statistics import joint_level, level_of_each, population_bound
from blockcert_verifier.report import Consequence
from blockcert_verifier.steps.plan import Look

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


def consequences(
    statement: Statement, bound: int, attributed: bool, beta: Fraction, look: Look = lambda: None
) -> tuple[Consequence, ...]:
    """The counts that hold although up to ``bound - 1`` rows may be false, at confidence ``1 - beta``.

    Maxima hold for at least ``N - bound + 1`` rows. Population bounds are computed again with ``bound - 1`` fewer
    successes and hold at ``1 - alpha - beta``; so are those of each corpus file, apart. Loss coverage is stated only
    where attribution rows were sampled.
    """
    p = statement.predicate
    claims, length, missed = p.claims, p.prompts.frame.length, bound - 1
    rows = p.evidence.rows
    sure = format_decimal(1 - beta)
    found: list[Consequence] = []

    def listed(claim: str, stated: int, lost: int, of: int) -> None:
        found.append(Consequence(claim, "listed-prompts", None, stated, _less(stated, lost), of, sure))

    listed("prompts within every stated maximum", rows, missed, rows)
    blocks = claims.stages[1:-1]
    for r, threshold in enumerate(p.thresholds.relative):
        if blocks:
            worst = min(stage.covered[r] for stage in blocks)
            listed(f"tokens within {threshold}, worst block", worst, missed * length, blocks[0].tokens)
    end = claims.end_to_end
    listed("positions where top-1 agrees", end.top1_agree, missed * length, end.tokens)
    if attributed:
        for q, threshold in enumerate(p.thresholds.loss):
            counted = [(s.loss_covered[q], s.loss_tokens) for s in blocks if s.loss_covered and s.loss_tokens]
            if counted:
                worst, total = min(counted)
                listed(f"loss within {threshold} nats, worst block", worst, missed * (length - 1), total)
    population = claims.population
    alpha = parse_decimal(population.alpha)
    joint = format_decimal(1 - joint_level(alpha, beta))
    for claim in population.claims:
        level = level_of_each(alpha, len(population.claims))
        successes = _less(claim.successes, missed)
        at_least = population_bound(population.windows, population.trials, successes, level)
        name = predicate_name(claim.predicate)
        found.append(Consequence(name, "population", None, claim.at_least, at_least, population.windows, joint))
    strata = population.strata or ()
    for h, stratum in enumerate(strata):
        look()
        # all of the false rows may come from one file
        counts = [_less(successes, missed) for successes in stratum.successes]
        bounds = stratum_bounds(stratum.windows, stratum.trials, counts, len(strata), alpha)
        for claim, stated, at_least in zip(population.claims, stratum.at_least, bounds, strict=True):
            name = predicate_name(claim.predicate)
            found.append(Consequence(name, "population", h, stated, at_least, stratum.windows, joint))
    return tuple(found)


def _less(value: int, lost: int) -> int:
    return max(0, value - lost)
