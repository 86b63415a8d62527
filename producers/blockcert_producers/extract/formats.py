"""Number formats and storage of a linear map: rounded first, then stored in the fewest bits.

An integer format has a scale for each row, or for each group of so many weights of a row (BC-PRG-14). Scales are stored
in float16 where they fit it, and weights are rounded under the scales as stored. Bits are those of BC-CLM-11: a weight
in int4 counts 4, its scale 16, though a file holds a whole byte for each int4.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

from blockcert.program import Dense, Integer, LinearMap, Rows, Sparse
from blockcert_producers.extract.moments import inverse
from blockcert_producers.extract.tensors import Host, Tensor, bfloat16, half, ref, tensor

__all__ = [
    "FORMATS",
    "INTEGERS",
    "Format",
    "Stored",
    "feedback",
    "form_words",
    "grid",
    "scales",
    "store",
    "stored_bits",
]

Format: TypeAlias = Literal[
    "float16",
    "bfloat16",
    "int8",
    "int6",
    "int4",
    "int8/32",
    "int6/64",
    "int6/32",
    "int6/16",
    "int4/64",
    "int4/32",
    "int4/16",
]
"""A number format; ``int6/32`` has a scale for every 32 weights of a row, ``int6`` one for the row."""
Stored: TypeAlias = tuple[LinearMap, dict[str, Tensor], Host]
"""The map, its tensors by name, and the matrix that the map stands for (float64)."""

FORMATS: tuple[Format, ...] = get_args(Format)
_LARGEST_HALF, _LEAST_HALF = 65504.0, 2.0**-24
_COLUMNS_AT_ONCE = 64
_CLIPPED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""Of the range that clips nothing: what is tried where a step is coarse enough that clipping may pay."""


def grid(form: Format) -> tuple[int, int | None] | None:
    """Bits, and weights to a scale (None for a row), of an integer format; None for the others."""
    if not form.startswith("int"):
        return None
    bits, _, group = form.removeprefix("int").partition("/")
    return int(bits), int(group) if group else None


def _bits_a_weight(form: Format) -> float:
    bits, group = grid(form) or (16, None)
    return bits + (16 / group if group else 0)


INTEGERS: tuple[Format, ...] = tuple(sorted((form for form in FORMATS if grid(form)), key=_bits_a_weight))
"""The integer formats, by what a weight takes, from the fewest bits."""


def form_words(form: Format) -> str:
    """A format for a person."""
    name, _, group = form.partition("/")
    return f"{name} in groups of {group}" if group else name


def store(name: str, weight: Host, support: Host | None, form: Format, gram: Host | None) -> Stored:
    """``weight`` (out x in) in a number format.

    Args:
        name: the prefix of the new tensors' names.
        support: where the map may be nonzero, boolean out x in; every such weight stays nonzero when rounded, so that
            what is kept is what was planned. None keeps all weights and lets those round to zero that do.
        form: float16 is float32 where a kept value leaves its range.
        gram: second moments of the inputs; integers are then rounded with error feedback, under scales chosen for
            them. Without it every weight goes to the nearest, under scales that clip none.
    """
    integer = grid(form)
    if integer is not None:
        bits, group = integer
        group = None if group is None or group >= weight.shape[1] else group
        scale = scales(weight, bits, group, None if gram is None else np.diagonal(gram))
        channel: Host = np.arange(weight.shape[1], dtype=np.int64) // (group or weight.shape[1])
        wide = scale.astype(np.float64).reshape(weight.shape[0], -1)[:, channel]
        values = feedback(weight, wide, support, gram, bits)
        linear, tensors = _fewest_bits(name, values, scale, bits, group)
        return linear, tensors, values.astype(np.float64) * wide
    if form == "bfloat16":
        held, values = bfloat16(weight)
        return Dense(ref(f"{name}.weight")), {f"{name}.weight": held}, values
    kept = weight if support is None else weight[support]
    size = np.abs(kept)
    fits = bool((size <= _LARGEST_HALF).all() and ((size >= _LEAST_HALF) | (support is None)).all())
    values = weight.astype(np.float16 if fits else np.float32)
    if support is not None:
        values = np.where(support, values, values.dtype.type(0))
    linear, tensors = _fewest_bits(name, values, None, 8 * values.dtype.itemsize, None)
    return linear, tensors, values.astype(np.float64)


def stored_bits(linear: LinearMap, tensors: dict[str, Tensor]) -> int:
    """The bits of a map made by ``store``, as BC-CLM-11 counts them."""
    total = sum(8 * held.values.nbytes for held in tensors.values())
    if isinstance(linear, Integer):
        total -= (8 - linear.bits) * tensors[linear.values.tensor].values.size
    return total


