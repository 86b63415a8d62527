"""What each block of a surrogate became: what its heads look at, which neurons it keeps, how its maps are stored.

Read off the program document and the headers of weight files; no weight is read, and no word here is the producer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from blockcert.program import (
    Attention,
    Constant,
    Dense,
    DensePattern,
    Integer,
    Linear,
    LinearMap,
    LowRank,
    MeanPattern,
    OffsetPattern,
    Pattern,
    Program,
    Rows,
    SinkPattern,
    Sparse,
    Stage,
    TensorRef,
    WindowPattern,
)
from blockcert.safetensors_file import TensorInfo
from blockcert.same_program import same_stages
from blockcert_verifier.anatomy import dissect

__all__ = ["BlockMechanism", "HeadMechanism", "Headers", "MapMechanism", "mechanisms", "pattern_words"]

Headers: TypeAlias = Mapping[str, Mapping[str, TensorInfo]]
"""The tensors of each weight file at hand, by the file's name in the program."""

_FORMATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8"}


_QUERY, _KEY, _VALUE = "says what a head looks for", "says by what a token is found", "says what a token hands on"
_HEADS = "adds up what the heads bring"
_NEURON_INPUT, _NEURON_OUTPUT = "drives the MLP's neurons", "adds up what the neurons say"


class HeadMechanism(Struct, frozen=True):
    """One attention head: its number from 0, what it attends to, and that in words. ``as_in_reference`` says that the
    reference's head of that number has the same pattern."""

    head: int
    pattern: Pattern
    words: str
    as_in_reference: bool = False


class MapMechanism(Struct, frozen=True):
    """One linear map. ``rows`` and ``columns`` are its outputs and inputs, ``stored`` the entries of its tensors of
    weights; null where only a file that is not at hand knows them. ``role`` says what the map is for, as the end of a
    sentence that begins with its name; empty where the block's steps do not tell."""

    step: str
    kind: str
    format: str | None
    rows: int | None
    columns: int | None
    stored: int | None
    words: str
    role: str = ""


class BlockMechanism(Struct, frozen=True):
    """One block, counted from 1. ``neurons`` and ``reference_neurons`` are null where the block has no such part or
    only a file that is not at hand knows; heads and maps are left out of a block that is the reference's own.

    ``constants`` are the steps that give the same vector at every position; ``attends`` is false where the reference's
    block has an attention step and this one has none: what attention gave became one constant.
    """

    block: int
    same_program: bool
    heads: tuple[HeadMechanism, ...] = ()
    neurons: int | None = None
    reference_neurons: int | None = None
    maps: tuple[MapMechanism, ...] = ()
    constants: tuple[str, ...] = ()
    attends: bool = True


def pattern_words(pattern: Pattern) -> str:
    """What a head of this pattern does, as the end of a sentence that begins with the head."""
    match pattern:
        case DensePattern():
            return "attends every token so far"
        case WindowPattern(width=width, sinks=sinks):
            last = "its own token" if width == 1 else f"the last {width} tokens"
            first = "" if not sinks else " and the first" if sinks == 1 else f" and the first {sinks}"
            return f"attends {last}{first}"
        case OffsetPattern(back=0):
            return "looks at its own token alone (offset 0)"
        case OffsetPattern(back=1):
            return "looks at the token before (offset 1)"
        case OffsetPattern(back=back):
            return f"looks at the token {back} back (offset {back})"
        case SinkPattern():
            return "looks at the first token alone (sink)"
        case MeanPattern():
            return "gives one constant, whatever the tokens (mean)"


def mechanisms(reference: Program, surrogate: Program, headers: Headers) -> tuple[BlockMechanism, ...]:
    """The mechanisms of every block of ``surrogate``; both programs are well formed and of as many stages."""
    same = same_stages(reference, surrogate)
    found: list[BlockMechanism] = []
    for i in range(1, len(same) - 1):
        if same[i]:
            found.append(BlockMechanism(i, True))
            continue
        stage = surrogate.stages[i]
        steps = [step for step in stage.steps if isinstance(step, Attention)]
        attends = bool(steps) or not any(isinstance(step, Attention) for step in reference.stages[i].steps)
        before = [step.patterns for step in reference.stages[i].steps if isinstance(step, Attention)]
        heads = tuple(
            HeadMechanism(h, p, pattern_words(p), _stands(p, h, before))
            for s in steps
            for h, p in enumerate(s.patterns)
        )
        roles = _roles(stage)
        maps = tuple(
            _map(step, headers, roles.get(at, "")) for at, step in enumerate(stage.steps) if isinstance(step, Linear)
        )
        of = _neurons(reference.stages[i], headers)
        constants = tuple(step.out for step in stage.steps if isinstance(step, Constant))
        found.append(BlockMechanism(i, False, heads, _neurons(stage, headers), of, maps, constants, attends))
    return tuple(found)


