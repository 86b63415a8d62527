"""The tiny models of the corpus: a Llama-shaped reference, and the surrogates that stand in for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from blockcert.digest import blake3_bytes
from blockcert.program import (
    Activation,
    Add,
    Attention,
    Constant,
    Dense,
    DensePattern,
    Embed,
    FileRef,
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
    Pattern,
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
from blockcert_producers.conformance.seeds import grid
from blockcert_producers.conformance.tensors import to_bytes

__all__ = [
    "CONTEXT",
    "REFERENCE",
    "SURROGATE",
    "VOCABULARY",
    "Pair",
    "appended",
    "block",
    "block_weights",
    "embedding",
    "equal_logits",
    "every_map",
    "head",
    "identical",
    "language",
    "put_together",
    "rounded",
]

D, HEADS, KV, HEAD, FF, VOCABULARY, CONTEXT, BLOCKS = 8, 4, 2, 4, 12, 11, 32, 2
REFERENCE, SURROGATE, CANDIDATE = (
    "reference/model.safetensors",
    "programs/surrogate.safetensors",
    "surrogate/model.safetensors",
)

Host: TypeAlias = np.ndarray[Any, Any]


class Pair(Struct, frozen=True):
    """A reference, a surrogate, and the content of every weight file that they name."""

    reference: Program
    surrogate: Program
    files: Mapping[str, bytes]


def block_weights() -> dict[str, Host]:
    """The reference's tensors: both blocks', the embedding, which the head reads too, and the last norm."""
    found = {"embed": grid("embed", VOCABULARY, D) * 4, "norm": 1 + grid("norm", D) / 4}
    for i in range(BLOCKS):
        shapes = {"q": (HEADS * HEAD, D), "k": (KV * HEAD, D), "v": (KV * HEAD, D), "o": (D, HEADS * HEAD)}
        shapes |= {"gate": (FF, D), "up": (FF, D), "down": (D, FF)}
        found |= {f"{i}.{name}": grid(f"{i}.{name}", *shape) / 2 for name, shape in shapes.items()}
        found |= {f"{i}.{name}": 1 + grid(f"{i}.{name}", D) / 4 for name in ("norm1", "norm2")}
    return found


def _file(name: str, data: bytes) -> FileRef:
    return FileRef(name, len(data), blake3_bytes(data))


def block(
    index: int,
    *,
    file: str = REFERENCE,
    maps: Mapping[str, LinearMap] | None = None,
    patterns: tuple[Pattern, ...] | None = None,
    means: TensorRef | None = None,
) -> Stage:
    """A block of the reference, or one like it with other weights, maps or patterns."""
    maps = maps or {}

    def weight(name: str) -> TensorRef:
        return TensorRef(file, f"{index}.{name}")

    def linear(out: str, source: str, name: str) -> Linear:
        return Linear(out=out, input=source, map=maps.get(name, Dense(weight(name))))

    steps: tuple[Step, ...] = (
        RmsNorm(out="normed", input="hidden", weight=weight("norm1"), eps="0.00001"),
        linear("q", "normed", "q"),
        linear("k", "normed", "k"),
        linear("v", "normed", "v"),
        Rotary(out="q_rotated", input="q", head_size=HEAD, size=HEAD, theta="100"),
        Rotary(out="k_rotated", input="k", head_size=HEAD, size=HEAD, theta="100"),
        Attention(
            out="heads",
            query="q_rotated",
            key="k_rotated",
            value="v",
            heads=HEADS,
            key_value_heads=KV,
            head_size=HEAD,
            denominator_squared=str(HEAD),
            patterns=patterns or (DensePattern(),) * HEADS,
            means=means,
        ),
        linear("attended", "heads", "o"),
        Add(out="middle", left="hidden", right="attended"),
        RmsNorm(out="mlp_in", input="middle", weight=weight("norm2"), eps="0.00001"),
        linear("gate", "mlp_in", "gate"),
        linear("up", "mlp_in", "up"),
        Activation(out="gated", input="gate", function="silu"),
        Multiply(out="inner", left="gated", right="up"),
        linear("mlp", "inner", "down"),
        Add(out="result", left="middle", right="mlp"),
    )
    return Stage(kind="block", steps=steps, output="result")


def embedding(file: str = REFERENCE) -> Stage:
    """The embedding, of tokens alone."""
    return Stage(kind="embedding", steps=(Embed(out="x", weight=TensorRef(file, "embed")),), output="x")


def head(file: str = REFERENCE, bias: TensorRef | None = None) -> Stage:
    """The head, which reads the embedding again."""
    steps = (
        RmsNorm(out="normed", input="hidden", weight=TensorRef(file, "norm"), eps="0.00001"),
        Linear(out="logits", input="normed", map=Dense(TensorRef(file, "embed")), bias=bias),
    )
    return Stage(kind="head", steps=steps, output="logits")


def _program(files: tuple[FileRef, ...], blocks: list[Stage], file: str = REFERENCE) -> Program:
    stages = (embedding(file), *blocks, head(file))
    return Program("1.0", "llama", D, VOCABULARY, CONTEXT, files, stages)


def put_together(
    weights: dict[str, Host], tensors: dict[str, Host], reference: tuple[Stage, ...], surrogate: tuple[Stage, ...]
) -> Pair:
    """Two programs of these stages over the two weight files: the reference's, and the surrogate's own."""
    files = {REFERENCE: to_bytes(weights), SURROGATE: to_bytes(tensors)}
    first, second = (_file(name, data) for name, data in files.items())
    shape = Program("1.0", "llama", D, VOCABULARY, CONTEXT, (first,), reference)
    return Pair(shape, replace(shape, files=(first, second), stages=surrogate), files)


def _pair(weights: dict[str, Host], blocks: list[Stage], tensors: dict[str, Host]) -> Pair:
    files = {REFERENCE: to_bytes(weights), SURROGATE: to_bytes(tensors)}
    first, second = (_file(name, data) for name, data in files.items())
    originals = [block(i) for i in range(BLOCKS)]
    return Pair(_program((first,), originals), _program((first, second), blocks), files)


def every_map() -> Pair:
    """The first block replaced by every kind of linear map and four patterns, the second as it was."""
    weights = block_weights()
    q, v = weights["0.q"] * 256, weights["0.v"]
    gate = weights["0.gate"] * (np.abs(weights["0.gate"]) > 0.1)
    kept = np.array([row for row in range(FF) if row not in (3, 7)])
    tensors = {
        "q.values": np.floor(q / 2).astype(np.int8),
        "q.scale": np.full(HEADS * HEAD, 1 / 128, dtype=np.float32),
        "v.left": v[:, :5],
        "v.right": np.eye(5, D, dtype=np.float32),
        "gate.values": gate[gate != 0].astype(np.float16),
        "gate.columns": np.nonzero(gate)[1].astype(np.uint16),
        "gate.starts": np.concatenate([[0], np.cumsum((gate != 0).sum(axis=1))]).astype(np.int32),
        "up.rows": kept.astype(np.int32),
        "up.weight": weights["0.up"][kept],
        "means": grid("means", HEADS, HEAD) / 8,
    }

    def ref(name: str) -> TensorRef:
        return TensorRef(SURROGATE, name)

    maps: dict[str, LinearMap] = {
        "q": Integer(bits=8, values=ref("q.values"), scale=ref("q.scale")),
        "v": LowRank(left=ref("v.left"), right=ref("v.right")),
        "gate": Sparse((FF, D), ref("gate.values"), ref("gate.columns"), ref("gate.starts")),
        "up": Rows(FF, ref("up.rows"), ref("up.weight")),
    }
    patterns = (DensePattern(), WindowPattern(4, 1), MeanPattern(), OffsetPattern(1))
    return _pair(weights, [block(0, maps=maps, patterns=patterns, means=ref("means")), block(1)], tensors)


def rounded(places: int = 1 << 10, *, shift: float = 0.0) -> Pair:
    """A candidate checkpoint whose block matrices are moved a little, in a bundle of kind `compare`.

    Every entry is moved by up to ``1 / places``, and by ``shift`` of itself.
    """
    weights = block_weights()
    candidate = {
        name: w + (grid(f"moved {name}", *w.shape) / places + w * shift).astype(np.float32) if w.ndim == 2 else w
        for name, w in weights.items()
    }
    candidate["embed"] = weights["embed"]
    files = {REFERENCE: to_bytes(weights), CANDIDATE: to_bytes(candidate)}
    first, second = (_file(name, data) for name, data in files.items())
    return Pair(
        _program((first,), [block(i) for i in range(BLOCKS)]),
        _program((second,), [block(i, file=CANDIDATE) for i in range(BLOCKS)], CANDIDATE),
        files,
    )


def identical() -> Pair:
    """A surrogate that is the reference: every stage is the same program on both sides."""
    weights = block_weights()
    data = to_bytes(weights)
    program = _program((_file(REFERENCE, data),), [block(i) for i in range(BLOCKS)])
    return Pair(program, program, {REFERENCE: data})


def appended(steps: Callable[[Callable[[str], TensorRef], str], tuple[Step, ...]], tensors: dict[str, Host]) -> Pair:
    """The reference's first block followed by further steps on its result; the last step's value is the output.

    ``steps`` gets a way to name the tensors and the name of the block's own result.
    """
    honest = block(0)
    more = steps(lambda name: TensorRef(SURROGATE, name), honest.output)
    first = Stage(kind="block", steps=(*honest.steps, *more), output=more[-1].out)
    return _pair(block_weights(), [first, block(1)], tensors)


def equal_logits() -> Pair:
    """The reference with a head that gives every token the same logit."""
    pair = _pair(block_weights(), [block(i) for i in range(BLOCKS)], {"flat": np.zeros((VOCABULARY, D), np.float32)})
    *others, head = pair.surrogate.stages
    *steps, last = head.steps
    flat = Linear(out=last.out, input="normed", map=Dense(TensorRef(SURROGATE, "flat")))
    stages = (*others, replace(head, steps=(*steps, flat)))
    return replace(pair, surrogate=replace(pair.surrogate, stages=stages))


# --- every operation of the language --------------------------------------------------------------------------


def language() -> Pair:
    """A reference that uses every operation, option and rotary scaling, and a surrogate with every pattern and map."""
    names = {"embed": (VOCABULARY, D), "places": (CONTEXT, D), "head": (VOCABULARY, D), "fused": (3 * D, D)}
    names |= {f"m{i}": (D, D) for i in range(6)}
    weights: dict[str, Host] = {name: grid(f"language {name}", *shape) / 2 for name, shape in names.items()}
    weights |= {f"n{i}": 1 + grid(f"language n{i}", D) / 4 for i in range(4)}
    weights |= {f"b{i}": grid(f"language b{i}", D) / 8 for i in range(4)}
    weights |= {"n_head": 1 + grid("language n_head", HEAD) / 4, "b_head": grid("language b_head", VOCABULARY)}
    weights["order"] = np.array([3, 0, 2, 1, 4, 7, 6, 5], dtype=np.int32)
    weights["embed"] = weights["embed"] * 4
    reference_file = to_bytes(weights)

    def ref(name: str, **ranges: Any) -> TensorRef:
        return TensorRef(REFERENCE, name, **ranges)

    def own(name: str) -> TensorRef:
        return TensorRef(SURROGATE, name)

    def matrix(name: str, *, own_map: LinearMap | None = None) -> LinearMap:
        return own_map or Dense(ref(name))

    def first(fused: bool, patterns: tuple[Pattern, ...], means: TensorRef | None, out: LinearMap) -> Stage:
        rows = ((0, D), (D, 2 * D), (2 * D, 3 * D)) if fused else (None, None, None)
        q, k, v = (Dense(ref("fused", rows=part)) for part in rows)
        return Stage(
            kind="block",
            steps=(
                LayerNorm(out="n", input="hidden", weight=ref("n0"), eps="0.00001", bias=ref("b0")),
                Linear(out="q", input="n", map=q, bias=ref("b1")),
                Linear(out="k", input="n", map=k),
                Linear(out="v", input="n", map=v),
                RmsNorm(out="qn", input="q", weight=ref("n_head"), eps="0.000001", offset="0.5", head_size=HEAD),
                Rotary("qr", "qn", HEAD, 2, "50", LinearScaling("2")),
                Rotary("kr", "k", HEAD, 2, "50", LinearScaling("2")),
                Rotary("qp", "qr", HEAD, HEAD, "30", ProportionalScaling("2", 1)),
                Rotary("kp", "kr", HEAD, HEAD, "30", ProportionalScaling("2", 1)),
                Attention("a", "qp", "kp", "v", 2, 2, HEAD, "4", patterns, means=means, cap="20"),
                Linear(out="o", input="a", map=out),
                Activation(out="act", input="o", function="gelu"),
                Add(out="result", left="hidden", right="act"),
            ),
            output="result",
        )

    def second(patterns: tuple[Pattern, ...], maps: tuple[LinearMap, LinearMap]) -> Stage:
        return Stage(
            kind="block",
            steps=(
                RmsNorm(out="n", input="hidden", weight=ref("n1"), eps="0", offset="1"),
                Take(out="mixed", input="n", indices=ref("order")),
                Linear(out="k", input="mixed", map=Dense(ref("m1", transpose=True))),
                Rotary("qr", "mixed", HEAD, HEAD, "100", Llama3Scaling("4", "1", "4", 16)),
                Rotary("kr", "k", HEAD, HEAD, "100", YarnScaling("4", "0", "1.5", "1.25")),
                # a prompt of the corpus has 8 tokens: longer than the one original context, as long as the other
                Rotary("ql", "qr", HEAD, 2, "100", LongRopeScaling(("3",), ("0.5",), 7, "0.75")),
                Rotary("kl", "kr", HEAD, HEAD, "100", LongRopeScaling(("1.5", "4"), ("9", "16"), 8, "1.25")),
                Attention("a", "ql", "kl", "mixed", 2, 2, HEAD, "5", patterns),
                Constant(out="c", value=ref("b2")),
                Multiply(out="scaled", left="a", right="c"),
                Linear(out="up", input="scaled", map=maps[0], bias=ref("b3")),
                Activation(out="g", input="up", function="gelu_tanh"),
                Activation(out="r", input="mixed", function="relu"),
                Linear(out="down", input="r", map=maps[1]),
                Add(out="both", left="g", right="down"),
                Add(out="result", left="hidden", right="both"),
            ),
            output="result",
        )

    embedding = Stage(
        kind="embedding",
        steps=(
            Embed(out="x", weight=ref("embed"), scale="1.5"),
            Positions(out="p", weight=ref("places")),
            Add(out="sum", left="x", right="p"),
        ),
        output="sum",
    )
    head = Stage(
        kind="head",
        steps=(
            LayerNorm(out="n", input="hidden", weight=ref("n2"), eps="0.00001"),
            Linear(out="raw", input="n", map=Dense(ref("head")), bias=ref("b_head")),
            SoftCap(out="logits", input="raw", cap="30"),
        ),
        output="logits",
    )
    # the surrogate: grouped 4-bit integers with zero points, scaled sparse integers, and the patterns left over
    values = np.floor(weights["m2"] * 16).astype(np.int8)
    whole = np.floor(weights["m3"] * 64)
    tensors: dict[str, Host] = {
        "int.values": np.clip(values, -8, 7).astype(np.int8),
        "int.scale": np.full((D, 2), 1 / 16, dtype=np.float32),
        "int.zero": np.zeros((D, 2), dtype=np.int8),
        "sparse.values": whole[whole != 0].astype(np.int8),
        "sparse.columns": np.nonzero(whole)[1].astype(np.uint8),
        "sparse.starts": np.concatenate([[0], np.cumsum((whole != 0).sum(axis=1))]).astype(np.int64),
        "sparse.scale": np.full(D, 1 / 64, dtype=np.float16),
        "means": grid("language means", 2, HEAD) / 8,
    }
    integers = Integer(4, own("int.values"), own("int.scale"), group=4, zero_point=own("int.zero"))
    sparse = Sparse((D, D), own("sparse.values"), own("sparse.columns"), own("sparse.starts"), own("sparse.scale"))
    files = {REFERENCE: reference_file, SURROGATE: to_bytes(tensors)}
    one, two = (_file(name, data) for name, data in files.items())
    dense = (DensePattern(), WindowPattern(3))
    shape = Program("1.0", "every-operation", D, VOCABULARY, CONTEXT, (one,), ())
    reference = replace(
        shape,
        stages=(
            embedding,
            first(True, dense, None, matrix("m0")),
            second(dense, (matrix("m2"), matrix("m3"))),
            head,
        ),
    )
    surrogate = replace(
        shape,
        files=(one, two),
        stages=(
            embedding,
            first(True, (MeanPattern(), SinkPattern()), own("means"), matrix("m0")),
            second((WindowPattern(2, 1), OffsetPattern(2)), (integers, sparse)),
            head,
        ),
    )
    return Pair(reference, surrogate, files)
