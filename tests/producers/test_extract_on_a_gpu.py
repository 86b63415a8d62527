"""Extraction on a GPU that is not there: devices, types and shapes, and how often the host waits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockcert_producers.extract import extract
from blockcert_producers.extract.differentiable import Differentiable
from blockcert_producers.extract.realise import realise
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import MemoryStore
from blockcert_producers.extract.tunable import Tunable
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.producers.test_polish import FAMILIES, LENGTH, PROMPTS, model, structures
from tests.support.fake_gpu import DEVICE, fake_gpu

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_waits_as_often_whatever_the_number_of_prompts(family: str, tmp_path: Path) -> None:
    program, files = model(tmp_path, family)
    counts: list[int] = []
    for prompts in (4, 24):
        tokens = np.random.default_rng(0).integers(0, program.vocabulary, (prompts, LENGTH))
        with pytest.MonkeyPatch.context() as patch, fake_gpu(patch) as fetched:
            extract(program, files, tokens, "0.05", backend_device=DEVICE)
        counts.append(len(fetched))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("form", ["bfloat16", "int4/16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_polished_runs_on_the_gpu(
    family: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, files = model(tmp_path, family)
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (PROMPTS, LENGTH))
    store, backend = WeightStore(files), Backend()
    hidden = LoadedStage(program.stages[0], store, backend, LENGTH)(backend.integers(tokens))
    study = Study(program.stages[1], hidden, store, backend)
    fits = dict.fromkeys(study.anatomy.linears, study.token_weights)
    for structure in structures(study).values():
        found = realise(study, structure, form, "x", fits)  # type: ignore[arg-type]
        held = MemoryStore(store, found.tensors)
        with pytest.MonkeyPatch.context() as patch, fake_gpu(patch) as fetched:
            gpu = Backend(DEVICE, "float32")
            tunable = Tunable(found.stage, found.tensors, held, gpu, "x", lambda _: 1.0, pruned=structure is not None)
            block = Differentiable(found.stage, held, gpu, LENGTH)
            waited = len(fetched)
            weights = tunable.weights([own for _, own in block.loaded])
            output = block.run(gpu.array(study.values["hidden"]), weights)
            assert (output.device.type, output.dtype) == ("meta", torch.float32)
            assert output.shape == study.values["hidden"].shape
            output.sum().backward()
            assert all(one.grad is not None and one.grad.device.type == "meta" for one in tunable.parameters)
            assert len(fetched) == waited
