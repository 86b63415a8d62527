"""One prompt through both programs in ball arithmetic: every evidence cell of its row as an exact interval.

``X_i`` is the reference's trajectory, ``Y_i`` the stitched one; only these two and the surrogate's stage at the
reference's input are evaluated. The controls, the float32 floor and the attribution columns are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from msgspec import Struct

from blockcert_verifier.enclose.arithmetic import Ball, Balls, arb, ctx, total
from blockcert_verifier.enclose.balls import ball
from blockcert_verifier.enclose.cells import ABSOLUTE, norms, ratio_counts, ratios
from blockcert_verifier.enclose.interval import Enclosed
from blockcert_verifier.enclose.logits import logit_cells
from blockcert_verifier.enclose.maps import Maps
from blockcert_verifier.enclose.rational import exponent, largest_ball, root
from blockcert_verifier.enclose.stage import run_stage
from blockcert_verifier.measure.engine import Pair

__all__ = ["Place", "Thresholds", "enclose_row", "first_bits"]


_LEAST_BITS = 64
_ROOM = 12
"""Bits beyond those to which a value is known, at which it is worked on: what is rounded then widens it hardly."""


class Place(Struct, frozen=True):
    """A cell of a row: its column, and the stage and the number of the threshold where the column has such axes."""

    column: str
    stage: int | None = None
    threshold: int | None = None


class Thresholds(Struct, frozen=True):
    """The thresholds of the counted columns."""

    relative: tuple[Fraction, ...]
    loss: tuple[Fraction, ...]


def first_bits(blocks: int) -> int:
    """The precision to begin with: rounding grows by some 20 bits a block, and 64 are to be left (BC-ENC-03)."""
    return 64 + 20 * (blocks + 1)


def enclose_row(
    pair: Pair, tokens: Sequence[int], thresholds: Thresholds, bits: int, tick: Callable[[int], None] | None = None
) -> dict[Place, Enclosed]:
    """Every enclosed cell of one prompt.

    Args:
        pair: both programs and their weights.
        tokens: the prompt's token ids, each below the vocabulary.
        thresholds: of the counted columns.
        bits: the working precision.
        tick: called with the number of stages done, after each and often within one; what it raises ends the work.

    Raises:
        Refusal: ``tensor.*`` or ``program.*`` where a program cannot be evaluated with these weights.
    """
    with ctx.workprec(bits):
        row = _Row(pair, tokens, thresholds, bits, tick or (lambda _: None))
        for index in range(len(pair.same)):
            with ctx.workprec(row.precision()):
                row.advance(index)
            if tick is not None:
                tick(index + 1)
        return row.cells


def _known_bits(x: Balls) -> int:
    """Bits to which the entries of a value are known, beside the largest of them; without bound where all are exact."""
    size = largest_ball(abs(v) for row in x for v in row).mid()
    radius = largest_ball(v.rad() for row in x for v in row)
    if radius.is_zero() or size.is_zero() or not radius.is_finite():
        return 1 << 30
    return max(0, exponent(size) - exponent(radius))


def _norms(x: Balls) -> list[Ball]:
    return [root(total(v * v for v in row)) for row in x]


def _distances(x: Balls, y: Balls) -> list[Ball]:
    return _norms([[a - b for a, b in zip(first, second, strict=True)] for first, second in zip(x, y, strict=True)])


class _Row:
    """Both trajectories of one prompt as far as they have come, and the cells so far."""

    def __init__(
        self, pair: Pair, tokens: Sequence[int], thresholds: Thresholds, bits: int, tick: Callable[[int], None]
    ) -> None:
        self._pair, self._tokens, self._thresholds, self._bits = pair, tokens, thresholds, bits
        self._tick = tick
        # what is not carried on is rounded once: the bits that the last block leaves are enough for it
        self._least = min(bits, max(_LEAST_BITS, bits - 20 * pair.reference.blocks))
        self._last = len(pair.same) - 1
        self._x: Balls = []
        self._y: Balls | None = None  # None while every stage so far is one program
        self._scale: list[Ball] = [arb(0)] * len(tokens)
        self.cells: dict[Place, Enclosed] = {}

    def precision(self) -> int:
        """Bits for the next stage: what its inputs are known to, and some in which rounding is lost (BC-ENC-03)."""
        known = [_known_bits(one) for one in (self._x, self._y) if one]
        return max(self._least, min([self._bits, *(bits + _ROOM for bits in known)]))

    def advance(self, index: int) -> None:
        """Run stage ``index`` on both sides and enclose its cells."""
        pair, same = self._pair, self._pair.same[index]
        before, stitched = self._x, [] if self._y is None else [self._y]

        def look() -> None:
            self._tick(index)

        maps = Maps(pair.store, look)

        def run(program: int, inputs: list[Balls]) -> list[Balls]:
            stage = (pair.reference, pair.surrogate)[program].stages[index]
            return run_stage(stage, pair.store, maps, self._tokens, inputs)

        from_x: Balls | None = None
        if same:
            self._x, *theirs = run(0, [before, *stitched])
            self._y = theirs[0] if theirs else None
        else:
            (self._x,) = run(0, [before])
            if stitched and ctx.prec > self._least:
                with ctx.workprec(self._least):
                    (from_x,) = run(1, [before])
                (self._y,) = run(1, stitched)
            else:
                from_x, *theirs = run(1, [before, *stitched])
                self._y = theirs[0] if theirs else from_x
        size = _norms(self._x)
        self._scale = [s.max(n) for s, n in zip(self._scale, size, strict=True)]
        tau = [ball(ABSOLUTE) * s for s in self._scale]
        error = None if from_x is None else _distances(self._x, from_x)
        self._stage(index, error, size, tau, before)
        drift = error if self._y is from_x else None if self._y is None else _distances(self._x, self._y)
        self._drift(index, drift, size, tau)
        if index == self._last - 1:
            self.cells[Place("final_norm")] = _median(size, tau)
        if index == self._last:
            found = logit_cells(self._x, self._y, self._tokens, self._thresholds.loss, look)
            for column, cells in found.items():
                for number, cell in enumerate(cells):
                    self.cells[Place(column, None, number if column == "loss_within" else None)] = cell

    def _stage(self, index: int, error: list[Ball] | None, size: list[Ball], tau: list[Ball], before: Balls) -> None:
        """The cells of the stage at the reference's own input; ``error`` is None where both sides are one program."""
        cells, zero = self.cells, Enclosed.exactly(0)
        block = 1 <= index < self._last
        if error is None:
            cells[Place("error", index)] = cells[Place("relative_error", index)] = zero
            if block:
                cells[Place("relative_update_error", index)] = zero
            for number in range(len(self._thresholds.relative)):
                cells[Place("covered", index, number)] = Enclosed.exactly(len(self._tokens))
            return
        cells[Place("error", index)] = norms(error, tau)
        cells[Place("relative_error", index)] = ratios(error, size, tau)
        if block:
            # what a block without steps leaves out is its update: one quantity on both sides of the ratio
            removed = not self._pair.surrogate.stages[index].steps
            update = error if removed else _distances(self._x, before)
            cells[Place("relative_update_error", index)] = ratios(error, update, tau)
        for number, threshold in enumerate(self._thresholds.relative):
            cells[Place("covered", index, number)] = ratio_counts(error, size, tau, threshold)

    def _drift(self, index: int, drift: list[Ball] | None, size: list[Ball], tau: list[Ball]) -> None:
        """The cells of the stitched trajectory; ``drift`` is None while every stage so far is one program."""
        zero = Enclosed.exactly(0)
        self.cells[Place("drift", index)] = zero if drift is None else norms(drift, tau)
        self.cells[Place("relative_drift", index)] = zero if drift is None else ratios(drift, size, tau)


def _median(size: list[Ball], tau: list[Ball]) -> Enclosed:
    """The lower median of the norms: that of all lower ends to that of all upper ends."""
    if not all(s.is_finite() for s in size):
        return norms([arb("nan")], tau)  # what is no number has no place in an order
    middle = (len(size) - 1) // 2
    low, high = (sorted(ends)[middle] for ends in ([s.lower() for s in size], [s.upper() for s in size]))
    return norms([low.union(high)], tau)
