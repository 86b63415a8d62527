"""Products with large matrices of weights by float64 products of integers (``spec/15-enclosures.md``, BC-ENC-17).

Activations and weights are cut into integers so small that a float64 matrix product of them rounds nothing, whatever
the order of its sums. What is cut off is at most what a ball of the working precision leaves open, and enters the
radius. For matrices of a few hundred rows and columns this takes a tenth of the time of a product of balls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from blockcert_verifier.enclose.arithmetic import Balls, arb, arb_mat, ctx, fmpz, fmpz_mat
from blockcert_verifier.evaluate.weights import Host

__all__ = ["DIGIT", "Digits", "Slices", "cut", "product", "slices", "worthwhile"]

DIGIT = 20
"""Bits of an activation's digit."""
_MASK = (1 << DIGIT) - 1
_EXACT = 53
"""Integers of up to ``2^53`` are exact in float64."""
_GUARD, _LOST = 4, 1.0
"""Bits below the unit of activations from which digits of a product are cut off, and what is then added for them."""
_PACKED = 3
"""Digits in a word of 60 bits."""
_MOST_SLICES = 4
_MOST_SPREAD = 200
_LEAST_SLICED = 2.0**-900
_LEAST_RADIUS, _LEAST_WEIGHT = 2.0**-100, 2.0**-500
"""Floors below which a radius and a weight's magnitude are not followed, so that no product of them underflows."""
_FIRST_GAIN = 110
"""Products ``in * out / (in + out)`` from which converting both sides costs less than it saves."""


class Digits(Struct, frozen=True):
    """Activations: ``2^unit sum_l digits[l] 2^(20 l)``, each known to within ``radius 2^unit``.

    ``digits`` is L x rows x in, integers of magnitude at most ``2^19`` held in float64.
    """

    digits: Host
    radius: Host
    unit: int


class Slices(Struct, frozen=True):
    """Weights: ``sum_c parts[c] 2^units[c]`` exactly, in x out, the largest first; integers held in float64.

    ``absolute`` bounds their magnitudes from above, in units of ``2^exponent``.
    """

    parts: tuple[Host, ...]
    units: tuple[int, ...]
    absolute: Host
    exponent: int

    def values(self) -> Host:
        """The weights themselves: exact, since they were float64."""
        return sum((np.ldexp(part, unit) for part, unit in zip(self.parts, self.units, strict=True)), np.zeros(()))


def worthwhile(inner: int, out: int) -> bool:
    """Whether a map of this size is quicker so than as a product of balls."""
    return inner * out > _FIRST_GAIN * (inner + out)


def slices(weight: Host) -> Slices | None:
    """A matrix of float64 weights, in x out, in slices; None where their sizes differ too much for a few of them."""
    inner = weight.shape[0]
    least = np.abs(weight[weight != 0]).min(initial=1.0)
    if least < _LEAST_SLICED:
        return None  # near underflow a remainder may be flushed to 0
    largest = float(np.abs(weight).max(initial=0.0))
    exponent = int(np.frexp(largest)[1])
    # inner products of a digit and a slice stay within 2^53: 19 bits, width - 1, and those of their number
    width = _EXACT + 2 - DIGIT - (inner - 1).bit_length()
    if width < 2:
        return None
    unit = exponent - (width - 1)
    parts: list[Host] = []
    units: list[int] = []
    rest = weight.copy()
    while rest.any() or not parts:
        if len(parts) == _MOST_SLICES:
            return None
        part = np.rint(np.ldexp(rest, -unit))
        rest -= np.ldexp(part, unit)  # exact: what a rounding to fewer bits leaves
        parts.append(part)
        units.append(unit)
        unit -= width
    absolute = np.ldexp(np.abs(weight), -exponent)
    absolute = np.where(weight != 0, np.maximum(absolute, _LEAST_WEIGHT), 0.0)
    return Slices(tuple(parts), tuple(units), absolute, exponent)