def _stands(pattern: Pattern, head: int, before: list[tuple[Pattern, ...]]) -> bool:
    return len(before) == 1 and head < len(before[0]) and before[0][head] == pattern


def _roles(stage: Stage) -> dict[int, str]:
    """What the linear maps of a block are for, by the position of their steps."""
    anatomy = dissect(stage)
    found: dict[int, str] = {}
    if anatomy.heads is not None:
        heads = anatomy.heads
        found |= {heads.query: _QUERY, heads.key: _KEY, heads.value: _VALUE, heads.output: _HEADS}
    if anatomy.neurons is not None:
        found |= dict.fromkeys(anatomy.neurons.inputs, _NEURON_INPUT)
        found[anatomy.neurons.output] = _NEURON_OUTPUT
    return found


def _neurons(stage: Stage, headers: Headers) -> int | None:
    neurons = dissect(stage).neurons
    if neurons is None:
        return None
    step = stage.steps[neurons.output]
    assert isinstance(step, Linear)  # noqa: S101 - by the anatomy
    return _widths(step.map, headers)[1]


def _shape(reference: TensorRef, headers: Headers) -> tuple[int | None, ...]:
    """Rows and columns after the ranges and the transpose; None where the file is not at hand and no range says."""
    info = headers.get(reference.file, {}).get(reference.tensor)
    stored: list[int | None] = [None, None] if info is None else [*info.shape]
    for axis, bounds in enumerate((reference.rows, reference.columns)):
        if bounds is not None and axis < len(stored):
            length, periods = stored[axis], 1
            if axis == 0 and reference.period is not None:
                periods = None if length is None else length // reference.period
            stored[axis] = _product(periods, bounds[1] - bounds[0])
    return tuple(reversed(stored) if reference.transpose else stored)


def _two(reference: TensorRef, headers: Headers) -> tuple[int | None, int | None]:
    shape = _shape(reference, headers)
    return (shape[0], shape[1]) if len(shape) == 2 else (None, None)


def _widths(linear: LinearMap, headers: Headers) -> tuple[int | None, int | None]:
    """Outputs and inputs of a map."""
    match linear:
        case Dense():
            return _two(linear.weight, headers)
        case Sparse():
            return linear.shape
        case LowRank():
            return _two(linear.left, headers)[0], _two(linear.right, headers)[1]
        case Rows():
            return linear.size, _two(linear.weight, headers)[1]
        case Integer():
            return _two(linear.values, headers)


def _format(reference: TensorRef, headers: Headers) -> str | None:
    info = headers.get(reference.file, {}).get(reference.tensor)
    return None if info is None else _FORMATS.get(info.dtype, info.dtype)


def _product(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left * right


def _map(step: Linear, headers: Headers, role: str) -> MapMechanism:
    linear = step.map
    rows, columns = _widths(linear, headers)
    stored: int | None
    match linear:
        case Dense():
            form, stored, kind, how = _format(linear.weight, headers), _product(rows, columns), "dense", ""
        case Sparse():
            stored = _shape(linear.values, headers)[0]
            form = _format(linear.values, headers)
            if linear.scale is not None:
                form = f"{form or 'integers'}, a scale per row"
            kind, how = "sparse", "" if stored is None else f"{_share(stored, linear.shape)} of the weights kept"
        case LowRank():
            form, rank = _format(linear.left, headers), _two(linear.left, headers)[1]
            size = None if rows is None or columns is None else rows + columns
            stored, kind, how = _product(rank, size), "low_rank", "low rank" if rank is None else f"rank {rank}"
        case Rows():
            form, kept = _format(linear.weight, headers), _two(linear.weight, headers)[0]
            stored, kind = _product(kept, columns), "rows"
            how = "some rows kept" if kept is None else f"{kept} of {linear.size} rows kept"
        case Integer():
            per = "row" if linear.group is None else f"{linear.group} weights of a row"
            form, stored, kind, how = f"int{linear.bits}, a scale per {per}", _product(rows, columns), "int", ""
    words = ", ".join(part for part in (form or "in a file that is not at hand", how) if part)
    return MapMechanism(step.out, kind, form, rows, columns, stored, words, role)


def _share(stored: int, shape: tuple[int, int]) -> str:
    whole, tenth = divmod(stored * 1000 // (shape[0] * shape[1]), 10)
    return f"{whole}.{tenth} %"
