"""16-bit checkpoints run by ``transformers`` in float32 without ever being held in float32."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from blockcert_verifier.fidelity import transformers_logits
from blockcert_verifier.widening import stored_dtype, widen_while_used
from tests.support.checkpoints import LLAMA3, edit_tensors, make_checkpoint


def load(folder: Path, dtype: torch.dtype) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, attn_implementation="eager", local_files_only=True
    ).eval()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("gpt2", {}),
    ],
    ids=["llama, tied, biases", "llama, scaled rope", "gpt2"],
)
def test_the_logits_are_those_of_a_float32_copy(tmp_path: Path, kind: str, options: dict[str, Any], dtype: str) -> None:
    folder = make_checkpoint(tmp_path, kind, dtype=dtype, **options)
    tokens = np.random.default_rng(1).integers(0, 29, (3, 11))
    with torch.inference_mode():
        whole = load(folder, torch.float32)(input_ids=torch.from_numpy(tokens)).logits
    found = transformers_logits(folder, tokens, "float32")
    assert stored_dtype(folder) == dtype
    assert np.ptp(found) > 1
    # a build may sum in an order that depends on where memory lies; 16-bit rounding would be a thousand times as much
    assert np.abs(found - whole.to(torch.float64).numpy()).max() < 1e-5


def test_between_two_runs_no_weight_is_wide(tmp_path: Path) -> None:
    model = load(make_checkpoint(tmp_path, "llama", dtype="bfloat16"), torch.bfloat16)
    assert widen_while_used(model, torch.float32)
    wide: list[int] = []
    for layer in model.modules():
        layer.register_forward_hook(lambda *_: wide.append(sum(p.dtype == torch.float32 for p in model.parameters())))
    with torch.inference_mode():
        out = model(input_ids=torch.zeros((1, 3), dtype=torch.int64)).logits
    assert out.dtype == torch.float32
    assert wide
    assert set(wide) == {0}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_the_model_goes_with_its_last_use(tmp_path: Path) -> None:
    model = load(make_checkpoint(tmp_path, "llama", dtype="bfloat16"), torch.bfloat16)
    widen_while_used(model, torch.float32)
    gone = weakref.ref(model.model.layers[0].mlp.up_proj.weight)
    gc.disable()
    try:
        del model
        assert gone() is None
    finally:
        gc.enable()


def test_weights_narrow_again_after_a_run_that_fails(tmp_path: Path) -> None:
    model = load(make_checkpoint(tmp_path, "gpt2", dtype="float16"), torch.float16)
    assert widen_while_used(model, torch.float32)
    with pytest.raises(IndexError):
        model(input_ids=torch.full((1, 3), 29))
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_a_model_that_made_itself_a_narrow_buffer_is_left_alone() -> None:
    model = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    model.register_buffer("scale", torch.ones(1, dtype=torch.bfloat16))
    assert not widen_while_used(model, torch.float32)
    assert model(torch.zeros(1, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_folder_of_mixed_or_wide_weights_is_read_as_before(tmp_path: Path) -> None:
    assert stored_dtype(make_checkpoint(tmp_path / "wide", "llama")) is None
    mixed = make_checkpoint(tmp_path / "mixed", "llama", dtype="bfloat16")

    def widen_one(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.float32) + 1e-4

    edit_tensors(mixed, widen_one)
    assert stored_dtype(mixed) is None
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 9)
    assert stored_dtype(tmp_path) is None
