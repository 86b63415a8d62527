"""What of GPT-NeoX is lifted and what is refused, for ``tests.support.architectures``."""

from __future__ import annotations

from typing import Any

from tests.support.architectures_gemma import SCALINGS

__all__ = ["GPT_NEOX", "GPT_NEOX_REFUSED", "partly"]

Shapes = dict[str, dict[str, Any]]
Refused = dict[str, tuple[dict[str, Any], str, str]]


def partly(share: float, **options: Any) -> dict[str, Any]:
    """Rotary options that turn so large a share of each head."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, **options, "partial_rotary_factor": share}
    return {"rope_parameters": rope}


GPT_NEOX: Shapes = {
    "half of a head rotated": {},
    "one head": {"num_attention_heads": 1},
    "a quarter rotated": partly(0.25),
    "whole heads rotated": partly(1.0),
    "odd head size": {"hidden_size": 21, **partly(0.6)},
    "one half after the other": {"use_parallel_residual": False},
    "no attention biases": {"attention_bias": False},
    "no attention biases, one half after the other": {"attention_bias": False, "use_parallel_residual": False},
    "tied": {"tie_word_embeddings": True},
    "tanh gelu": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "another epsilon": {"layer_norm_eps": 0.003},
    **{name: {"hidden_size": 60, **partly(0.8, **options)} for name, options in SCALINGS.items()},
    "all of a head turned by proportional rotary positions": partly(1.0, rope_type="proportional", factor=2),
    "none of a head turned by proportional rotary positions": partly(0.1, rope_type="proportional"),
}

GPT_NEOX_REFUSED: Refused = {
    "odd head sizes turned by proportional rotary positions": (
        {"hidden_size": 21, **partly(0.5, rope_type="proportional")},
        "num_attention_heads",
        "a head of 7 channels",
    ),
    "an odd number of rotated channels": (partly(0.375), "rope_parameters.partial_rotary_factor", "rotates 3 of the 8"),
    "the cut tanh gelu of GPT-NeoX 20B": ({"hidden_act": "gelu_fast"}, "hidden_act", '"gelu_fast" is not supported'),
}
