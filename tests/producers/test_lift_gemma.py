"""Gemma 2 and Gemma 3: windows, caps, the scaled embedding, two rotary bases, and what such a program costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from blockcert.errors import Refusal
from blockcert.program import Attention, Embed, Program, RmsNorm, Rotary, SoftCap, WindowPattern
from blockcert_producers.lift import lift
from blockcert_verifier.anatomy import dissect
from blockcert_verifier.costs import program_costs
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.fidelity import float64_modules, transformers_logits
from tests.support.architectures_gemma import by_layer
from tests.support.checkpoints import LONGROPE, PROPORTIONAL, TINY, YARN, edit_config, edit_tensors, make_checkpoint
from tests.support.evaluator import evaluate
from tests.support.oracle import reference_files
from tests.support.reach import reach

FAMILIES = ("gemma2", "gemma3_text")
LENGTH, VOCABULARY = 12, 29


def logits(folder: Path, tokens: np.ndarray) -> np.ndarray:
    return evaluate(lift(folder), reference_files(folder), tokens)[-1]


def wide(folder: Path, tokens: np.ndarray) -> np.ndarray:
    with float64_modules():
        return transformers_logits(folder, tokens, "float64")


def same(folder: Path) -> None:
    """The lifted program computes what ``transformers`` does, on prompts longer than the windows."""
    tokens = np.random.default_rng(5).integers(0, VOCABULARY, (2, LENGTH))
    assert np.abs(logits(folder, tokens) - wide(folder, tokens)).max() <= 1e-9


def steps(program: Program, kind: type[Any]) -> list[Any]:
    return [step for stage in program.stages for step in stage.steps if isinstance(step, kind)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [1, 4, 11, 12])
def test_a_window_reaches_a_token_and_those_before_it_width_in_all(family: str, width: int, tmp_path: Path) -> None:
    options = {"num_hidden_layers": 1, "layer_types": ["sliding_attention"], "sliding_window": width}
    folder = make_checkpoint(tmp_path, family, **options)
    expected = list(range(LENGTH - width, LENGTH))
    assert reach(lambda tokens: wide(folder, tokens), LENGTH, VOCABULARY) == expected
    assert reach(lambda tokens: logits(folder, tokens), LENGTH, VOCABULARY) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_without_a_window_reaches_everything(family: str, tmp_path: Path) -> None:
    options = {"num_hidden_layers": 1, "layer_types": ["full_attention"], "sliding_window": 2}
    folder = make_checkpoint(tmp_path, family, **options)
    for run in (wide, logits):
        assert reach(lambda tokens, run=run: run(folder, tokens), LENGTH, VOCABULARY) == list(range(LENGTH))


# the number of layers, the options, and the layers without a window
PLACES: dict[str, tuple[str, int, dict[str, Any], list[int]]] = {
    "gemma 2, by default": ("gemma2", 5, {}, [1, 3]),
    "gemma 3, by default": ("gemma3_text", 13, {"layer_types": None}, [5, 11]),
    "gemma 3, by an old pattern": ("gemma3_text", 5, {"layer_types": None, "sliding_window_pattern": 2}, [1, 3]),
    "gemma 3, no windows": ("gemma3_text", 2, {"layer_types": None, "sliding_window_pattern": 1}, [0, 1]),
}


@pytest.mark.parametrize("case", PLACES)
def test_windows_and_rotary_bases_go_by_the_layer(case: str, tmp_path: Path) -> None:
    family, layers, options, full = PLACES[case]
    folder = make_checkpoint(tmp_path, family, num_hidden_layers=layers, **options)
    # what is said in place of layer_types, as configs from before them do
    program = lift(edit_config(folder, {}, remove=("layer_types",)))
    found = [step.patterns for step in steps(program, Attention)]
    assert [i for i, patterns in enumerate(found) if not isinstance(patterns[0], WindowPattern)] == full
    assert all(len(patterns) == 4 and len(set(patterns)) == 1 for patterns in found)
    rotary = [[s.theta for s in stage.steps if isinstance(s, Rotary)] for stage in program.stages[1:-1]]
    wide_base = "10000" if family == "gemma2" else "1000000"
    assert rotary == [[wide_base if i in full else "10000"] * 2 for i in range(layers)]


OLD_GEMMA3: dict[str, dict[str, Any]] = {
    "nothing said": {},
    "two bases": {"rope_theta": 500.0, "rope_local_base_freq": 50},
    "a scaling of the wide layers": {
        "rope_theta": 1000000,
        "rope_local_base_freq": 10000,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "null": {"rope_scaling": None, "rope_theta": 300.0},
    "LongRoPE of the wide layers": {
        "rope_scaling": {
            "rope_type": "longrope",
            "short_factor": [1.0, 2, 3],
            "long_factor": [1.5, 9, 20.0],
            "original_max_position_embeddings": 5,
        }
    },
    "proportional positions of the wide layers": {
        "rope_scaling": {"rope_type": "proportional", "partial_rotary_factor": 0.5}
    },
}


@pytest.mark.parametrize("case", OLD_GEMMA3)
def test_the_old_spelling_of_gemma_3s_rotary_options_is_read_as_transformers_reads_it(
    case: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path, "gemma3_text")
    same(edit_config(folder, OLD_GEMMA3[case], remove=("rope_parameters",)))


# The options of published configs, older than those that transformers writes now, in sizes of ours.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gemma2": {
        "cache_implementation": "hybrid",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": 10000.0,
        "sliding_window_size": 5,
        "torch_dtype": "float32",
    },
    "gemma3_text": {
        "cache_implementation": "hybrid",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "rope_local_base_freq": 10000,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window_pattern": 2,
        "torch_dtype": "float32",
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_options_of_published_configs_are_read(family: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, family)
    new = ("rope_parameters", "layer_types", "dtype", "_sliding_window_pattern", "use_bidirectional_attention")
    same(edit_config(folder, PUBLISHED[family], remove=new))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embedding_is_scaled_by_the_root_of_the_hidden_size_in_float64(family: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, family)
    (embed,) = steps(lift(folder), Embed)
    assert float(embed.scale) == 12**0.5
    # the factor that a run in bfloat16 rounds to, which is none of the model's
    assert float(torch.tensor(12**0.5).to(torch.bfloat16)) == 3.46875
    assert embed.scale == "3.4641016151377544"


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_count_from_one_and_caps_stand_where_the_config_has_them(family: str, tmp_path: Path) -> None:
    program = lift(make_checkpoint(tmp_path, family))
    assert {norm.offset for norm in steps(program, RmsNorm)} == {"1"}
    assert [step.cap for step in steps(program, Attention)] == ["4" if family == "gemma2" else None] * 2
    assert [step.cap for step in steps(program, SoftCap)] == (["9"] if family == "gemma2" else [])
    assert {step.denominator_squared for step in steps(program, Attention)} == {"7"}
    heads = [norm.head_size for norm in steps(program, RmsNorm) if norm.head_size is not None]
    assert heads == ([] if family == "gemma2" else [6] * 4)


def test_transformers_does_not_cap_gemma_3s_attention_scores(tmp_path: Path) -> None:
    # why the option is refused: a config that sets it says something that the model does not do
    tokens = np.arange(LENGTH)[None, :]
    folder = make_checkpoint(tmp_path, "gemma3_text")
    before = wide(folder, tokens)
    assert np.array_equal(wide(edit_config(folder, {"attn_logit_softcapping": 0.1}), tokens), before)


def test_transformers_does_not_read_truncate_in_the_options_of_gemma_3s_layers(tmp_path: Path) -> None:
    # why false is refused there, and is no other program than true
    tokens = np.arange(LENGTH)[None, :]
    folder = make_checkpoint(tmp_path, "gemma3_text", head_dim=16, rope_parameters=by_layer(YARN, YARN))
    before = wide(folder, tokens)
    said = {**YARN, "truncate": False}
    assert np.array_equal(wide(edit_config(folder, {"rope_parameters": by_layer(said, said)}), tokens), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_the_base_model_with_a_copy_of_the_head_and_frequencies_are_read(family: str, tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("model.")] = tensors.pop(name)
        tensors["lm_head.weight"] = tensors["embed_tokens.weight"].clone()
        # not what the config says: they must not be read
        tensors["layers.0.self_attn.rotary_emb.inv_freq"] = torch.full((3,), torch.nan)

    folder = make_checkpoint(tmp_path, family)
    tokens = np.arange(LENGTH)[None, :]
    before = logits(folder, tokens)
    assert np.array_equal(logits(edit_tensors(folder, change), tokens), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_gemma_costs_by_hand(family: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, family)
    costs = program_costs(lift(folder), WeightStore(reference_files(folder)), LENGTH)
    d, inner, heads, groups, size, width = 12, 20, 4, 2, 6, 5
    # q and the output map, k and v, the three maps of the MLP
    maps = 2 * heads * size * d + 2 * groups * size * d + 3 * inner * d
    # four norms of the hidden state and, in Gemma 3, one of queries and one of keys; nothing for the 1 they add
    norms = 4 * d + (0 if family == "gemma2" else 2 * size)
    causal = LENGTH * (LENGTH + 1) // 2
    # in the window the first 5 positions see 1, 2, 3, 4, 5, every later one 5
    windowed = 15 + (LENGTH - width) * width
    embedding, sliding, full, head = costs
    # a table is looked up in, not multiplied with, and its scale is no parameter
    assert (embedding.parameters, embedding.multiply_adds) == (VOCABULARY * d, 0)
    for block, seen in ((sliding, windowed), (full, causal)):
        assert block.parameters == maps + norms
        assert block.bits == 32 * (maps + norms)
        assert block.multiply_adds == LENGTH * maps + 2 * heads * size * seen
    assert (head.parameters, head.multiply_adds) == (VOCABULARY * d + d, LENGTH * VOCABULARY * d)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_anatomy_finds_heads_and_neurons_but_a_norm_before_each_sum(family: str, tmp_path: Path) -> None:
    stage = lift(make_checkpoint(tmp_path, family)).stages[1]
    found = dissect(stage)
    assert found.heads is not None
    assert found.neurons is not None
    names = [stage.steps[i].out for i in (found.heads.query, found.heads.key, found.heads.value, found.heads.output)]
    assert names == ["q", "k", "v", "attention_out"]
    assert [stage.steps[i].out for i in found.neurons.inputs] == ["gate", "up"]
    # what the maps give is normed before it is added, so nothing of the sum can be moved into them
    assert found.sums == {}


ONE, OTHER = {"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}
# each: the options changed, the option named in the place, a part of the sentence
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no window": ({"sliding_window": None}, "sliding_window", "makes no mask without a window"),
    "layers of another number": (
        {"layer_types": ["full_attention"]},
        "layer_types",
        "1 entries, and the model 2 layers",
    ),
    "heads that do not divide": ({"num_attention_heads": 5}, "num_attention_heads", "5 heads do not divide"),
    "groups that do not divide": ({"num_key_value_heads": 3}, "num_key_value_heads", "do not divide 4 query heads"),
    "two activations": ({"hidden_act": "relu"}, "hidden_act", "differs from hidden_activation"),
    "negative cap": ({"final_logit_softcapping": -1.0}, "final_logit_softcapping", "not a positive number"),
    "bidirectional, not a flag": ({"use_bidirectional_attention": 1}, "use_bidirectional_attention", "no later token"),
    "no scale of the scores": ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar", "not a positive number"),
}
BAD_GEMMA2: dict[str, tuple[dict[str, Any], str, str]] = {
    "two windows": ({"sliding_window_size": 6}, "sliding_window_size", "must be sliding_window"),
    "cap as a string": ({"attn_logit_softcapping": "50"}, "attn_logit_softcapping", "not a positive number"),
    "two bases": ({"rope_theta": 50.0}, "rope_theta", "50 differs from 10000"),
    "a pattern of windows": ({"sliding_window_pattern": 2}, "sliding_window_pattern", "unknown option"),
}
BAD_GEMMA3: dict[str, tuple[dict[str, Any], str, str]] = {
    "rotary options of no layer": ({"rope_parameters": OTHER}, "rope_parameters.factor", '"factor", "rope_type"'),
    "partly rotated layers": (
        {"rope_parameters": by_layer(ONE, {"partial_rotary_factor": 0.5})},
        "rope_parameters.sliding_attention.partial_rotary_factor",
        "only rotations of whole heads",
    ),
    "an unknown option of a layer": (
        {"rope_parameters": by_layer({**OTHER, "beta_fast": 3})},
        "rope_parameters.full_attention.beta_fast",
        '"beta_fast"',
    ),
    "a share beside layers that say another": (
        {"partial_rotary_factor": 1.0, "rope_parameters": by_layer(PROPORTIONAL)},
        "partial_rotary_factor",
        "1 differs from 0.7",
    ),
    "an original context beside the layers, where nothing reads it": (
        {"original_max_position_embeddings": 12, "head_dim": 16, "rope_parameters": by_layer(LONGROPE)},
        "original_max_position_embeddings",
        'unknown option "original_max_position_embeddings"',
    ),
    "two scalings": ({"rope_scaling": OTHER}, "rope_scaling", "it differs from rope_parameters.full_attention"),
    "two bases": ({"rope_theta": 50.0}, "rope_theta", "50 differs from 1000000"),
    "two local bases": ({"rope_local_base_freq": 50.0}, "rope_local_base_freq", "50 differs from 10000"),
    "two patterns of windows": ({"sliding_window_pattern": 3}, "sliding_window_pattern", "differs from layer_types"),
    "a scaling by type alone": (
        {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}},
        "rope_scaling.type",
        "some releases of transformers scale and some do not",
    ),
    "YaRN that is not truncated, with a window": (
        {"rope_parameters": by_layer(ONE, {**YARN, "truncate": False})},
        "rope_parameters.sliding_attention.truncate",
        "so it truncates whatever stands here",
    ),
    "YaRN that is not truncated, in the old spelling": (
        {"rope_parameters": None, "rope_scaling": {**YARN, "truncate": False}},
        "rope_scaling.truncate",
        "so it truncates whatever stands here",
    ),
    "YaRN truncated by nothing": (
        {"rope_parameters": by_layer({**YARN, "truncate": None})},
        "rope_parameters.full_attention.truncate",
        "null is not true or false",
    ),
    "truncation beside the layers": (
        {"rope_parameters": {**by_layer(YARN), "truncate": False}},
        "rope_parameters.truncate",
        '"truncate"',
    ),
    "a pattern of nothing": ({"sliding_window_pattern": 0}, "sliding_window_pattern", "0 is not an integer from 1"),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: make_checkpoint(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.mark.parametrize(
    ("family", "changes", "option", "part"),
    [
        pytest.param(family, *case, id=f"{family}-{name}")
        for family, table in (("gemma2", BAD | BAD_GEMMA2), ("gemma3_text", BAD | BAD_GEMMA3))
        for name, case in table.items()
    ],
)
def test_a_config_with_this_is_refused(
    family: str, changes: dict[str, Any], option: str, part: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").symlink_to(checkpoints[family] / "model.safetensors")
    (tmp_path / "config.json").write_bytes((checkpoints[family] / "config.json").read_bytes())
    with pytest.raises(Refusal) as caught:
        lift(edit_config(tmp_path, changes))
    found = caught.value
    assert (found.code, found.place) == ("lift.option", f"{tmp_path / 'config.json'}: $.{option}")
    assert part in found.sentence


def test_the_tiny_models_are_of_several_kinds_of_layers() -> None:
    assert transformers.Gemma2Config(**TINY["gemma2"]).layer_types == ["sliding_attention", "full_attention"]
    assert TINY["gemma3_text"]["layer_types"] == ["sliding_attention", "full_attention"]
