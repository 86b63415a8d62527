"""Heads and embeddings that are read in blocks of rows: the same numbers, and never the whole matrix in memory.

Requirements: BC-PRG-05, BC-PRG-17.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.program import Dense, Embed, Integer, Linear, LinearMap, Program, Stage, TensorRef
from blockcert.same_program import same_stages
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore, blocks, logits
from blockcert_verifier.evaluate.blocks import MatrixInBlocks, TableInBlocks, held_entries
from blockcert_verifier.measure import Pair, Settings, measure
from blockcert_verifier.work.estimate import row_work
from tests.support.tiny import VOCABULARY, save, tiny_pair

FILE = "reference/model.safetensors"
ROWS, WIDTH, LENGTH = 3001, 40, 6
SETTINGS = Settings((0.01, 0.1), (0.001, 0.05))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix is large, and a block is a few rows."""
    monkeypatch.setattr(blocks, "WHOLE", 256)
    monkeypatch.setattr(blocks, "BLOCK", 1 << 13)


@pytest.fixture
def store(tmp_path: Path) -> WeightStore:
    draw = np.random.default_rng(3)
    tensors = {
        "wide": draw.standard_normal((ROWS, WIDTH)).astype(np.float32),
        "turned": draw.standard_normal((WIDTH, ROWS)).astype(np.float16),
        "integers": draw.integers(-128, 128, (ROWS, WIDTH)).astype(np.int8),
        "scale": draw.random((ROWS, 3)).astype(np.float32),
        "zero": draw.integers(-9, 9, (ROWS, 3)).astype(np.int32),
        "bias": draw.standard_normal(ROWS).astype(np.float32),
    }
    save(tmp_path / FILE, FILE, tensors)
    return WeightStore({FILE: tmp_path / FILE})


def ref(name: str, **rest: object) -> TensorRef:
    return TensorRef(FILE, name, **rest)  # pyright: ignore[reportArgumentType]


MAPS: dict[str, LinearMap] = {
    "dense": Dense(ref("wide")),
    "transposed": Dense(ref("turned", transpose=True)),
    "rows of a stored matrix": Dense(ref("wide", rows=(17, 2900))),
    "integers in groups": Integer(8, ref("integers"), ref("scale"), 16, ref("zero")),
}


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("precision", ["float64", "float32", "extended"])
@pytest.mark.parametrize("name", MAPS)
def test_a_map_in_blocks_is_the_map(store: WeightStore, name: str, precision: str) -> None:
    backend = Backend(precision=precision)  # pyright: ignore[reportArgumentType]
    bias = ref("bias") if name == "dense" else None
    stage = Stage("block", (Linear("out", "hidden", MAPS[name], bias),), "out")
    whole = LoadedStage(stage, store, backend, LENGTH)
    parts = LoadedStage(stage, store, backend, LENGTH, whole=False)
    assert parts.in_blocks
    assert not whole.in_blocks
    assert parts.footprint == whole.footprint
    hidden = backend.array(np.random.default_rng(1).standard_normal((3, LENGTH, WIDTH)))
    mine, theirs = parts.traced(hidden), whole.traced(hidden)
    tolerance = 1e-5 if precision == "float32" else 1e-13
    np.testing.assert_allclose(mine.output, theirs.output, rtol=tolerance, atol=tolerance * 100)
    np.testing.assert_allclose(mine.magnitude, theirs.magnitude, rtol=tolerance)


@pytest.mark.usefixtures("small_blocks")
def test_nothing_is_read_in_blocks_off_the_host_or_where_the_whole_is_asked_for(store: WeightStore) -> None:
    stage = Stage("block", (Linear("out", "hidden", MAPS["dense"]),), "out")
    assert not LoadedStage(stage, store, Backend("torch"), LENGTH, whole=False).in_blocks
    assert not isinstance(LoadedStage(stage, store, Backend(), LENGTH).loaded[0][1][0], MatrixInBlocks)


