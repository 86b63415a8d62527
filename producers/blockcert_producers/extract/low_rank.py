"""Linear maps of low rank, fitted to activations: reduced-rank regression (Izenman 1975).

``W`` is q x p, ``gram`` (p x p) the second moments of its inputs, ``rows`` (q) what a squared error in each output
costs. The best ``left right`` of rank ``r`` in ``sum_o rows_o (E gram E')_oo`` keeps the largest singular values of
``W`` between the roots of both.
"""

from __future__ import annotations

import numpy as np

from blockcert_producers.extract.tensors import Host

__all__ = ["factors", "spectrum"]

_LEAST_ROW = 1e-6
"""Of the dearest row: what a row costs at least, so that none is left out of the fit."""


def _roots(gram: Host, rows: Host) -> tuple[Host, Host]:
    floor = float(rows.max(initial=0)) * _LEAST_ROW or 1.0
    return np.sqrt(np.maximum(rows, floor))[:, None], np.linalg.cholesky(gram)


def spectrum(weight: Host, gram: Host, rows: Host) -> Host:
    """What each rank adds to the fit, from the first on: the error of rank ``r`` is the sum of all from ``r`` on."""
    left, right = _roots(gram, rows)
    return np.linalg.svd(left * weight @ right, compute_uv=False) ** 2


def factors(weight: Host, gram: Host, rows: Host, rank: int) -> tuple[Host, Host]:
    """The factors q x rank and rank x p; a row of zeros in ``weight`` is one in the first factor."""
    left, right = _roots(gram, rows)
    u, s, v = np.linalg.svd(left * weight @ right, full_matrices=False)
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root / left, np.linalg.solve(right.T, (root[:, None] * v[:rank]).T).T
