"""Weights as stored bits: is every one finite, are two tensors the same."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["first_not_finite", "same_bits"]

# The exponent bits of each floating type; all of them set means NaN or infinity.
_EXPONENT: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_CHUNK = 1 << 22


def first_not_finite(dtype: str, tensor: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    """The index of the first NaN or infinity of a floating tensor as stored; None where there is none."""
    unsigned, mask = _EXPONENT[dtype]
    flat = tensor.view(unsigned).reshape(-1)
    exponent = np.array(mask, dtype=unsigned)
    for begin in range(0, flat.size, _CHUNK):
        wrong = (flat[begin : begin + _CHUNK] & exponent) == exponent
        if wrong.any():
            where = np.unravel_index(begin + int(np.argmax(wrong)), tensor.shape)
            return tuple(int(i) for i in where)
    return None


def same_bits(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> bool:
    """Whether two stored tensors of one dtype are the same, bit for bit."""
    if one.shape != two.shape:
        return False
    a, b = one.reshape(-1).view(np.uint8), two.reshape(-1).view(np.uint8)
    return all(np.array_equal(a[i : i + _CHUNK], b[i : i + _CHUNK]) for i in range(0, a.size, _CHUNK))
