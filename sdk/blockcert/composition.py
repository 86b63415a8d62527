"""Composing per-stage bounds into a bound on the drift after the last block (``spec/08-claims.md``).

The two methods, with ``d`` the largest distance over the tokens of one prompt, ``X`` the reference's
trajectory and ``Y`` the stitched one: ``lipschitz`` needs, for each block, the largest error ``e_i`` at the
reference's own input and a constant ``L_i`` of the surrogate's stage; ``telescoping`` needs, for each row,
the distances between hybrids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import get_args

from blockcert.errors import Refusal
from blockcert.statement import Basis, Scope

__all__ = ["BASES", "compose_scope", "lipschitz_bound", "telescoping_bound", "weakest_basis"]

BASES: tuple[Basis, ...] = get_args(Basis)
"""The bases from strongest to weakest."""


def lipschitz_bound(errors: Sequence[Fraction], constants: Sequence[Fraction]) -> Fraction:
    """The bound ``sum_i e_i prod_{j>i} L_j`` on ``d(X_n, Y_n)``, exact.

    ``errors`` are ``e_0 .. e_n`` (embedding, then blocks), ``constants`` ``L_1 .. L_n``. It holds where
    ``d(X_0, Y_0) <= e_0`` and every ``L_j`` is one on the radius composed so far:
    ``d(X_j, Y_j) <= d(g_j(X_{j-1}), g_j(Y_{j-1})) + e_j <= L_j d(X_{j-1}, Y_{j-1}) + e_j``.

    Raises:
        Refusal: ``composition.parts`` unless there is one error more than there are constants and none is
        negative.
    """
    if len(errors) != len(constants) + 1:
        raise _parts(f"{len(errors)} errors need {len(errors) - 1} constants, and there are {len(constants)}")
    if min([*errors, *constants]) < 0:
        raise _parts("An error or a Lipschitz constant is negative")
    bound = errors[0]
    for error, constant in zip(errors[1:], constants, strict=True):
        bound = constant * bound + error
    return bound


def telescoping_bound(rows: Iterable[Sequence[Fraction]]) -> Fraction:
    """The bound ``max_p sum_i D_i(p)`` on the drift of those same rows, exact.

    ``D_i(p) = d(H_i, H_{i-1})`` for ``i = 0 .. n``; the hybrids run from ``H_{-1} = Y_n`` to ``H_n = X_n``,
    so each row's sum bounds its own ``d(X_n, Y_n)`` by the triangle inequality.

    Raises:
        Refusal: ``composition.parts`` where there is no row, rows differ in length, or a distance is
        negative.
    """
    largest: Fraction | None = None
    width = 0
    for row in rows:  # one at a time: there may be a hundred million distances
        width = width or len(row)
        if not row or len(row) != width:
            raise _parts("Telescoping needs at least one row, and every row the same number of distances")
        if min(row) < 0:
            raise _parts("A distance is negative")
        whole = sum(row, Fraction(0))
        largest = whole if largest is None else max(largest, whole)
    if largest is None:
        raise _parts("Telescoping needs at least one row, and every row the same number of distances")
    return largest


def weakest_basis(bases: Iterable[Basis]) -> Basis:
    """The basis of a claim composed from parts with these: the weakest. Refuses ``composition.parts`` if empty."""
    listed = list(bases)
    if not listed:
        raise _parts("A composition needs parts")
    return max(listed, key=BASES.index)


def compose_scope(scopes: Iterable[Scope]) -> Scope:
    """The scope of a claim composed from parts with these.

    The parts have to speak of the same prompts. ``all-inputs`` implies ``listed-prompts``, so those two
    compose to the latter. Nothing else is comparable: a mixture is refused, and so are ``stated-points``
    (bounds at points of their own, not along one trajectory) and ``population`` (each part may fail for
    other windows), even unmixed.

    Raises:
        Refusal: ``composition.scope``, or ``composition.parts`` where there is no part.
    """
    found = set(scopes)
    if not found:
        raise _parts("A composition needs parts")
    if not found <= {"all-inputs", "listed-prompts"}:
        named = " and ".join(sorted(found))
        raise Refusal("composition.scope", "composition", f"Parts of scope {named} cannot be composed.")
    return "all-inputs" if found == {"all-inputs"} else "listed-prompts"


def _parts(sentence: str) -> Refusal:
    return Refusal("composition.parts", "composition", f"{sentence}.")
