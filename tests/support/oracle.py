"""A second evaluator of block programs, deliberately plain: the oracle of the first.

Loops over tokens, heads and positions, one vector at a time, in float64, straight from ``spec/05-programs.md``.
It shares nothing with the verifier's evaluator, not even the reading of safetensors. It checks no input.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from safetensors import deserialize

from blockcert.program import (
    Activation,
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
    OffsetPattern,
    Positions,
    Program,
    ProportionalScaling,
    RmsNorm,
    Rotary,
    Rows,
    SinkPattern,
    SoftCap,
    Sparse,
    Stage,
    Step,
    Take,
    TensorRef,
    WindowPattern,
    YarnScaling,
)

Vector = np.ndarray
Value = list[Vector]
"""One vector per token."""

_FORMATS = {
    "F64": "d",
    "F32": "f",
    "F16": "e",
    "I64": "q",
    "I32": "i",
    "I16": "h",
    "I8": "b",
    "U8": "B",
    "U16": "H",
    "U32": "I",
}


def reference_files(folder: Path, prefix: str = "reference/") -> dict[str, Path]:
    """The safetensors files of a checkpoint under the names that a lifted program gives them."""
    return {prefix + path.name: path for path in folder.glob("*.safetensors")}


class Oracle:
    """Runs one program whose file references lie at ``files``."""

    def __init__(self, program: Program, files: Mapping[str, Path]) -> None:
        self.program = program
        self.files = files
        self._opened: dict[str, dict[str, np.ndarray]] = {}

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """The logits, ``T x vocabulary``."""
        return self.stages(tokens)[-1]

    def stages(self, tokens: Sequence[int]) -> list[np.ndarray]:
        """The output of every stage in its turn: hidden states ``T x d``, at last the logits."""
        hidden: Value = []
        outputs: list[np.ndarray] = []
        for stage in self.program.stages:
            hidden = self.stage(stage, tokens, hidden)
            outputs.append(np.stack(hidden))
        return outputs

    def stage(self, stage: Stage, tokens: Sequence[int], hidden: Sequence[Vector]) -> Value:
        """The output of one stage on ``tokens`` (the embedding) or ``hidden`` (every other stage)."""
        values: dict[str, Value] = {}
        length = len(tokens)
        if stage.kind != "embedding":
            values["hidden"] = list(hidden)
            length = len(hidden)
        for step in stage.steps:
            values[step.out] = self.step(step, tokens, length, values)
        return values[stage.output]

    def step(self, step: Step, tokens: Sequence[int], length: int, values: dict[str, Value]) -> Value:
        """The value of one step at ``length`` positions."""
        match step:
            case Embed():
                weight = self.tensor(step.weight)
                scale = 1.0 if step.scale is None else _number(step.scale)
                return [scale * weight[token] for token in tokens]
            case Positions():
                weight = self.tensor(step.weight)
                return [weight[t] for t in range(length)]
            case Add():
                return [a + b for a, b in zip(values[step.left], values[step.right], strict=True)]
            case Multiply():
                return [a * b for a, b in zip(values[step.left], values[step.right], strict=True)]
            case RmsNorm():
                weight = self.tensor(step.weight)
                size = step.head_size or len(weight)
                return [
                    np.concatenate([self._rms_norm(x[i : i + size], weight, step) for i in range(0, len(x), size)])
                    for x in values[step.input]
                ]
            case LayerNorm():
                weight = self.tensor(step.weight)
                bias = None if step.bias is None else self.tensor(step.bias)
                return [self._layer_norm(x, weight, bias, step) for x in values[step.input]]
            case Linear():
                matrix = self.matrix(step.map)
                bias = np.zeros(len(matrix)) if step.bias is None else self.tensor(step.bias)
                return [matrix @ x + bias for x in values[step.input]]
            case Rotary():
                return [_rotate(x, t, step, length) for t, x in enumerate(values[step.input])]
            case Activation():
                function = _FUNCTIONS[step.function]
                return [np.array([function(float(c)) for c in x]) for x in values[step.input]]
            case Attention():
                return self._attention(step, values, length)
            case SoftCap():
                cap = _number(step.cap)
                return [np.array([cap * math.tanh(float(c) / cap) for c in x]) for x in values[step.input]]
            case Take():
                indices = [int(i) for i in self.tensor(step.indices)]
                return [np.array([x[i] for i in indices]) for x in values[step.input]]
            case Constant():
                vector = self.tensor(step.value)
                return [vector.copy() for _ in range(length)]

    @staticmethod
    def _rms_norm(x: Vector, weight: Vector, step: RmsNorm) -> Vector:
        mean_square = math.fsum(float(c) * float(c) for c in x) / len(x)
        return x / math.sqrt(mean_square + _number(step.eps)) * (_number(step.offset) + weight)

    @staticmethod
    def _layer_norm(x: Vector, weight: Vector, bias: Vector | None, step: LayerNorm) -> Vector:
        mean = math.fsum(float(c) for c in x) / len(x)
        variance = math.fsum((float(c) - mean) ** 2 for c in x) / len(x)
        scaled = (x - mean) / math.sqrt(variance + _number(step.eps)) * weight
        return scaled if bias is None else scaled + bias

    def _attention(self, step: Attention, values: dict[str, Value], length: int) -> Value:
        size, share = step.head_size, step.heads // step.key_value_heads
        root = math.sqrt(_number(step.denominator_squared))
        means = None if step.means is None else self.tensor(step.means)
        out: Value = []
        for t in range(length):
            heads: list[Vector] = []
            for h, pattern in enumerate(step.patterns):
                if isinstance(pattern, MeanPattern):
                    assert means is not None
                    heads.append(means[h])
                    continue
                g = h // share
                query = values[step.query][t][h * size : (h + 1) * size]
                seen = [s for s in range(t + 1) if _sees(pattern, t, s)]
                scores = [float(query @ values[step.key][s][g * size : (g + 1) * size]) / root for s in seen]
                if step.cap is not None:
                    scores = [_number(step.cap) * math.tanh(score / _number(step.cap)) for score in scores]
                top = max(scores)
                exponentials = [math.exp(score - top) for score in scores]
                total = math.fsum(exponentials)
                head = np.zeros(size)
                for s, exponential in zip(seen, exponentials, strict=True):
                    head = head + exponential / total * values[step.value][s][g * size : (g + 1) * size]
                heads.append(head)
            out.append(np.concatenate(heads))
        return out

    def matrix(self, linear: LinearMap) -> np.ndarray:
        """The matrix ``out x in`` that a linear map stands for, written out."""
        match linear:
            case Dense():
                return self.tensor(linear.weight)
            case LowRank():
                return self.tensor(linear.left) @ self.tensor(linear.right)
            case Sparse():
                matrix = np.zeros(linear.shape)
                values, columns = self.tensor(linear.values), self.tensor(linear.columns)
                starts = [int(i) for i in self.tensor(linear.row_starts)]
                scale = None if linear.scale is None else self.tensor(linear.scale)
                for o in range(linear.shape[0]):
                    for k in range(starts[o], starts[o + 1]):
                        factor = 1.0 if scale is None else scale[o]
                        matrix[o, int(columns[k])] = factor * values[k]
                return matrix
            case Rows():
                kept = self.tensor(linear.weight)
                matrix = np.zeros((linear.size, kept.shape[1]))
                for row, o in enumerate(self.tensor(linear.indices)):
                    matrix[int(o)] = kept[row]
                return matrix
            case Integer():
                values, scale = self.tensor(linear.values), self.tensor(linear.scale)
                zero = np.zeros(scale.shape) if linear.zero_point is None else self.tensor(linear.zero_point)
                matrix = np.zeros(values.shape)
                for o in range(values.shape[0]):
                    for i in range(values.shape[1]):
                        where = o if linear.group is None else (o, i // linear.group)
                        matrix[o, i] = scale[where] * (values[o, i] - zero[where])
                return matrix

    def tensor(self, reference: TensorRef) -> np.ndarray:
        """A tensor in float64 (integers too: all of ours are below 2^53), sliced, then transposed."""
        if reference.file not in self._opened:
            stored = deserialize(self.files[reference.file].read_bytes())
            self._opened[reference.file] = {name: _decode(info) for name, info in stored}
        tensor = self._opened[reference.file][reference.tensor]
        if reference.rows is not None:
            begin, end = reference.rows
            period = reference.period or len(tensor)
            tensor = np.stack([row for r, row in enumerate(tensor) if begin <= r % period < end])
        if reference.columns is not None:
            tensor = tensor[:, reference.columns[0] : reference.columns[1]]
        return tensor.T if reference.transpose else tensor


def _decode(info: Mapping[str, object]) -> np.ndarray:
    dtype, shape, data = str(info["dtype"]), info["shape"], bytes(info["data"])  # type: ignore[call-overload]
    if dtype == "BF16":
        # bfloat16 is the upper half of a float32
        halves = struct.unpack(f"<{len(data) // 2}H", data)
        data, dtype = struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves)), "F32"
    code = _FORMATS[dtype]
    numbers = struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)
    return np.array(numbers, dtype=np.float64).reshape(shape)  # type: ignore[arg-type]


def _number(text: str) -> float:
    return float(Fraction(text))


def _sees(pattern: object, t: int, s: int) -> bool:
    if isinstance(pattern, WindowPattern):
        return t - s < pattern.width or s < pattern.sinks
    if isinstance(pattern, OffsetPattern):
        return s == t - pattern.back or (s == 0 and t < pattern.back)
    if isinstance(pattern, SinkPattern):
        return s == 0
    return True


def frequency_of(j: int, step: Rotary, length: int) -> float:
    frequency = _number(step.theta) ** (-2.0 * j / step.size)
    match step.scaling:
        case None:
            return frequency
        case LinearScaling():
            return frequency / _number(step.scaling.factor)
        case Llama3Scaling():
            scaling = step.scaling
            low, high = _number(scaling.low_frequency_factor), _number(scaling.high_frequency_factor)
            turns = scaling.original_context * frequency / (2.0 * math.pi)
            if turns < low:
                return frequency / _number(scaling.factor)
            if turns > high:
                return frequency
            kept = (turns - low) / (high - low)
            return (1.0 - kept) * frequency / _number(scaling.factor) + kept * frequency
        case YarnScaling():
            scaling = step.scaling
            first, last = Fraction(scaling.ramp_from), Fraction(scaling.ramp_to)
            slowed = float(min(Fraction(1), max(Fraction(0), (j - first) / (last - first))))
            return slowed * frequency / _number(scaling.factor) + (1.0 - slowed) * frequency
        case LongRopeScaling():
            if length > step.scaling.original_context:
                return frequency / _number(step.scaling.long[j])
            return frequency / _number(step.scaling.short[j])
        case ProportionalScaling():
            return frequency / _number(step.scaling.factor) if j < step.scaling.turned else 0.0


def _rotate(x: Vector, t: int, step: Rotary, length: int) -> Vector:
    rotated = x.copy()
    half = step.size // 2
    stretched = isinstance(step.scaling, YarnScaling | LongRopeScaling)
    factor = _number(step.scaling.attention_factor) if stretched else 1.0
    for start in range(0, len(x), step.head_size):
        for j in range(half):
            angle = t * frequency_of(j, step, length)
            a, b = x[start + j], x[start + j + half]
            rotated[start + j] = factor * (a * math.cos(angle) - b * math.sin(angle))
            rotated[start + j + half] = factor * (b * math.cos(angle) + a * math.sin(angle))
    return rotated


def _silu(x: float) -> float:
    return x / (1.0 + math.exp(-x)) if x >= 0 else x * math.exp(x) / (1.0 + math.exp(x))


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


_FUNCTIONS = {
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2.0)),
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "relu": lambda x: max(x, 0.0),
}
