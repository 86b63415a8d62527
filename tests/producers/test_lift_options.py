"""The options of ``config.json``: each is read, or has no effect, or is refused by its name; none is passed over."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from huggingface_hub.errors import StrictDataclassFieldValidationError

from blockcert.errors import Refusal
from blockcert.program import Attention, LongRopeScaling, Program, Rotary, WindowPattern
from blockcert_producers.lift import ARCHITECTURES, lift
from blockcert_producers.lift.options import WITHOUT_EFFECT
from tests.support.architectures import REFUSED, WALKED
from tests.support.checkpoints import LLAMA3, LONGROPE, PROPORTIONAL, YARN, edit_config, make_checkpoint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family in which every option that the family has makes a difference."""
    root = tmp_path_factory.mktemp("families")
    return {
        family: edit_config(make_checkpoint(root / family, family, **made), changes)
        for family, (made, changes) in WALKED.items()
    }


def copy(source: Path, target: Path) -> Path:
    """The same weights under a config of one's own."""
    target.mkdir()
    (target / "model.safetensors").symlink_to(source / "model.safetensors")
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    return target


def outcome(folder: Path) -> Program | Refusal:
    try:
        return lift(folder)
    except Refusal as refusal:
        return refusal


# each: the options changed, the option named in the place, a part of the sentence
BAD_GPT2: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown option": ({"sliding_window": 7}, "sliding_window", 'unknown option "sliding_window"'),
    "two unknown options": ({"zeta": 1, "alibi": True}, "alibi", 'unknown options "alibi", "zeta"'),
    "remote code": ({"auto_map": {"AutoModel": "m.M"}}, "auto_map", '"auto_map"'),
    "quantised": ({"quantization_config": {"bits": 4}}, "quantization_config", '"quantization_config"'),
    "unsupported activation": ({"activation_function": "mish"}, "activation_function", '"mish"'),
    "cut tanh gelu": ({"activation_function": "gelu_fast"}, "activation_function", '"gelu_fast"'),
    "activation not a string": ({"activation_function": 3}, "activation_function", "3"),
    "cross attention": ({"add_cross_attention": True}, "add_cross_attention", "second input"),
    "encoder and decoder": ({"is_encoder_decoder": True}, "is_encoder_decoder", "only decoders"),
    "pruned heads": ({"pruned_heads": {"0": [1]}}, "pruned_heads", "heads removed"),
    "other context": ({"n_ctx": 12}, "n_ctx", "n_positions"),
    "heads that do not divide": ({"n_head": 5}, "n_head", "5 heads do not divide the hidden size 12"),
    "size as a float": ({"n_embd": 12.0}, "n_embd", "12.0 is not an integer"),
    "size as a string": ({"n_embd": "12"}, "n_embd", '"12" is not an integer'),
    "size as a boolean": ({"n_layer": True}, "n_layer", "true is not an integer"),
    "no layers": ({"n_layer": 0}, "n_layer", "0 is not an integer from 1"),
    "negative size": ({"vocab_size": -1}, "vocab_size", "-1"),
    "huge size": ({"n_embd": 10**9}, "n_embd", "1000000000"),
    "size missing": ({"n_embd": None}, "n_embd", "missing"),
    "zero epsilon": ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon", "not a positive number"),
    "negative epsilon": ({"layer_norm_epsilon": -1e-5}, "layer_norm_epsilon", "not a positive number"),
    "epsilon as a string": ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon", "not a positive number"),
    "epsilon as a boolean": ({"layer_norm_epsilon": True}, "layer_norm_epsilon", "not a positive number"),
    "epsilon too small to write": ({"layer_norm_epsilon": 1e-200}, "layer_norm_epsilon", "more digits"),
    "flag as a number": ({"scale_attn_weights": 1}, "scale_attn_weights", "1 is not true or false"),
    "flag as null": ({"tie_word_embeddings": None}, "tie_word_embeddings", "null is not true or false"),
}

