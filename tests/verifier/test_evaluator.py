"""Every operation, linear map and pattern: the verifier's evaluator against the oracle, and both against numbers
worked by hand where ``transformers`` has no such thing.

Requirements: BC-PRG-09 to 15, BC-PRG-22 to 26.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from blockcert.errors import Refusal
from blockcert.program import (
    Activation,
    Add,
    Attention,
    Constant,
    Dense,
    DensePattern,
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
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.support.oracle import Oracle

FILE, WIDTH, LENGTH = "surrogate.safetensors", 12, 9
Tensors = dict[str, np.ndarray]


def ref(name: str, **changes: Any) -> TensorRef:
    return TensorRef(FILE, name, **changes)


def table() -> Tensors:
    """The tensors that the cases below draw on."""
    rng = np.random.default_rng(11)
    matrix = rng.standard_normal((7, WIDTH))
    kept = rng.random((7, WIDTH)) < 0.4
    kept[2] = False  # an empty row
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    return {
        "matrix": matrix,
        "matrix32": matrix.astype(np.float32),
        "matrix16": matrix.astype(np.float16),
        "wide": rng.standard_normal((WIDTH, 3 * 7)),
        "vector": rng.standard_normal(WIDTH),
        "bias": rng.standard_normal(7),
        "long bias": rng.standard_normal(21),
        "embedding": rng.standard_normal((5, WIDTH)).astype(np.float32),
        "positions": rng.standard_normal((LENGTH + 3, WIDTH)),
        "left": rng.standard_normal((7, 3)),
        "right": rng.standard_normal((3, WIDTH)),
        "sparse": matrix[kept],
        "sparse integers": rng.integers(-128, 128, kept.sum()).astype(np.int8),
        "columns": np.nonzero(kept)[1].astype(np.uint16),
        "starts": starts.astype(np.int32),
        "row scale": rng.random(7).astype(np.float32),
        "row indices": np.array([1, 2, 6], dtype=np.int32),
        "rows": matrix[[1, 2, 6]],
        "int8": rng.integers(-128, 128, (7, WIDTH)).astype(np.int8),
        "int4": rng.integers(-8, 8, (7, WIDTH)).astype(np.int8),
        "row zeros": rng.integers(-9, 9, 7).astype(np.int8),
        # groups of five: two whole ones and a short one
        "group scale": rng.random((7, 3)),
        "group zeros": rng.integers(-9, 9, (7, 3)).astype(np.int8),
        "take": np.array([11, 0, 0, 5], dtype=np.int64),
        "means": rng.standard_normal((4, 3)),
        "small means": rng.standard_normal((6, 2)),
        "square": rng.standard_normal((WIDTH, WIDTH)),
        "other vector": rng.standard_normal(WIDTH),
        "head vector": rng.standard_normal(3),
        # four heads of query, key and value rows side by side
        "interleaved": rng.standard_normal((4 * 9, WIDTH)),
        "interleaved bias": rng.standard_normal(4 * 9),
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    path = tmp_path_factory.mktemp("weights") / FILE
    save_file(table(), path)
    return {FILE: path}


def attention(*patterns: Any, groups: int = 4, size: int = 3, **changes: Any) -> tuple[Step, ...]:
    """Attention over a hidden state of ``WIDTH`` channels; key and value heads are taken from its beginning."""
    take = Linear("k", "hidden", Dense(ref("square", rows=(0, groups * size))))
    steps: dict[str, Any] = {
        "query": "hidden",
        "key": "k",
        "value": "k",
        "heads": len(patterns),
        "key_value_heads": groups,
        "head_size": size,
        "denominator_squared": "0.7",
        "patterns": patterns,
    }
    return (take, Attention("out", **{**steps, **changes}))


def linear(map_: LinearMap, bias: TensorRef | None = None) -> tuple[Step, ...]:
    return (Linear("out", "hidden", map_, bias),)


def rotary(size: int, scaling: Any = None, theta: str = "30") -> tuple[Step, ...]:
    return (Rotary("out", "hidden", 6, size, theta, scaling),)


dense, window, mean = DensePattern(), WindowPattern, MeanPattern()
offset, sink = OffsetPattern, SinkPattern()
CASES: dict[str, tuple[Step, ...]] = {
    "add": (Constant("c", ref("vector")), Add("out", "hidden", "c")),
    "multiply": (Constant("c", ref("vector")), Multiply("out", "c", "hidden")),
    "multiply by itself": (Multiply("out", "hidden", "hidden"),),
    "constant": (Constant("out", ref("vector")),),
    "take": (Take("out", "hidden", ref("take")),),
    "soft cap": (SoftCap("out", "hidden", "1.5"),),
    "rms norm": (RmsNorm("out", "hidden", ref("vector"), "0.01"),),
    "rms norm with offset": (RmsNorm("out", "hidden", ref("vector"), "0.01", "1"),),
    "rms norm in heads": (RmsNorm("out", "hidden", ref("head vector"), "0.01", head_size=3),),
    "rms norm in heads with offset": (RmsNorm("out", "hidden", ref("head vector"), "0.01", "1", 3),),
    "layer norm": (LayerNorm("out", "hidden", ref("vector"), "0.01", ref("other vector")),),
    "layer norm without bias": (LayerNorm("out", "hidden", ref("vector"), "0"),),
    **{f"activation {name}": (Activation("out", "hidden", name),) for name in ("gelu", "gelu_tanh", "silu", "relu")},
    "dense": linear(Dense(ref("matrix"))),
    "dense with bias": linear(Dense(ref("matrix")), ref("bias")),
    "dense float32": linear(Dense(ref("matrix32"))),
    "dense float16": linear(Dense(ref("matrix16"))),
    "dense rows": linear(Dense(ref("matrix", rows=(2, 5)))),
    "dense columns transposed": linear(
        Dense(ref("wide", columns=(7, 14), transpose=True)), ref("long bias", rows=(7, 14))
    ),
    "dense rows of every period": linear(
        Dense(ref("interleaved", rows=(3, 6), period=9)), ref("interleaved bias", rows=(3, 6), period=9)
    ),
    "dense rows of every period, columns, transposed": (
        Constant("few", ref("interleaved bias", rows=(0, 3), period=9)),
        Linear("out", "few", Dense(ref("interleaved", rows=(6, 9), columns=(2, 9), period=9, transpose=True))),
    ),
    "dense rows and columns": (
        Take("few", "hidden", ref("take")),
        Linear("out", "few", Dense(ref("matrix", rows=(1, 3), columns=(4, 8)))),
    ),
    "low rank": linear(LowRank(ref("left"), ref("right")), ref("bias")),
    "sparse": linear(Sparse((7, WIDTH), ref("sparse"), ref("columns"), ref("starts")), ref("bias")),
    "sparse integers": linear(
        Sparse((7, WIDTH), ref("sparse integers"), ref("columns"), ref("starts"), ref("row scale"))
    ),
    "rows": linear(Rows(7, ref("row indices"), ref("rows")), ref("bias")),
    "int8": linear(Integer(8, ref("int8"), ref("row scale")), ref("bias")),
    "int8 with zero points": linear(Integer(8, ref("int8"), ref("row scale"), None, ref("row zeros"))),
    "int4 in groups": linear(Integer(4, ref("int4"), ref("group scale"), 5)),
    "int6 in groups with zero points": linear(Integer(6, ref("int4"), ref("group scale"), 5, ref("group zeros"))),
    "rotary": rotary(6),
    "partial rotary": rotary(4),
    "linear scaling": rotary(6, LinearScaling("3.5")),
    "llama 3 scaling": rotary(6, Llama3Scaling("8", "1", "4", 40), "300"),
    "yarn scaling": rotary(6, YarnScaling("8", "0", "1.5", "1.25"), "300"),
    "yarn scaling of a part": rotary(4, YarnScaling("8", "0.5", "1", "0.75"), "300"),
    # in prompts of as many tokens as the original context has, and of one more
    "longrope scaling, short": rotary(6, LongRopeScaling(("1", "1.25", "3"), ("2", "4", "8"), LENGTH, "1.25"), "300"),
    "longrope scaling, long": rotary(6, LongRopeScaling(("2", "4", "8"), ("1", "1.25", "3"), LENGTH - 1, "1.25")),
    "longrope scaling of a part": rotary(4, LongRopeScaling(("1", "1"), ("0.7", "31.5"), 1, "0.75")),
    "proportional scaling": rotary(6, ProportionalScaling("1.5", 1)),
    "proportional scaling of all": rotary(6, ProportionalScaling("1", 3)),
    "proportional scaling of nothing": rotary(4, ProportionalScaling("8", 0)),
    "dense heads": attention(dense, dense, dense, dense),
    "grouped heads": attention(dense, dense, dense, dense, groups=2),
    "one key head": attention(dense, dense, dense, dense, groups=1),
    "wide denominators": attention(dense, dense, dense, dense, denominator_squared="123.25"),
    "capped scores": attention(dense, dense, dense, dense, cap="1.5"),
    "capped scores, grouped and mixed": attention(
        window(2), dense, mean, dense, groups=2, means=ref("means"), cap="0.7"
    ),
    "windows": attention(window(1), window(2), window(3, 1), window(100)),
    "sinks": attention(window(1, 1), window(1, 2), window(2, 8), window(3)),
    "means": attention(dense, mean, window(2), mean, means=ref("means")),
    "only means": attention(mean, mean, mean, mean, groups=1, means=ref("means")),
    "offsets": attention(offset(0), offset(1), offset(3), offset(1000)),
    "only the first": attention(sink, sink, sink, sink, groups=2),
    "every pattern": attention(
        offset(2), window(2, 1), mean, sink, dense, offset(1), groups=2, size=2, means=ref("small means")
    ),
    "mixed and grouped": attention(window(2), mean, dense, window(1, 1), groups=2, means=ref("means")),
}


BACKENDS: dict[str, Callable[[], Backend]] = {
    "numpy": Backend,
    "numpy, other order": lambda: Backend(reverse=True),
    "torch": lambda: Backend("torch"),
    "torch, other order": lambda: Backend("torch", reverse=True),
    "extended": lambda: Backend(precision="extended"),
}


def oracle(weights: dict[str, Path]) -> Oracle:
    nothing: Any = None
    return Oracle(nothing, weights)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_evaluated_as_the_oracle_does(case: str, backend: str, weights: dict[str, Path]) -> None:
    stage = Stage("block", CASES[case], "out")
    hidden = 2 * np.random.default_rng(13).standard_normal((3, LENGTH, WIDTH))
    at = BACKENDS[backend]()
    found = at.numpy(LoadedStage(stage, WeightStore(weights), at, LENGTH)(at.array(hidden)))
    expected = np.stack([np.stack(oracle(weights).stage(stage, (), list(row))) for row in hidden])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=1e-12, atol=1e-13)


EMBEDDINGS: dict[str, tuple[Step, ...]] = {
    "tokens": (Embed("out", ref("embedding")),),
    "scaled tokens": (Embed("out", ref("embedding"), "2.5"),),
    "tokens and positions": (
        Embed("token", ref("embedding")),
        Positions("position", ref("positions")),
        Add("out", "token", "position"),
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", EMBEDDINGS)
def test_an_embedding_is_evaluated_as_the_oracle_does(case: str, backend: str, weights: dict[str, Path]) -> None:
    stage = Stage("embedding", EMBEDDINGS[case], "out")
    tokens = np.random.default_rng(14).integers(0, 5, (3, LENGTH))
    at = BACKENDS[backend]()
    found = at.numpy(LoadedStage(stage, WeightStore(weights), at, LENGTH)(at.integers(tokens)))
    expected = np.stack([np.stack(oracle(weights).stage(stage, row, ())) for row in tokens.tolist()])
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=1e-13, atol=1e-13)


def test_bfloat16_is_read_by_its_bits(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    values = torch.tensor([[1.0, -3.140625, 0.0078125], [1e30, -1e-30, 255.0]], dtype=torch.bfloat16)
    save_torch({"w": values}, tmp_path / FILE)
    files = {FILE: tmp_path / FILE}
    expected = values.double().numpy()
    np.testing.assert_array_equal(oracle(files).tensor(ref("w")), expected)
    np.testing.assert_array_equal(WeightStore(files).floats(ref("w")).astype(np.float64), expected)


# --- worked by hand: what neither transformers nor the other evaluator can vouch for -----------------------------


def hand(steps: tuple[Step, ...], hidden: list[list[float]], tensors: Tensors, folder: Path) -> np.ndarray:
    save_file(tensors, folder / FILE)
    files = {FILE: folder / FILE}
    stage = Stage("block", steps, "out")
    rows = [np.array(row, dtype=np.float64) for row in hidden]
    plain = np.stack(oracle(files).stage(stage, (), rows))
    loaded = LoadedStage(stage, WeightStore(files), Backend(), len(rows))(np.stack(rows)[None])
    np.testing.assert_allclose(loaded[0], plain, rtol=1e-13)
    return plain


def flat(pattern: Any, **changes: Any) -> tuple[Step, ...]:
    """One head of one channel whose queries are 0, so that it averages what it sees."""
    return (
        Constant("q", ref("zero")),
        Attention("out", "q", "hidden", "hidden", 1, 1, 1, "1", (pattern,), **changes),
    )


AVERAGES: dict[str, tuple[Any, list[float]]] = {
    "dense": (DensePattern(), [1, 1.5, 7 / 3, 3.75]),
    "only itself": (WindowPattern(1), [1, 2, 4, 8]),
    "itself and the one before": (WindowPattern(2), [1, 1.5, 3, 6]),
    "itself and the first": (WindowPattern(1, 1), [1, 1.5, 2.5, 4.5]),
    "itself and the first two": (WindowPattern(1, 2), [1, 1.5, 7 / 3, 11 / 3]),
    "itself by offset": (OffsetPattern(0), [1, 2, 4, 8]),
    "the one before": (OffsetPattern(1), [1, 1, 2, 4]),
    "two before": (OffsetPattern(2), [1, 1, 1, 2]),
    "further back than the prompt is long": (OffsetPattern(1 << 20), [1, 1, 1, 1]),
    "the first": (SinkPattern(), [1, 1, 1, 1]),
}


@pytest.mark.parametrize("case", AVERAGES)
def test_a_pattern_sees_exactly_these_positions(case: str, tmp_path: Path) -> None:
    pattern, expected = AVERAGES[case]
    found = hand(flat(pattern), [[1], [2], [4], [8]], {"zero": np.zeros(1)}, tmp_path)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-14)


def evaluated(steps: tuple[Step, ...], hidden: list[list[float]], tensors: Tensors, folder: Path) -> np.ndarray:
    save_file(tensors, folder / FILE)
    source = np.array([hidden], dtype=np.float64)
    return LoadedStage(Stage("block", steps, "out"), WeightStore({FILE: folder / FILE}), Backend(), len(hidden))(source)


@pytest.mark.parametrize("pattern", [OffsetPattern(1), SinkPattern()])
def test_a_head_that_only_moves_a_value_computes_no_scores(pattern: Any, tmp_path: Path) -> None:
    # scores beyond float64 would give NaN
    steps = (Constant("q", ref("huge")), *flat(pattern)[1:])
    found = evaluated(steps, [[1e200], [2e200]], {"huge": np.array([1e200])}, tmp_path)
    assert found[0, :, 0].tolist() == [1e200, 1e200]


@pytest.mark.parametrize("narrow", ["query", "key", "value"])
def test_a_width_that_does_not_fit_is_refused_also_where_no_scores_are_computed(narrow: str, tmp_path: Path) -> None:
    names = {"query": "hidden", "key": "hidden", "value": "hidden", narrow: "narrow"}
    patterns = (OffsetPattern(1), SinkPattern())
    step = Attention("out", names["query"], names["key"], names["value"], 2, 2, 1, "1", patterns)
    with pytest.raises(Refusal) as refused:
        evaluated((Constant("narrow", ref("one")), step), [[1, 2]], {"one": np.ones(1)}, tmp_path)
    assert refused.value.code == "program.shape"


def test_a_mean_head_gives_its_row_of_means(tmp_path: Path) -> None:
    tensors = {"zero": np.zeros(1), "means": np.array([[0.25]])}
    found = hand(flat(MeanPattern(), means=ref("means")), [[1], [2]], tensors, tmp_path)
    assert found.tolist() == [[0.25], [0.25]]


HAND: dict[str, tuple[tuple[Step, ...], list[list[float]], Tensors, list[list[float]]]] = {
    "rms norm with offset": (
        (RmsNorm("out", "hidden", ref("w"), "2", "1"),),
        [[3, 4, 0, 1]],  # mean square 6.5
        {"w": np.array([0.0, 1, -1, 3])},
        [[3 / 8.5**0.5, 8 / 8.5**0.5, 0, 4 / 8.5**0.5]],
    ),
    "rms norm in heads": (
        (RmsNorm("out", "hidden", ref("w"), "0", head_size=2),),
        [[3, 3, 1, -7]],  # mean squares 9 and 25
        {"w": np.array([1.0, 2])},
        [[1, 2, 0.2, -2.8]],
    ),
    "rows of every period": (
        linear(Dense(ref("w", rows=(1, 2), period=3)), ref("b", rows=(1, 2), period=3)),
        [[10, 100]],
        {"w": np.array([[0.0, 0], [1, 2], [0, 0], [0, 0], [3, 4], [0, 0]]), "b": np.array([9.0, 1, 9, 9, 2, 9])},
        [[211, 432]],
    ),
    "a capped score": (
        # scores 0 and 4 at the second position, capped at 2: 0 and 2 tanh 2
        (Attention("out", "hidden", "hidden", "hidden", 1, 1, 1, "1", (DensePattern(),), cap="2"),),
        [[0], [2]],
        {"w": np.zeros(1)},
        [[0], [2 / (1 + np.exp(-2 * 0.9640275800758169))]],
    ),
    "layer norm": (
        (LayerNorm("out", "hidden", ref("w"), "3"),),
        [[1, -1]],  # mean 0, variance 1
        {"w": np.array([4.0, 6])},
        [[2, -3]],
    ),
    "soft cap": ((SoftCap("out", "hidden", "2"),), [[2.0]], {"w": np.zeros(1)}, [[2 * 0.7615941559557649]]),
    "sparse": (
        linear(Sparse((3, 2), ref("values"), ref("columns"), ref("starts"), ref("scale"))),
        [[10, 100]],
        {
            "values": np.array([3, -2], dtype=np.int8),
            "columns": np.array([1, 0], dtype=np.int16),
            "starts": np.array([0, 1, 1, 2], dtype=np.int32),
            "scale": np.array([0.5, 7, 0.25]),
        },
        [[150, 0, -5]],
    ),
    "rows": (
        linear(Rows(3, ref("indices"), ref("weight"))),
        [[10, 100]],
        {"indices": np.array([2], dtype=np.int64), "weight": np.array([[1.0, 2]])},
        [[0, 0, 210]],
    ),
    "int in groups": (
        linear(Integer(4, ref("values"), ref("scale"), 2, ref("zeros"))),
        [[1, 10, 100]],
        {
            "values": np.array([[7, -8, 3]], dtype=np.int8),
            "scale": np.array([[0.5, 2]]),
            "zeros": np.array([[1, 5]], dtype=np.int8),
        },
        [[0.5 * 6 - 0.5 * 90 - 2 * 200]],
    ),
    "take": (
        (Take("out", "hidden", ref("indices")),),
        [[5, 6, 7]],
        {"indices": np.array([2, 0], dtype=np.int32)},
        [[7, 5]],
    ),
    "turned by half a radian": (
        (Rotary("out", "hidden", 3, 2, "9", LinearScaling("2")),),
        # channel 0 turns with channel 1 by t / 2; channel 2 stays
        [[1, 0, 5], [1, 0, 5]],
        {"w": np.zeros(1)},
        [[1, 0, 5], [0.8775825618903728, 0.479425538604203, 5]],
    ),
    "turned by a ramp whose ends are one float64": (
        # frequencies 1 and 1/10, that is 6.4 and 0.64 turns: above the step nothing changes, below it a fifth is left
        (Rotary("out", "hidden", 4, 4, "100", Llama3Scaling("5", "1", "1.000000000000000000000001", 40)),),
        [[1, 1, 0, 0], [1, 1, 0, 0]],
        {"w": np.zeros(1)},
        [[1, 1, 0, 0], [np.cos(1), np.cos(0.02), np.sin(1), np.sin(0.02)]],
    ),
    "turned by yarn with a ramp whose ends are one float64": (
        # frequencies 1, 1/10 and 1/100, the first two up to the step, the third beyond it
        (Rotary("out", "hidden", 6, 6, "1000", YarnScaling("5", "1", "1.000000000000000000000001", "1")),),
        [[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]],
        {"w": np.zeros(1)},
        [[1, 1, 1, 0, 0, 0], [*np.cos([1, 0.1, 0.002]), *np.sin([1, 0.1, 0.002])]],
    ),
    "turned by yarn": (
        # frequencies 1 and 1/10, the second half way down the ramp to a fifth of it: 0.6 of it; three times as long
        (Rotary("out", "hidden", 5, 4, "100", YarnScaling("5", "0", "2", "3")),),
        [[1, 1, 0, 0, 7], [1, 1, 0, 0, 7]],
        {"w": np.zeros(1)},
        [[3, 3, 0, 0, 7], [3 * np.cos(1), 3 * np.cos(0.06), 3 * np.sin(1), 3 * np.sin(0.06), 7]],
    ),
    "turned by longrope in a prompt of its original context": (
        # frequencies 1 and 1/10, over 2 and 1/2; three times as long
        (Rotary("out", "hidden", 5, 4, "100", LongRopeScaling(("2", "0.5"), ("7", "9"), 2, "3")),),
        [[1, 1, 0, 0, 7], [1, 1, 0, 0, 7]],
        {"w": np.zeros(1)},
        [[3, 3, 0, 0, 7], [3 * np.cos(0.5), 3 * np.cos(0.2), 3 * np.sin(0.5), 3 * np.sin(0.2), 7]],
    ),
    "turned by longrope in a longer prompt": (
        # as before, over 4 and 1/4, at the first positions too
        (Rotary("out", "hidden", 5, 4, "100", LongRopeScaling(("2", "0.5"), ("4", "0.25"), 2, "3")),),
        [[1, 1, 0, 0, 7]] * 3,
        {"w": np.zeros(1)},
        [
            [3, 3, 0, 0, 7],
            [3 * np.cos(0.25), 3 * np.cos(0.4), 3 * np.sin(0.25), 3 * np.sin(0.4), 7],
            [3 * np.cos(0.5), 3 * np.cos(0.8), 3 * np.sin(0.5), 3 * np.sin(0.8), 7],
        ],
    ),
    "turned by proportional positions": (
        # frequencies 1 and 1/10 of whole heads, the first over 2, the second 0
        (Rotary("out", "hidden", 4, 4, "100", ProportionalScaling("2", 1)),),
        [[1, 5, 0, 6], [1, 5, 0, 6]],
        {"w": np.zeros(1)},
        [[1, 5, 0, 6], [np.cos(0.5), 5, np.sin(0.5), 6]],
    ),
}


@pytest.mark.parametrize("case", HAND)
def test_an_operation_gives_what_was_worked_by_hand(case: str, tmp_path: Path) -> None:
    steps, hidden, tensors, expected = HAND[case]
    np.testing.assert_allclose(hand(steps, hidden, tensors, tmp_path), expected, rtol=1e-14)


def test_every_step_map_pattern_and_scaling_of_the_language_stands_in_a_case() -> None:
    from blockcert import program as language

    shown = {type(step) for steps in (*CASES.values(), *EMBEDDINGS.values()) for step in steps}
    assert shown == set(language.Step.__args__)
    steps = [step for steps in CASES.values() for step in steps]
    maps = {type(step.map) for step in steps if isinstance(step, Linear)}
    assert maps == set(language.LinearMap.__args__)
    patterns = {type(p) for step in steps if isinstance(step, Attention) for p in step.patterns}
    assert patterns == set(language.Pattern.__args__)
    scalings = {type(step.scaling) for step in steps if isinstance(step, Rotary)}
    assert scalings == {type(None), *language.Scaling.__args__}


def test_a_longer_prompt_begins_with_other_values_where_frequencies_go_by_its_length(tmp_path: Path) -> None:
    """BC-PRG-25: no shorter prompt's result can be cut from a longer one's, nor a table shared between them."""
    step = Rotary("out", "hidden", 4, 4, "100", LongRopeScaling(("1", "1"), ("2", "3"), 5, "1"))
    save_file({"w": np.zeros(1)}, tmp_path / FILE)
    hidden = np.random.default_rng(2).standard_normal((1, 7, 4))

    def run(length: int) -> np.ndarray:
        stage = LoadedStage(Stage("block", (step,), "out"), WeightStore({FILE: tmp_path / FILE}), Backend(), length)
        return stage(hidden[:, :length])[0]

    np.testing.assert_array_equal(run(4), run(5)[:4])
    np.testing.assert_array_equal(run(6), run(7)[:6])
    assert np.abs(run(6)[:5] - run(5)).max() > 0.1


def test_a_program_runs_stage_by_stage(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    tensors = {"e": rng.standard_normal((5, 4)), "u": rng.standard_normal((5, 4))}
    save_file(tensors, tmp_path / FILE)
    stages = (
        Stage("embedding", (Embed("x", ref("e")),), "x"),
        Stage("block", (Activation("y", "hidden", "silu"), Add("z", "hidden", "y")), "z"),
        Stage("head", (Linear("logits", "hidden", Dense(ref("u"))),), "logits"),
    )
    program = Program("1.0", "test", 4, 5, 8, (), stages)
    outputs = Oracle(program, {FILE: tmp_path / FILE}).stages([3, 1])
    hidden = tensors["e"][[3, 1]]
    hidden = hidden + hidden / (1 + np.exp(-hidden))
    assert [output.shape for output in outputs] == [(2, 4), (2, 4), (2, 5)]
    np.testing.assert_allclose(outputs[-1], hidden @ tensors["u"].T, rtol=1e-13)
