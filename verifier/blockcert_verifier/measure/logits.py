"""Everything measured from programs' logits on the same prompts: reduced per token on the device, judged on the host.

On the device tokens are rows: logits are ``n x V``, what is made of them has ``n`` elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from blockcert_verifier.evaluate import Array, Backend
from blockcert_verifier.measure.tolerance import Cells, Host, Tolerance, counted, norms, sums

__all__ = [
    "Agreement",
    "Losses",
    "agreement",
    "compared_logits",
    "divergence",
    "loss_difference_counts",
    "token_losses",
]


class Agreement(Struct, frozen=True):
    """Cells of the logit columns, and each position's logit scale (B x T)."""

    logit_difference: Cells
    top1_agree: Cells
    decided: Cells
    scale: Host


class Losses(Struct, frozen=True):
    """Cells of the loss and divergence columns."""

    loss_reference: Cells
    loss_surrogate: Cells
    loss_difference: Cells
    loss_within: Cells
    kl_sum: Cells
    kl_max: Cells


class _Logits(NamedTuple):
    """Logits with what is read off them: the largest and smallest, which token is the largest (the lowest id of equal
    ones), by how much it is above all others (infinite where there are none), and all logits less the largest."""

    values: Array
    best: Array
    lowest: Array
    top: Array
    margin: Array
    shifted: Array

    @classmethod
    def of(cls, backend: Backend, values: Array, rows: Array) -> _Logits:
        best, top = backend.largest(values), backend.xp.argmax(values, axis=-1)
        shifted = values - best[:, None]
        shifted[rows, top] = -np.inf
        margin = -backend.largest(shifted)
        shifted[rows, top] = 0.0
        return cls(values, best, backend.smallest(values), top, margin, shifted)


def compared_logits(
    backend: Backend, reference: Array, surrogate: Array, control: Array, targets: Array, tolerance: Tolerance
) -> dict[str, Array]:
    """What the logit columns need of three programs' logits, on the device.

    Of the reference ``best``, ``lowest`` and ``loss``, of the surrogate ``surrogate loss`` and ``kl``, in nats; and
    what :func:`agreement` reads of the surrogate and, under ``identity``, of the control. ``targets`` are the next
    tokens.
    """
    xp = backend.xp
    rows = xp.arange(reference.shape[0], device=getattr(reference, "device", None))
    mine, theirs = _Logits.of(backend, reference, rows), _Logits.of(backend, surrogate, rows)
    found = {"best": mine.best, "lowest": mine.lowest}
    found |= _compared(backend, "", mine, theirs, tolerance)
    found |= _compared(backend, "identity ", mine, _Logits.of(backend, control, rows), tolerance)

    total_f, weights = _exponentials(backend, mine.shifted)
    total_g, _ = _exponentials(backend, theirs.shifted)
    found["loss"] = xp.log(total_f) - mine.shifted[rows, targets]
    found["surrogate loss"] = xp.log(total_g) - theirs.shifted[rows, targets]
    difference = mine.shifted - theirs.shifted
    difference -= (xp.log(total_f) - xp.log(total_g))[:, None]  # of the logarithms of both probabilities
    found["kl"] = xp.vecdot(weights, difference, axis=-1) / total_f
    return found


def _exponentials(backend: Backend, shifted: Array) -> tuple[Array, Array]:
    weights = backend.xp.exp(shifted)
    return backend.total(weights), weights


def _compared(backend: Backend, prefix: str, mine: _Logits, theirs: _Logits, tolerance: Tolerance) -> dict[str, Array]:
    xp = backend.xp
    between = mine.values - theirs.values
    difference = xp.maximum(backend.largest(between), -backend.smallest(between))
    scale = xp.maximum(
        xp.maximum(mine.best, -mine.lowest),
        xp.maximum(theirs.best, -theirs.lowest),
    )
    near, same = 2 * tolerance.absolute * scale, mine.top == theirs.top

    def shared(part: Array) -> Array:
        """Whether some token lies near both maxima."""
        bound = -near[part][:, None]
        return xp.any((mine.shifted[part] >= bound) & (theirs.shifted[part] >= bound), axis=-1)

    if backend.on_cpu:
        possible = same.copy()
        others = np.flatnonzero(~same)
        if others.size:
            possible[others] = shared(others)
    else:
        possible = same | shared(slice(None))
    return {
        f"{prefix}difference": difference,
        f"{prefix}scale": scale,
        f"{prefix}margin": mine.margin,
        f"{prefix}same": same,
        f"{prefix}single": (mine.margin > near) & (theirs.margin > near),
        f"{prefix}possible": possible,
    }


def agreement(found: Mapping[str, Host], prefix: str, tolerance: Tolerance) -> Agreement:
    """Largest logit difference, top-1 agreement and decided positions, from what :func:`compared_logits` found, B x T.

    Ties go to the lowest token id. A position is decided where the reference's top-1 margin exceeds twice that
    position's largest logit difference.
    """
    difference, scale = found[prefix + "difference"], found[prefix + "scale"]
    single, same, possible = (found[prefix + name] != 0 for name in ("single", "same", "possible"))
    tol = tolerance.absolute * scale
    gap = found[prefix + "margin"] - 2 * difference
    return Agreement(
        norms(difference, tol, tolerance),
        counted(same & single, same, possible),
        counted(gap > 4 * tol, gap > 0, gap > -4 * tol),
        scale,
    )


def token_losses(backend: Backend, logits: Array, targets: Array) -> tuple[Array, Array]:
    """The loss of each next token in nats, and each token's largest absolute logit, on the device."""
    xp = backend.xp
    best = backend.largest(logits)
    size = xp.maximum(best, -backend.smallest(logits))
    shifted = logits - best[:, None]
    rows = xp.arange(logits.shape[0], device=getattr(logits, "device", None))
    picked = shifted[rows, targets]
    xp.exp(shifted, out=shifted)
    return xp.log(backend.total(shifted)) - picked, size


def loss_difference_counts(difference: Host, scale: Host, thresholds: tuple[float, ...], tolerance: Tolerance) -> Cells:
    """Positions whose loss differs by at most each threshold: from B x T-1 differences to B x Q counts.

    ``scale`` is each position's logit scale, B x T-1.
    """
    size = np.abs(difference)
    slack = tolerance.absolute * (1 + 2 * scale)
    delta = tolerance.relative

    def at(theta: float) -> Cells:
        return counted(size * (1 + delta) + slack <= theta, size <= theta, size * (1 - delta) - slack <= theta)

    return Cells.stack([at(theta) for theta in thresholds], axis=-1)


def divergence(found: Mapping[str, Host], scale: Host, thresholds: tuple[float, ...], tolerance: Tolerance) -> Losses:
    """Cells of losses and KL(F||G) from what :func:`compared_logits` found, B x T of which the last has no target;
    ``scale`` is B x T."""
    kl, loss_f, loss_g = (found[name][:, :-1] for name in ("kl", "loss", "surrogate loss"))
    kl = np.maximum(kl, 0)  # a divergence is not negative; rounding can make it so
    length = scale.shape[-1]
    difference = loss_g - loss_f
    return Losses(
        sums(loss_f.sum(axis=-1), length, tolerance),
        sums(loss_g.sum(axis=-1), length, tolerance),
        sums(difference.sum(axis=-1), length, tolerance),
        loss_difference_counts(difference, scale[:, :-1], thresholds, tolerance),
        sums(kl.sum(axis=-1), length, tolerance),
        sums(kl.max(axis=-1), length, tolerance),
    )
