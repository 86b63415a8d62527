"""Measure a pair of programs on prompts: every evidence column, streamed stage by stage.

Definitions: ``spec/07-evidence.md``. Notation: stages ``0 .. n+1``; ``f_i`` the reference's, ``g_i`` the surrogate's;
``X_i`` the reference trajectory, ``Y_i`` the stitched one; ``H_i = g_n .. g_{i+1} f_i .. f_0``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.evidence import EvidenceShape, columns
from blockcert.program import Attention, Linear, Program, Rows, Sparse
from blockcert_verifier.evaluate import Backend, LoadedStage, Noise, WeightStore
from blockcert_verifier.evaluate.threads import at_once
from blockcert_verifier.measure.batch import Batch, Unresolved, advance
from blockcert_verifier.measure.tolerance import Cells, Host, Tolerance

__all__ = ["Measured", "Pair", "Progress", "Settings", "measure", "measure_twice", "open_counts"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many steps are done, and how many there are; what it raises ends the measurement."""


class Measured(dict[str, Cells]):
    """Column name to cells; the first axis is the row (attribution columns have their own, shorter, first axis).

    ``unresolved`` lists the rows that float64 does not resolve: their brackets confirm nothing (BC-EVD-08).
    """

    def __init__(self, cells: Mapping[str, Cells], unresolved: tuple[Unresolved, ...] = ()) -> None:
        super().__init__(cells)
        self.unresolved = unresolved


# elements of the largest array that one batch of prompts makes, and prompts at most; a GPU wants more of both at once
_BATCH_ELEMENTS, _BATCH_PROMPTS = 1 << 21, 32
_DEVICE_ELEMENTS, _DEVICE_PROMPTS = 1 << 26, 256
OPEN_SHARE = 64
"""Of a row's positions, one in so many (or one) may be open in a count, and no more (BC-EVD-08)."""
_WIDE = 256
"""Hidden size from which loading a stage takes longer than starting threads for it."""


class Pair(Struct, frozen=True):
    """Two programs over one store of weights; ``same[i]`` says that stage ``i`` is one program on both sides."""

    reference: Program
    surrogate: Program
    same: tuple[bool, ...]
    store: WeightStore


class Settings(Struct, frozen=True):
    """Thresholds of the counted columns, and the tolerance of the brackets."""

    relative: tuple[float, ...]
    loss: tuple[float, ...]
    tolerance: Tolerance = Tolerance()


