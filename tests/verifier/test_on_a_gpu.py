"""What runs on a GPU, on one that is not there: devices, types and shapes, and how often the host waits.

Numbers are compared where there is a GPU: ``python -m tests.benchmarks.gpu``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockcert.evidence import EvidenceShape, columns
from blockcert.program import Stage
from blockcert.same_program import same_stages
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.evaluate.backend import Precision
from blockcert_verifier.measure import Pair, Settings
from blockcert_verifier.measure.engine import measure_twice
from tests.support.fake_gpu import DEVICE, fake_gpu
from tests.support.tiny import VOCABULARY, tiny_pair
from tests.verifier.test_evaluator import CASES, EMBEDDINGS, FILE, LENGTH, WIDTH, table

pytest.importorskip("torch")

SETTINGS = Settings((0.01, 0.1), (0.001, 0.05))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("weights") / FILE
    save_file(table(), path)
    return {FILE: path}


@pytest.mark.parametrize(("precision", "reverse"), [("float64", True), ("float32", False)])
@pytest.mark.parametrize("case", CASES)
def test_a_step_stays_on_the_gpu(
    case: str, precision: Precision, reverse: bool, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage("block", CASES[case], "out")
    hidden = np.ones((3, LENGTH, WIDTH))
    on_cpu = Backend("torch", precision, reverse=reverse)
    expected = LoadedStage(stage, WeightStore(weights), on_cpu, LENGTH)(on_cpu.array(hidden))
    with fake_gpu(monkeypatch) as fetched:
        backend = Backend(DEVICE, precision, reverse=reverse)
        found = LoadedStage(stage, WeightStore(weights), backend, LENGTH)(backend.array(hidden))
        assert found.device.type == "meta"
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert fetched == []


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_an_embedding_stays_on_the_gpu(case: str, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("embedding", EMBEDDINGS[case], "out")
    with fake_gpu(monkeypatch) as fetched:
        backend = Backend(DEVICE)
        tokens = backend.integers(np.ones((3, LENGTH), dtype=np.int64))
        found = LoadedStage(stage, WeightStore(weights), backend, LENGTH)(tokens)
        assert found.device.type == "meta"
        assert found.shape == (3, LENGTH, WIDTH)
        assert fetched == []


def pair_of(folder: Path) -> Pair:
    reference, surrogate, paths = tiny_pair(folder, 0)
    return Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))


def test_the_host_waits_as_often_whatever_the_number_of_prompts(tmp_path: Path) -> None:
    pair, counts = pair_of(tmp_path), list[int]()
    for rows in (1, 40):
        tokens = np.random.default_rng(1).integers(0, VOCABULARY, (rows, 16))
        with pytest.MonkeyPatch.context() as patch, fake_gpu(patch) as fetched:
            plain, noisy = measure_twice(pair, tokens, SETTINGS, Backend(DEVICE), noise=3, attribution=1)
        shape = EvidenceShape(3, rows, 1, 2, 2)
        assert {(c.name, c.shape) for c in columns(shape)} == {(n, c.value.shape) for n, c in plain.items()}
        assert set(noisy) <= set(plain)
        counts.append(len(fetched))
    # for each of both: one for each of five stages, one for the hybrid steps, five at the logits
    assert counts[0] == counts[1] <= 22
