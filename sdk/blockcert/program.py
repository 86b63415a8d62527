"""Block programs: the small language in which both sides of a certificate are written.

The normative text is ``spec/05-programs.md``; the JSON Schema is ``schemas/program.schema.json``. A program is a
list of stages: the embedding (tokens to hidden state), the blocks (hidden state to hidden state), the head (hidden
state to logits). A stage is a short list of typed steps in single-assignment form. A hidden state is ``T x d``.
Weights are references into safetensors files; numbers are decimal strings.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from blockcert.printable import PRINTABLE

__all__ = [
    "Activation",
    "Add",
    "Attention",
    "Constant",
    "Dense",
    "DensePattern",
    "Embed",
    "FileRef",
    "Integer",
    "LayerNorm",
    "Linear",
    "LinearMap",
    "LinearScaling",
    "Llama3Scaling",
    "LongRopeScaling",
    "LowRank",
    "MeanPattern",
    "Multiply",
    "OffsetPattern",
    "Pattern",
    "Positions",
    "Program",
    "ProportionalScaling",
    "RmsNorm",
    "Rotary",
    "Rows",
    "Scaling",
    "SinkPattern",
    "SoftCap",
    "Sparse",
    "Stage",
    "Step",
    "Take",
    "TensorRef",
    "WindowPattern",
    "YarnScaling",
    "amplitude",
    "attends",
    "step_inputs",
    "step_references",
]

Decimal: TypeAlias = Annotated[
    str, Meta(max_length=82, pattern=r"^(?!-0\Z)-?(0|[1-9][0-9]{0,39})(\.[0-9]{0,39}[1-9])?\Z")
]
"""A decimal string of ``spec/03-numbers.md``: one spelling for each value."""
Hash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*\Z")]
FileName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512, pattern=PRINTABLE)]
TensorName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512, pattern=PRINTABLE)]
Width: TypeAlias = Annotated[int, Meta(ge=1, le=1 << 22)]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 40)]
Size: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 53)]


class _Record(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Frozen, closed to unknown fields, and silent about defaults."""


class FileRef(_Record, frozen=True):
    """One weight file a program draws on.

    ``name`` begins with ``reference/`` for a file of the reference checkpoint (which stays outside the bundle);
    every other name is a path inside the bundle.
    """

    name: FileName
    size: Size
    blake3: Hash


class TensorRef(_Record, frozen=True):
    """A tensor of a file: ``file`` and ``tensor`` name it, ``rows`` and ``columns`` are half-open ranges of the
    stored tensor, and ``transpose`` applies after them. With ``period`` the rows are those of every period: row ``r``
    where ``rows[0] <= r mod period < rows[1]``, as in matrices whose heads lie query, key, value side by side."""

    file: FileName
    tensor: TensorName
    rows: tuple[Index, Index] | None = None
    columns: tuple[Index, Index] | None = None
    transpose: bool = False
    period: Width | None = None


# --- linear maps: W in R^(out x in), applied to every token as x -> W x -----------------------------------------


class Dense(_Record, frozen=True, tag_field="kind", tag="dense"):
    """``W`` is the stored matrix, ``out x in``; float64, float32, float16 or bfloat16."""

    weight: TensorRef


class Sparse(_Record, frozen=True, tag_field="kind", tag="sparse"):
    """``W`` in compressed rows: row ``o`` has ``values[row_starts[o]:row_starts[o+1]]`` at those ``columns``
    (strictly increasing within a row); with ``scale`` (one per row) the values are multiplied by it."""

    shape: tuple[Width, Width]
    values: TensorRef
    columns: TensorRef
    row_starts: TensorRef
    scale: TensorRef | None = None


class LowRank(_Record, frozen=True, tag_field="kind", tag="low_rank"):
    """``W = left right`` with ``left`` of shape ``out x r`` and ``right`` of shape ``r x in``."""

    left: TensorRef
    right: TensorRef


class Rows(_Record, frozen=True, tag_field="kind", tag="rows"):
    """``W`` has ``size`` rows, of which ``indices`` (strictly increasing) are the rows of ``weight``; the others
    are zero."""

    size: Width
    indices: TensorRef
    weight: TensorRef


class Integer(_Record, frozen=True, tag_field="kind", tag="int"):
    """``W[o, i] = scale[o, i // group] * (values[o, i] - zero_point[o, i // group])``.

    ``values`` are stored as int8 and lie in ``[-2^(bits-1), 2^(bits-1) - 1]``. Without ``group`` the scale has one
    entry per row, shape ``out``; with it, shape ``out x ceil(in / group)``. Without ``zero_point`` it is 0.
    """

    bits: Literal[4, 6, 8]
    values: TensorRef
    scale: TensorRef
    group: Width | None = None
    zero_point: TensorRef | None = None


