"""Weighted second moments of activations, and linear maps refitted to them on a fixed support.

Shapes: ``n`` tokens, ``p`` inputs, ``q`` outputs; ``X`` is n x p, ``Y`` is n x q, a map ``W`` is q x p. Everything
in float64 on the host.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

__all__ = ["ITERATIONS", "Fits", "Host", "Inputs", "Moments", "inputs", "inverse", "moments", "refit"]

Host: TypeAlias = np.ndarray[Any, Any]

ITERATIONS = 10
"""Enough for a refit that is stored; fewer serve where only an ordering is wanted."""
_RELATIVE_RESIDUAL = 1e-2


class Inputs(Struct, frozen=True):
    """The inputs' side of a fit.

    ``share`` (n) are token weights that sum to one, ``root`` their square roots (n x 1, float32), ``centred``
    (n x p, float32) the inputs about ``mean`` times those roots, ``gram`` (p x p) their second moments with ``pull``,
    the ridge, on its diagonal, ``inverted`` its inverse.
    """

    share: Host
    root: Host
    mean: Host
    centred: Host
    gram: Host
    inverted: Host
    pull: float


class Moments(Struct, frozen=True):
    """A fit of ``Y`` by ``X``: minimise ``tr(W gram W') - 2 tr(W cross')``, with the gram of ``inputs``.

    ``cross`` is q x p and holds the ridge's pull towards the map it was given.
    """

    inputs: Inputs
    y_mean: Host
    cross: Host

    def bias(self, weight: Host) -> Host:
        """The bias with which ``weight`` fits the means exactly."""
        return self.y_mean - weight @ self.inputs.mean


Fits: TypeAlias = dict[tuple[str, int], tuple[Inputs, Host]]
"""By a value's name and the identity of its token weights, which stand beside so that the identity stays theirs."""


def inputs(x: Host, token_weights: Host, ridge: float) -> Inputs:
    """The inputs' side of a fit; the ridge is ``ridge`` times the mean of the gram's diagonal.

    Token weights are nonnegative and need not be normalised. An input that never varies gets the mean ridge, so its
    weight stays where it was pulled to, and the bias carries what it gave.
    """
    total = token_weights.sum()
    share = token_weights / total if total > 0 else np.full_like(token_weights, 1 / token_weights.size)
    mean = share @ x
    root = np.sqrt(share)[:, None].astype(np.float32)
    # float32: the ridge is far above what that loses, and the product is several times faster
    centred = (x.astype(np.float32) - mean.astype(np.float32)) * root
    gram = (centred.T @ centred).astype(np.float64)
    scale = float(np.trace(gram)) / max(1, gram.shape[0])
    pull = ridge * (scale if scale > 0 else 1.0)
    gram[np.diag_indices_from(gram)] += pull
    return Inputs(share, root, mean, centred, gram, inverse(gram), pull)


def moments(fitted: Inputs, y: Host, towards: Host) -> Moments:
    """The fit of ``y`` (n x q), pulled to the map ``towards`` (q x p)."""
    mean = fitted.share @ y
    cross = ((y - mean).astype(np.float32) * fitted.root).T @ fitted.centred
    return Moments(fitted, mean, cross.astype(np.float64) + fitted.pull * towards)


def inverse(gram: Host) -> Host:
    """The inverse of a symmetric positive definite matrix, symmetric to the last bit."""
    found = np.linalg.inv(gram)
    return (found + found.T) / 2


def refit(fit: Moments, support: Host | None, start: Host, *, iterations: int = ITERATIONS) -> Host:
    """The ridge least-squares map whose nonzeros lie on ``support`` (boolean, q x p; None for everywhere).

    One conjugate-gradient problem for each output row, all advanced together, preconditioned by the inverse of the
    whole gram cut to the support: exact for full rows, and close for rows that keep most of their weights.
    At most ``iterations`` steps are taken.
    """
    if support is None or bool(support.all()):
        return np.linalg.solve(fit.inputs.gram, fit.cross.T).T
    # float32 from here: ten steps of the descent ask for no more, and the result is rounded further when stored
    preconditioner = fit.inputs.inverted.astype(np.float32)
    gram = fit.inputs.gram.astype(np.float32)
    kept = support.astype(np.float32)
    weight = (start * kept).astype(np.float32)
    residual = (fit.cross - start * kept @ fit.inputs.gram).astype(np.float32) * kept
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
