"""GPT-NeoX: the fused queries, keys and values, the parallel residual, old spellings, and what such a program costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockcert.errors import Refusal
from blockcert.program import Add, Attention, Dense, LayerNorm, Linear, Rotary, Stage
from blockcert_producers.lift import lift
from blockcert_verifier.anatomy import dissect
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.fidelity import float64_modules, transformers_logits
from tests.support.architectures_neox import partly
from tests.support.checkpoints import edit_config, edit_tensors, make_checkpoint
from tests.support.evaluator import evaluate
from tests.support.oracle import reference_files

LENGTH, VOCABULARY = 12, 29


def logits(folder: Path) -> np.ndarray:
    tokens = np.random.default_rng(5).integers(0, VOCABULARY, (2, LENGTH))
    return evaluate(lift(folder), reference_files(folder), tokens)[-1]


def same(folder: Path) -> None:
    """The lifted program computes what ``transformers`` does."""
    tokens = np.random.default_rng(5).integers(0, VOCABULARY, (2, LENGTH))
    with float64_modules():
        theirs = transformers_logits(folder, tokens, "float64")
    assert np.abs(logits(folder) - theirs).max() <= 1e-9


def named(stage: Stage) -> dict[str, Any]:
    return {step.out: step for step in stage.steps}


def test_queries_keys_and_values_are_rows_of_every_head_of_the_fused_matrix(tmp_path: Path) -> None:
    block = named(lift(make_checkpoint(tmp_path, "gpt_neox")).stages[1])
    for j, out in enumerate("qkv"):
        step = block[out]
        assert isinstance(step, Linear)
        assert isinstance(step.map, Dense)
        for reference, kind in ((step.map.weight, "weight"), (step.bias, "bias")):
            assert reference is not None
            assert reference.tensor == f"gpt_neox.layers.0.attention.query_key_value.{kind}"
            assert (reference.rows, reference.period) == ((8 * j, 8 * j + 8), 24)


def test_both_halves_of_a_parallel_block_read_its_input_and_the_others_follow(tmp_path: Path) -> None:
    for parallel, source in ((True, "hidden"), (False, "after_attention")):
        folder = make_checkpoint(tmp_path / str(parallel), "gpt_neox", use_parallel_residual=parallel)
        block = named(lift(folder).stages[2])
        assert isinstance(block["mlp_in"], LayerNorm)
        assert (block["attention_in"].input, block["mlp_in"].input) == ("hidden", source)
        assert block["after_attention"] == Add("after_attention", "hidden", "attention_out")
        assert block["after_mlp"] == Add("after_mlp", "after_attention", "mlp_out")


def test_the_rotated_share_of_a_head_is_cut_as_transformers_cuts_it(tmp_path: Path) -> None:
    # 0.29 * 100 is 28.999... in binary64, which transformers cuts to 28
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.29}
    options = {"hidden_size": 100, "num_attention_heads": 1, "num_hidden_layers": 1}
    folder = make_checkpoint(tmp_path, "gpt_neox", **options, rope_parameters=rope)
    block = named(lift(folder).stages[1])
    assert isinstance(block["q_rotated"], Rotary)
    assert (block["q_rotated"].head_size, block["q_rotated"].size) == (100, 28)
    same(folder)


OLD: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "share and base": {"rotary_pct": 0.5, "rotary_emb_base": 50},
    "with what some releases wrote beside": {
        "rotary_pct": 0.5,
        "rotary_emb_base": 50,
        "partial_rotary_factor": 0.5,
        "rope_theta": 50,
        "rope_scaling": None,
    },
    "linear scaling": {"rotary_pct": 1.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "proportional": {"rotary_pct": 0.5, "rope_scaling": {"type": "proportional", "factor": 2.0}},
    "LongRoPE, its original context beside it": {
        "rotary_pct": 0.5,
        "original_max_position_embeddings": 5,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [1.5, 9]},
    },
    "in both spellings": {
        "rotary_pct": 0.5,
        "rotary_emb_base": 50,
        "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5},
    },
}


@pytest.mark.parametrize("case", OLD)
def test_the_old_spelling_of_rotary_options_is_read_as_transformers_reads_it(case: str, tmp_path: Path) -> None:
    same(edit_config(edit_config(make_checkpoint(tmp_path, "gpt_neox"), {}, remove=("rope_parameters",)), OLD[case]))


# Pythia's config but for sizes and tokens, older than those that transformers writes now; dropout as 20B spells it.
PYTHIA: dict[str, Any] = {
    "architectures": ["GPTNeoXForCausalLM"],
    "attention_probs_dropout_prob": 0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.24.0",
    "use_cache": True,
    "use_parallel_residual": True,
}


def test_the_options_of_pythia_are_read(tmp_path: Path) -> None:
    new = ("rope_parameters", "dtype", "classifier_dropout", "attention_bias", "is_decoder")
    same(edit_config(make_checkpoint(tmp_path, "gpt_neox", dtype="float16"), PYTHIA, remove=new))


def test_stored_masks_and_frequencies_are_passed_over(tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        name = "gpt_neox.layers.1.attention"
        tensors[f"{name}.bias"] = torch.ones(1, 1, 64, 64).tril().to(torch.bool)
        tensors[f"{name}.masked_bias"] = torch.tensor(-1e9)
        # not what the config says: they must not be read
        tensors[f"{name}.rotary_emb.inv_freq"] = torch.full((2,), torch.nan)

    folder = make_checkpoint(tmp_path, "gpt_neox")
    before = logits(folder)
    assert np.array_equal(logits(edit_tensors(folder, change)), before)


def test_the_head_is_found_under_either_name_and_the_model_without_its_prefix(tmp_path: Path) -> None:
    def rename(tensors: dict[str, Any]) -> None:
        tensors["lm_head.weight"] = tensors.pop("embed_out.weight")
        for name in list(tensors):
            tensors[name.removeprefix("gpt_neox.")] = tensors.pop(name)

    folder = make_checkpoint(tmp_path, "gpt_neox")
    before = logits(folder)
    assert np.array_equal(logits(edit_tensors(folder, rename)), before)


@pytest.mark.parametrize("name", ["embed_out.weight", "lm_head.weight"])
def test_a_stored_copy_of_a_tied_head_is_accepted_and_another_refused(name: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "gpt_neox", tie_word_embeddings=True)
    before = logits(folder)

    def copy(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors["gpt_neox.embed_in.weight"].clone()

    assert np.array_equal(logits(edit_tensors(folder, copy)), before)
    edit_tensors(folder, lambda tensors: tensors[name].mul_(2))
    with pytest.raises(Refusal) as caught:
        lift(folder)
    assert (caught.value.code, caught.value.place.rsplit(": ", 1)[-1]) == ("lift.tensor", name)


def test_two_heads_are_refused(tmp_path: Path) -> None:
    def both(tensors: dict[str, Any]) -> None:
        tensors["lm_head.weight"] = tensors["embed_out.weight"].clone()

    with pytest.raises(Refusal) as caught:
        lift(edit_tensors(make_checkpoint(tmp_path, "gpt_neox"), both))
    assert caught.value.code == "lift.tensor"
    assert "embed_out.weight" in caught.value.place


@pytest.mark.parametrize("biased", [True, False])
def test_what_a_gpt_neox_costs_by_hand(biased: bool, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "gpt_neox", attention_bias=biased)
    embedding, *blocks, head = program_costs(lift(folder), WeightStore(reference_files(folder)), LENGTH)
    d, inner = 24, 20
    # the fused matrix, counted once in its three parts; the output map; the MLP
    maps = 3 * d * d + d * d + 2 * inner * d
    biases = (3 * d + d if biased else 0) + inner + d
    # two layer norms, each with a weight and a bias
    norms = 4 * d
    attended = LENGTH * (LENGTH + 1) // 2
    assert (embedding.parameters, embedding.multiply_adds) == (VOCABULARY * d, 0)
    for block in blocks:
        assert block.parameters == maps + biases + norms
        assert block.bits == 32 * (maps + biases + norms)
        # scores and sums of values over all heads, whose sizes add up to d
        assert block.multiply_adds == LENGTH * maps + 2 * d * attended
    assert (head.parameters, head.multiply_adds) == (VOCABULARY * d + 2 * d, LENGTH * VOCABULARY * d)


@pytest.mark.parametrize("parallel", [True, False])
def test_the_anatomy_finds_heads_neurons_and_residual_sums(parallel: bool, tmp_path: Path) -> None:
    stage = lift(make_checkpoint(tmp_path, "gpt_neox", use_parallel_residual=parallel)).stages[1]
    found = dissect(stage)
    assert found.heads is not None
    assert found.neurons is not None
    assert isinstance(stage.steps[found.heads.attention], Attention)
    names = [stage.steps[i].out for i in (found.heads.query, found.heads.key, found.heads.value, found.heads.output)]
    assert names == ["q", "k", "v", "attention_out"]
    assert [stage.steps[i].out for i in (*found.neurons.inputs, found.neurons.output)] == ["up", "mlp_out"]
    sums = {stage.steps[i].out: (stage.steps[at].out, other) for i, (at, other) in found.sums.items()}
    assert sums == {"attention_out": ("after_attention", "hidden"), "mlp_out": ("after_mlp", "after_attention")}


# each: the options changed, the option named in the place, a part of the sentence
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no rotated channel": (partly(0.1), "rope_parameters.partial_rotary_factor", "rotates 0 of the 8"),
    "more channels than there are": (partly(1.5), "rope_parameters.partial_rotary_factor", "rotates 12 of the 8"),
    "an odd number, old spelling": ({"rope_parameters": None, "rotary_pct": 0.375}, "rotary_pct", "rotates 3 of the 8"),
    "two shares": ({"rotary_pct": 0.25}, "rotary_pct", "differs from the 0.5"),
    "two shares, another name": ({"partial_rotary_factor": 1.0}, "partial_rotary_factor", "differs from the 0.5"),
    "two bases": ({"rotary_emb_base": 50}, "rotary_emb_base", "differs from the 10000"),
    "two bases, another name": ({"rope_theta": 50}, "rope_theta", "differs from the 10000"),
    "two scalings": ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling", "ambiguous"),
    "heads that do not divide": ({"num_attention_heads": 5}, "num_attention_heads", "5 heads do not divide"),
    "residual as a number": ({"use_parallel_residual": 1}, "use_parallel_residual", "1 is not true or false"),
    "attention to later tokens": ({"is_causal": False}, "is_causal", 'unknown option "is_causal"'),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), "gpt_neox")


@pytest.mark.parametrize("case", BAD)
def test_a_config_with_this_is_refused(case: str, checkpoint: Path, tmp_path: Path) -> None:
    changes, option, part = BAD[case]
    (tmp_path / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(Refusal) as caught:
        lift(edit_config(tmp_path, changes))
    found = caught.value
    assert (found.code, found.place) == ("lift.option", f"{tmp_path / 'config.json'}: $.{option}")
    assert part in found.sentence
