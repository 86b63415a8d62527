"""Budgets and aims: what a surrogate must stay within, and what *cheapest* means.

A budget is the relative error that at least 95 % of the tokens must meet in every block. Since the certificate is
measured on other prompts than the search, a candidate needs a margin: over the calibration prompts that were held out
of every fit, the mean share of tokens within the budget, less two standard errors of that mean over those prompts, must
be at least 95 %. The prompt is the unit because tokens of one prompt are dependent.

A budget may also be a target of the stitched model (``Measure``), measured on the same held-out prompts (``stitched``).
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.names import shown
from blockcert.numbers import format_decimal, parse_decimal
from blockcert.statement import Cost
from blockcert_producers.extract.tensors import Host

__all__ = [
    "AIMS",
    "GRADES",
    "SHARE",
    "Aim",
    "Budget",
    "Measure",
    "cheapness",
    "covered",
    "parse_aim",
    "parse_budget",
    "parse_budgets",
]

GRADES = {"lossless": "0.01", "near-lossless": "0.02", "approximate": "0.05"}
"""The grades by name: the relative error that 95 % of the tokens meet in every block."""

Aim: TypeAlias = Literal["structure", "bits"]
AIMS: tuple[Aim, ...] = get_args(Aim)

_NUMBER = re.compile(r"-?(?=\.?[0-9])[0-9]{0,40}(?:\.[0-9]{0,40})?", re.ASCII)

Measure: TypeAlias = Literal["relative", "kl", "logits"]
"""What a budget limits: the relative error of every block by itself, or of the stitched model the mean KL from the
reference in nats per token, or the largest difference of any logit."""
MEASURES: tuple[Measure, ...] = get_args(Measure)

SHARE = Fraction(95, 100)
"""Of the tokens that must be within a relative error."""
_STANDARD_ERRORS = 2


class Budget(Struct, frozen=True):
    """A limit and its name: the grade's that was asked for, or else the decimal in its one spelling, as in ``0.05`` and
    ``kl=0.001``."""

    name: str
    limit: Fraction
    measure: Measure = "relative"

    @property
    def number(self) -> str:
        """The limit to its last digit: ``0.001``; of one that is no decimal the first six."""
        try:
            return format_decimal(self.limit)
        except Refusal:
            return f"{float(self.limit):g}"

    @property
    def text(self) -> str:
        """The limit as it is written: ``0.05``, ``kl=0.001``."""
        return self.number if self.measure == "relative" else f"{self.measure}={self.number}"


def parse_budget(budget: Fraction | str, place: str = "--budget") -> Budget:
    """The budget that a grade's name, a number, or a target like ``kl=0.001`` or ``logits=0.5`` stands for; a number is
    spelt as people do: 0.1, 0.10 and .1 are one.

    Raises:
        Refusal: ``extract.budget`` for text that is none of these, where it is not between 0 and 1, or a target not
            above 0.
    """
    if isinstance(budget, str) and (target := _target(budget, place)) is not None:
        return target
    if isinstance(budget, Fraction):
        name, value = f"{float(budget):g}", budget
    elif budget in GRADES:
        name, value = budget, parse_decimal(GRADES[budget])
    elif _NUMBER.fullmatch(budget):
        value = Fraction(budget)
        name = format_decimal(value)
    else:
        grades = ", ".join(f"{grade} ({limit})" for grade, limit in GRADES.items())
        what = f"{shown(budget)} is no budget" if budget else "a budget is missing here"
        raise Refusal(
            "extract.budget", place, f"{what}: it is a number like 0.03, a grade: {grades}, or a target like kl=0.001"
        )
    if not 0 < value < 1:
        raise Refusal(
            "extract.budget",
            place,
            f"the budget is a relative error and must lie between 0 and 1, not {float(value):g}; 0.05 is usual",
        )
    return Budget(name, value)


def _target(text: str, place: str) -> Budget | None:
    """The target of the stitched model that a text stands for; None where it names none."""
    before, equals, number = text.partition("=")
    for measure in MEASURES[1:]:
        if equals and before == measure:
            value = Fraction(number) if _NUMBER.fullmatch(number) else Fraction(0)
            if value <= 0:
                sentence = f"the target is a distance from the reference, a number above 0; {measure}="
                raise Refusal("extract.budget", place, sentence + ("0.001 is usual" if measure == "kl" else "0.5, say"))
            return Budget(f"{measure}={format_decimal(value)}", value, measure)
    return None


def parse_budgets(text: str) -> tuple[Budget, ...]:
    """The budgets of a list like ``lossless,0.03,kl=0.001``: relative errors first, then targets of the stitched model,
    each from the narrowest to the widest.

    Raises:
        Refusal: as ``parse_budget``; ``extract.budgets`` where one is listed twice.
    """
    budgets = [parse_budget(part.strip(), "--budgets") for part in text.split(",")]
    budgets.sort(key=lambda budget: (MEASURES.index(budget.measure), budget.limit))
    for one, next_ in pairwise(budgets):
        if (one.measure, one.limit) == (next_.measure, next_.limit):
            names = one.name if one.name == next_.name else f"{one.name} and {next_.name}"
            raise Refusal("extract.budgets", "--budgets", f"one budget is listed twice: {names}")
    return tuple(budgets)


def parse_aim(text: str) -> Aim:
    """The aim of that name.

    Raises:
        Refusal: ``extract.aim``.
    """
    for aim in AIMS:
        if text == aim:
            return aim
    raise Refusal("extract.aim", "--aim", f"the aim is {' or '.join(AIMS)}, not {text!r}")


def cheapness(aim: Aim, cost: Cost) -> tuple[int, int]:
    """What is compared first and second: multiply-adds and bits for ``structure``, bits and multiply-adds for
    ``bits``."""
    if aim == "structure":
        return cost.multiply_adds, cost.bits
    return cost.bits, cost.multiply_adds


def covered(errors: Host, limit: float) -> bool:
    """Whether held-out prompts (``errors``, prompts x T) meet a budget with the margin; see the module.

    One prompt has no spread: then its share alone decides, and no prompt at all decides nothing.
    """
    prompts, length = errors.shape
    if not errors.size:
        return True
    counts: list[int] = (errors <= limit).sum(axis=1).tolist()
    above = Fraction(sum(counts), prompts * length) - SHARE
    if above < 0 or prompts == 1:
        return above >= 0
    squares = sum(count * count for count in counts) - Fraction(sum(counts) ** 2, prompts)
    # squared, so that all of it is exact
    return above**2 >= _STANDARD_ERRORS**2 * squares / ((prompts - 1) * prompts * length**2)