def cut(x: Balls) -> Digits | None:
    """Some balls, rows x in, as digits that keep the working precision of every row; None where they cannot be."""
    rows, inner = len(x), len(x[0])
    bits: int = ctx.prec
    sizes = np.array([[float(v) for v in row] for row in x])
    if not np.isfinite(sizes).all():
        return None
    each = np.frexp(np.abs(sizes).max(axis=1))[1][np.abs(sizes).max(axis=1) > 0]
    if not each.size or int(each.max()) - int(each.min()) > _MOST_SPREAD:
        return None
    top = int(each.max()) + 1
    count = -(-(bits + int(each.max()) - int(each.min()) + 3) // DIGIT)
    unit = top + 2 - DIGIT * count
    # the digits of x + sum_l 2^19 2^(20 l) less 2^19 each are x's; one more bit above them fixes where a sum is rounded
    offset = arb(fmpz(1 << DIGIT * count) + sum(fmpz(1 << DIGIT * at + DIGIT - 1) for at in range(count)))
    scale = arb(2) ** -unit
    size = (DIGIT * count + 8) // 8
    with ctx.workprec(DIGIT * count + 1):
        moved = [v * scale + offset for row in x for v in row]
    whole = [v.mid().unique_fmpz() for v in moved]
    if None in whole:
        return None
    radius = np.array([float(v.rad()) for v in moved])
    if not np.isfinite(radius).all():
        return None
    for at in np.flatnonzero(radius < _LEAST_RADIUS).tolist():
        radius[at] = 0.0 if moved[at].is_exact() else _LEAST_RADIUS
    data = np.frombuffer(b"".join([int(v).to_bytes(size + 4, "little") for v in whole]), np.uint8)
    data = data.reshape(rows * inner, size + 4)
    digits = np.empty((count, rows * inner))
    for at in range(count):
        first, shift = divmod(DIGIT * at, 8)
        window = np.ascontiguousarray(data[:, first : first + 4]).view("<u4")[:, 0]
        digits[at] = (window >> shift) & _MASK
    digits -= 1 << DIGIT - 1
    return Digits(digits.reshape(count, rows, inner), radius.reshape(rows, inner), unit)


def product(x: Digits, weight: Slices) -> Balls:
    """``x W``, rows x out, as balls at the working precision."""
    count, rows, inner = x.digits.shape
    out = weight.absolute.shape[1]
    least = weight.units[-1]
    reach = count + (weight.units[0] - least) // DIGIT + 4
    sums = np.zeros((reach, rows, out), np.int64)
    tall = x.digits.reshape(count * rows, inner)
    for part, unit in zip(weight.parts, weight.units, strict=True):
        at, shift = divmod(unit - least, DIGIT)
        found = (tall @ part).astype(np.int64).reshape(count, rows, out)
        if shift:
            sums[at : at + count] += (found & _MASK) << shift
            found >>= DIGIT
            found <<= shift
            sums[at + 1 : at + 1 + count] += found
        else:
            sums[at : at + count] += found
    for at in range(reach - 1):
        sums[at + 1] += sums[at] >> DIGIT
        sums[at] &= _MASK
    # a last digit that only carries the sign belongs to the one before it
    while reach > 1 and (np.abs(sums[reach - 1]) <= 1).all():
        reach -= 1
        sums[reach - 1] += sums[reach] << DIGIT
    sums = sums[:reach]
    # whole digits that are far below what the digits of x leave open
    dropped = min(reach - 1, max(0, (weight.exponent - _GUARD - least) // DIGIT))
    lost = (sums[:dropped] != 0).any(axis=0)
    unit = x.unit + least + DIGIT * dropped
    radius = x.radius @ weight.absolute
    radius += _LOST * lost * 2.0 ** (least + DIGIT * dropped - weight.exponent)
    radius *= 1 + 2.0**-40 + inner * 2.0**-50  # last, so that it covers the rounding of that sum too
    middle = _balls(sums[dropped:], unit)
    spread = arb_mat(rows, out, radius.reshape(-1).tolist()) * arb(0, arb(2) ** (x.unit + weight.exponent))
    return (middle + spread).tolist()


def _balls(digits: Host, unit: int) -> Any:
    """``2^unit sum_l digits[l] 2^(20 l)`` as a matrix of balls; every digit but the last is one of 20 bits."""
    count, rows, out = digits.shape
    whole: Any = None
    for at in range((count - 1) // _PACKED * _PACKED, -1, -_PACKED):
        word = np.zeros((rows, out), np.int64)
        for one in digits[at : at + _PACKED][::-1]:
            word = (word << DIGIT) + one
        part = fmpz_mat(rows, out, word.reshape(-1).tolist())
        whole = part if whole is None else whole * (1 << DIGIT * _PACKED) + part
    return arb_mat(whole) * arb(2) ** unit
