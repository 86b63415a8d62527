"""What measuring rows will cost here: counted work over this machine's rates. An estimate, and called so everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.program import (
    Attention,
    Constant,
    Dense,
    Embed,
    Integer,
    Linear,
    LinearMap,
    LowRank,
    Positions,
    Rows,
    Sparse,
    Stage,
    Take,
    attends,
)
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.evaluate.blocks import held_entries
from blockcert_verifier.measure import Pair

__all__ = [
    "Estimate",
    "Evaluations",
    "Rates",
    "RowWork",
    "estimate",
    "evaluations",
    "rates",
    "row_work",
    "stage_work",
]

_BASE = 96 << 20
"""Memory of the interpreter with numpy and scipy, in bytes."""
_PASSES = 30
"""Passes over a value that making, tracing and comparing it takes, in units of one sum of two arrays."""
_HELD = 6
"""Values of the widest step's size that are alive at once."""


class StageWork(NamedTuple):
    """One stage on one prompt: multiply-adds, elements of the values it makes, its weights, how many of them are held
    at a time, and its widest value."""

    multiply_adds: int
    values: int
    weights: int
    held: int
    widest: int


class Evaluations(NamedTuple):
    """How many prompts' worth of one stage a row needs: of the reference's and of the surrogate's."""

    reference: int
    surrogate: int


class RowWork(Struct, frozen=True):
    """The float64 work of one row, noise included: multiply-adds and elements; also for a row with attribution.

    ``weights`` are converted once for each chunk; ``memory`` is in bytes for a chunk of one row, ``memory_per_row``
    what each further row adds.
    """

    multiply_adds: int
    values: int
    attributed_multiply_adds: int
    attributed_values: int
    weights: int
    memory: int
    memory_per_row: int


class Rates(Struct, frozen=True):
    """This machine, now: multiply-adds, elements through one sum, and weights converted to float64, each per second."""

    multiply_adds: float
    values: float
    weights: float


class Estimate(Struct, frozen=True):
    """Seconds and bytes of resident memory that some rows will take, and seconds of a single row; no guarantee."""

    rows: int
    seconds: float
    row_seconds: float
    memory: int
    what: str = "measuring"


def evaluations(same: Sequence[bool], attributed: bool) -> Iterator[Evaluations]:
    """For each stage, how many evaluations of either side one measurement of a row needs (``spec/07-evidence.md``)."""
    last = len(same) - 1
    stitched, singles, hybrids = False, 0, 0
    for index, one in enumerate(same):
        mine = 1 + singles + (index == last)
        theirs = (not one) + stitched + hybrids * (index < last)
        # where both sides are one program it is loaded and run once, on all that either needs
        yield Evaluations(mine + theirs, 0) if one else Evaluations(mine, theirs)
        stitched = stitched or not one
        if attributed and not one:
            singles += 1
            hybrids += 1 <= index < last


def _map_size(store: WeightStore, linear: LinearMap) -> tuple[int, int, int]:
    """Output width, multiply-adds per position, and entries of a map as it is evaluated."""

    def shape(reference: Any) -> tuple[int, int]:
        dtype_shape = store.shape(reference)
        if len(dtype_shape) != 2:
            raise Refusal("tensor.shape", f"{reference.file}: {reference.tensor}", "a matrix is needed here")
        return dtype_shape

    match linear:
        case LowRank():
            (out, rank), (_, width) = shape(linear.left), shape(linear.right)
            return out, rank * (out + width), rank * (out + width)
        case Sparse(shape=(out, width)):
            return out, out * width, out * width
        case Rows():
            width = shape(linear.weight)[1]
            return linear.size, linear.size * width, linear.size * width
        case Integer():
            out, width = shape(linear.values)
        case _:
            out, width = shape(linear.weight)
    return out, out * width, out * width


