"""What a verifier measured itself, on prompts that nobody chose for it, beside what the certificate says.

Normative text: ``spec/10-verification.md``, "Fresh prompts". Probabilities are decimal strings, rounded up.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Fresh", "FreshMaximum", "FreshPredicate"]


class FreshPredicate(Struct, frozen=True):
    """One population predicate: the certificate's counts, the verifier's own, and how likely so few are by chance.

    ``at_least`` of the windows that the rows were drawn from satisfy it; ``at_least_all`` and ``at_most_all`` of the
    certificate's whole population do if its recorded ``stated_successes`` are right, null for the verifier's own texts.
    ``differs`` says that ``probability`` is at most the level of one test.
    """

    claim: str
    stated_successes: int
    stated_trials: int
    stated_at_least: int
    successes: int
    at_least: int
    at_least_all: int | None
    at_most_all: int | None
    probability: str
    differs: bool


class FreshMaximum(Struct, frozen=True):
    """One maximum of the certificate: the verifier's own largest value and how many of its rows lie above the stated.

    ``stage`` is null for what is measured end to end; ``largest`` is null where no row gave a finite value.
    """

    name: Literal["error", "relative_error", "drift", "relative_drift", "logit_difference", "kl_max"]
    stage: int | None
    stated: str
    largest: str | None
    exceedances: int
    probability: str
    differs: bool


class Fresh(Struct, frozen=True):
    """The verifier's own rows out of one population of windows: the frame's unused ones, or those of its own texts.

    Of ``rows`` drawn from ``windows``, ``unresolved`` are decided by nothing (float64 does not resolve them, or this
    machine could not measure them) and ``not_finite`` gave a value that is none. Neither counts as a success. All
    statements of one population hold jointly at ``confidence``; each of ``tests`` was made at its share of the rest.
    Means are per position, over the other rows; null without any.
    """

    population: Literal["frame", "own"]
    windows: int
    asked: int
    rows: int
    unresolved: int
    not_finite: int
    seed: str
    repeatable: bool
    confidence: str
    tests: int
    predicates: tuple[FreshPredicate, ...]
    maxima: tuple[FreshMaximum, ...]
    stated_kl_mean: str
    kl_mean: str | None
    stated_loss_difference: str
    loss_difference: str | None
