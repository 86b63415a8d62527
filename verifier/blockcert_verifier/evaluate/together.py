"""Many inputs through a stage together: long matrix products, and pieces of the batch side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from blockcert_verifier.evaluate.backend import Array, Backend
from blockcert_verifier.evaluate.noise import Noise
from blockcert_verifier.evaluate.stage import LoadedStage, Traced
from blockcert_verifier.evaluate.threads import at_once, cut, threads
from blockcert_verifier.evaluate.weights import Host

__all__ = ["Part", "by_tokens", "run_together", "tokens_as_rows"]

_MOST_AT_ONCE, _MOST_ON_DEVICE = 1 << 22, 1 << 25
"""Bytes of the largest value that a piece makes, which stays in a processor's cache and gives BLAS long products; on a
GPU elements, which keep it busy."""
_LEAST_ROWS = 512
"""Tokens that a piece has at least, however wide its values: shorter products spend their time reading the matrix."""
_MOST_REDUCED = 1 << 16
"""Elements of the value of which a piece is measured."""
_LEAST_SHARED = 1 << 18
"""Elements of the largest values of all pieces together from which threads gain more than they cost."""


class Part(NamedTuple):
    """An input of a stage, some prompts; whether the sizes inside are asked for, and whether noise moves its steps."""

    value: Array
    traced: bool = False
    noisy: bool = False


class _Work(NamedTuple):
    """A stage's parts in the order in which they run, the pieces of all their prompts, and where results are put."""

    stage: LoadedStage
    parts: list[Part]
    order: list[int]
    pieces: list[slice]
    output: Array | None
    traced: int
    plain: int


def run_together(jobs: Sequence[tuple[LoadedStage, Sequence[Part]]], noise: Noise | None) -> list[list[Traced]]:
    """What some stages make of their inputs, in the order given; all stages are of one backend's kind.

    ``Traced.magnitude`` and ``score`` of a part that is not ``traced`` have no rows.
    """
    jobs = [(stage, list(parts)) for stage, parts in jobs]
    host = all(stage.backend.on_cpu for stage, _ in jobs)
    # weights that are read in blocks are better read once for all prompts, and their blocks run side by side
    blocks = any(stage.in_blocks for stage, _ in jobs)
    shares = _shares(jobs) if host and not blocks else 1
    work = [_prepared(stage, parts, shares, host) for stage, parts in jobs]
    tasks = [(one, piece) for one in work for piece in one.pieces]
    # seeds of noise are drawn before anything runs, so that they do not depend on which piece is first
    sources = [None if noise is None or piece.stop <= one.plain else noise for one, piece in tasks]
    sources = [one.branch() if one and shares > 1 else one for one in sources]
    calls: list[Callable[[], Traced]] = [
        partial(_piece, one, piece, source) for (one, piece), source in zip(tasks, sources, strict=True)
    ]
    done = iter(at_once(calls) if shares > 1 else [call() for call in calls])
    return [_handed_out(one, [next(done) for _ in one.pieces]) for one in work]


def _shares(jobs: Sequence[tuple[LoadedStage, list[Part]]]) -> int:
    elements = sum(stage.footprint * _prompts(parts) for stage, parts in jobs)
    return threads() if elements >= _LEAST_SHARED and sum(_prompts(parts) for _, parts in jobs) > 1 else 1


def _prompts(parts: Sequence[Part]) -> int:
    return sum(int(part.value.shape[0]) for part in parts)


def _prepared(stage: LoadedStage, parts: list[Part], shares: int, host: bool) -> _Work:
    # those with noise are the last prompts, and those traced the first of those without
    order = sorted(range(len(parts)), key=lambda i: (parts[i].noisy, not parts[i].traced))
    traced = sum(int(part.value.shape[0]) for part in parts if part.traced)
    plain = sum(int(part.value.shape[0]) for part in parts if not part.noisy)
    count = _prompts(parts)
    budget = (
        count * stage.footprint
        if stage.in_blocks
        else _MOST_ON_DEVICE
        if stage.backend.device.startswith("cuda")
        else _MOST_AT_ONCE // stage.backend.dtype.itemsize
    )
    pieces = cut(count, max(budget // stage.footprint, -(-_LEAST_ROWS // stage.length)), shares)
    width = stage.width
    output = None
    if host and len(pieces) > 1 and width is not None:
        output = stage.backend.empty((count, stage.length, width))
    return _Work(stage, parts, order, pieces, output, traced, plain)


def _piece(work: _Work, piece: slice, noise: Noise | None) -> Traced:
    xp, found, begin = work.stage.backend.xp, list[Array](), 0
    for index in work.order:
        value = work.parts[index].value
        end = begin + int(value.shape[0])
        low, high = max(begin, piece.start), min(end, piece.stop)
        if low < high:
            found.append(value[low - begin : high - begin])
        begin = end
    source = found[0] if len(found) == 1 else xp.concat(tuple(found), axis=0)
    traced = max(0, min(work.traced, piece.stop) - piece.start)
    first = max(0, work.plain - piece.start)
    return work.stage.traced(source, traced, noise, first, None if work.output is None else work.output[piece])


def _handed_out(work: _Work, done: list[Traced]) -> list[Traced]:
    xp = work.stage.backend.xp

    def joined(arrays: list[Array]) -> Array:
        return arrays[0] if len(arrays) == 1 else xp.concat(tuple(arrays), axis=0)

    if not work.parts:
        return []
    output = joined([one.output for one in done]) if work.output is None else work.output
    magnitude, score = joined([one.magnitude for one in done]), joined([one.score for one in done])
    found: dict[int, Traced] = {}
    begin = 0
    for index in work.order:
        end = begin + int(work.parts[index].value.shape[0])
        found[index] = Traced(output[begin:end], magnitude[begin:end], score[begin:end])
        begin = end
    return [found[index] for index in range(len(work.parts))]


def by_tokens(
    backend: Backend, reduced: Callable[[slice], dict[str, Array]], prompts: int, values: Array
) -> dict[str, Host]:
    """What ``reduced`` makes of the tokens of some prompts, one number each: B x T, float64 on the host.

    ``values`` (B x T x channels) is one of the values that it reads. On the host it is given as many tokens as
    fit into a processor's cache, several such runs side by side; off it all tokens, with one wait for all that is
    asked.
    """
    length, channels = int(values.shape[1]), int(values.shape[2])
    count = prompts * length
    if not backend.on_cpu:
        whole = backend.on_host(reduced(slice(0, count)))
    else:
        shares = threads() if count * channels >= _LEAST_SHARED else 1
        pieces = cut(count, _MOST_REDUCED // channels, shares)
        calls = [partial(_quietly, reduced, piece) for piece in pieces]
        done = at_once(calls) if shares > 1 else [call() for call in calls]
        whole = {name: np.concatenate([one[name] for one in done], dtype=np.float64) for name in done[0]}
    return {name: numbers.reshape(prompts, length) for name, numbers in whole.items()}


def tokens_as_rows(values: Array) -> Array:
    """B x T x channels, or B x T, with both first axes as one."""
    return values.reshape((-1, *values.shape[2:]))


def _quietly(reduced: Callable[[slice], dict[str, Array]], piece: slice) -> dict[str, Array]:
    with np.errstate(all="ignore"):  # which every thread has for itself
        return reduced(piece)