LinearMap: TypeAlias = Dense | Sparse | LowRank | Rows | Integer


# --- what a head attends to -------------------------------------------------------------------------------------


class DensePattern(_Record, frozen=True, tag_field="kind", tag="dense"):
    """Position ``t`` attends to every ``s <= t``."""


class WindowPattern(_Record, frozen=True, tag_field="kind", tag="window"):
    """Position ``t`` attends to ``s <= t`` with ``t - s < width`` or ``s < sinks``."""

    width: Width
    sinks: Annotated[int, Meta(ge=0, le=1 << 20)] = 0


class OffsetPattern(_Record, frozen=True, tag_field="kind", tag="offset"):
    """Position ``t`` attends to the one position ``max(0, t - back)``: the head gives the value that stands there."""

    back: Annotated[int, Meta(ge=0, le=1 << 20)]


class SinkPattern(_Record, frozen=True, tag_field="kind", tag="sink"):
    """Every position attends to position 0 alone: the head gives the value of the first token."""


class MeanPattern(_Record, frozen=True, tag_field="kind", tag="mean"):
    """The head attends to nothing: its output at every position is its row of ``means``."""


Pattern: TypeAlias = DensePattern | WindowPattern | OffsetPattern | SinkPattern | MeanPattern


class LinearScaling(_Record, frozen=True, tag_field="kind", tag="linear"):
    """Every rotary frequency is divided by ``factor``."""

    factor: Decimal


class Llama3Scaling(_Record, frozen=True, tag_field="kind", tag="llama3"):
    """Llama 3's rotary scaling: long wavelengths divided by ``factor``, short ones kept, a ramp between."""

    factor: Decimal
    low_frequency_factor: Decimal
    high_frequency_factor: Decimal
    original_context: Width


class YarnScaling(_Record, frozen=True, tag_field="kind", tag="yarn"):
    """YaRN's rotary scaling: frequency ``j`` is kept up to ``ramp_from`` and divided by ``factor`` from ``ramp_to`` on,
    with a ramp between; what is rotated is multiplied by ``attention_factor``."""

    factor: Decimal
    ramp_from: Decimal
    ramp_to: Decimal
    attention_factor: Decimal


Divisors: TypeAlias = Annotated[tuple[Decimal, ...], Meta(min_length=1, max_length=1 << 12)]
"""A positive number for each rotary frequency, the fastest first."""


class LongRopeScaling(_Record, frozen=True, tag_field="kind", tag="longrope"):
    """LongRoPE's rotary scaling: frequency ``j`` is divided by ``short[j]`` in a prompt of at most ``original_context``
    tokens and by ``long[j]`` in a longer one; what is rotated is multiplied by ``attention_factor``."""

    short: Divisors
    long: Divisors
    original_context: Width
    attention_factor: Decimal


class ProportionalScaling(_Record, frozen=True, tag_field="kind", tag="proportional"):
    """Proportional rotary positions: the first ``turned`` frequencies are divided by ``factor``, the others are 0."""

    factor: Decimal
    turned: Annotated[int, Meta(ge=0, le=1 << 22)]


Scaling: TypeAlias = LinearScaling | Llama3Scaling | YarnScaling | LongRopeScaling | ProportionalScaling


# --- steps ------------------------------------------------------------------------------------------------------


class _Step(_Record, frozen=True, tag_field="op"):
    out: Name


class Embed(_Step, frozen=True, tag="embed"):
    """Row ``token[t]`` of ``weight`` (vocabulary x d), times ``scale`` where given."""

    weight: TensorRef
    scale: Decimal | None = None


class Positions(_Step, frozen=True, tag="positions"):
    """Row ``t`` of ``weight`` (context x d), counted from 0."""

    weight: TensorRef


class Add(_Step, frozen=True, tag="add"):
    """The sum of two values of one width."""

    left: Name
    right: Name


class Multiply(_Step, frozen=True, tag="multiply"):
    """The elementwise product of two values of one width."""

    left: Name
    right: Name


class RmsNorm(_Step, frozen=True, tag="rms_norm"):
    """``x / sqrt(mean(x^2) + eps) * (offset + weight)``; with ``head_size`` in every head of so many channels by
    itself, all under the one ``weight`` of that size."""

    input: Name
    weight: TensorRef
    eps: Decimal
    offset: Decimal = "0"
    head_size: Width | None = None


class LayerNorm(_Step, frozen=True, tag="layer_norm"):
    """``(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias``, the variance without Bessel's correction."""

    input: Name
    weight: TensorRef
    eps: Decimal
    bias: TensorRef | None = None


class Linear(_Step, frozen=True, tag="linear"):
    """``W x + bias`` for every token."""

    input: Name
    map: LinearMap
    bias: TensorRef | None = None


