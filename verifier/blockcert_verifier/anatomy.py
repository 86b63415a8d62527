"""The anatomy of a block: which steps are its linear maps, its attention heads and its neurons.

Read off the steps alone, so it serves every architecture that is written in the language. Where a block has no
attention or no neurons of the shape described here, that part is absent and only its linear maps are simplified.
"""

from __future__ import annotations

from msgspec import Struct

from blockcert.program import Activation, Add, Attention, Linear, Multiply, RmsNorm, Rotary, Stage, step_inputs

__all__ = ["Anatomy", "Heads", "Neurons", "dissect"]


class Heads(Struct, frozen=True):
    """Positions of the attention step, of the linear maps that feed it, and of the one map that reads its output."""

    attention: int
    query: int
    key: int
    value: int
    output: int


class Neurons(Struct, frozen=True):
    """Positions of the maps whose rows are the neurons, of the elementwise steps between, and of the map that reads
    the neurons by its columns."""

    inputs: tuple[int, ...]
    between: tuple[int, ...]
    output: int


class Anatomy(Struct, frozen=True):
    """Positions of all linear steps, the heads and neurons where found, and the residual sums: ``sums[i] = (sum,
    other)`` where the linear step ``i`` is only read by the addition at ``sum``, whose other operand is ``other``."""

    linears: tuple[int, ...]
    heads: Heads | None
    neurons: Neurons | None
    sums: dict[int, tuple[int, str]]


def dissect(stage: Stage) -> Anatomy:
    """The anatomy of a block."""
    made = {step.out: i for i, step in enumerate(stage.steps)}
    readers: dict[str, list[int]] = {stage.output: [-1]}
    for i, step in enumerate(stage.steps):
        for name in step_inputs(step):
            readers.setdefault(name, []).append(i)
    linears = tuple(i for i, step in enumerate(stage.steps) if isinstance(step, Linear))
    sums: dict[int, tuple[int, str]] = {}
    for i in linears:
        out = stage.steps[i].out
        reader = stage.steps[readers[out][0]] if readers.get(out, [-1]) != [-1] else None
        if len(readers[out]) == 1 and isinstance(reader, Add):
            sums[i] = (made[reader.out], reader.right if reader.left == out else reader.left)
    return Anatomy(linears, _heads(stage, made, readers), _neurons(stage, made, readers), sums)


def _source(stage: Stage, made: dict[str, int], readers: dict[str, list[int]], name: str) -> int | None:
    """The linear step that ``name`` comes from, through rotary positions and norms in heads only, which keep heads
    apart, and read by nothing else."""
    while name in made and len(readers[name]) == 1:
        step = stage.steps[made[name]]
        if isinstance(step, Linear):
            return made[name]
        if not (isinstance(step, Rotary) or (isinstance(step, RmsNorm) and step.head_size is not None)):
            return None
        name = step.input
    return None


def _heads(stage: Stage, made: dict[str, int], readers: dict[str, list[int]]) -> Heads | None:
    found = [i for i, step in enumerate(stage.steps) if isinstance(step, Attention)]
    if len(found) != 1:
        return None
    step = stage.steps[found[0]]
    query, key, value = (_source(stage, made, readers, name) for name in step_inputs(step))
    after = readers.get(step.out, [])
    if query is None or key is None or value is None or len(after) != 1:
        return None
    if after[0] < 0 or not isinstance(stage.steps[after[0]], Linear):
        return None
    return Heads(found[0], query, key, value, after[0])


def _neurons(stage: Stage, made: dict[str, int], readers: dict[str, list[int]]) -> Neurons | None:
    for i, step in enumerate(stage.steps):
        if not isinstance(step, Linear):
            continue
        inputs: set[int] = set()
        between: set[int] = set()
        open_names = [step.input]
        while open_names:
            name = open_names.pop()
            at = made.get(name)
            if at is None or len(readers[name]) != 1:
                break
            source = stage.steps[at]
            if isinstance(source, Linear):
                inputs.add(at)
            elif isinstance(source, Activation | Multiply):
                between.add(at)
                open_names.extend(step_inputs(source))
            else:
                break
        else:
            if between:
                return Neurons(tuple(sorted(inputs)), tuple(sorted(between)), i)
    return None
