"""Which number format each map of a block gets: assignments in the order of error added for each bit saved.

Every map is rounded to every format once, and what its error would add to the block's is predicted from second moments
(``sensitivity``): nothing is run. A price of a bit then gives each map the format of least error plus price times bits.
From the price nought to the highest that gives a chain of assignments, from the dearest to the narrowest; what an
assignment really does is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from msgspec import Struct

from blockcert_producers.extract.formats import INTEGERS, Format, grid, store, stored_bits
from blockcert_producers.extract.moments import Inputs
from blockcert_producers.extract.plan import Structure
from blockcert_producers.extract.sensitivity import Sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import Host

__all__ = ["Assignment", "assignments"]


class Assignment(Struct, frozen=True):
    """A format for every linear map in the order of the steps, and the mean squared relative error that is predicted
    for it."""

    forms: tuple[Format, ...]
    error: float


class _Option(Struct, frozen=True):
    form: Format
    bits: int
    error: float


def assignments(
    study: Study,
    sensitivities: Mapping[int, Sensitivity],
    fitted: Callable[[int], Inputs],
    structure: Structure | None,
) -> tuple[Assignment, ...]:
    """The chain of a block at one structure; see the module. It begins with float16 throughout.

    ``fitted`` gives the second moments of a map's inputs, by position.
    """
    hulls = [_hull(_options(study, i, sensitivities[i], fitted(i), structure)) for i in study.anatomy.linears]
    at = [0] * len(hulls)
    found = [_assignment(hulls, at)]
    while True:
        steps = [
            ((hull[k + 1].error - hull[k].error) / (hull[k].bits - hull[k + 1].bits), i)
            for i, (hull, k) in enumerate(zip(hulls, at, strict=True))
            if k + 1 < len(hull)
        ]
        if not steps:
            return tuple(found)
        at[min(steps)[1]] += 1
        found.append(_assignment(hulls, at))


def _assignment(hulls: list[list[_Option]], at: list[int]) -> Assignment:
    chosen = [hull[k] for hull, k in zip(hulls, at, strict=True)]
    return Assignment(tuple(option.form for option in chosen), sum(option.error for option in chosen))


def _options(
    study: Study, index: int, sensitivity: Sensitivity, fitted: Inputs, structure: Structure | None
) -> list[_Option]:
    weight, support, rows = study.matrix(index), None, sensitivity.rows
    gram = fitted.gram
    if structure is not None and index in structure.ranks:
        return [_Option("float16", 16 * structure.ranks[index] * sum(weight.shape), 0.0)]
    if structure is not None:
        support = structure.supports[index]
        neurons, alive = study.anatomy.neurons, structure.neurons
        if neurons is not None and alive is not None:
            if index in neurons.inputs:
                weight, support, rows = weight[alive], support[alive], rows[alive]
            elif index == neurons.output:
                weight, support, gram = weight[:, alive], support[:, alive], gram[np.ix_(alive, alive)]
        weight = np.where(support, weight, 0.0)
        support = None if bool(support.all()) else support
    scale = float(sensitivity.tokens.mean())
    found: list[_Option] = []
    # few weights are short in sparse maps, which have a scale for each row alone
    tried: list[Format] = ["float16", *(form for form in INTEGERS if support is None or "/" not in form)]
    for form in tried:
        per = grid(form)
        if per is not None and per[1] is not None and per[1] >= weight.shape[1]:
            continue  # one group: the format without groups
        linear, tensors, rounded = store("x", weight, support, form, gram)
        error = rounded - weight
        found.append(_Option(form, stored_bits(linear, tensors), scale * _spent(error, gram, rows)))
    return found


def _spent(error: Host, gram: Host, rows: Host) -> float:
    return float(rows @ ((error @ gram) * error).sum(axis=1))


def _hull(options: list[_Option]) -> list[_Option]:
    """The options on the lower convex hull of error over bits, from the most bits to the fewest."""
    hull: list[_Option] = []
    for option in sorted(options, key=lambda one: (-one.bits, one.error)):
        while hull and option.error <= hull[-1].error:
            hull.pop()
        if hull and hull[-1].bits == option.bits:
            continue
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (b.error - a.error) * (a.bits - option.bits) < (option.error - a.error) * (a.bits - b.bits):
                break
            hull.pop()
        hull.append(option)
    return hull
