"""Lifted programs compute what ``transformers`` computes, for every shape of checkpoint that can be lifted."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert.digest import digest_file
from blockcert.program import Attention, Dense, LayerNorm, Linear, Program, RmsNorm, Rotary
from blockcert.wellformed import problems
from blockcert_producers.embedded import NAMES
from blockcert_producers.lift import ARCHITECTURES, lift
from blockcert_verifier.fidelity import float64_modules, measure_fidelity, transformers_logits
from tests.support.architectures import LENGTHS, REFUSED, SHAPES
from tests.support.checkpoints import (
    LLAMA3,
    LONGROPE,
    PROPORTIONAL,
    TINY,
    YARN,
    edit_config,
    edit_tensors,
    make_checkpoint,
)
from tests.support.evaluator import evaluate
from tests.support.oracle import Oracle, reference_files

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "producers" / "blockcert_producers" / "embedded"
REAL = ROOT.parent / "shared" / "models"
AS_SHIPPED, IN_FLOAT64 = 1e-4, 1e-9


def agreement(folder: Path, length: int, rows: int = 2) -> tuple[float, float, float]:
    """Largest logit differences: to ``transformers`` as shipped, to it in float64, and between the evaluators."""
    program = lift(folder)
    assert problems(program, "reference.json", reference=True) == []
    tokens = np.random.default_rng(3).integers(0, program.vocabulary, (rows, length))
    files = reference_files(folder)
    plain = np.stack([Oracle(program, files).logits(row) for row in tokens.tolist()])
    lifted = evaluate(program, files, tokens)[-1]
    shipped = transformers_logits(folder, tokens, "float32")
    with float64_modules():
        wide = transformers_logits(folder, tokens, "float64")
    # logits that hardly vary would agree whatever was lifted
    assert np.ptp(shipped) > 1
    return (
        max(float(np.abs(ours - shipped).max()) for ours in (lifted, plain)),
        max(float(np.abs(ours - wide).max()) for ours in (lifted, plain)),
        float(np.abs(lifted - plain).max()),
    )


def check(folder: Path, length: int) -> None:
    shipped, wide, between = agreement(folder, length)
    assert shipped <= AS_SHIPPED
    assert wide <= IN_FLOAT64
    assert between <= IN_FLOAT64


@pytest.mark.parametrize(("family", "shape"), [(family, shape) for family in SHAPES for shape in SHAPES[family]])
def test_a_checkpoint_of_this_family_and_shape_computes_the_same(family: str, shape: str, tmp_path: Path) -> None:
    check(make_checkpoint(tmp_path, family, **SHAPES[family][shape]), length=LENGTHS.get(family, 40))


def test_every_family_has_shapes_and_refusals() -> None:
    assert set(SHAPES) == set(REFUSED) == set(TINY) == set(ARCHITECTURES)
    assert all(SHAPES.values())
    assert all(REFUSED.values())


OLD_SPELLINGS: dict[str, dict[str, Any]] = {
    "base": {"rope_theta": 50},
    "no rotary options": {},
    "null scaling": {"rope_theta": 50.0, "rope_scaling": None},
    "linear, by type": {"rope_theta": 50.0, "rope_scaling": {"type": "linear", "factor": 4}},
    "linear, both names": {"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 4.0}},
    "llama 3": {
        "rope_theta": LLAMA3["rope_theta"],
        "rope_scaling": {name: value for name, value in LLAMA3.items() if name != "rope_theta"},
    },
    "YaRN, as Qwen 2.5 spells it": {
        "max_position_embeddings": 48,
        "rope_theta": YARN["rope_theta"],
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 48, "type": "yarn"},
    },
    "YaRN without its context": {"rope_scaling": {"type": "yarn", "factor": 2}},
    "LongRoPE, by type, its original context beside it": {
        "rope_theta": 50.0,
        "original_max_position_embeddings": 20,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": LONGROPE["short_factor"],
            "long_factor": LONGROPE["long_factor"],
        },
    },
    "LongRoPE, its original context twice": {
        "original_max_position_embeddings": 12,
        "rope_scaling": {**LONGROPE, "factor": None, "attention_factor": None},
    },
    "LongRoPE without its original context": {
        "rope_scaling": {name: value for name, value in LONGROPE.items() if name != "original_max_position_embeddings"}
    },
    "Llama 3, its original context beside it": {
        "original_max_position_embeddings": 20,
        "rope_scaling": {name: value for name, value in LLAMA3.items() if name != "original_max_position_embeddings"},
    },
    "proportional, by type": {"rope_scaling": {"type": "proportional"}},
    "proportional, its share beside it": {
        "partial_rotary_factor": 0.4,
        "rope_scaling": {name: value for name, value in PROPORTIONAL.items() if name != "partial_rotary_factor"},
    },
    "dynamic, by type": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "both spellings, agreeing": {
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        "rope_parameters": {"rope_type": "linear", "factor": 4.0},
    },
}


@pytest.mark.parametrize("spelling", OLD_SPELLINGS)
def test_the_old_spelling_of_rotary_options_is_read_as_transformers_reads_it(spelling: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama", head_dim=16)
    edit_config(folder, {}, remove=("rope_parameters",))
    check(edit_config(folder, OLD_SPELLINGS[spelling]), length=40)


def test_tensor_names_without_the_prefix_are_found(tmp_path: Path) -> None:
    def strip(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    check(edit_tensors(make_checkpoint(tmp_path, "gpt2"), strip), length=20)


def test_stored_masks_frequencies_and_a_copy_of_the_tied_head_are_passed_over(tmp_path: Path) -> None:
    import torch

    def mask(tensors: dict[str, Any]) -> None:
        tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 24, 24).tril().to(torch.uint8)
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()

    def frequencies(tensors: dict[str, Any]) -> None:
        # not what the config says: they must not be read
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.full((2,), torch.nan)

    check(edit_tensors(make_checkpoint(tmp_path / "gpt2", "gpt2"), mask), length=20)
    check(edit_tensors(make_checkpoint(tmp_path / "llama", "llama"), frequencies), length=20)


@pytest.mark.parametrize("name", NAMES)
def test_the_embedded_models_compute_the_same(name: str) -> None:
    check(EMBEDDED / name, length=32)


@pytest.mark.parametrize("name", ["stories260K", "slm4096_gpt2"])
def test_real_models_compute_the_same(name: str) -> None:
    if not (REAL / name).is_dir():
        pytest.skip(f"the model {name} is not on this machine")
    check(REAL / name, length=32)


def test_float64_modules_widen_in_their_own_thread_and_only_while_they_last() -> None:
    import torch

    def types() -> list[Any]:
        one = torch.ones(1, dtype=torch.float64)
        other = torch.nn.functional.softmax(one, dim=0, dtype=torch.float32)
        return [one.float().dtype, one.to(torch.float32).dtype, other.dtype]

    narrow = [torch.float32] * 3

    def interrupted() -> None:
        with float64_modules(), ThreadPoolExecutor(1) as pool:
            assert types() == [torch.float64] * 3
            assert pool.submit(types).result() == narrow
            # a view reads bits: another type would be other numbers
            assert torch.ones(1, dtype=torch.int32).view(torch.float32).dtype == torch.float32
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert types() == narrow


def test_without_the_patch_float64_is_not_reached(tmp_path: Path) -> None:
    # the reason for float64_modules(), and that it is undone afterwards
    folder = make_checkpoint(tmp_path, "llama")
    tokens = np.arange(20)[None, :]
    lifted = evaluate(lift(folder), reference_files(folder), tokens)[-1]
    with float64_modules():
        inside = transformers_logits(folder, tokens, "float64")
    outside = transformers_logits(folder, tokens, "float64")
    assert np.abs(lifted - inside).max() <= IN_FLOAT64
    assert IN_FLOAT64 < np.abs(lifted - outside).max() <= AS_SHIPPED


def test_weights_point_into_the_checkpoint_by_digest_slice_and_transpose(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "gpt2")
    program = lift(folder)
    (file,) = program.files
    digests = digest_file(folder / "model.safetensors")
    assert (file.name, file.size, file.blake3) == ("reference/model.safetensors", digests.size, digests.blake3)
    q, k, v = (step for step in program.stages[1].steps if step.out in ("q", "k", "v"))
    for part, (step, begin) in enumerate(((q, 0), (k, 12), (v, 24))):
        assert isinstance(step, Linear), part
        assert isinstance(step.map, Dense)
        assert step.bias is not None
        assert step.map.weight.tensor == "transformer.h.0.attn.c_attn.weight"
        assert (step.map.weight.rows, step.map.weight.columns) == (None, (begin, begin + 12))
        assert step.map.weight.transpose
        assert step.bias.rows == (begin, begin + 12)


def test_every_shard_read_is_listed_and_no_other(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama", shard="3KB")
    program = lift(folder, prefix="surrogate/")
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(shards) > 2
    assert [file.name for file in program.files] == ["surrogate/" + name for name in shards]


def test_a_given_digest_function_is_used_once_for_each_file(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama", shard="3KB")
    asked: list[Path] = []

    def digest(path: Path) -> Any:
        asked.append(path)
        return digest_file(path, sha256=True)

    assert lift(folder, digest=digest) == lift(folder)
    assert sorted(asked) == sorted(folder.glob("*.safetensors"))


def find(program: Program, kind: Callable[..., Any]) -> Any:
    return next(step for stage in program.stages for step in stage.steps if isinstance(step, kind))  # type: ignore[arg-type]


DECIMALS = {"1e-05": "0.00001", "1e-6": "0.000001", "0.1": "0.1", "3.0E-1": "0.3", "1": "1", "2.5e2": "250"}


@pytest.mark.parametrize("literal", DECIMALS)
def test_floats_become_the_exact_decimal_of_their_shortest_spelling(literal: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "llama")
    config = json.loads((folder / "config.json").read_text())
    del config["rms_norm_eps"]
    config["rope_parameters"] = {}
    config.pop("rope_theta", None)
    text = json.dumps(config)[:-1] + f', "rms_norm_eps": {literal}, "rope_theta": {literal}}}'
    (folder / "config.json").write_text(text)
    program = lift(folder)
    assert find(program, RmsNorm).eps == DECIMALS[literal]
    assert find(program, Rotary).theta == DECIMALS[literal]


def test_absent_options_have_the_defaults_of_transformers(tmp_path: Path) -> None:
    import transformers

    gpt2 = make_checkpoint(tmp_path / "gpt2", "gpt2")
    named = ("layer_norm_epsilon", "activation_function", "scale_attn_weights", "tie_word_embeddings", "n_inner")
    assert lift(edit_config(gpt2, {}, remove=named)) == lift(make_checkpoint(tmp_path / "gpt2 again", "gpt2"))
    assert float(find(lift(gpt2), LayerNorm).eps) == transformers.GPT2Config().layer_norm_epsilon

    llama = make_checkpoint(tmp_path / "llama", "llama", num_key_value_heads=4)
    named = ("rms_norm_eps", "hidden_act", "attention_bias", "mlp_bias", "head_dim", "num_key_value_heads")
    again = make_checkpoint(tmp_path / "llama again", "llama", num_key_value_heads=4)
    assert lift(edit_config(llama, {}, remove=(*named, "rope_parameters"))) == lift(again)
    assert float(find(lift(llama), RmsNorm).eps) == transformers.LlamaConfig().rms_norm_eps


def test_attention_scaled_by_layer_divides_by_its_square(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "gpt2", n_layer=3, scale_attn_by_inverse_layer_idx=True)
    steps = [step for stage in lift(folder).stages for step in stage.steps if isinstance(step, Attention)]
    assert [step.denominator_squared for step in steps] == ["4", "16", "36"]


def test_fidelity_is_the_largest_difference_over_all_prompts(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "gpt2")
    tokens = np.random.default_rng(0).integers(0, 29, (5, 9))

    def almost(program: Program, part: np.ndarray) -> np.ndarray:
        logits = evaluate(program, reference_files(folder), part)[-1].copy()
        logits[-1, 3, 11] += 0.015625
        return logits

    fidelity = measure_fidelity(folder, lift(folder), tokens, almost)
    assert (fidelity.rows, fidelity.basis) == (5, "estimate")
    assert float(fidelity.max_logit_difference) == pytest.approx(0.015625, abs=1e-5)
    assert "float32, eager" in fidelity.against


def test_running_transformers_prints_nothing_asks_no_network_and_leaves_no_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import socket

    from transformers.utils import logging

    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    folder = make_checkpoint(tmp_path, "llama")
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    capfd.readouterr()
    transformers_logits(folder, np.zeros((1, 4), dtype=np.int32), "float32")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert "HF_HUB_OFFLINE" not in os.environ
