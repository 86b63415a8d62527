"""What of GPT-NeoX is lifted and what is refused, for ``tests.support.architectures``."""

from __future__ import annotations

from typing import Any

from tests.support.architectures_gemma import SCALINGS

__all__ = ["GPT_NEOX", "GPT_NEOX_REFUSED"]

Shapes = dict[str, dict[str, Any]]
Refused = dict[str, tuple[dict[str, Any], str, str]]


def _partly(share: float, **options: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, **options, "partial_rotary_factor": share}
    return {"rope_parameters": rope}


GPT_NEOX: Shapes = {
    "half of a head rotated": {},
    "one head": {"num_attention_heads": 1},
    "a quarter rotated": _partly(0.25),
    "whole heads rotated": _partly(1.0),
    "odd head size": {"hidden_size": 21, **_partly(0.6)},
    "one half after the other": {"use_parallel_residual": False},
    "no attention biases": {"attention_bias": False},
    "no attention biases, one half after the other": {"attention_bias": False, "use_parallel_residual": False},
    "tied": {"tie_word_embeddings": True},
    "tanh gelu": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
    "another epsilon": {"layer_norm_eps": 0.003},
    **{name: {"hidden_size": 60, **_partly(0.8, **options)} for name, options in SCALINGS.items()},
}

GPT_NEOX_REFUSED: Refused = {
    "an odd number of rotated channels": (
        _partly(0.375),
        "rope_parameters.partial_rotary_factor",
        "rotates 3 of the 8",
    ),
    "no rotated channel": (_partly(0.1), "rope_parameters.partial_rotary_factor", "rotates 0 of the 8"),
    "more channels than a head has": (_partly(1.5), "rope_parameters.partial_rotary_factor", "rotates 12 of the 8"),
    "an odd number of rotated channels, old spelling": (
        {"rope_parameters": None, "rotary_pct": 0.375},
        "rotary_pct",
        "rotates 3 of the 8",
    ),
    "two shares": ({"rotary_pct": 0.25}, "rotary_pct", "differs from the 0.5"),
    "two shares, another spelling": ({"partial_rotary_factor": 1.0}, "partial_rotary_factor", "differs from the 0.5"),
    "two bases": ({"rotary_emb_base": 50}, "rotary_emb_base", "differs from the 10000"),
    "two bases, another spelling": ({"rope_theta": 50}, "rope_theta", "differs from the 10000"),
    "two scalings": ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling", "ambiguous"),
    "LongRoPE": (_partly(0.5, rope_type="longrope"), "rope_parameters.rope_type", '"longrope"'),
    "cut tanh gelu": ({"hidden_act": "gelu_fast"}, "hidden_act", '"gelu_fast" is not supported'),
    "heads that do not divide": ({"num_attention_heads": 5}, "num_attention_heads", "5 heads do not divide"),
}
