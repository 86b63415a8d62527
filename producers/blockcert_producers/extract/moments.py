"""Weighted second moments of activations, and linear maps refitted to them on a fixed support.

Shapes: ``n`` tokens, ``p`` inputs, ``q`` outputs; ``X`` is n x p, ``Y`` is n x q, a map ``W`` is q x p. Everything
in float64 on the host.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

__all__ = ["ITERATIONS", "Host", "Moments", "inverse", "moments", "refit"]

Host: TypeAlias = np.ndarray[Any, Any]

ITERATIONS = 10
"""Enough for a refit that is stored; fewer serve where only an ordering is wanted."""
_RELATIVE_RESIDUAL = 1e-2


class Moments(Struct, frozen=True):
    """Means and centred second moments under token weights that sum to one.

    ``gram`` is p x p with the ridge on its diagonal, ``cross`` is q x p: the fit of ``Y`` by ``X`` minimises
    ``tr(W gram W') - 2 tr(W cross')``; ``cross`` holds the ridge's pull towards the map it was given.
    """

    x_mean: Host
    y_mean: Host
    gram: Host
    cross: Host

    def bias(self, weight: Host) -> Host:
        """The bias with which ``weight`` fits the means exactly."""
        return self.y_mean - weight @ self.x_mean


def moments(x: Host, y: Host, token_weights: Host, towards: Host, ridge: float) -> Moments:
    """Moments of ``x`` and ``y``; the ridge, ``ridge`` times the mean diagonal of the gram, pulls to ``towards``.

    Token weights are nonnegative and need not be normalised. An input that never varies gets the mean ridge, so its
    weight stays where it was and the bias carries what it gave.
    """
    total = token_weights.sum()
    share = token_weights / total if total > 0 else np.full_like(token_weights, 1 / token_weights.size)
    x_mean, y_mean = share @ x, share @ y
    root = np.sqrt(share)[:, None]
    # centred in float64, multiplied in float32: the ridge is far above what that loses, and it is several times faster
    centred = ((x - x_mean) * root).astype(np.float32)
    gram = (centred.T @ centred).astype(np.float64)
    cross = (((y - y_mean) * root).astype(np.float32).T @ centred).astype(np.float64)
    scale = float(np.trace(gram)) / max(1, gram.shape[0])
    pull = ridge * (scale if scale > 0 else 1.0)
    gram[np.diag_indices_from(gram)] += pull
    return Moments(x_mean, y_mean, gram, cross + pull * towards)


def inverse(gram: Host) -> Host:
    """The inverse of a symmetric positive definite matrix, symmetric to the last bit."""
    found = np.linalg.inv(gram)
    return (found + found.T) / 2


def refit(
    fit: Moments, support: Host | None, start: Host, *, inverted: Host | None = None, iterations: int = ITERATIONS
) -> Host:
    """The ridge least-squares map whose nonzeros lie on ``support`` (boolean, q x p; None for everywhere).

    One conjugate-gradient problem for each output row, all advanced together, preconditioned by the inverse of the
    whole gram cut to the support: exact for full rows, and close for rows that keep most of their weights.
    ``inverted`` is that inverse where the caller has it; at most ``iterations`` steps are taken.
    """
    if support is None or bool(support.all()):
        return np.linalg.solve(fit.gram, fit.cross.T).T
    # float32 from here: ten steps of the descent ask for no more, and the result is rounded further when stored
    preconditioner = (inverse(fit.gram) if inverted is None else inverted).astype(np.float32)
    gram = fit.gram.astype(np.float32)
    kept = support.astype(np.float32)
    weight = (start * kept).astype(np.float32)
    residual = (fit.cross - start * kept @ fit.gram).astype(np.float32) * kept
    step = (residual @ preconditioner) * kept
    energy = np.einsum("qp,qp->q", residual, step)
    target = energy * _RELATIVE_RESIDUAL**2
    direction = step
    for _ in range(iterations):
        if not bool((energy > target).any()):
            break
        image = (direction @ gram) * kept
        curvature = np.einsum("qp,qp->q", direction, image)
        length = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        weight = weight + length[:, None] * direction
        residual = residual - length[:, None] * image
        step = (residual @ preconditioner) * kept
        following = np.einsum("qp,qp->q", residual, step)
        turn = np.divide(following, energy, out=np.zeros_like(energy), where=energy > 0)
        direction = step + turn[:, None] * direction
        energy = following
    return weight.astype(np.float64)
