"""Well-formed programs: what a program document must satisfy beyond its schema (`spec/05-programs.md`).

Everything here is decided from the document alone, without a weight file: names, files, numbers, heads, and
every width that the document itself fixes. What only a weight file knows is checked when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice

from blockcert.errors import Refusal
from blockcert.names import shown
from blockcert.program import (
    Add,
    Attention,
    Constant,
    Dense,
    Embed,
    Integer,
    LayerNorm,
    Linear,
    LinearMap,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    LowRank,
    MeanPattern,
    Multiply,
    Positions,
    Program,
    ProportionalScaling,
    RmsNorm,
    Rotary,
    Rows,
    SoftCap,
    Sparse,
    Stage,
    Step,
    Take,
    TensorRef,
    YarnScaling,
    step_inputs,
    step_references,
)

__all__ = ["MOST_PROBLEMS", "REFERENCE_PREFIX", "problems"]

REFERENCE_PREFIX = "reference/"
"""Files of the reference checkpoint are named so; they stay outside the bundle."""

MOST_PROBLEMS = 999
"""Problems of one document that are listed one by one."""

Width = int | None
"""A number of channels; None where only a weight file knows it."""


def problems(program: Program, place: str, *, reference: bool) -> list[Refusal]:
    """What is wrong with `program`, in the order of the document; empty where it is well formed.

    The first :data:`MOST_PROBLEMS` are listed and the others counted in one more: a small document can repeat a step
    that is wrong a million times.

    `place` is the document's file name. `reference` says that this is the lifted reference, which may draw on
    files of the reference checkpoint only: with weights of the producer's own it would be something else.
    """
    found = chain(_files(program, place, reference), _stages(program, place))
    listed = [*islice(found, MOST_PROBLEMS)]
    following = next(found, None)
    if following is not None:
        more = 1 + sum(1 for _ in found)
        listed.append(Refusal(following.code, following.place, f"and {more} more such problems"))
    return listed


def _files(program: Program, place: str, reference: bool) -> Iterator[Refusal]:
    seen: set[str] = set()
    for i, file in enumerate(program.files):
        at = f"{place}: $.files[{i}]"
        if file.name.casefold() in seen:
            yield Refusal("program.file.duplicate", at, f"{shown(file.name)} is listed twice")
        seen.add(file.name.casefold())
        if reference and not file.name.startswith(REFERENCE_PREFIX):
            yield Refusal(
                "program.file.foreign",
                at,
                f"the reference program draws on {shown(file.name)}, which is not a file of the reference "
                f"checkpoint ({REFERENCE_PREFIX}...)",
            )
    used = {ref.file for stage in program.stages for step in stage.steps for ref in step_references(step)}
    for i, file in enumerate(program.files):
        if file.name not in used:
            yield Refusal("program.file.unused", f"{place}: $.files[{i}]", f"no step reads {shown(file.name)}")


def _stages(program: Program, place: str) -> Iterator[Refusal]:
    last = len(program.stages) - 1
    listed = {file.name for file in program.files}
    for i, stage in enumerate(program.stages):
        at = f"{place}: $.stages[{i}]"
        expected = "embedding" if i == 0 else "head" if i == last else "block"
        if stage.kind != expected:
            yield Refusal(
                "program.stage.order",
                at,
                f"stage {i} of {last + 1} is of kind {stage.kind!r} and must be {expected!r}: a program is "
                "its embedding, its blocks, its head",
            )
        yield from _steps(program, stage, at, listed)


def _steps(program: Program, stage: Stage, at: str, listed: set[str]) -> Iterator[Refusal]:
    given = "tokens" if stage.kind == "embedding" else "hidden"
    widths: dict[str, Width] = {given: None if given == "tokens" else program.hidden_size}
    read: set[str] = {stage.output}
    for j, step in enumerate(stage.steps):
        here = f"{at}.steps[{j}]"
        for name in step_inputs(step):
            read.add(name)
            if name not in widths:
                yield Refusal(
                    "program.value.undefined",
                    here,
                    f"{step.out!r} reads {name!r}, which no earlier step of this stage defines",
                )
            elif name == "tokens" and not isinstance(step, Embed | Positions):
                # token numbers are no T x c value; only these two look them up, and neither names them
                yield Refusal(
                    "program.value.undefined",
                    here,
                    f"{step.out!r} reads 'tokens', which only embed and positions do; read what they give",
                )
        if step.out in widths or step.out in ("tokens", "hidden"):
            yield Refusal(
                "program.value.redefined", here, f"{step.out!r} is defined twice; each value is assigned once"
            )
        for ref in step_references(step):
            yield from _reference(ref, here, listed)
        yield from _numbers(step, here)
        width, complaint = _width(step, widths, program)
        if complaint:
            yield Refusal("program.width.mismatch", here, complaint)
        widths[step.out] = width
    yield from _result(program, stage, at, widths, read)


def _result(program: Program, stage: Stage, at: str, widths: dict[str, Width], read: set[str]) -> Iterator[Refusal]:
    if stage.output not in widths or stage.output == "tokens":
        yield Refusal("program.value.undefined", at, f"the output {stage.output!r} is not defined by any step")
        return
    wanted = program.vocabulary if stage.kind == "head" else program.hidden_size
    found = widths[stage.output]
    if found is not None and found != wanted:
        yield Refusal(
            "program.width.mismatch",
            at,
            f"the output {stage.output!r} has {found} channels and must have {wanted}",
        )
    for j, step in enumerate(stage.steps):
        if step.out not in read:
            # a step that nothing reads would still be counted in what the program costs
            yield Refusal("program.value.unused", f"{at}.steps[{j}]", f"nothing reads {step.out!r}")


def _reference(ref: TensorRef, here: str, listed: set[str]) -> Iterator[Refusal]:
    if ref.file not in listed:
        yield Refusal(
            "program.file.unlisted",
            here,
            f"tensor {shown(ref.tensor)} is in {shown(ref.file)}, which $.files does not list",
        )
    if ref.period is not None and (ref.rows is None or ref.rows[1] > ref.period):
        rows = "there are none" if ref.rows is None else f"they run to {ref.rows[1]}"
        yield Refusal(
            "program.tensor.range",
            here,
            f"the rows of {ref.tensor!r} are to be those of every {ref.period}, but {rows}",
        )
    for axis, bounds in (("rows", ref.rows), ("columns", ref.columns)):
        if bounds is not None and bounds[0] >= bounds[1]:
            yield Refusal(
                "program.tensor.range",
                here,
                f"the {axis} of {ref.tensor!r} run from {bounds[0]} to {bounds[1]}: empty",
            )


def _numbers(step: Step, here: str) -> Iterator[Refusal]:
    match step:
        case RmsNorm() | LayerNorm():
            yield from _at_least(step.eps, "eps", here, zero=True)
        case SoftCap():
            yield from _at_least(step.cap, "cap", here)
        case Attention():
            yield from _at_least(step.denominator_squared, "denominator_squared", here)
            if step.cap is not None:
                yield from _at_least(step.cap, "cap", here)
            yield from _heads(step, here)
        case Rotary():
            yield from _at_least(step.theta, "theta", here)
            if step.size % 2 or step.size > step.head_size:
                yield Refusal(
                    "program.rotary.size",
                    here,
                    f"{step.size} rotated channels in a head of {step.head_size}: must be even and fit",
                )
            yield from _scaling(step, here)
        case _:
            return


def _scaling(step: Rotary, here: str) -> Iterator[Refusal]:
    match step.scaling:
        case LinearScaling():
            yield from _at_least(step.scaling.factor, "scaling.factor", here)
        case Llama3Scaling():
            low, high = step.scaling.low_frequency_factor, step.scaling.high_frequency_factor
            yield from _at_least(step.scaling.factor, "scaling.factor", here)
            yield from _at_least(low, "scaling.low_frequency_factor", here)
            if Fraction(high) <= Fraction(low):
                yield Refusal(
                    "program.number.range",
                    here,
                    f"scaling.high_frequency_factor {high} must be above low_frequency_factor {low}",
                )
        case YarnScaling():
            yield from _at_least(step.scaling.factor, "scaling.factor", here)
            yield from _at_least(step.scaling.attention_factor, "scaling.attention_factor", here)
            yield from _at_least(step.scaling.ramp_from, "scaling.ramp_from", here, zero=True)
            if Fraction(step.scaling.ramp_to) <= Fraction(step.scaling.ramp_from):
                yield Refusal(
                    "program.number.range",
                    here,
                    f"scaling.ramp_to {step.scaling.ramp_to} must be above ramp_from {step.scaling.ramp_from}",
                )
        case LongRopeScaling():
            yield from _at_least(step.scaling.attention_factor, "scaling.attention_factor", here)
            yield from _divisors(step, "short", step.scaling.short, here)
            yield from _divisors(step, "long", step.scaling.long, here)
        case ProportionalScaling():
            yield from _at_least(step.scaling.factor, "scaling.factor", here)
            if step.scaling.turned > step.size // 2:
                yield Refusal(
                    "program.rotary.size",
                    here,
                    f"scaling.turned is {step.scaling.turned}, and {step.size} rotated channels have "
                    f"{step.size // 2} frequencies",
                )
        case None:
            return


def _divisors(step: Rotary, name: str, listed: tuple[str, ...], here: str) -> Iterator[Refusal]:
    """One complaint at most of each kind: a list may have thousands of entries."""
    if len(listed) != step.size // 2:
        yield Refusal(
            "program.rotary.size",
            here,
            f"scaling.{name} has {len(listed)} entries, and {step.size} rotated channels have "
            f"{step.size // 2} frequencies",
        )
    for j, text in enumerate(listed):
        if Fraction(text) <= 0:
            yield from _at_least(text, f"scaling.{name}[{j}]", here)
            return


def _at_least(text: str, name: str, here: str, *, zero: bool = False) -> Iterator[Refusal]:
    value = Fraction(text)
    if value < 0 or (value == 0 and not zero):
        yield Refusal("program.number.range", here, f"{name} is {text} and must be {'at least' if zero else 'above'} 0")


def _heads(step: Attention, here: str) -> Iterator[Refusal]:
    if len(step.patterns) != step.heads:
        yield Refusal(
            "program.attention.patterns",
            here,
            f"{step.heads} heads, but {len(step.patterns)} attention patterns",
        )
    if step.heads % step.key_value_heads:
        yield Refusal(
            "program.attention.heads",
            here,
            f"{step.heads} heads cannot share {step.key_value_heads} key and value heads evenly",
        )
    needs = any(isinstance(pattern, MeanPattern) for pattern in step.patterns)
    if needs != (step.means is not None):
        what = "a head has the pattern mean, but there is no tensor of means"
        yield Refusal(
            "program.attention.means",
            here,
            what if needs else "a tensor of means is given, but no head reads it",
        )


# --- widths -------------------------------------------------------------------------------------------


def _stored(ref: TensorRef) -> tuple[Width, Width]:
    """Rows and columns of a reference where its ranges fix them, after the transpose."""
    rows = ref.rows[1] - ref.rows[0] if ref.rows and ref.period is None else None
    columns = ref.columns[1] - ref.columns[0] if ref.columns else None
    return (columns, rows) if ref.transpose else (rows, columns)


def _map_widths(linear: LinearMap) -> tuple[Width, Width]:
    """Outputs and inputs of a linear map."""
    match linear:
        case Dense():
            return _stored(linear.weight)
        case Sparse():
            return linear.shape
        case LowRank():
            return _stored(linear.left)[0], _stored(linear.right)[1]
        case Rows():
            return linear.size, _stored(linear.weight)[1]
        case Integer():
            return _stored(linear.values)


def _width(step: Step, widths: dict[str, Width], program: Program) -> tuple[Width, str]:
    """The width of a step's value and, where widths contradict each other, the sentence that says so."""
    inputs = [widths.get(name) for name in step_inputs(step)]
    match step:
        case Embed():
            rows, width = _stored(step.weight)
            if rows is not None and rows != program.vocabulary:
                return width, f"{rows} rows are embedded, but the vocabulary has {program.vocabulary} tokens"
            return width, ""
        case Add() | Multiply():
            left, right = inputs
            if left is not None and right is not None and left != right:
                return left, f"{step.left!r} has {left} channels and {step.right!r} has {right}"
            return left or right, ""
        case Linear():
            outputs, expected = _map_widths(step.map)
            if expected is not None and inputs[0] is not None and expected != inputs[0]:
                return outputs, f"the map reads {expected} channels, but {step.input!r} has {inputs[0]}"
            return outputs, ""
        case Rotary() | RmsNorm(head_size=int()):
            size = step.head_size
            if inputs[0] is not None and size is not None and inputs[0] % size:
                return inputs[0], f"{step.input!r} has {inputs[0]} channels: not a multiple of {size}"
            return inputs[0], ""
        case Attention():
            wide, narrow = step.heads * step.head_size, step.key_value_heads * step.head_size
            for name, found, wanted in zip(step_inputs(step), inputs, (wide, narrow, narrow), strict=True):
                if found is not None and found != wanted:
                    return wide, f"{name!r} has {found} channels and attention needs {wanted}"
            return wide, ""
        case Positions() | Take() | Constant():
            return None, ""
        case _:
            return inputs[0], ""
