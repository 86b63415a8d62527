"""Evidence from its definitions, by the plain evaluator: one prompt, one token, one column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blockcert.program import Program
from tests.support.oracle import Oracle


def _d(x: np.ndarray, y: np.ndarray) -> float:
    return max(float(np.linalg.norm(a - b)) for a, b in zip(x, y, strict=True))


def _ratios(x: np.ndarray, y: np.ndarray, size: np.ndarray) -> list[float]:
    return [
        float(np.linalg.norm(a - b)) / float(np.linalg.norm(s)) if np.linalg.norm(a - b) else 0.0
        for a, b, s in zip(x, y, size, strict=True)
    ]


def _losses(logits: np.ndarray, tokens: Sequence[int]) -> tuple[list[np.ndarray], list[float]]:
    logs = [row - row.max() - np.log(np.exp(row - row.max()).sum()) for row in logits[:-1]]
    return logs, [-float(row[token]) for row, token in zip(logs, tokens[1:], strict=True)]


def plain_row(
    reference: Program,
    surrogate: Program,
    files: dict[str, Path],
    tokens: Sequence[int],
    relative: Sequence[float],
    loss: Sequence[float],
) -> dict[str, np.ndarray]:
    """Every column's cells for one prompt, the float32 floor apart."""
    f, g = Oracle(reference, files), Oracle(surrogate, files)
    n = reference.blocks

    def apply(oracle: Oracle, i: int, x: np.ndarray) -> np.ndarray:
        return np.stack(oracle.stage(oracle.program.stages[i], tokens, list(x)))

    xs: list[np.ndarray] = []
    ys: list[np.ndarray] = []
    found: dict[str, list] = {}
    none = np.zeros((len(tokens), 0))
    for i in range(n + 2):
        before = xs[-1] if xs else none
        xs.append(apply(f, i, before))
        ys.append(apply(g, i, ys[-1] if ys else none))
        at_reference = apply(g, i, before)
        ratio = _ratios(xs[i], at_reference, xs[i])
        identity = before if 1 <= i <= n else xs[i]
        control = _ratios(xs[i], identity, xs[i])
        stitched = xs[0] if i <= n else apply(f, i, xs[0])
        for name, value in {
            "error": _d(xs[i], at_reference),
            "relative_error": max(ratio),
            "covered": [sum(r <= theta for r in ratio) for theta in relative],
            "drift": _d(xs[i], ys[i]),
            "relative_drift": max(_ratios(xs[i], ys[i], xs[i])),
            "identity.error": _d(xs[i], identity),
            "identity.relative_error": max(control),
            "identity.covered": [sum(r <= theta for r in control) for theta in relative],
            "identity.drift": _d(xs[i], stitched),
            "identity.relative_drift": max(_ratios(xs[i], stitched, xs[i])),
        }.items():
            found.setdefault(name, []).append(value)
        if 1 <= i <= n:
            found.setdefault("relative_update_error", []).append(max(_ratios(xs[i], at_reference, xs[i] - before)))
    row = {name: np.array(value) for name, value in found.items()}

    norms = sorted(float(np.linalg.norm(x)) for x in xs[n])
    row["final_norm"] = np.array(norms[(len(norms) - 1) // 2])
    without = apply(f, n + 1, xs[0])
    for prefix, logits in (("", ys[-1]), ("identity.", without)):
        difference = np.abs(xs[-1] - logits).max(axis=1)
        margin = np.array([np.sort(x)[-1] - np.sort(x)[-2] for x in xs[-1]])
        row[prefix + "logit_difference"] = np.array(difference.max())
        row[prefix + "top1_agree"] = np.array(int((xs[-1].argmax(axis=1) == logits.argmax(axis=1)).sum()))
        row[prefix + "decided"] = np.array(int((margin > 2 * difference).sum()))

    log_f, loss_f = _losses(xs[-1], tokens)
    log_g, loss_g = _losses(ys[-1], tokens)
    difference = [b - a for a, b in zip(loss_f, loss_g, strict=True)]
    divergence = [float((np.exp(a) * (a - b)).sum()) for a, b in zip(log_f, log_g, strict=True)]
    row["loss_reference"], row["loss_surrogate"] = np.array(sum(loss_f)), np.array(sum(loss_g))
    row["loss_difference"] = np.array(sum(difference))
    row["loss_within"] = np.array([sum(abs(x) <= q for x in difference) for q in loss])
    row["kl_sum"], row["kl_max"] = np.array(sum(divergence)), np.array(max(divergence))

    within: list[list[int]] = []
    for i in range(n + 2):
        x = apply(g, i, xs[i - 1] if i else none)
        for j in range(i + 1, n + 2):
            x = apply(f, j, x)
        _, single = _losses(x, tokens)
        within.append([sum(abs(b - a) <= q for a, b in zip(loss_f, single, strict=True)) for q in loss])
    row["attribution.loss_within"] = np.array(within)
    hybrids = [ys[n]]
    for i in range(n + 1):
        x = xs[i]
        for j in range(i + 1, n + 1):
            x = apply(g, j, x)
        hybrids.append(x)
    row["attribution.hybrid_step"] = np.array([_d(hybrids[i + 1], hybrids[i]) for i in range(n + 1)])
    return row
