"""What of Gemma 2 and Gemma 3 is lifted and what is refused, for ``tests.support.architectures``."""

from __future__ import annotations

from typing import Any

from tests.support.checkpoints import LLAMA3, LONGROPE, PROPORTIONAL, YARN

__all__ = ["GEMMA2", "GEMMA2_REFUSED", "GEMMA3", "GEMMA3_REFUSED", "SCALINGS", "by_layer"]

Shapes = dict[str, dict[str, Any]]
Refused = dict[str, tuple[dict[str, Any], str, str]]

FULL, SLIDING = "full_attention", "sliding_attention"
SCALINGS: dict[str, dict[str, Any]] = {
    "another base": {"rope_type": "default", "rope_theta": 50.0},
    "linear scaling": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "dynamic scaling": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    "Llama 3 scaling": LLAMA3,
    "YaRN": YARN,
    "LongRoPE, prompts longer than the original context": LONGROPE,
    "LongRoPE, prompts as long as it": {**LONGROPE, "original_max_position_embeddings": 16},
    "proportional rotary positions": PROPORTIONAL,
}
"""Every scaling of rotary frequencies that can be lifted, each over enough frequencies to show."""


def by_layer(full: dict[str, Any], sliding: dict[str, Any] | None = None) -> dict[str, Any]:
    """Gemma 3's rotary options: those of the layers without a window, and of those with one."""
    return {FULL: full, SLIDING: sliding or {"rope_type": "default", "rope_theta": 10000.0}}


_GEMMA: Shapes = {
    "wide heads": {"head_dim": 10, "num_key_value_heads": 1},
    "untied": {"tie_word_embeddings": False},
    "attention biases": {"attention_bias": True},
    "another epsilon and exact gelu": {"rms_norm_eps": 0.003, "hidden_activation": "gelu"},
    "scores scaled by another size": {"query_pre_attn_scalar": 3},
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
    **{
        f"{name}, with a window": {
            "head_dim": 16,
            "rope_parameters": by_layer({"rope_type": "default"}, options),
        }
        for name, options in SCALINGS.items()
        if name != "another base"
    },
    "YaRN of its own in either kind of layer, truncated": {
        "head_dim": 16,
        "rope_parameters": by_layer(
            {**YARN, "truncate": True, "mscale": 1.5, "mscale_all_dim": 0.5},
            {**YARN, "rope_theta": 300.0, "beta_slow": 1.5, "attention_factor": 1.25},
        ),
    },
}


_REFUSED: Refused = {
    "attention to later tokens": (
        {"use_bidirectional_attention": True},
        "use_bidirectional_attention",
        "no later token",
    ),
    "other kinds of layers": (
        {"layer_types": [FULL, "chunked_attention"]},
        "layer_types",
        '"chunked_attention" is not supported; supported are: full_attention, sliding_attention',
    ),
    "partly rotated heads": ({"partial_rotary_factor": 0.5}, "partial_rotary_factor", "only rotations of whole heads"),
    "odd head sizes": ({"head_dim": 5}, "head_dim", "must be even"),
}
GEMMA2_REFUSED: Refused = {
    **_REFUSED,
    "rotary positions by layer": (
        {"rope_parameters": by_layer({"rope_type": "default"})},
        "rope_parameters.full_attention",
        '"full_attention"',
    ),
}
GEMMA3_REFUSED: Refused = {
    "YaRN that is not truncated": (
        {"rope_parameters": by_layer({**YARN, "truncate": False})},
        "rope_parameters.full_attention.truncate",
        "so it truncates whatever stands here",
    ),
    **_REFUSED,
    "capped attention scores": ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping", "does not cap"),
}