OLD = {"rope_parameters": None}
BAD_LLAMA: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown option": ({"qk_norm": True}, "qk_norm", 'unknown option "qk_norm"'),
    "heads that do not divide": ({"num_attention_heads": 3}, "num_attention_heads", "3 heads do not divide"),
    "groups that do not divide": ({"num_key_value_heads": 3}, "num_key_value_heads", "do not divide 4 query"),
    "interleaved rotation": ({"rope_interleaved": True}, "rope_interleaved", "not rotated together"),
    "unsupported activation": ({"hidden_act": "relu2"}, "hidden_act", '"relu2" is not supported'),
    "unknown rotary type": (
        OLD | {"rope_scaling": {"type": "ntk", "factor": 2.0}},
        "rope_scaling.type",
        '"ntk" is not supported; supported are: default, dynamic, linear, llama3, longrope, proportional, yarn',
    ),
    "dynamic without its factor": (
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}},
        "rope_parameters.factor",
        "missing",
    ),
    "dynamic in narrow heads": (
        {"head_dim": 2, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        "rope_parameters.rope_type",
        "not defined for heads of 2",
    ),
    "yarn without its factor": ({"rope_parameters": YARN | {"factor": None}}, "rope_parameters.factor", "missing"),
    "yarn with a null context": (
        {"rope_parameters": YARN | {"original_max_position_embeddings": None}},
        "rope_parameters.original_max_position_embeddings",
        "missing",
    ),
    "yarn backwards": (
        {"rope_parameters": YARN | {"beta_fast": 0.01}},
        "rope_parameters.beta_fast",
        "the ramp from 0.01 to 0.8 rotations runs backwards",
    ),
    "yarn in a base of 1": (
        {"rope_parameters": YARN | {"rope_theta": 1.0}},
        "rope_parameters.rope_theta",
        "with a base of 1 every frequency is the same",
    ),
    "yarn without amplitude": (
        {"rope_parameters": YARN | {"attention_factor": 0.0}},
        "rope_parameters.attention_factor",
        "0.0 is not a positive number",
    ),
    "yarn with a negative mscale": (
        {"rope_parameters": YARN | {"mscale": -1.0}},
        "rope_parameters.mscale",
        "-1.0 is not a positive number or 0",
    ),
    "yarn truncated by a number": (
        {"rope_parameters": YARN | {"truncate": 1}},
        "rope_parameters.truncate",
        "1 is not true or false",
    ),
    "yarn with llama 3's options": (
        {"rope_parameters": YARN | {"low_freq_factor": 1.0}},
        "rope_parameters.low_freq_factor",
        '"low_freq_factor"',
    ),
    "yarn with an endless attention factor": (
        {"rope_parameters": YARN | {"attention_factor": 1e-60}},
        "rope_parameters.attention_factor",
        "more digits",
    ),
    "axial": (
        {"rope_parameters": {"rope_type": "axial"}},
        "rope_parameters.rope_type",
        '"axial" is not supported: its positions have two axes',
    ),
    **{
        f"longrope: {name}": ({"head_dim": 16, "rope_parameters": LONGROPE | change}, f"rope_parameters.{option}", part)
        for name, change, option, part in (
            ("no list", {"short_factor": None}, "short_factor", "missing"),
            ("a number for a list", {"long_factor": 2.0}, "long_factor", "2.0 is not a list"),
            ("too short", {"long_factor": [1.0] * 7}, "long_factor", "7 entries, and a head 8 rotary frequencies"),
            ("one for all", {"short_factor": [1.0]}, "short_factor", "1 entries, and a head 8 rotary frequencies"),
            ("a zero", {"short_factor": [1.0] * 7 + [0]}, "short_factor", "0 is not a positive number"),
            ("a flag", {"long_factor": [True] * 8}, "long_factor", "true is not a positive number"),
            ("a null", {"long_factor": [None] * 8}, "long_factor", "null is not a positive number"),
            ("no context", {"original_max_position_embeddings": None}, "original_max_position_embeddings", "missing"),
            (
                "extended from one token",
                {"original_max_position_embeddings": 1},
                "original_max_position_embeddings",
                "no attention_factor follows",
            ),
            ("no factor", {"factor": 0}, "factor", "0 is not a positive number"),
            ("no amplitude", {"attention_factor": 0}, "attention_factor", "0 is not a positive number"),
            ("yarn's options", {"beta_fast": 32}, "beta_fast", '"beta_fast"'),
            ("a part of each head", {"partial_rotary_factor": 0.5}, "partial_rotary_factor", "only rotations of whole"),
        )
    },
    "longrope with two contexts": (
        {"head_dim": 16, "rope_parameters": LONGROPE, "original_max_position_embeddings": 13},
        "rope_parameters.original_max_position_embeddings",
        "12 differs from the 13 beside these options",
    ),
    "longrope with a null context beside it": (
        {"head_dim": 16, "rope_parameters": LONGROPE, "original_max_position_embeddings": None},
        "original_max_position_embeddings",
        "missing",
    ),
    "an original context of no scaling": (
        {"original_max_position_embeddings": 13},
        "original_max_position_embeddings",
        'unknown option "original_max_position_embeddings"',
    ),
    "proportional, of more than a head": (
        {"rope_parameters": PROPORTIONAL | {"partial_rotary_factor": 1.5}},
        "rope_parameters.partial_rotary_factor",
        "turns more channels than the 4 of a head",
    ),
    "proportional, of null": (
        {"rope_parameters": PROPORTIONAL | {"partial_rotary_factor": None}},
        "rope_parameters.partial_rotary_factor",
        "missing",
    ),
    "proportional, two shares": (
        {"rope_parameters": PROPORTIONAL, "partial_rotary_factor": 0.5},
        "partial_rotary_factor",
        "0.5 differs from 0.7",
    ),
    "proportional, a null factor": (
        {"rope_parameters": PROPORTIONAL | {"factor": None}},
        "rope_parameters.factor",
        "missing",
    ),
    "no factor": (OLD | {"rope_scaling": {"type": "linear"}}, "rope_scaling.factor", "missing"),
    "zero factor": (OLD | {"rope_scaling": {"type": "linear", "factor": 0}}, "rope_scaling.factor", "0 is not"),
    "factor without a type": (OLD | {"rope_scaling": {"factor": 2.0}}, "rope_scaling.factor", "scaling type"),
    "unknown rotary option": (
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "beta_fast": 32}},
        "rope_parameters.beta_fast",
        '"beta_fast"',
    ),
    "two types": (
        OLD | {"rope_scaling": {"type": "default", "rope_type": "linear", "factor": 2.0}},
        "rope_scaling.type",
        "ambiguous",
    ),
    "two bases": ({"rope_theta": 50.0}, "rope_theta", "50 differs from 10000 in rope_parameters"),
    "two scalings": ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling", "ambiguous"),
    "scaling not an object": (OLD | {"rope_scaling": "linear"}, "rope_scaling", "not an object"),
    "nested by layer": (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        "rope_parameters.full_attention",
        '"full_attention"',
    ),
    "llama 3 upside down": (
        {"rope_parameters": LLAMA3 | {"low_freq_factor": 4.0}},
        "rope_parameters.high_freq_factor",
        "4 must be greater than the low_freq_factor 4",
    ),
    "llama 3 without its context": (
        {"rope_parameters": LLAMA3 | {"original_max_position_embeddings": None}},
        "rope_parameters.original_max_position_embeddings",
        "missing",
    ),
}


