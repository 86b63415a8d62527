"""Agreement, losses and divergence of two programs' logits on one prompt, as exact intervals.

A position's logits are a list of ``V`` balls. Definitions: ``spec/07-evidence.md``; brackets: BC-VER-09.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct

from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, total
from blockcert_verifier.enclose.balls import ball
from blockcert_verifier.enclose.cells import ABSOLUTE, RELATIVE, counted, norms, sums
from blockcert_verifier.enclose.interval import Enclosed, Truth
from blockcert_verifier.enclose.rational import at_most, hull, largest_ball, more_than

__all__ = ["logit_cells"]


class _Position(Struct, frozen=True):
    """What one position contributes: the largest logit difference, the tolerance ``c_t``, and three truths for each of
    the two counts (certainly, exactly, possibly)."""

    difference: Ball
    tolerance: Ball
    agrees: tuple[Truth, Truth, Truth]
    decided: tuple[Truth, Truth, Truth]


def logit_cells(
    reference: Balls, surrogate: Balls | None, tokens: Sequence[int], thresholds: Sequence[Fraction]
) -> dict[str, list[Enclosed]]:
    """The cells of the logit columns; those of ``loss_within`` one for each threshold, all others alone.

    ``surrogate`` is None where all stages are one program.
    """
    theirs = reference if surrogate is None else surrogate
    positions = [_position(x, y, surrogate is None) for x, y in zip(reference, theirs, strict=True)]
    length = len(tokens)
    zero = Enclosed.exactly(0)
    found: dict[str, list[Enclosed]] = {
        "decided": [counted(*zip(*(one.decided for one in positions), strict=True))],
        "logit_difference": [zero],
        "top1_agree": [Enclosed.exactly(length)],
    }
    targets = list(zip(reference[:-1], theirs[:-1], tokens[1:], strict=True))
    totals = [_log_sum(x) for x, _, _ in targets]
    losses = [whole - x[token] for (x, _, token), whole in zip(targets, totals, strict=True)]
    found["loss_reference"] = [sums(total(losses), length)]
    if surrogate is None:
        found["loss_surrogate"] = found["loss_reference"]
        found |= {"loss_difference": [zero], "kl_sum": [zero], "kl_max": [zero]}
        found["loss_within"] = [Enclosed.exactly(length - 1) for _ in thresholds]
        return found
    tolerances = [one.tolerance for one in positions]
    found["logit_difference"] = [norms([one.difference for one in positions], tolerances)]
    found["top1_agree"] = [counted(*zip(*(one.agrees for one in positions), strict=True))]
    theirs_totals = [_log_sum(y) for _, y, _ in targets]
    theirs_losses = [whole - y[token] for (_, y, token), whole in zip(targets, theirs_totals, strict=True)]
    differences = [b - a for a, b in zip(losses, theirs_losses, strict=True)]
    found["loss_surrogate"] = [sums(total(theirs_losses), length)]
    found["loss_difference"] = [sums(total(differences), length, signed=True)]
    found["loss_within"] = [_within(differences, tolerances, threshold) for threshold in thresholds]
    divergences = [_divergence(x, y, p, q) for (x, y, _), p, q in zip(targets, totals, theirs_totals, strict=True)]
    found["kl_sum"] = [sums(total(divergences), length)]
    found["kl_max"] = [sums(largest_ball(divergences) if divergences else arb(0), length)]
    return found


def _log_sum(logits: Sequence[Ball]) -> Ball:
    """``log sum_v exp(x_v)``."""
    return total(v.exp() for v in logits).log()


def _divergence(x: Sequence[Ball], y: Sequence[Ball], total_x: Ball, total_y: Ball) -> Ball:
    """``KL(softmax x, softmax y)``, which is not negative."""
    mean = total((a - total_x).exp() * (a - b) for a, b in zip(x, y, strict=True))
    return (mean - total_x + total_y).max(arb(0))


def _within(differences: Sequence[Ball], tolerances: Sequence[Ball], threshold: Fraction) -> Enclosed:
    """Positions whose losses differ by at most a threshold."""
    limit, delta = ball(threshold), ball(RELATIVE)
    parts = [(abs(d), ball(ABSOLUTE) + 2 * c) for d, c in zip(differences, tolerances[: len(differences)], strict=True)]
    return counted(
        [at_most(d * (1 + delta) + slack, limit) for d, slack in parts],
        [at_most(d, limit) for d, _ in parts],
        [at_most(d * (1 - delta) - slack, limit) for d, slack in parts],
    )


def _position(x: Sequence[Ball], y: Sequence[Ball], same: bool) -> _Position:
    size = largest_ball(abs(v) for v in x)
    if not same:
        size = size.max(largest_ball(abs(v) for v in y))
    tolerance = ball(ABSOLUTE) * size
    difference = arb(0) if same else largest_ball(abs(a - b) for a, b in zip(x, y, strict=True))
    top_x, top_y = largest_ball(x), largest_ball(y)
    gap = _margin(x, top_x) - 2 * difference
    decided = (more_than(gap, 4 * tolerance), more_than(gap, arb(0)), more_than(gap, -4 * tolerance))
    exact = _alike(_near_top(x, top_x, arb(0))[0], _near_top(y, top_y, arb(0))[0])
    (near_x, sure_x), (near_y, sure_y) = _near_top(x, top_x, 2 * tolerance), _near_top(y, top_y, 2 * tolerance)
    sure: Truth = None
    if len(near_x) == len(near_y) == 1:
        sure = near_x == near_y
    elif len(sure_x) > 1 or len(sure_y) > 1 or not near_x & near_y:
        sure = False
    maybe: Truth = True if sure_x & sure_y else None if near_x & near_y else False
    return _Position(difference, tolerance, (sure, exact, maybe), decided)


def _near_top(logits: Sequence[Ball], top: Ball, distance: Ball) -> tuple[set[int], set[int]]:
    """The tokens that may lie within a distance of the largest logit, and those that certainly do."""
    level = top - distance
    near = {v for v, one in enumerate(logits) if not one < level}
    return near, {v for v in near if logits[v] >= level} if len(near) > 1 else near


def _alike(first: set[int], second: set[int]) -> Truth:
    """Whether the largest logits of both are one token's, given the tokens that may have them."""
    if not first & second:
        return False
    return True if len(first) == len(second) == 1 else None


def _margin(logits: Sequence[Ball], top: Ball) -> Ball:
    """The largest logit less the second largest; infinite in a vocabulary of one token."""
    if len(logits) == 1:
        return arb(float("inf"))
    near = _near_top(logits, top, arb(0))[0]
    if len(near) == 1:
        (best,) = near
        return logits[best] - largest_ball(v for token, v in enumerate(logits) if token != best)
    ends = sorted((logits[v].lower() for v in near), reverse=True)
    return hull(arb(0), top - ends[1])
