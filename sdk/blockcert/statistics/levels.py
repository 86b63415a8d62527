"""Levels of error: how one is divided over statements, and how several add (``spec/08-claims.md``)."""

from __future__ import annotations

from fractions import Fraction

from blockcert.errors import Refusal

__all__ = ["check_level", "joint_level", "level_of_each"]


def check_level(level: Fraction, name: str) -> None:
    """Refuse ``statistics.level`` unless ``0 < level < 1``."""
    if not 0 < level < 1:
        raise Refusal("statistics.level", name, f"{name} is {level} and must lie between 0 and 1.")


def level_of_each(alpha: Fraction, statements: int) -> Fraction:
    """``alpha / k``: the level of each of ``k = statements`` that are jointly wrong with probability at most ``alpha``.

    By the union bound, whatever the dependence between them; predicates of one draw depend on each other.

    Raises:
        Refusal: ``statistics.counts`` unless ``k >= 1``.
    """
    if statements < 1:
        raise Refusal("statistics.counts", "alpha", f"A level cannot be divided over {statements} statements.")
    return alpha / statements


def joint_level(*levels: Fraction) -> Fraction:
    """The sum of ``levels``, at most 1: the probability that a statement fails which rests on all of them.

    A claim about a population that is restated after an audit fails only where the draw misled (``alpha``) or the
    audit missed (``beta``), so its level is ``alpha + beta``, also if the two are not independent.
    """
    return min(Fraction(1), sum(levels, Fraction(0)))
