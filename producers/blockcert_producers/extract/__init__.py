"""Extraction: for every block of a reference program the cheapest simplification within an error budget.

Cheapest is the fewest multiply-adds on one prompt, then the fewest stored bits, or the other way round. Candidates:
number formats (``formats``, ``allocation``), unstructured sparsity with least-squares refit, subsets of neurons, maps
of low rank (``low_rank``), and heads that attend to a window or to one token, or give their mean (``plan``,
``patterns``, ``realise``); what is chosen may be tuned by descent (``polish``). ``front`` explains the walk, ``choice``
the search, ``budget`` when a candidate is within a budget. For a target of the stitched model (``stitched``) ``target``
says which limit each block gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.program import Program
from blockcert_producers.extract.budget import Aim, Budget, parse_budget
from blockcert_producers.extract.front import BlockSummary, Extraction, Front, Progress, front
from blockcert_producers.extract.polish import Polish

__all__ = ["BlockSummary", "Extraction", "Front", "Polish", "extract", "front"]


def extract(
    reference: Program,
    files: Mapping[str, Path],
    calibration: np.ndarray[Any, Any],
    budget: Budget | Fraction | str,
    aim: Aim = "structure",
    *,
    backend_device: str = "cpu",
    polish: Polish | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """The cheapest surrogate of ``reference`` within ``budget``: ``front(...)`` and its ``choose(budget, aim)``.

    ``budget`` is the relative error that at least 95 % of the tokens must meet in every block, with the margin that
    ``budget`` (the module) describes, or a target of the stitched model.

    Raises:
        Refusal: as ``front`` and ``Front.choose``; a bad budget is refused before any work.
    """
    limit = budget if isinstance(budget, Budget) else parse_budget(budget)
    found = front(reference, files, calibration, backend_device=backend_device, polish=polish)
    return found.choose(limit, aim, progress=progress)
