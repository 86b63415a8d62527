"""python-flint behind names of our own: an extra, so that neither imports nor types elsewhere depend on it.

A ball is ``mid +- rad``, a real number known to lie there; every operation on balls gives a ball that holds the results
for all numbers in them, at the working precision of ``ctx`` (Johansson, "Arb: efficient arbitrary-precision
midpoint-radius interval arithmetic", IEEE Trans. Comput. 66, 2017).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, TypeAlias

__all__ = ["Ball", "Balls", "arb", "arb_mat", "ctx", "fmpq", "fmpz", "fmpz_mat", "total"]

_flint: Any = import_module("flint")
arb: Any = _flint.arb
arb_mat: Any = _flint.arb_mat
fmpq: Any = _flint.fmpq
fmpz: Any = _flint.fmpz
fmpz_mat: Any = _flint.fmpz_mat
ctx: Any = _flint.ctx

Ball: TypeAlias = Any
Balls: TypeAlias = list[list[Ball]]
"""Tokens by channels."""


def total(values: Iterable[Ball]) -> Ball:
    """The sum of some balls; 0 of none."""
    return sum(values, arb(0))
