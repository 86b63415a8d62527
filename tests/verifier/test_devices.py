"""Names of devices: what is none, or is not here, is refused before anything is computed."""

from __future__ import annotations

import pytest

from blockcert.errors import Refusal
from blockcert_verifier.evaluate import Backend

torch = pytest.importorskip("torch", reason="torch, blockcert[produce], is not installed")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it has two GPUs; nothing is computed on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", "torch"])
def test_a_gpu_that_is_here_is_taken(device: str) -> None:
    assert Backend(device).device == device


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("device", ["cuda:2", "cuda:99", "cuda:", "cuda:x", "cuda:-1", "cuda:٠", "cuda0", "CUDA", ""])
def test_what_is_no_gpu_here_is_refused(device: str) -> None:
    with pytest.raises(Refusal) as refused:
        Backend(device)
    assert refused.value.code == "device.unavailable"
    assert refused.value.place


def test_without_a_gpu_none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refusal) as refused:
        Backend("cuda")
    assert "use --device cpu or torch" in refused.value.sentence
