"""Whole extractions, polish and measuring on a GPU that is not there: host and device are kept apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.same_program import same_stages
from blockcert_producers.certify.measuring import evidence_columns
from blockcert_producers.extract import Polish, front, polish
from blockcert_producers.extract.candidates import Candidate
from blockcert_producers.extract.polish import Polisher
from blockcert_producers.extract.rounding import rounded
from blockcert_producers.extract.target import LADDER
from blockcert_producers.heads.naming import name_heads
from blockcert_producers.lift import lift
from blockcert_producers.progress import silent
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.measure import Pair, Settings
from tests.support.checkpoints import make_checkpoint
from tests.support.fake_gpu import fake_gpu

torch = pytest.importorskip("torch", reason="torch, blockcert[produce], is not installed")

LENGTH = 12


@pytest.fixture(autouse=True)
def shapes_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is read from the GPU is random, and every candidate is taken."""
    random = np.random.default_rng(0)
    rising = iter(np.linspace(0, 1, 1 << 16))
    monkeypatch.setattr(Candidate, "within", lambda *_: True)
    monkeypatch.setattr(polish, "quantile", lambda _: next(rising))
    monkeypatch.setattr(sys.modules["blockcert_producers.extract.front"], "LADDER", LADDER[9:10])
    with fake_gpu(monkeypatch, random.standard_normal):
        yield


@pytest.fixture(params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    make_checkpoint(tmp_path, request.param)
    program = lift(tmp_path)
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (8, LENGTH))
    return program, {"reference/model.safetensors": tmp_path / "model.safetensors"}, tokens


def test_extraction_keeps_host_and_device_apart(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program, files, tokens = model
    tune, tuned = Polisher._tuned, list[Any]()  # pyright: ignore[reportPrivateUsage]

    def noted(polisher: Polisher, before: Candidate) -> Candidate | None:
        tuned.append(tune(polisher, before))
        return tuned[-1]

    monkeypatch.setattr(Polisher, "_tuned", noted)
    for budget in ("0.3", "kl=1000000", "logits=1000000"):
        made = front(program, files, tokens, backend_device="cuda", polish=Polish(1)).choose(budget)
        assert all("heads" in block.words and "neurons" in block.words for block in made.blocks)
    assert len(tuned) >= 3
    assert None not in tuned


def test_measuring_and_naming_keep_host_and_device_apart(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program, files, tokens = model
    store = WeightStore(files)
    other, held = rounded(program, store, "int4/32")
    pair = Pair(program, other, same_stages(program, other), held)
    settings = Settings((0.01, 0.05), (0.01,))
    module = sys.modules["blockcert_producers.certify.measuring"]
    monkeypatch.setattr(module, "first_not_finite", lambda _: None)
    for backend in (Backend, lambda device: Backend(device, reverse=True, noise=0)):
        monkeypatch.setattr(module, "Backend", backend)
        with pytest.raises(Refusal) as refused:
            evidence_columns(pair, tokens, settings, device="cuda", attribution=2, progress=silent)
        assert refused.value.code == "measure.unresolved"  # which random numbers are, once all are there
    assert name_heads(program, store, tokens, Backend("cuda")).prompts == len(tokens)


def test_a_value_of_the_host_among_those_of_the_device_is_seen() -> None:
    """What the tests above rest on."""
    device, host = Backend("cuda").array(np.ones(3)), Backend("torch").array(np.ones(3))
    with pytest.raises(RuntimeError, match="device"):
        device + host
    with pytest.raises(AssertionError):
        Backend("torch").numpy(device)
