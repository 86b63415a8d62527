"""Agreement, losses and divergence of two programs' logits on one prompt, as exact intervals.

A position's logits are a list of ``V`` balls. Definitions: ``spec/07-evidence.md``; brackets: BC-VER-09.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from msgspec import Struct

from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, total
from blockcert_verifier.enclose.balls import ball
from blockcert_verifier.enclose.cells import ABSOLUTE, RELATIVE, counted, norms, sums
from blockcert_verifier.enclose.interval import Enclosed, Truth
from blockcert_verifier.enclose.rational import at_most, hull, largest_ball, more_than

__all__ = ["logit_cells"]

_NEAR = Fraction(1, 10**7)


class _Position(Struct, frozen=True):
    """What one position contributes: the largest logit difference, the tolerance ``c_t``, three truths for each of the
    two counts (certainly, exactly, possibly), and where it has a target both losses and the divergence."""

    difference: Ball
    tolerance: Ball
    agrees: tuple[Truth, Truth, Truth]
    decided: tuple[Truth, Truth, Truth]
    losses: tuple[Ball, Ball] | None
    divergence: Ball


def logit_cells(
    reference: Balls,
    surrogate: Balls | None,
    tokens: Sequence[int],
    thresholds: Sequence[Fraction],
    look: Callable[[], None] = lambda: None,
) -> dict[str, list[Enclosed]]:
    """The cells of the logit columns; those of ``loss_within`` one for each threshold, all others alone.

    ``surrogate`` is None where all stages are one program. ``look`` is called before each position; what it raises ends
    the work.
    """
    length = len(tokens)
    theirs = [None] * length if surrogate is None else surrogate
    # what a position needs beside its logits is let go before the next
    positions: list[_Position] = []
    for x, y, target in zip(reference, theirs, (*tokens[1:], None), strict=True):
        look()
        positions.append(_position(x, y, target))
    zero = Enclosed.exactly(0)
    losses = [one.losses for one in positions if one.losses is not None]
    found: dict[str, list[Enclosed]] = {
        "decided": [counted(*zip(*(one.decided for one in positions), strict=True))],
        "logit_difference": [zero],
        "top1_agree": [Enclosed.exactly(length)],
        "loss_reference": [sums(total(mine for mine, _ in losses), length)],
    }
    if surrogate is None:
        found["loss_surrogate"] = found["loss_reference"]
        found |= {"loss_difference": [zero], "kl_sum": [zero], "kl_max": [zero]}
        found["loss_within"] = [Enclosed.exactly(length - 1) for _ in thresholds]
        return found
    tolerances = [one.tolerance for one in positions]
    found["logit_difference"] = [norms([one.difference for one in positions], tolerances)]
    found["top1_agree"] = [counted(*zip(*(one.agrees for one in positions), strict=True))]
    differences = [other - mine for mine, other in losses]
    found["loss_surrogate"] = [sums(total(other for _, other in losses), length)]
    found["loss_difference"] = [sums(total(differences), length, signed=True)]
    found["loss_within"] = [_within(differences, tolerances, threshold) for threshold in thresholds]
    divergences = [one.divergence for one in positions if one.losses is not None]
    found["kl_sum"] = [sums(total(divergences), length)]
    found["kl_max"] = [sums(largest_ball(divergences) if divergences else arb(0), length)]
    return found


def _within(differences: Sequence[Ball], tolerances: Sequence[Ball], threshold: Fraction) -> Enclosed:
    """Positions whose losses differ by at most a threshold."""
    limit, delta = ball(threshold), ball(RELATIVE)
    parts = [(abs(d), ball(ABSOLUTE) + 2 * c) for d, c in zip(differences, tolerances[: len(differences)], strict=True)]
    return counted(
        [at_most(d * (1 + delta) + slack, limit) for d, slack in parts],
        [at_most(d, limit) for d, _ in parts],
        [at_most(d * (1 - delta) - slack, limit) for d, slack in parts],
    )


class _Side:
    """One side's logits at a position. Float64 says where to look, and balls what is there."""

    def __init__(self, logits: Sequence[Ball]) -> None:
        self.logits = logits
        self.floats = np.array([float(v) for v in logits])
        guess = int(np.argmax(self.floats))
        # far enough below the largest to hold all that a tolerance may bring near it
        self._level = logits[guess] - ball(_NEAR) * abs(logits[guess])
        self._high = [v for v, one in enumerate(logits) if not one < self._level]
        self.top = largest_ball(logits[v] for v in self._high)
        least = logits[int(np.argmin(self.floats))]
        lowest = largest_ball(-one for one in logits if not one > least)
        self.size = abs(self.top).max(abs(lowest))

    def near_top(self, distance: Ball) -> tuple[set[int], set[int]]:
        """The tokens that may lie within a distance of the largest logit, and those that certainly do."""
        level = self.top - distance
        among = self._high if level >= self._level else range(len(self.logits))
        near = {v for v in among if not self.logits[v] < level}
        return near, {v for v in near if self.logits[v] >= level} if len(near) > 1 else near

    def margin(self) -> Ball:
        """The largest logit less the second largest; infinite in a vocabulary of one token."""
        if len(self.logits) == 1:
            return arb(float("inf"))
        near = self.near_top(arb(0))[0]
        if len(near) == 1:
            (best,) = near
            others = self.floats.copy()
            others[best] = -np.inf
            second = self.logits[int(np.argmax(others))]
            return self.logits[best] - largest_ball(
                one for token, one in enumerate(self.logits) if token != best and not one < second
            )
        ends = sorted((self.logits[v].lower() for v in near), reverse=True)
        return hull(arb(0), self.top - ends[1])