BAD_PHI3: dict[str, tuple[dict[str, Any], str, str]] = {
    "heads that do not divide": ({"num_attention_heads": 3}, "num_attention_heads", "3 heads do not divide"),
    "groups that do not divide": ({"num_key_value_heads": 3}, "num_key_value_heads", "do not divide 4 query"),
    "biases": ({"attention_bias": True}, "attention_bias", "no biases"),
    "another mode of attention": ({"full_attn_mod": 2}, "full_attn_mod", "read by nothing"),
    "two original contexts": (
        {"rope_parameters": {**LONGROPE, "original_max_position_embeddings": 13}},
        "rope_parameters.original_max_position_embeddings",
        "13 differs from the 12 beside these options",
    ),
    "an original context that the default overrides": (
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 4096},
        "rope_parameters.original_max_position_embeddings",
        "12 differs from the 4096",
    ),
    "a null original context": (
        {"original_max_position_embeddings": None},
        "original_max_position_embeddings",
        "missing",
    ),
    "the old name": ({"rope_parameters": {**LONGROPE, "rope_type": "su"}}, "rope_parameters.rope_type", "say longrope"),
    "divisors of whole heads, partly rotated": (
        {"rope_parameters": {**LONGROPE, "partial_rotary_factor": 0.5}},
        "rope_parameters.short_factor",
        "8 entries, and a head 4 rotary frequencies",
    ),
    "two shares": (
        {"rope_parameters": {**LONGROPE, "partial_rotary_factor": 0.5}, "partial_rotary_factor": 1.0},
        "partial_rotary_factor",
        "1 differs from 0.5",
    ),
    "a null share": ({"partial_rotary_factor": None}, "partial_rotary_factor", "null is no share"),
    "two bases": ({"rope_theta": 10000.0, "rope_parameters": LONGROPE}, "rope_theta", "10000 differs from 50"),
    "two scalings": ({"rope_scaling": {"rope_type": "default"}}, "rope_scaling", "ambiguous"),
}


