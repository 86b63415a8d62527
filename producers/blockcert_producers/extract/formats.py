"""Number formats and storage of a linear map: rounded first, then stored in the fewest bits."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from blockcert.program import Dense, Integer, LinearMap, Rows, Sparse
from blockcert_producers.extract.moments import inverse
from blockcert_producers.extract.tensors import Host, Tensor, bfloat16, ref, tensor

__all__ = ["Format", "Stored", "feedback", "store"]

Format: TypeAlias = Literal["float16", "bfloat16", "int8"]
Stored: TypeAlias = tuple[LinearMap, dict[str, Tensor], Host]
"""The map, its tensors by name, and the matrix that the map stands for (float64)."""

_LARGEST_HALF, _LEAST_HALF = 65504.0, 2.0**-24
_COLUMNS_AT_ONCE = 64


def store(name: str, weight: Host, support: Host | None, form: Format, gram: Host | None) -> Stored:
    """``weight`` (out x in) in a number format.

    Args:
        name: the prefix of the new tensors' names.
        support: where the map may be nonzero, boolean out x in; every such weight stays nonzero when rounded, so that
            what is kept is what was planned. None keeps all weights and lets those round to zero that do.
        form: ``float16`` (float32 where a kept value leaves its range), ``bfloat16`` or ``int8`` with a scale per row.
        gram: second moments of the inputs; int8 then rounds with error feedback.
    """
    if form == "int8":
        return _store_int8(name, weight, support, gram)
    if form == "bfloat16":
        held, values = bfloat16(weight)
        return Dense(ref(f"{name}.weight")), {f"{name}.weight": held}, values
    kept = weight if support is None else weight[support]
    size = np.abs(kept)
    fits = bool((size <= _LARGEST_HALF).all() and ((size >= _LEAST_HALF) | (support is None)).all())
    values = weight.astype(np.float16 if fits else np.float32)
    if support is not None:
        values = np.where(support, values, values.dtype.type(0))
    linear, tensors = _fewest_bits(name, values, None)
    return linear, tensors, values.astype(np.float64)


def _store_int8(name: str, weight: Host, support: Host | None, gram: Host | None) -> Stored:
    largest = np.abs(weight).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    values = feedback(weight, scale.astype(np.float64), support, gram)
    linear, tensors = _fewest_bits(name, values, scale)
    return linear, tensors, values.astype(np.float64) * scale.astype(np.float64)[:, None]


def feedback(weight: Host, scale: Host, support: Host | None, gram: Host | None) -> Host:
    """``weight / scale`` rounded to int8, column after column, each column's error carried to the columns after it.

    The carry minimises the error of the map's output under ``gram`` (OPTQ, Frantar et al. 2022, columns in the order
    of falling second moment); without a gram every weight is rounded to the nearest. A weight off the support becomes
    zero and its error is carried too; one on it never becomes zero.
    """
    q, p = weight.shape
    rounded = np.zeros((q, p), dtype=np.int8)
    order = np.argsort(np.zeros(p) if gram is None else -np.diagonal(gram), kind="stable")
    factor = np.eye(p) if gram is None else np.linalg.cholesky(inverse(gram[np.ix_(order, order)])).T
    rest = weight[:, order].copy()
    kept = None if support is None else support[:, order]
    for start in range(0, p, _COLUMNS_AT_ONCE):
        end = min(start + _COLUMNS_AT_ONCE, p)
        errors = np.zeros((q, end - start))
        for j in range(start, end):
            column = rest[:, j]
            whole = np.clip(np.rint(column / scale), -127, 127)
            if kept is not None:
                whole = np.where(whole == 0, np.where(column < 0, -1, 1), whole) * kept[:, j]
            rounded[:, order[j]] = whole
            error = (column - whole * scale) / factor[j, j]
            rest[:, j + 1 : end] -= error[:, None] * factor[j, j + 1 : end]
            errors[:, j - start] = error
        rest[:, end:] -= errors @ factor[start:end, end:]
    return rounded


def _fewest_bits(name: str, values: Host, scale: Host | None) -> tuple[LinearMap, dict[str, Tensor]]:
    """The map of those stored values, in whichever kind takes the fewest bits: dense (zeros written out), sparse, or
    whole rows; a kind without any stored value is not considered."""
    q, p = values.shape
    bits = 8 * values.dtype.itemsize
    index = np.uint16 if p <= 1 << 16 else np.uint32
    nonzero = values != 0
    rows = np.flatnonzero(nonzero.any(axis=1))
    count = int(nonzero.sum())
    dense = bits * values.size
    sparse = (bits + 8 * np.dtype(index).itemsize) * count + 32 * (q + 1) if count else dense
    by_rows = (bits * p + 32) * len(rows) if len(rows) and scale is None else dense
    scaled = {} if scale is None else {f"{name}.scale": tensor(scale)}
    if dense <= min(sparse, by_rows):
        held = {f"{name}.weight": tensor(values)}
        if scale is None:
            return Dense(ref(f"{name}.weight")), held
        return Integer(8, ref(f"{name}.weight"), ref(f"{name}.scale")), held | scaled
    if by_rows <= sparse:
        held = {f"{name}.weight": tensor(values[rows]), f"{name}.rows": tensor(rows.astype(np.int32))}
        return Rows(q, ref(f"{name}.rows"), ref(f"{name}.weight")), held
    starts = np.concatenate([[0], np.cumsum(nonzero.sum(axis=1))]).astype(np.int32)
    held = {
        f"{name}.values": tensor(values[nonzero]),
        f"{name}.columns": tensor(np.nonzero(nonzero)[1].astype(index)),
        f"{name}.starts": tensor(starts),
    }
    linear = Sparse(
        (q, p),
        ref(f"{name}.values"),
        ref(f"{name}.columns"),
        ref(f"{name}.starts"),
        None if scale is None else ref(f"{name}.scale"),
    )
    return linear, held | scaled
