"""Everything measured from two programs' logits on the same prompts."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from blockcert_verifier.evaluate import Array, Backend
from blockcert_verifier.measure.tolerance import Cells, Host, Tolerance, counted, norms, sums

__all__ = ["Agreement", "Losses", "agreement", "divergence", "loss_difference_counts", "token_losses"]


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


def agreement(backend: Backend, reference: Array, surrogate: Array, tolerance: Tolerance) -> Agreement:
    """Largest logit difference, top-1 agreement and decided positions; logits are B x T x V.

    Ties go to the lowest token id. A position is decided where the reference's top-1 margin exceeds twice that
    position's largest logit difference.
    """
    xp = backend.xp
    difference = xp.max(xp.abs(reference - surrogate), axis=-1)  # B x T
    scale = xp.maximum(xp.max(xp.abs(reference), axis=-1), xp.max(xp.abs(surrogate), axis=-1))
    best_f, best_g = xp.max(reference, axis=-1), xp.max(surrogate, axis=-1)
    top_f, top_g = xp.argmax(reference, axis=-1), xp.argmax(surrogate, axis=-1)
    near = 2 * tolerance.absolute * scale
    near_f = reference >= (best_f - near)[..., None]
    near_g = surrogate >= (best_g - near)[..., None]
    wanted = {
        "difference": difference,
        "scale": scale,
        "best": best_f,
        "single": (_count(xp, near_f) == 1) & (_count(xp, near_g) == 1),
        "same": top_f == top_g,
        "possible": xp.any(near_f & near_g, axis=-1),
    }
    if reference.shape[-1] > 1:
        vocabulary = xp.arange(reference.shape[-1], device=getattr(reference, "device", None))
        others = xp.where(vocabulary[None, None, :] == top_f[..., None], -xp.inf, reference)
        wanted["runner-up"] = xp.max(others, axis=-1)
    found = backend.on_host(wanted)
    tol = tolerance.absolute * found["scale"]
    single, same, possible = (found[name] != 0 for name in ("single", "same", "possible"))
    gap = (found["best"] - found.get("runner-up", np.full(tol.shape, -np.inf))) - 2 * found["difference"]
    return Agreement(
        norms(found["difference"], tol, tolerance),
        counted(same & single, same, possible),
        counted(gap > 4 * tol, gap > 0, gap > -4 * tol),
        found["scale"],
    )


def token_losses(backend: Backend, logits: Array, tokens: Array) -> tuple[Array, Array]:
    """Log-probabilities (B x T-1 x V) and losses in nats (B x T-1) of each next token, on the device."""
    xp = backend.xp
    logits = logits[:, :-1, :]
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    log_probability = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    flat = xp.reshape(log_probability, (-1, logits.shape[-1]))
    targets = xp.reshape(tokens[:, 1:], (-1,))
    rows = xp.arange(flat.shape[0], device=getattr(flat, "device", None))
    picked = xp.reshape(flat[rows, targets], tokens[:, 1:].shape)
    return log_probability, -picked


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


def divergence(
    backend: Backend,
    reference: tuple[Array, Array],
    surrogate: tuple[Array, Array],
    scale: Host,
    thresholds: tuple[float, ...],
    tolerance: Tolerance,
) -> Losses:
    """Cells of losses and KL(F||G) from both programs' ``token_losses``; ``scale`` is B x T."""
    xp = backend.xp
    (log_f, loss_f), (log_g, loss_g) = reference, surrogate
    kl = xp.sum(xp.exp(log_f) * (log_f - log_g), axis=-1)  # B x T-1
    kl, loss_f, loss_g = backend.on_host({"kl": kl, "f": loss_f, "g": loss_g}).values()
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


def _count(xp: object, truth: Array) -> Array:
    return xp.sum(xp.astype(truth, xp.int64), axis=-1)  # type: ignore[attr-defined]
