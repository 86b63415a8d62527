"""What was kept, counted by hand on small stages.

Requirements: BC-CLM-10 to 13.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.program import (
    Attention,
    Constant,
    DensePattern,
    MeanPattern,
    OffsetPattern,
    SinkPattern,
    Stage,
    Take,
    TensorRef,
    WindowPattern,
)
from blockcert.safetensors_file import write
from blockcert_verifier.costs import program_costs, stage_cost
from blockcert_verifier.evaluate import WeightStore
from tests.support.oracle import _sees
from tests.support.tiny import FF, HEAD, HEADS, KV, SURROGATE, D, save, tiny_pair

LENGTH = 16


def test_a_dense_block_costs_its_matrices_and_its_attention(tmp_path: Path) -> None:
    reference, _, paths = tiny_pair(tmp_path)
    cost = program_costs(reference, WeightStore(paths), LENGTH)[1]
    matrices = HEADS * HEAD * D * 2 + KV * HEAD * D * 2 + 3 * FF * D
    assert cost.parameters == matrices + 2 * D
    assert cost.bits == 32 * (matrices + 2 * D)
    assert cost.multiply_adds == LENGTH * matrices + 2 * HEAD * HEADS * LENGTH * (LENGTH + 1) // 2


def test_a_replaced_block_counts_what_each_map_stores(tmp_path: Path) -> None:
    _, surrogate, paths = tiny_pair(tmp_path)
    store = WeightStore(paths)
    cost = stage_cost(surrogate.stages[1], store, LENGTH)

    def raw(name: str) -> np.ndarray:
        return store.raw(TensorRef(SURROGATE, name))[1]

    q, gate, up = raw("q.values"), raw("gate.values"), raw("up.weight")
    dense = KV * HEAD * D + D * HEADS * HEAD + D * FF  # k, o, down
    low_rank = KV * HEAD * 5 + 5 * D
    maps = np.count_nonzero(q) + dense + low_rank + np.count_nonzero(gate) + np.count_nonzero(up)
    means = raw("means")
    assert cost.parameters == maps + 2 * D + np.count_nonzero(means)
    bits = 8 * q.size + 32 * HEADS * HEAD + 32 * (dense + low_rank) + (16 + 16) * gate.size + 32 * (FF + 1)
    bits += 32 * (up.size + up.shape[0]) + 32 * 2 * D + 32 * means.size
    assert cost.bits == bits
    attended = sum(
        _sees(pattern, t, s)
        for pattern in (DensePattern(), WindowPattern(4, 1))
        for t in range(LENGTH)
        for s in range(t + 1)
    )
    assert cost.multiply_adds == LENGTH * maps + 2 * HEAD * attended


def test_attention_counts_each_pattern_by_enumeration(tmp_path: Path) -> None:
    for width in (1, 3, 15, 16, 17, 40):
        for sinks in (0, 1, 5, 15, 16, 30):
            pattern = WindowPattern(width, sinks)
            step = Attention("o", "q", "k", "v", 2, 1, 4, "4", (pattern, MeanPattern()))
            cost = stage_cost(Stage("block", (step,), "o"), WeightStore({}), LENGTH)
            seen = sum(_sees(pattern, t, s) for t in range(LENGTH) for s in range(t + 1))
            assert cost.multiply_adds == 2 * 4 * seen


def test_a_head_that_moves_a_value_multiplies_nothing() -> None:
    step = Attention(
        "o", "q", "k", "v", 4, 2, 4, "4", (OffsetPattern(0), OffsetPattern(3), SinkPattern(), MeanPattern())
    )
    assert stage_cost(Stage("block", (step,), "o"), WeightStore({}), LENGTH).multiply_adds == 0


def test_the_longest_prompt_is_counted_without_a_walk_over_it() -> None:
    length, heads = 1 << 20, 4096
    pattern = WindowPattern(1 << 19, 3)
    step = Attention("o", "q", "k", "v", heads, 1, 1, "1", (pattern, DensePattern()) * (heads // 2))
    start = time.process_time()
    cost = stage_cost(Stage("block", (step,), "o"), WeightStore({}), length)
    assert time.process_time() - start < 0.5
    half = 1 << 19
    # the window grows to its width and stays there; the sinks enter one by one behind it
    window = half * (half + 1) // 2 + half * half + (1 + 2) + 3 * (half - 2)
    assert cost.multiply_adds == 2 * (heads // 2) * (window + length * (length + 1) // 2)


def test_indices_are_stored_but_are_no_parameters(tmp_path: Path) -> None:
    tensors = {"indices": np.array([1, 3], np.int32), "constant": np.array([0.5, 0, 2], np.float32)}
    save(tmp_path / "f", "f", tensors)
    steps = (Take("taken", "hidden", TensorRef("f", "indices")), Constant("c", TensorRef("f", "constant")))
    cost = stage_cost(Stage("block", steps, "c"), WeightStore({"f": tmp_path / "f"}), LENGTH)
    assert (cost.parameters, cost.bits, cost.multiply_adds) == (2, 64 + 96, 0)


def test_minus_zero_is_a_zero_in_bfloat16_too(tmp_path: Path) -> None:
    write(tmp_path / "f", {"bias": ("BF16", (3,), np.array([0x8000, 0, 0x3F80], "<u2").tobytes())})
    stage = Stage("block", (Constant("c", TensorRef("f", "bias")),), "c")
    assert stage_cost(stage, WeightStore({"f": tmp_path / "f"}), LENGTH).parameters == 1


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0])
def test_a_weight_that_is_not_finite_is_refused_where_it_is_read(tmp_path: Path, bits: int) -> None:
    write(tmp_path / "f", {"w": ("BF16", (3,), np.array([bits, 0, 0x3F80], "<u2").tobytes())})
    with pytest.raises(Refusal) as refusal:
        WeightStore({"f": tmp_path / "f"}).floats(TensorRef("f", "w"))
    assert refusal.value.code == "tensor.not_finite"
