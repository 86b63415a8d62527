"""What of each family is lifted and what is refused: the options that the tests put into its tiny checkpoint.

``SHAPES`` is compared with ``transformers``; ``REFUSED`` holds what a checkpoint of the family can say and a program
cannot. The README's table of architectures is made of both (``tests.support.architecture_table``).
"""

from __future__ import annotations

from typing import Any

from tests.support.architectures_gemma import GEMMA2, GEMMA2_REFUSED, GEMMA3, GEMMA3_REFUSED
from tests.support.architectures_neox import GPT_NEOX, GPT_NEOX_REFUSED
from tests.support.architectures_phi3 import PHI3, PHI3_REFUSED, PHI3_WALKED
from tests.support.checkpoints import LLAMA3, LONGROPE, PROPORTIONAL, YARN

__all__ = ["ANYWHERE", "LENGTHS", "REFUSED", "SHAPES", "WALKED", "Refused", "Shapes"]

Shapes = dict[str, dict[str, Any]]
Refused = dict[str, tuple[dict[str, Any], str, str]]
"""For each name the options changed, the option that the refusal names, and a part of its sentence."""


def _rope(kind: str, **options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **options}}


ANYWHERE: Shapes = {
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "sharded": {"shard": "3KB"},
}
"""How any checkpoint may be stored; compared on one family of each kind."""

_ROTARY: Shapes = {
    "another base": _rope("default", rope_theta=50.0),
    "linear scaling": _rope("linear", factor=4.0),
    "dynamic scaling": _rope("dynamic", factor=4.0),
    "Llama 3 scaling": {"head_dim": 16, "rope_parameters": LLAMA3},
    "YaRN": {"head_dim": 16, "rope_parameters": YARN},
    "LongRoPE, prompts longer than the original context": {"head_dim": 16, "rope_parameters": LONGROPE},
    "LongRoPE, prompts as long as it": {
        "head_dim": 16,
        "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 40},
    },
    "proportional rotary positions": {"head_dim": 16, "rope_parameters": PROPORTIONAL},
}
_DECODER: Shapes = {
    "grouped heads": {},
    "as many key heads": {"num_key_value_heads": 4},
    "wide heads": {"head_dim": 10, "num_key_value_heads": 1},
    "narrow heads": {"head_dim": 2},
    "tied": {"tie_word_embeddings": True},
    "another epsilon and tanh gelu": {"rms_norm_eps": 0.003, "hidden_act": "gelu_pytorch_tanh"},
    **_ROTARY,
}
_WINDOWS: Shapes = {
    "windows from a layer on": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "windows everywhere": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0},
    "windows by layer": {
        "use_sliding_window": True,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "windows switched off": {"use_sliding_window": False, "sliding_window": 5, "max_window_layers": 0},
}