def _position(x: Sequence[Ball], y: Sequence[Ball] | None, target: int | None) -> _Position:
    first = _Side(x)
    second = first if y is None else _Side(y)
    gap = [] if y is None else [a - b for a, b in zip(x, y, strict=True)]
    tolerance = ball(ABSOLUTE) * first.size.max(second.size)
    difference = _largest_difference(first, second, gap) if gap else arb(0)
    room = first.margin() - 2 * difference
    decided = (more_than(room, 4 * tolerance), more_than(room, arb(0)), more_than(room, -4 * tolerance))
    exact = _alike(first.near_top(arb(0))[0], second.near_top(arb(0))[0])
    (near_x, sure_x), (near_y, sure_y) = first.near_top(2 * tolerance), second.near_top(2 * tolerance)
    sure: Truth = None
    if len(near_x) == len(near_y) == 1:
        sure = near_x == near_y
    elif len(sure_x) > 1 or len(sure_y) > 1 or not near_x & near_y:
        sure = False
    maybe: Truth = True if sure_x & sure_y else None if near_x & near_y else False
    losses, divergence = (None, arb(0)) if target is None else _losses(x, y, gap, target)
    return _Position(difference, tolerance, (sure, exact, maybe), decided, losses, divergence)


def _largest_difference(first: _Side, second: _Side, gap: Sequence[Ball]) -> Ball:
    high = abs(gap[int(np.argmax(np.abs(first.floats - second.floats)))])
    low = -high
    return largest_ball(abs(one) for one in gap if not low < one < high)


def _losses(
    x: Sequence[Ball], y: Sequence[Ball] | None, gap: Sequence[Ball], target: int
) -> tuple[tuple[Ball, Ball], Ball]:
    """Both losses and ``KL(softmax x, softmax y)``, which is not negative."""
    raised = [v.exp() for v in x]
    whole = total(raised)
    log = whole.log()
    if y is None:
        return (log - x[target], log - x[target]), arb(0)
    theirs = total(v.exp() for v in y).log()
    mean = total(e * d for e, d in zip(raised, gap, strict=True)) / whole
    return (log - x[target], theirs - y[target]), (mean - log + theirs).max(arb(0))


def _alike(first: set[int], second: set[int]) -> Truth:
    """Whether the largest logits of both are one token's, given the tokens that may have them."""
    if not first & second:
        return False
    return True if len(first) == len(second) == 1 else None
