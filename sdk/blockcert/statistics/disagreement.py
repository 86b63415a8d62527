"""Whether fresh rows disagree with listed ones by more than chance allows (``spec/10-verification.md``).

Listed and fresh rows are two parts of one draw from one population. Given what they are together, every choice of which
ones are the fresh rows is equally likely. That is the null hypothesis; nothing else about the population is assumed.
"""

from __future__ import annotations

import math
from fractions import Fraction

from blockcert.errors import Refusal
from blockcert.statistics.audit import unseen_at_most
from blockcert.statistics.hypergeometric import MOST_EXACT, hypergeometric_exceeds, tail_terms
from blockcert.statistics.levels import check_level

__all__ = ["disagrees", "exceedance_disagrees", "exceedance_probability", "fisher_disagreement"]


def fisher_disagreement(listed: int, listed_successes: int, fresh: int, fresh_successes: int) -> Fraction:
    """``P[Hyp(n + m, s + f, m) <= f]``: how likely so few of the fresh rows succeed by chance.

    Of ``n = listed`` rows ``s = listed_successes`` satisfy a predicate, of ``m = fresh`` rows ``f = fresh_successes``.
    R. A. Fisher's exact test, one-sided. Flagging where this is at most ``alpha`` flags by chance with probability at
    most ``alpha``.

    Raises:
        Refusal: ``statistics.counts`` unless ``0 <= s <= n``, ``0 <= f <= m`` and ``n + m >= 1``; ``statistics.work``
            where the least of ``n``, ``m``, ``s + f`` and the failures is above 4096: there :func:`disagrees` decides.
    """
    _check_table(listed, listed_successes, fresh, fresh_successes)
    rows, good = listed + fresh, listed_successes + fresh_successes
    if min(good, rows - good, listed, fresh) > MOST_EXACT:
        raise Refusal("statistics.work", "disagreement", "The exact probability has too many terms to be worked out.")
    # s or more of the listed succeed, m - f or more of the fresh fail, or either with drawn and marked rows exchanged:
    # the shortest draw is taken
    failures = fresh - fresh_successes
    draws, marked, least = min(
        (listed, good, listed_successes),
        (good, listed, listed_successes),
        (fresh, rows - good, failures),
        (rows - good, fresh, failures),
    )
    return Fraction(sum(tail_terms(rows, marked, draws, least)), math.comb(rows, draws))


def disagrees(listed: int, listed_successes: int, fresh: int, fresh_successes: int, level: Fraction) -> bool:
    """Whether :func:`fisher_disagreement` is at most ``level``, for rows of any number.

    Raises:
        Refusal: ``statistics.counts`` as there, ``statistics.level`` unless ``0 < level < 1``, ``statistics.work``
            where the comparison stays open.
    """
    _check_table(listed, listed_successes, fresh, fresh_successes)
    check_level(level, "level")
    rows, bad = listed + fresh, listed + fresh - listed_successes - fresh_successes
    return not hypergeometric_exceeds(rows, bad, fresh, fresh - fresh_successes, level, "disagreement")


def exceedance_probability(listed: int, fresh: int, exceeding: int) -> Fraction:
    """``C(m, j) / C(n + m, j)``, at least the probability that ``j`` of ``m`` fresh rows exceed the largest listed one.

    ``j = exceeding`` fresh values lie strictly above all ``n = listed`` ones only if the ``j`` largest of the ``n + m``
    are all fresh; where values are equal it is rarer still. The probability is that of ``j`` or more.

    Raises:
        Refusal: ``statistics.counts`` unless ``n >= 1`` and ``0 <= j <= m``; ``statistics.work`` where both ``n`` and
            ``j`` are above 4096: there :func:`exceedance_disagrees` decides.
    """
    _check_exceeding(listed, fresh, exceeding)
    # the quotient is symmetric: n listed rows miss the j largest as often as the j largest miss n listed rows
    factors, gap = min(listed, exceeding), max(listed, exceeding)
    if factors > MOST_EXACT:
        raise Refusal("statistics.work", "disagreement", "The exact probability has too many terms to be worked out.")
    return Fraction(math.perm(listed + fresh - gap, factors), math.perm(listed + fresh, factors))


def exceedance_disagrees(listed: int, fresh: int, exceeding: int, level: Fraction) -> bool:
    """Whether :func:`exceedance_probability` is at most ``level``, for rows of any number.

    Raises:
        Refusal: ``statistics.counts`` as there, ``statistics.level`` unless ``0 < level < 1``.
    """
    _check_exceeding(listed, fresh, exceeding)
    check_level(level, "level")
    return unseen_at_most(listed + fresh, listed, exceeding, level)


def _check_table(listed: int, listed_successes: int, fresh: int, fresh_successes: int) -> None:
    if not (0 <= listed_successes <= listed and 0 <= fresh_successes <= fresh and listed + fresh >= 1):
        sentence = (
            f"{listed_successes} of {listed} listed and {fresh_successes} of {fresh} fresh rows are not counts of "
            "two samples."
        )
        raise Refusal("statistics.counts", "disagreement", sentence)


def _check_exceeding(listed: int, fresh: int, exceeding: int) -> None:
    if not (listed >= 1 and 0 <= exceeding <= fresh):
        sentence = f"{exceeding} of {fresh} fresh rows above {listed} listed ones are not counts of two samples."
        raise Refusal("statistics.counts", "disagreement", sentence)