@pytest.mark.usefixtures("small_blocks")
def test_a_table_gives_the_rows_of_the_tokens_that_occur(store: WeightStore) -> None:
    table = TableInBlocks(store, Embed("hidden", ref("wide")), ROWS, Backend())
    tokens = np.array([5, 3000, 0, 5, 5])
    np.testing.assert_array_equal(table.taken(tokens), store.floats(ref("wide"))[tokens].astype(np.float64))


@pytest.mark.usefixtures("small_blocks")
def test_a_token_outside_the_table_is_refused(store: WeightStore) -> None:
    stage = Stage("embedding", (Embed("hidden", ref("wide")),), "hidden")
    loaded = LoadedStage(stage, store, Backend(), 2, whole=False)
    with pytest.raises(Refusal) as refused:
        loaded(np.array([[0, ROWS]]))
    assert refused.value.code == "program.shape"


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("where", ["table", "map"])
def test_a_weight_that_is_not_finite_is_refused_wherever_it_is(tmp_path: Path, where: str) -> None:
    matrix = np.ones((ROWS, WIDTH), dtype=np.float32)
    matrix[2999, 7] = np.nan
    save(tmp_path / FILE, FILE, {"wide": matrix})
    store = WeightStore({FILE: tmp_path / FILE})
    step = Embed("out", ref("wide")) if where == "table" else Linear("out", "hidden", Dense(ref("wide")))
    stage = Stage("embedding" if where == "table" else "block", (step,), "out")
    source = np.zeros((1, 2), dtype=np.int64) if where == "table" else np.ones((1, 2, WIDTH))
    with pytest.raises(Refusal) as refused:
        LoadedStage(stage, store, Backend(), 2, whole=False)(source)
    assert refused.value.code == "tensor.not_finite"


def test_a_pair_measures_the_same_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path, 0)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (5, 16))
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    whole = measure(pair, tokens, SETTINGS, Backend(), attribution=3)
    found = logits(reference, pair.store, tokens, Backend())
    monkeypatch.setattr(blocks, "WHOLE", 64)
    monkeypatch.setattr(blocks, "BLOCK", 128)
    parts = measure(pair, tokens, SETTINGS, Backend(), attribution=3)
    for name, cells in whole.items():
        np.testing.assert_allclose(parts[name].value, cells.value, rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(logits(reference, pair.store, tokens, Backend()), found, rtol=1e-13, atol=1e-14)


def test_the_whole_matrix_is_never_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, width = 20000, 128
    table = np.random.default_rng(0).standard_normal((vocabulary, width)).astype(np.float16)
    save(tmp_path / FILE, FILE, {"table": table})
    whole = vocabulary * width * 8
    monkeypatch.setattr(blocks, "WHOLE", whole - 1)
    monkeypatch.setattr(blocks, "BLOCK", whole // 40)
    store = WeightStore({FILE: tmp_path / FILE})
    program = Program(
        version="1.0",
        architecture="llama",
        hidden_size=width,
        vocabulary=vocabulary,
        context=8,
        files=(),
        stages=(
            Stage("embedding", (Embed("hidden", ref("table")),), "hidden"),
            Stage("head", (Linear("logits", "hidden", Dense(ref("table"))),), "logits"),
        ),
    )
    tracemalloc.start()
    try:
        found = logits(program, store, np.array([[1, 2]]), Backend())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < whole / 4
    rows = table.astype(np.float64)
    np.testing.assert_allclose(found[0], rows[[1, 2]] @ rows.T, rtol=1e-12, atol=1e-11)


def test_what_is_expected_of_memory_knows_of_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path, 0)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    before = row_work(pair, 16)
    monkeypatch.setattr(blocks, "WHOLE", 8)
    monkeypatch.setattr(blocks, "BLOCK", 8)
    after = row_work(pair, 16)
    assert after.memory < before.memory
    assert after.weights == before.weights
    assert held_entries(100, 10) < 100
    assert held_entries(5, 5, 1) == 5


def test_integers_are_counted_in_parts_as_in_one(store: WeightStore, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("block", (Linear("out", "hidden", MAPS["integers in groups"]),), "out")
    whole = stage_cost(stage, store, 4)
    monkeypatch.setattr("blockcert_verifier.costs._AT_ONCE", 1000)
    assert stage_cost(stage, store, 4) == whole
