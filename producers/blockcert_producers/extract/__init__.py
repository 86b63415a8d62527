"""Extraction: for every block of a reference program the cheapest simplification within an error budget.

Cheapest is the fewest multiply-adds on one prompt, then the fewest stored bits. Candidates: number formats
(``formats``), unstructured sparsity with least-squares refit, subsets of neurons, and heads that attend to a window or
give their mean (``plan``, ``patterns``, ``realise``). ``front`` explains the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.program import Program
from blockcert_producers.extract.front import BlockSummary, Extraction, Front, Progress, front, parse_budget

__all__ = ["BlockSummary", "Extraction", "Front", "extract", "front"]


def extract(
    reference: Program,
    files: Mapping[str, Path],
    calibration: np.ndarray[Any, Any],
    budget: Fraction | str,
    *,
    backend_device: str = "cpu",
    progress: Progress | None = None,
) -> Extraction:
    """The cheapest surrogate of ``reference`` within ``budget``: ``front(...)`` and its ``choose(budget)``.

    ``budget`` is the relative error that at least 95 % of the calibration tokens must meet in every block.

    Raises:
        Refusal: as ``front`` and ``Front.choose``; a bad budget is refused before any work.
    """
    limit = parse_budget(budget)
    found = front(reference, files, calibration, backend_device=backend_device, progress=progress)
    return found.choose(limit, progress=progress)