BAD_WINDOWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no positions": ({"sliding_window": 0}, "sliding_window", "0 is not an integer from 1"),
    "a fraction": ({"sliding_window": 4.0}, "sliding_window", "4.0 is not an integer"),
    "switch as a number": ({"use_sliding_window": 1}, "use_sliding_window", "1 is not true or false"),
    "negative first layer": ({"max_window_layers": -1}, "max_window_layers", "-1 is not an integer from 0"),
    "layers not a list": ({"layer_types": "full_attention"}, "layer_types", "is not a list"),
    "too few layers": ({"layer_types": ["full_attention"]}, "layer_types", "it has 1 entries, and the model 2 layers"),
    "a layer not a string": ({"layer_types": ["full_attention", None]}, "layer_types", "null is not supported"),
    "sliding without a window": (
        {"use_sliding_window": False, "layer_types": ["full_attention", "sliding_attention"]},
        "layer_types",
        "the config gives no window",
    ),
    "sliding in a null window": (
        {"sliding_window": None, "layer_types": ["full_attention", "sliding_attention"]},
        "layer_types",
        "the config gives no window",
    ),
}


@pytest.mark.parametrize(
    ("family", "changes", "option", "part"),
    [
        pytest.param(family, *case, id=f"{family}-{name}")
        for family, table in (
            *REFUSED.items(),
            ("gpt2", BAD_GPT2),
            ("llama", BAD_LLAMA),
            ("phi3", BAD_PHI3),
            ("qwen2", BAD_WINDOWS),
            ("qwen3", BAD_WINDOWS),
        )
        for name, case in table.items()
    ],
)
def test_a_config_with_this_is_refused_by_name(
    family: str, changes: dict[str, Any], option: str, part: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = edit_config(copy(checkpoints[family], tmp_path / "model"), changes)
    with pytest.raises(Refusal) as caught:
        lift(folder)
    found = caught.value
    assert found.code == "lift.option"
    assert found.place == f"{folder / 'config.json'}: $.{option}"
    assert part in found.sentence


def without_effect(family: str) -> frozenset[str]:
    """The options that the family passes over."""
    return WITHOUT_EFFECT | getattr(sys.modules[ARCHITECTURES[family].__module__], "IGNORED", frozenset())


# read, and either value is the same function of real numbers
SAME_FUNCTION = {"gpt2": {"reorder_and_upcast_attn"}, "gpt_neox": {"is_decoder"}}
# where adding one, doubling and the like would not be another value of the option
OTHER: dict[str, Any] = {
    "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
    "layer_types": ["sliding_attention", "full_attention"],
    "activation_function": "relu",
    "hidden_act": "relu",
    "n_inner": 5,
}


def another(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    match value:
        case bool():
            return not value
        case int() | float():
            return 2 * value + 1
        case _:
            return "anything"


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_no_option_of_the_familys_config_class_is_passed_over(
    family: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(checkpoints[family], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    before = lift(folder)
    fields = {field.name for field in dataclasses.fields(type(transformers.AutoConfig.for_model(family)))}
    assert len(fields) > 20
    # what transformers writes, and what it can read
    names = (fields | set(config)) - without_effect(family)
    assert {"vocab_size", "tie_word_embeddings"} <= names
    for name in sorted(names - SAME_FUNCTION.get(family, set())):
        (folder / "config.json").write_text(json.dumps({**config, name: another(name, config.get(name))}))
        # another program, or refused: then something read it, for all else is as before
        assert outcome(folder) != before, name


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_absent_and_null_options_mean_what_transformers_takes_them_for(
    family: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(checkpoints[family], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    compared = 0
    for name in sorted(set(config) - without_effect(family)):
        rest = {key: value for key, value in config.items() if key != name}
        for changed in (rest, {**rest, name: None}):
            (folder / "config.json").write_text(json.dumps(changed))
            ours = outcome(folder)
            if isinstance(ours, Refusal) and ours.code == "lift.option":
                continue  # asks to be told
            try:
                filled = transformers.AutoConfig.from_pretrained(folder)
            except StrictDataclassFieldValidationError:
                assert changed is not rest, name
                continue  # null is no value of this option
            filled.save_pretrained(folder)
            theirs = outcome(folder)
            compared += 1
            assert type(ours) is type(theirs), (name, ours, theirs)
            assert isinstance(ours, Refusal) or ours == theirs, name
    assert compared >= 8


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_options_without_effect_have_none(family: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(checkpoints[family], tmp_path / "model")
    before = lift(folder)
    names = without_effect(family) - {"model_type"}
    assert lift(edit_config(folder, dict.fromkeys(names, "anything"))) == before


# config.json as published, but for sizes and tokens
PUBLISHED: dict[str, tuple[str, dict[str, Any], str, int | None]] = {
    "SmolLM2-135M": (
        "llama",
        {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.041666666666666664,
            "is_llama_config": True,
            "max_position_embeddings": 8192,
            "mlp_bias": False,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_interleaved": False,
            "rope_scaling": None,
            "rope_theta": 100000,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.1",
            "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
            "use_cache": True,
        },
        "100000",
        None,
    ),
    "Mistral-7B-v0.1": (
        "mistral",
        {
            "architectures": ["MistralForCausalLM"],
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "sliding_window": 4096,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.34.0.dev0",
            "use_cache": True,
        },
        "10000",
        4096,
    ),
    "Phi-3-mini-4k-instruct": (
        "phi3",
        {
            "_name_or_path": "Phi-3-mini-4k-instruct",
            "architectures": ["Phi3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "auto_map": {
                "AutoConfig": "configuration_phi3.Phi3Config",
                "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
            },
            "embd_pdrop": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "resid_pdrop": 0.0,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "sliding_window": 2047,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.2",
            "use_cache": True,
        },
        "10000",
        2047,
    ),
    "Qwen2.5-0.5B": (
        "qwen2",
        {
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 32768,
            "max_window_layers": 24,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.1",
            "use_cache": True,
            "use_mrope": False,
            "use_sliding_window": False,
        },
        "1000000",
        None,
    ),
    "Qwen3-0.6B": (
        "qwen3",
        {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "max_position_embeddings": 40960,
            "max_window_layers": 28,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.51.0",
            "use_cache": True,
            "use_sliding_window": False,
        },
        "1000000",
        None,
    ),
}
PHI4_MINI: dict[str, Any] = {
    "_name_or_path": "Phi-4-mini-instruct",
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
        "AutoTokenizer": "Xenova/gpt-4o",
    },
    "embd_pdrop": 0.0,
    "full_attn_mod": 1,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"long_factor": [1, 1.118320672, 1.5, 2, 3, 64.0], "short_factor": [1.0] * 6, "type": "longrope"},
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0",
    "use_cache": True,
}
"""As published, but for sizes, tokens and the lengths of the two lists, which are those of heads of 16 channels."""
SIZES = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "tie_word_embeddings",
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_options_of_a_published_model_are_all_known(
    name: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    family, options, theta, width = PUBLISHED[name]
    folder = copy(checkpoints[family], tmp_path / "model")
    tiny = json.loads((folder / "config.json").read_text())
    sizes = {size: tiny[size] for size in SIZES if size in tiny}
    (folder / "config.json").write_text(json.dumps({**options, **sizes}))
    program = lift(folder)
    rotary = [step for stage in program.stages for step in stage.steps if isinstance(step, Rotary)]
    assert {(step.theta, step.scaling) for step in rotary} == {(theta, None)}
    assert widths(program) == [width] * 8
    assert program.context == options["max_position_embeddings"]


def test_the_options_of_phi_4_mini_are_all_known(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(checkpoints["phi3"], tmp_path / "model")
    tiny = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**PHI4_MINI, **{size: tiny[size] for size in SIZES if size in tiny}})
    )
    program = lift(folder)
    rotary = [step for stage in program.stages for step in stage.steps if isinstance(step, Rotary)]
    attention = str(math.sqrt(1 + math.log(32) / math.log(4096)))
    scaling = LongRopeScaling(("1",) * 6, ("1", "1.118320672", "1.5", "2", "3", "64"), 4096, attention)
    assert attention == "1.1902380714238083"
    assert {(step.head_size, step.size, step.scaling) for step in rotary} == {(16, 12, scaling)}


def widths(program: Program) -> list[int | None]:
    """The windows of the heads, block by block."""
    patterns = [p for stage in program.stages for s in stage.steps if isinstance(s, Attention) for p in s.patterns]
    return [p.width if isinstance(p, WindowPattern) else None for p in patterns]


def test_windows_are_where_the_config_says(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    mistral = copy(checkpoints["mistral"], tmp_path / "mistral")
    assert widths(lift(mistral)) == [7] * 8
    assert widths(lift(edit_config(mistral, {"sliding_window": None}))) == [None] * 8
    assert widths(lift(edit_config(mistral, {}, remove=("sliding_window",)))) == [4096] * 8
    qwen = copy(checkpoints["qwen2"], tmp_path / "qwen2")
    assert widths(lift(qwen)) == [None] * 4 + [5] * 4
    assert widths(lift(edit_config(qwen, {"use_sliding_window": False}))) == [None] * 8