def stage_work(stage: Stage, store: WeightStore, length: int, hidden: int) -> StageWork:
    """The work of a stage on one prompt of ``length`` tokens; raises ``tensor.*`` as :func:`row_work`."""
    widths = {"tokens": hidden, "hidden": hidden}
    adds = values = weights = held = widest = 0
    for step in stage.steps:
        width, scores = hidden, 0
        match step:
            case Linear():
                width, each, entries = _map_size(store, step.map)
                adds, weights = adds + length * each, weights + entries
                blocks = isinstance(step.map, Dense | Integer)
                held += held_entries(entries, entries // max(1, width)) if blocks else entries
            case Embed():
                table = store.info(step.weight).shape
                width, entries = table[-1], math.prod(table)
                weights, held = weights + entries, held + held_entries(entries, width)
            case Positions():
                weights, held = weights + length * hidden, held + length * hidden
            case Attention():
                width = step.heads * step.head_size
                scored = sum(map(attends, step.patterns))
                scores = scored * length
                adds += 2 * length * length * scored * step.head_size
            case Take():
                width = store.info(step.indices).shape[0]
            case Constant():
                width = store.info(step.value).shape[0]
            case _:
                source = getattr(step, "input", None) or getattr(step, "left", "hidden")
                width = widths.get(source, hidden)
        widths[step.out] = width
        values += length * (width + scores)
        widest = max(widest, length * max(width, scores))
    return StageWork(adds, values, weights, held, widest)


def row_work(pair: Pair, length: int) -> RowWork:
    """The work of measuring a row of ``length`` tokens, counted from the programs and the shapes of their weights.

    Raises:
        Refusal: ``tensor.*`` where a program names what its files do not hold.
    """
    hidden = pair.reference.hidden_size
    mine = [stage_work(stage, pair.store, length, hidden) for stage in pair.reference.stages]
    theirs = [
        one if same else stage_work(stage, pair.store, length, hidden)
        for one, same, stage in zip(mine, pair.same, pair.surrogate.stages, strict=True)
    ]
    plain, attributed = list(evaluations(pair.same, False)), list(evaluations(pair.same, True))

    def total(counts: list[Evaluations], part: int) -> int:
        # twice: with noise and without
        return 2 * sum(
            n.reference * f[part] + n.surrogate * g[part] for n, f, g in zip(counts, mine, theirs, strict=True)
        )

    weights = sum(f.weights + (0 if same else g.weights) for f, g, same in zip(mine, theirs, pair.same, strict=True))
    # float64 of both sides, float32 of the reference's
    stages = [12 * f.held + (0 if same else 8 * g.held) for f, g, same in zip(mine, theirs, pair.same, strict=True)]
    most = max(n.reference + n.surrogate for n in attributed)
    widest = max(max(f.widest, g.widest) for f, g in zip(mine, theirs, strict=True))
    per_row = 2 * 8 * (_HELD * widest * min(most, 4) + most * length * hidden)
    return RowWork(
        multiply_adds=total(plain, 0),
        values=total(plain, 1),
        attributed_multiply_adds=total(attributed, 0),
        attributed_values=total(attributed, 1),
        weights=2 * sum(f.weights for f in mine) + weights - sum(f.weights for f in mine),
        memory=_BASE + max(stages) + per_row,
        memory_per_row=per_row,
    )


def rates(backend: Backend) -> Rates:
    """This machine's rates, from some 20 milliseconds of the three kinds of work."""
    source = np.random.default_rng(0)
    left, right = (backend.array(source.standard_normal(shape)) for shape in ((64, 256), (256, 256)))
    value = backend.array(source.standard_normal((64, 2048)))
    narrow = source.standard_normal((512, 512)).astype(np.float32)

    def seconds(work: Any, rounds: int = 20) -> float:
        found: list[float] = []
        for _ in range(rounds):
            begin = perf_counter()
            # a value read on the host is a value that was computed, also on a GPU
            float(backend.numpy(work())[0, 0])
            found.append(perf_counter() - begin)
        return max(min(found), 1e-9)

    return Rates(
        multiply_adds=64 * 256 * 256 / seconds(lambda: left @ right),
        values=64 * 2048 / seconds(lambda: value + value),
        weights=512 * 512 / seconds(lambda: backend.array(narrow)),
    )


def estimate(work: RowWork, speed: Rates, *, rows: int, attributed: int, chunk: int, jobs: int = 1) -> Estimate:
    """Time and memory of ``rows`` rows, of which ``attributed`` carry attribution, in chunks of ``chunk`` rows.

    ``speed`` is that of one process with every core; ``jobs`` processes divide what one core does, and multiply memory.
    """

    def compute(adds: int, values: int) -> float:
        # matrix products use every core already
        return adds / speed.multiply_adds + _PASSES * values / speed.values / jobs

    plain = compute(work.multiply_adds, work.values)
    full = compute(work.attributed_multiply_adds, work.attributed_values)
    loading = work.weights / speed.weights
    chunks = -(-rows // max(1, chunk))
    seconds = (rows - attributed) * plain + attributed * full + chunks * loading / jobs
    row = plain + loading / max(1, min(chunk, rows or 1))
    memory = jobs * (work.memory + work.memory_per_row * (max(1, min(chunk, rows)) - 1))
    return Estimate(rows, seconds, row, memory)