SHAPES: dict[str, Shapes] = {
    "gemma2": {**GEMMA2, **ANYWHERE},
    "gemma3_text": GEMMA3,
    "gpt2": {
        "as usual": {},
        "one head": {"n_head": 1},
        "odd head size": {"n_embd": 15, "n_head": 3},
        "own inner size": {"n_inner": 7},
        "untied": {"tie_word_embeddings": False},
        "exact gelu": {"activation_function": "gelu"},
        "torch's tanh gelu": {"activation_function": "gelu_pytorch_tanh"},
        "relu": {"activation_function": "relu"},
        "silu": {"activation_function": "silu"},
        "unscaled attention": {"scale_attn_weights": False},
        "attention scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
        "unscaled but by layer": {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
        "upcast attention": {"reorder_and_upcast_attn": True},
        "upcast attention scaled by layer": {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
        "upcast attention, unscaled": {"reorder_and_upcast_attn": True, "scale_attn_weights": False},
        "another epsilon": {"layer_norm_epsilon": 0.003},
        **ANYWHERE,
    },
    "gpt_neox": {**GPT_NEOX, **ANYWHERE},
    "llama": {
        **_DECODER,
        "attention biases": {"attention_bias": True},
        "MLP biases": {"mlp_bias": True},
        "all biases": {"attention_bias": True, "mlp_bias": True},
        "relu": {"hidden_act": "relu"},
        "YaRN, not truncated": {"head_dim": 16, "rope_parameters": {**YARN, "truncate": False}},
        "YaRN, two mscales": {"head_dim": 16, "rope_parameters": {**YARN, "mscale": 1.5, "mscale_all_dim": 0.5}},
        "YaRN, its own attention factor": {"head_dim": 16, "rope_parameters": {**YARN, "attention_factor": 1.25}},
        "YaRN of usual ends": {
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4, "mscale": 0, "beta_slow": 0},
        },
        "YaRN, ends that meet": {
            "head_dim": 16,
            "rope_parameters": {**YARN, "beta_fast": 2.0, "beta_slow": 2.0, "truncate": False},
        },
        "LongRoPE, in bfloat16": {"head_dim": 16, "rope_parameters": LONGROPE, "dtype": "bfloat16"},
        "LongRoPE, its own factor": {"head_dim": 16, "rope_parameters": {**LONGROPE, "factor": 8}},
        "LongRoPE, its own attention factor": {"head_dim": 16, "rope_parameters": {**LONGROPE, "attention_factor": 2}},
        "LongRoPE, prompts one longer than the original context": {
            "head_dim": 16,
            "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 39},
        },
        "LongRoPE, not extended": {
            "head_dim": 16,
            "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 64},
        },
        "all of a head turned by proportional rotary positions": _rope("proportional"),
        "none of a head turned by proportional rotary positions": _rope("proportional", partial_rotary_factor=0.0),
        **ANYWHERE,
        "sharded and tied": {"shard": "3KB", "tie_word_embeddings": True},
    },
    "mistral": {
        **_DECODER,
        "no window": {"sliding_window": None},
        "a window of one": {"sliding_window": 1},
        "a window as long as the prompt": {"sliding_window": 40},
        "a window one shorter": {"sliding_window": 39},
        "heads that do not divide the hidden size": {"hidden_size": 18, "head_dim": 6},
    },
    "phi3": {**PHI3, **ANYWHERE},
    "qwen2": {**_DECODER, **_WINDOWS},
    "qwen3": {
        **_DECODER,
        **_WINDOWS,
        "attention biases": {"attention_bias": True},
        "heads that do not divide the hidden size": {"hidden_size": 18},
    },
}
_SLIDING = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
WALKED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gemma2": ({"layer_types": ["full_attention", "sliding_attention"]}, {}),
    "gemma3_text": ({"layer_types": ["full_attention", "sliding_attention"]}, {}),
    "gpt2": ({}, {}),
    "gpt_neox": ({}, {}),
    "llama": ({}, {}),
    "mistral": ({}, {}),
    "phi3": PHI3_WALKED,
    # transformers writes the layers' types, and then nothing reads the layer that windows begin at
    "qwen2": (_SLIDING, {**_SLIDING, "layer_types": None}),
    "qwen3": (_SLIDING, {**_SLIDING, "layer_types": None}),
}
"""Options with which each other option of the family makes a difference: as the checkpoint is made, and what is
written into its config afterwards."""
LENGTHS: dict[str, int] = {"gemma2": 16, "gemma3_text": 16, "gpt2": 20, "gpt_neox": 16}
"""Tokens of a prompt, 40 where a family is not here."""

_REFUSED_ROTARY: Refused = {
    "partly rotated heads": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor", "only rotations of whole heads"),
    "odd head sizes": ({"head_dim": 5}, "head_dim", "must be even"),
}
_REFUSED_ALWAYS: Refused = {
    "encoders": ({"is_encoder_decoder": True}, "is_encoder_decoder", "only decoders"),
    "pruned heads": ({"pruned_heads": {"0": [1]}}, "pruned_heads", "heads removed"),
    "quantised weights": ({"quantization_config": {"bits": 4}}, "quantization_config", '"quantization_config"'),
    "code of its own": ({"auto_map": {"AutoModel": "m.M"}}, "auto_map", '"auto_map"'),
}
_OTHER_LAYERS: Refused = {
    "other kinds of layers": (
        {"use_sliding_window": True, "layer_types": ["full_attention", "chunked_attention"]},
        "layer_types",
        '"chunked_attention" is not supported; supported are: full_attention, sliding_attention',
    ),
}

REFUSED: dict[str, Refused] = {
    "gemma2": {**GEMMA2_REFUSED, **_REFUSED_ALWAYS},
    "gemma3_text": {**GEMMA3_REFUSED, **_REFUSED_ALWAYS},
    "gpt2": {
        "cross attention": ({"add_cross_attention": True}, "add_cross_attention", "second input"),
        **_REFUSED_ALWAYS,
    },
    "gpt_neox": {**GPT_NEOX_REFUSED, **_REFUSED_ALWAYS},
    "llama": {**_REFUSED_ROTARY, **_REFUSED_ALWAYS},
    "mistral": {
        **_REFUSED_ROTARY,
        "windows by layer": ({"layer_types": ["full_attention"] * 2}, "layer_types", 'unknown option "layer_types"'),
        **_REFUSED_ALWAYS,
    },
    "phi3": {**PHI3_REFUSED, **_REFUSED_ALWAYS},
    "qwen2": {
        **_REFUSED_ROTARY,
        **_OTHER_LAYERS,
        "positions of several axes": ({"use_mrope": True}, "use_mrope", "several axes"),
        **_REFUSED_ALWAYS,
    },
    "qwen3": {**_REFUSED_ROTARY, **_OTHER_LAYERS, **_REFUSED_ALWAYS},
}