def scales(weight: Host, bits: int, group: int | None, importance: Host | None) -> Host:
    """A scale for every row, shape ``out``, or every group, ``out x groups``; float16, or float32 where one leaves it.

    With ``importance`` (in) the scale is that of a few under which rounding to the nearest gives the least squared
    error, weighted by it. The integers reach one further below zero than above, so a scale may be negative: then the
    largest weight is the one that stands furthest out.
    """
    q, p = weight.shape
    size = group or p
    groups = -(-p // size)
    cells = np.zeros((q, groups * size))
    cells[:, :p] = weight
    cells = cells.reshape(q, groups, size)
    largest = np.abs(cells).max(axis=2, keepdims=True)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    best = np.where(largest > 0, largest / high, 1.0)
    if importance is not None:
        mass = np.zeros(groups * size)
        mass[:p] = importance
        mass = mass.reshape(groups, size)
        at = np.abs(cells).argmax(axis=2)[..., None]
        further = np.where(largest > 0, np.take_along_axis(cells, at, axis=2) / low, 1.0)
        tried = [best * part for part in (_CLIPPED if bits < 8 else _CLIPPED[:1])]
        tried += [further * part for part in (_CLIPPED if bits < 8 else _CLIPPED[:1])]
        least = np.full((q, groups, 1), np.inf)
        for step in tried:
            error = cells - step * np.clip(np.rint(cells / step), low, high)
            spent = (mass * error**2).sum(axis=2, keepdims=True)
            best = np.where(spent < least, step, best)
            least = np.minimum(spent, least)
    return half(best[..., 0] if group else best[:, 0, 0])


def feedback(weight: Host, scale: Host, support: Host | None, gram: Host | None, bits: int = 8) -> Host:
    """``weight / scale`` rounded to integers, column after column, each column's error carried to the columns after it.

    ``scale`` has an entry for each row or for each weight. The carry minimises the error of the map's output under
    ``gram`` (OPTQ, Frantar et al. 2022, columns in the order of falling second moment); without a gram every weight is
    rounded to the nearest. A weight off the support becomes zero and its error is carried too; one on it never becomes
    zero.
    """
    q, p = weight.shape
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    rounded = np.zeros((q, p), dtype=np.int8)
    order = np.argsort(np.zeros(p) if gram is None else -np.diagonal(gram), kind="stable")
    factor = np.eye(p) if gram is None else np.linalg.cholesky(inverse(gram[np.ix_(order, order)])).T
    # columns are the rows of what is walked, so that each is one run of memory
    rest = np.ascontiguousarray(weight[:, order].T)
    steps = np.ascontiguousarray(np.broadcast_to(scale.reshape(q, -1), (q, p))[:, order].T)
    kept = None if support is None else np.ascontiguousarray(support[:, order].T)
    for start in range(0, p, _COLUMNS_AT_ONCE):
        end = min(start + _COLUMNS_AT_ONCE, p)
        errors = np.zeros((end - start, q))
        for j in range(start, end):
            ratio = rest[j] / steps[j]
            whole = np.clip(np.rint(ratio), low, high)
            if kept is not None:
                whole = np.where(whole == 0, np.where(ratio < 0, -1, 1), whole) * kept[j]
            rounded[:, order[j]] = whole
            error = (rest[j] - whole * steps[j]) / factor[j, j]
            if gram is not None:
                rest[j + 1 : end] -= factor[j, j + 1 : end, None] * error
            errors[j - start] = error
        if gram is not None:
            rest[end:] -= factor[start:end, end:].T @ errors
    return rounded


def _fewest_bits(
    name: str, values: Host, scale: Host | None, bits: int, group: int | None
) -> tuple[LinearMap, dict[str, Tensor]]:
    """The map of those stored values, in whichever kind takes the fewest bits: dense (zeros written out), sparse, or
    whole rows; a kind without any stored value is not considered."""
    q, p = values.shape
    index = _index_type(p)
    nonzero = values != 0
    rows = np.flatnonzero(nonzero.any(axis=1))
    count = int(nonzero.sum())
    starts_type = _index_type(count + 1)
    dense = bits * values.size
    width = 8 * (values.dtype.itemsize + np.dtype(index).itemsize)
    sparse = width * count + 8 * np.dtype(starts_type).itemsize * (q + 1) if count and group is None else dense
    by_rows = (bits * p + 32) * len(rows) if len(rows) and scale is None else dense
    scaled = {} if scale is None else {f"{name}.scale": tensor(scale)}
    if dense <= min(sparse, by_rows):
        held = {f"{name}.weight": tensor(values)}
        if scale is None:
            return Dense(ref(f"{name}.weight")), held
        assert bits in (4, 6, 8)  # noqa: S101 - of the integer formats
        return Integer(bits, ref(f"{name}.weight"), ref(f"{name}.scale"), group), held | scaled
    if by_rows <= sparse:
        held = {f"{name}.weight": tensor(values[rows]), f"{name}.rows": tensor(rows.astype(np.int32))}
        return Rows(q, ref(f"{name}.rows"), ref(f"{name}.weight")), held
    starts = np.concatenate([[0], np.cumsum(nonzero.sum(axis=1))]).astype(starts_type)
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


def _index_type(count: int) -> type[np.unsignedinteger]:
    """The narrowest type of the indices ``0 .. count - 1``."""
    return np.uint8 if count <= 1 << 8 else np.uint16 if count <= 1 << 16 else np.uint32
