"""What of Gemma 2 and Gemma 3 is lifted and what is refused, for ``tests.support.architectures``."""

from __future__ import annotations

from typing import Any

from tests.support.checkpoints import LLAMA3, YARN

__all__ = ["GEMMA2", "GEMMA2_REFUSED", "GEMMA3", "GEMMA3_REFUSED", "SCALINGS"]

Shapes = dict[str, dict[str, Any]]
Refused = dict[str, tuple[dict[str, Any], str, str]]

FULL, SLIDING = "full_attention", "sliding_attention"
SCALINGS: dict[str, dict[str, Any]] = {
    "another base": {"rope_type": "default", "rope_theta": 50.0},
    "linear scaling": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "dynamic scaling": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    "Llama 3 scaling": LLAMA3,
    "YaRN": YARN,
}
"""Every scaling of rotary frequencies that can be lifted, each over enough frequencies to show."""


def by_layer(full: dict[str, Any], sliding: dict[str, Any] | None = None) -> dict[str, Any]:
    """Gemma 3's rotary options: those of the layers without a window, and of those with one."""
    return {FULL: full, SLIDING: sliding or {"rope_type": "default", "rope_theta": 10000.0}}


_GEMMA: Shapes = {
    "wide heads": {"head_dim": 10, "num_key_value_heads": 1},
    "untied": {"tie_word_embeddings": False},
    "attention biases": {"attention_bias": True},
    "windows everywhere": {"layer_types": [SLIDING] * 2},
    "windows by layer": {"layer_types": [FULL, SLIDING]},
    "a window one shorter than the prompt": {"sliding_window": 15},
}

GEMMA2: Shapes = {
    "grouped heads, windows in every other layer": {},
    **_GEMMA,
    "as many key heads": {"num_key_value_heads": 4},
    "narrow heads": {"head_dim": 2},
    "a hidden size that is a square": {"hidden_size": 16},
    "another epsilon and exact gelu": {"rms_norm_eps": 0.003, "hidden_activation": "gelu"},
    "scores scaled by another size": {"query_pre_attn_scalar": 3},
    "windows nowhere": {"layer_types": [FULL] * 2},
    "a window of one": {"sliding_window": 1},
    "a window as long as the prompt": {"sliding_window": 16},
    "no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    "only capped scores": {"final_logit_softcapping": None},
    "only capped logits": {"attn_logit_softcapping": None},
    **{name: {"head_dim": 16, "rope_parameters": options} for name, options in SCALINGS.items()},
}

GEMMA3: Shapes = {
    "grouped heads, windows in every other layer": {},
    "windows in all but every third layer": {
        "sliding_window_pattern": 3,
        "layer_types": None,
        "num_hidden_layers": 3,
    },
    **_GEMMA,
    "capped logits": {"final_logit_softcapping": 2.0},
    **{
        f"{name}, without a window": {"head_dim": 16, "rope_parameters": by_layer(options)}
        for name, options in SCALINGS.items()
    },
    "linear scaling, with a window": {
        "rope_parameters": by_layer({"rope_type": "default"}, SCALINGS["linear scaling"])
    },
}


_ALL_GEMMA_REFUSED: Refused = {
    "attention to later tokens": (
        {"use_bidirectional_attention": True},
        "use_bidirectional_attention",
        "no later token",
    ),
    "no window": ({"sliding_window": None}, "sliding_window", "makes no mask without a window"),
    "other kinds of layers": (
        {"layer_types": [FULL, "chunked_attention"]},
        "layer_types",
        '"chunked_attention" is not supported; supported are: full_attention, sliding_attention',
    ),
    "a list of layers of another length": ({"layer_types": [FULL]}, "layer_types", "1 entries, and the model 2 layers"),
    "odd head sizes": ({"head_dim": 5}, "head_dim", "must be even"),
    "heads that do not divide": ({"num_attention_heads": 5}, "num_attention_heads", "5 heads do not divide"),
    "groups that do not divide": ({"num_key_value_heads": 3}, "num_key_value_heads", "do not divide 4 query heads"),
    "two activations": ({"hidden_act": "relu"}, "hidden_act", "differs from hidden_activation"),
    "negative caps": ({"final_logit_softcapping": -1.0}, "final_logit_softcapping", "not a positive number"),
    "partly rotated heads": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor", "only rotations of whole heads"),
}
GEMMA2_REFUSED: Refused = {
    **_ALL_GEMMA_REFUSED,
    "rotary positions by layer": (
        {"rope_parameters": by_layer({"rope_type": "default"})},
        "rope_parameters.full_attention",
        '"full_attention"',
    ),
    "two windows": ({"sliding_window_size": 6}, "sliding_window_size", "must be sliding_window"),
    "capped scores, not a number": (
        {"attn_logit_softcapping": "50"},
        "attn_logit_softcapping",
        "not a positive number",
    ),
}
GEMMA3_REFUSED: Refused = {
    **_ALL_GEMMA_REFUSED,
    "capped attention scores": ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping", "does not cap"),
    "one rotary for all layers": (
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
        "rope_parameters.factor",
        'unknown options "factor", "rope_type"',
    ),
    "LongRoPE": (
        {"rope_parameters": by_layer({"rope_type": "longrope"})},
        "rope_parameters.full_attention.rope_type",
        '"longrope"',
    ),
    "partly rotated layers": (
        {"rope_parameters": by_layer({"rope_type": "default"}, {"partial_rotary_factor": 0.5})},
        "rope_parameters.sliding_attention.partial_rotary_factor",
        "only rotations of whole heads",
    ),
    "two scalings": (
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        "rope_scaling",
        "it differs from rope_parameters.full_attention",
    ),
    "two bases": ({"rope_theta": 50.0}, "rope_theta", "50 differs from 1000000"),
    "two local bases": ({"rope_local_base_freq": 50.0}, "rope_local_base_freq", "50 differs from 10000"),
    "two patterns of windows": ({"sliding_window_pattern": 3}, "sliding_window_pattern", "differs from layer_types"),
}
