"""Whether a certificate shows what was asked for: it is measured on other prompts than the search."""

from __future__ import annotations

from fractions import Fraction

from blockcert.numbers import parse_decimal
from blockcert.statement import Statement
from blockcert_producers.extract.budget import SHARE, Budget
from blockcert_verifier.layout import short

__all__ = ["missed"]


def missed(budget: Budget, statement: Statement) -> str | None:
    """A sentence where the certified numbers are beyond a budget or target; None where they are within it, and where no
    column of the certificate tells."""
    predicate = statement.predicate
    end = predicate.claims.end_to_end
    if budget.measure == "relative":
        # what is covered at the next wider column is at least what is covered at the budget
        columns = enumerate(map(parse_decimal, predicate.thresholds.relative))
        column = next((i for i, threshold in columns if threshold >= budget.limit), None)
        if column is None:
            return None
        blocks = predicate.claims.stages[1:-1]
        share = min(Fraction(stage.covered[column], stage.tokens) for stage in blocks)
        if share >= SHARE:
            return None
        at = parse_decimal(predicate.thresholds.relative[column])
        within = "" if at == budget.limit else f" within {predicate.thresholds.relative[column]}"
        found = f"{1000 * share.numerator // share.denominator / 10:.1f} % of tokens{within} in the worst block"
        return f"certified {found}, asked for {100 * SHARE} %: more --calibration, or a smaller budget"
    kind, stated = ("mean KL", end.kl_mean) if budget.measure == "kl" else ("logit difference", end.logit_difference)
    if parse_decimal(stated) <= budget.limit:
        return None
    asked = budget.number + (" nats per token" if budget.measure == "kl" else "")
    return f"certified a {kind} of {short(stated)}, asked for at most {asked}: more --calibration, or a smaller target"