class Rotary(_Step, frozen=True, tag="rotary"):
    """Rotary positions, half-split: in every head the first ``size`` of ``head_size`` channels are rotated, channel
    ``j < size/2`` with channel ``j + size/2``, by the angle ``t * theta^(-2j/size)`` (scaled where ``scaling`` says,
    under LongRoPE by how long the prompt is).
    """

    input: Name
    head_size: Width
    size: Width
    theta: Decimal
    scaling: Scaling | None = None


class Activation(_Step, frozen=True, tag="activation"):
    """An elementwise function: exact gelu, its tanh form, silu or relu."""

    input: Name
    function: Literal["gelu", "gelu_tanh", "silu", "relu"]


class Attention(_Step, frozen=True, tag="attention"):
    """Causal attention with grouped heads.

    Head ``h`` reads key and value head ``h // (heads / key_value_heads)``; its weights over the positions of its
    pattern are ``softmax(q . k / sqrt(denominator_squared))``; its output stands in channels
    ``[h * head_size, (h+1) * head_size)``. ``means`` (heads x head_size) is read for ``mean`` heads only. With ``cap``
    a score ``s`` is ``cap * tanh(s / cap)`` before the softmax.
    """

    query: Name
    key: Name
    value: Name
    heads: Width
    key_value_heads: Width
    head_size: Width
    denominator_squared: Decimal
    patterns: tuple[Pattern, ...]
    means: TensorRef | None = None
    cap: Decimal | None = None


class SoftCap(_Step, frozen=True, tag="soft_cap"):
    """``cap * tanh(x / cap)``."""

    input: Name
    cap: Decimal


class Take(_Step, frozen=True, tag="take"):
    """The channels ``indices`` of a value, in that order."""

    input: Name
    indices: TensorRef


class Constant(_Step, frozen=True, tag="constant"):
    """The same vector at every position."""

    value: TensorRef


Step: TypeAlias = (
    Embed
    | Positions
    | Add
    | Multiply
    | RmsNorm
    | LayerNorm
    | Linear
    | Rotary
    | Activation
    | Attention
    | SoftCap
    | Take
    | Constant
)


class Stage(_Record, frozen=True):
    """One stage. The embedding reads ``tokens``, every other stage ``hidden``; ``output`` names its result."""

    kind: Literal["embedding", "block", "head"]
    steps: Annotated[tuple[Step, ...], Meta(max_length=256)]
    output: Name


class Program(_Record, frozen=True):
    """A whole transformer: stage 0 is the embedding, stages ``1 .. n`` the blocks, stage ``n + 1`` the head."""

    version: Literal["1.0"]
    architecture: Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTABLE)]
    hidden_size: Width
    vocabulary: Width
    context: Width
    files: Annotated[tuple[FileRef, ...], Meta(max_length=4096)]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=3, max_length=4096)]

    @property
    def blocks(self) -> int:
        """The number ``n`` of blocks."""
        return len(self.stages) - 2


def attends(pattern: Pattern) -> bool:
    """Whether a head of this pattern weighs positions by its queries and keys; the others ask for neither."""
    return isinstance(pattern, DensePattern | WindowPattern)


def amplitude(scaling: Scaling | None) -> str | None:
    """What a rotary step multiplies the channels by that it turns, a decimal string; None where it is 1."""
    return scaling.attention_factor if isinstance(scaling, YarnScaling | LongRopeScaling) else None


def step_inputs(step: Step) -> tuple[str, ...]:
    """The names of the values a step reads (``tokens`` for the two that read token positions)."""
    match step:
        case Embed() | Positions():
            return ("tokens",)
        case Constant():
            return ()
        case Add() | Multiply():
            return (step.left, step.right)
        case Attention():
            return (step.query, step.key, step.value)
        case _:
            return (step.input,)


def _map_references(linear: LinearMap) -> tuple[TensorRef | None, ...]:
    match linear:
        case Dense():
            return (linear.weight,)
        case Sparse():
            return (linear.values, linear.columns, linear.row_starts, linear.scale)
        case LowRank():
            return (linear.left, linear.right)
        case Rows():
            return (linear.indices, linear.weight)
        case Integer():
            return (linear.values, linear.scale, linear.zero_point)


def step_references(step: Step) -> tuple[TensorRef, ...]:
    """Every tensor a step reads, in the order of its fields."""
    found: tuple[TensorRef | None, ...]
    match step:
        case Embed() | Positions():
            found = (step.weight,)
        case RmsNorm():
            found = (step.weight,)
        case LayerNorm():
            found = (step.weight, step.bias)
        case Linear():
            found = (*_map_references(step.map), step.bias)
        case Attention():
            found = (step.means,)
        case Take():
            found = (step.indices,)
        case Constant():
            found = (step.value,)
        case _:
            found = ()
    return tuple(reference for reference in found if reference is not None)
