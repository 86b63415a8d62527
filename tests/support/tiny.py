"""Tiny programs with random weights, written straight as safetensors: real at every step, and quick."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blockcert.digest import digest_file
from blockcert.program import (
    Activation,
    Add,
    Attention,
    Dense,
    DensePattern,
    Embed,
    FileRef,
    Integer,
    Linear,
    LinearMap,
    LowRank,
    MeanPattern,
    Multiply,
    OffsetPattern,
    Pattern,
    Program,
    RmsNorm,
    Rotary,
    Rows,
    SinkPattern,
    Sparse,
    Stage,
    Step,
    TensorRef,
    WindowPattern,
)
from blockcert.safetensors_file import write

D, HEADS, KV, HEAD, FF, VOCABULARY, CONTEXT = 8, 4, 2, 4, 12, 11, 32
REFERENCE, SURROGATE = "reference/model.safetensors", "programs/surrogate.safetensors"

_NAMES = {np.dtype("f8"): "F64", np.dtype("f4"): "F32", np.dtype("f2"): "F16", np.dtype("i8"): "I64"}
_NAMES |= {np.dtype("i4"): "I32", np.dtype("i1"): "I8", np.dtype("u2"): "U16"}


def save(path: Path, name: str, tensors: dict[str, np.ndarray]) -> FileRef:
    """Write tensors and return the reference by which a program names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, {key: (_NAMES[value.dtype], value.shape, value.tobytes()) for key, value in tensors.items()})
    digests = digest_file(path, sha256=False)
    return FileRef(name, digests.size, digests.blake3)


def reference_weights(rng: np.random.Generator, blocks: int) -> dict[str, np.ndarray]:
    """Weights of a Llama-shaped model in float32."""

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    tensors = {"embed": draw(VOCABULARY, D) * 3, "norm": 1 + draw(D) / 4}
    for i in range(blocks):
        tensors |= {f"{i}.q": draw(HEADS * HEAD, D), f"{i}.k": draw(KV * HEAD, D), f"{i}.v": draw(KV * HEAD, D)}
        tensors |= {f"{i}.o": draw(D, HEADS * HEAD), f"{i}.gate": draw(FF, D), f"{i}.up": draw(FF, D)}
        tensors |= {f"{i}.down": draw(D, FF), f"{i}.norm1": 1 + draw(D) / 4, f"{i}.norm2": 1 + draw(D) / 4}
    return tensors


def block(
    index: int,
    maps: dict[str, LinearMap] | None = None,
    patterns: tuple[Pattern, ...] | None = None,
    means: TensorRef | None = None,
) -> Stage:
    """A block with some of its linear maps and patterns replaced."""
    maps = maps or {}

    def weight(name: str) -> TensorRef:
        return TensorRef(REFERENCE, f"{index}.{name}")

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


def program(files: tuple[FileRef, ...], blocks: list[Stage]) -> Program:
    """A program with these blocks between the reference's embedding and head."""
    embed = Stage(kind="embedding", steps=(Embed(out="x", weight=TensorRef(REFERENCE, "embed")),), output="x")
    head = Stage(
        kind="head",
        steps=(
            RmsNorm(out="normed", input="hidden", weight=TensorRef(REFERENCE, "norm"), eps="0.00001"),
            Linear(out="logits", input="normed", map=Dense(TensorRef(REFERENCE, "embed"))),
        ),
        output="logits",
    )
    return Program("1.0", "llama", D, VOCABULARY, CONTEXT, files, (embed, *blocks, head))


def surrogate_block(rng: np.random.Generator, weights: dict[str, np.ndarray], index: int) -> tuple[Stage, dict]:
    """A block in which every kind of linear map and pattern stands in for a dense one, with its tensors."""
    q = weights[f"{index}.q"]
    scale = (np.abs(q).max(axis=1) / 127).astype(np.float32)
    v = weights[f"{index}.v"].astype(np.float64)
    left, singular, right = np.linalg.svd(v, full_matrices=False)
    gate = weights[f"{index}.gate"] * (rng.random((FF, D)) < 0.8)
    kept = np.flatnonzero(rng.random(FF) < 0.8)
    tensors = {
        "q.values": np.round(q / scale[:, None]).astype(np.int8),
        "q.scale": scale,
        "v.left": (left[:, :5] * singular[:5]).astype(np.float32),
        "v.right": right[:5].astype(np.float32),
        "gate.values": gate[gate != 0].astype(np.float16),
        "gate.columns": np.nonzero(gate)[1].astype(np.uint16),
        "gate.starts": np.concatenate([[0], np.cumsum((gate != 0).sum(axis=1))]).astype(np.int32),
        "up.rows": kept.astype(np.int32),
        "up.weight": weights[f"{index}.up"][kept],
        "means": rng.standard_normal((HEADS, HEAD)).astype(np.float32) / 10,
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
    return block(index, maps, patterns, ref("means")), tensors


def tiny_pair(folder: Path, seed: int = 0, blocks: int = 3) -> tuple[Program, Program, dict[str, Path]]:
    """A reference, a surrogate whose first block is replaced in every way, and the paths of their weight files."""
    rng = np.random.default_rng(seed)
    weights = reference_weights(rng, blocks)
    paths = {REFERENCE: folder / "model" / "model.safetensors", SURROGATE: folder / "surrogate.safetensors"}
    first = save(paths[REFERENCE], REFERENCE, weights)
    replaced, tensors = surrogate_block(rng, weights, 0)
    second = save(paths[SURROGATE], SURROGATE, tensors)
    originals = [block(i) for i in range(blocks)]
    surrogates = [replaced, *originals[1:]]
    if blocks > 2:
        surrogates[2] = block(2, patterns=(*(WindowPattern(3),) * (HEADS - 1), SinkPattern()))
    return program((first,), originals), program((first, second), surrogates), paths