def _batches(
    pair: Pair, tokens: Host, attribution: int, settings: Settings, backend: Backend, times: int, *, measured: bool
) -> list[Batch]:
    rows, length = tokens.shape
    widest = max(
        pair.reference.vocabulary, 8 * pair.reference.hidden_size, *map(_widest, (pair.reference, pair.surrogate))
    )
    on_device = backend.device.startswith("cuda")
    elements, prompts = (_DEVICE_ELEMENTS, _DEVICE_PROMPTS) if on_device else (_BATCH_ELEMENTS, _BATCH_PROMPTS)
    size = max(1, min(prompts, elements // (times * length * widest)))
    return [
        Batch(
            tokens[at : at + size],
            min(max(attribution - at, 0), size, rows - at),
            pair,
            settings,
            backend,
            measured=measured,
        )
        for at in range(0, rows, size)
    ]


def _widest(program: Program) -> int:
    """The most channels that a step states in so many words; dense maps are as wide as what they store."""
    found = 1
    for stage in program.stages:
        for step in stage.steps:
            match step:
                case Linear(map=Rows(size=width)) | Linear(map=Sparse(shape=(width, _))):
                    found = max(found, width)
                case Attention():
                    found = max(found, step.heads * step.head_size)
                case _:
                    pass
    return found


def measure(
    pair: Pair,
    tokens: Host,
    settings: Settings,
    backend: Backend,
    *,
    attribution: int = 0,
    progress: Progress | None = None,
) -> Measured:
    """The evidence cells of some prompts.

    Args:
        pair: the two programs and their weights.
        tokens: token ids, rows x T, all below the vocabulary.
        settings: thresholds and tolerance.
        backend: where and in which precision to evaluate, and with which noise.
        attribution: how many of the first rows carry the attribution columns.
        progress: called with (steps done, steps in all).

    Returns:
        Cells for each column of ``blockcert.evidence.columns``; values may be non-finite, and the caller decides.

    Raises:
        Refusal: ``tensor.*`` or ``program.*`` where a program cannot be evaluated with these weights.
    """
    noise = None if backend.noise is None else Noise(backend, backend.noise)
    (found,) = _measure(pair, tokens, settings, backend, noise, 1, attribution, progress)
    return found


def measure_twice(
    pair: Pair,
    tokens: Host,
    settings: Settings,
    backend: Backend,
    *,
    noise: int,
    attribution: int = 0,
    progress: Progress | None = None,
) -> tuple[Measured, Measured]:
    """The evidence cells of some prompts, and the same with noise on every step, drawn from the seed ``noise``.

    Both are measured together, with every weight loaded once. The second has no float32 floor, which noise says nothing
    about. Arguments and errors as :func:`measure`.
    """
    plain, noisy = _measure(pair, tokens, settings, backend, Noise(backend, noise), 2, attribution, progress)
    return plain, noisy


def _measure(
    pair: Pair,
    tokens: Host,
    settings: Settings,
    backend: Backend,
    noise: Noise | None,
    times: int,
    attribution: int,
    progress: Progress | None,
) -> list[Measured]:
    length = int(tokens.shape[1])
    # one entry for each run of prompts: its batches advance together
    teams = list(
        zip(
            *(_batches(pair, tokens, attribution, settings, backend, times, measured=i == 0) for i in range(times)),
            strict=True,
        )
    )
    single = Backend(backend.device, "float32")
    stages = len(pair.reference.stages)
    with np.errstate(all="ignore"):
        for index in range(stages):
            f, g, f32 = _loaded(pair, index, backend, single, length)
            for number, team in enumerate(teams):
                advance(index, f, g, f32, team, noise)
                if progress is not None:
                    progress(index * len(teams) + number + 1, stages * len(teams))
    return [_collect([team[i] for team in teams], stages - 2, attribution, length) for i in range(times)]


def _loaded(
    pair: Pair, index: int, backend: Backend, single: Backend, length: int
) -> tuple[LoadedStage, LoadedStage, LoadedStage]:
    """A stage of the reference, the surrogate's, and the reference's in float32, loaded side by side if it is large.

    They are one object where they are one stage: where both programs are the same, and where all is measured in float32
    (to explore, never for a certificate).
    """

    def loaded(program: Program, where: Backend) -> LoadedStage:
        with np.errstate(all="ignore"):  # which every thread has for itself
            return LoadedStage(program.stages[index], pair.store, where, length, program, whole=False)

    wanted = {"f": partial(loaded, pair.reference, backend)}
    if not pair.same[index]:
        wanted["g"] = partial(loaded, pair.surrogate, backend)
    if backend.precision != "float32":
        wanted["f32"] = partial(loaded, pair.reference, single)
    loads = list(wanted.values())
    done = at_once(loads) if pair.reference.hidden_size >= _WIDE else [load() for load in loads]
    found = dict(zip(wanted, done, strict=True))
    return found["f"], found.get("g", found["f"]), found.get("f32", found["f"])


def _collect(batches: Sequence[Batch], blocks: int, attribution: int, length: int) -> Measured:
    found: dict[str, Cells] = {}
    for column in columns(EvidenceShape(blocks, sum(batch.rows for batch in batches), attribution, 0, 0)):
        # a batch has no attribution columns where none of its rows carries them
        parts = [batch.cells[column.name] for batch in batches if column.name in batch.cells]
        if parts:
            found[column.name] = Cells.concatenate(parts)
        elif column.name == "relative_update_error":  # there is no block
            found[column.name] = Cells.exactly(np.zeros(column.shape))
    first, unresolved = 0, list[Unresolved]()
    for batch in batches:
        unresolved += [one._replace(row=first + row) for row, one in sorted(batch.unresolved.items())]
        first += batch.rows
    known = {one.row for one in unresolved}
    unresolved += [one for one in open_counts(found, length) if one.row not in known]
    return Measured(found, tuple(unresolved))


def open_counts(cells: Mapping[str, Cells], length: int) -> list[Unresolved]:
    """The rows with a count of which float64 leaves too many positions open: it would confirm whatever is written.

    Ties between logits and ratios at a threshold are what a program can be made of (BC-EVD-08.5).
    """
    found: dict[int, Unresolved] = {}
    most = max(1, length // OPEN_SHARE)
    for name, column in cells.items():
        if column.value.dtype.kind != "i":
            continue
        left = column.high - column.low
        for index in np.argwhere(left > most):
            row, stage = int(index[0]), int(index[1]) if len(index) == 3 else -1
            reason = f"{name} is open by {int(left[tuple(index)])} of {length} positions, which rounding decides"
            found.setdefault(row, Unresolved(row, stage, reason))
    return list(found.values())
