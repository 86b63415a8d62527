"""What of Phi-3 is lifted and what is refused, for ``tests.support.architectures``."""

from __future__ import annotations

from typing import Any

from tests.support.checkpoints import LONGROPE

__all__ = ["PHI3", "PHI3_REFUSED", "PHI3_WALKED"]

Shapes = dict[str, dict[str, Any]]
Refused = dict[str, tuple[dict[str, Any], str, str]]

# 8 rotary frequencies: of the whole of a head of 16 channels, or of four fifths of one of 20
_WHOLE = {"hidden_size": 64, "original_max_position_embeddings": 12}
_PARTLY = {**_WHOLE, "hidden_size": 80}
_INSIDE = {name: value for name, value in LONGROPE.items() if name != "original_max_position_embeddings"}

PHI3: Shapes = {
    "grouped heads": {},
    "as many key heads": {"num_key_value_heads": None},
    "tied": {"tie_word_embeddings": True},
    "another epsilon and tanh gelu": {"rms_norm_eps": 0.003, "hidden_act": "gelu_pytorch_tanh"},
    "another base": {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    "a half of each head rotated": {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
    "odd head size": {"hidden_size": 20, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.8}},
    "a window": {"sliding_window": 7},
    "a window as long as the prompt": {"sliding_window": 40},
    "LongRoPE, prompts longer than the original context": {**_WHOLE, "rope_parameters": _INSIDE},
    "LongRoPE, prompts as long as it": {**_WHOLE, "original_max_position_embeddings": 40, "rope_parameters": _INSIDE},
    "LongRoPE, prompts one longer": {**_WHOLE, "original_max_position_embeddings": 39, "rope_parameters": _INSIDE},
    "LongRoPE of a part of each head": {**_PARTLY, "rope_parameters": {**_INSIDE, "partial_rotary_factor": 0.8}},
    "LongRoPE in windows": {**_WHOLE, "sliding_window": 15, "rope_parameters": _INSIDE},
    "LongRoPE, its own factor": {**_WHOLE, "rope_parameters": {**_INSIDE, "factor": 8.0}},
}

PHI3_WALKED: tuple[dict[str, Any], dict[str, Any]] = ({**_WHOLE, "rope_parameters": _INSIDE, "sliding_window": 5}, {})

PHI3_REFUSED: Refused = {
    "an odd number of rotated channels": (
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.2}},
        "rope_parameters.partial_rotary_factor",
        "the share 0.2 rotates 3 of the 16",
    ),
    "scalings other than LongRoPE": (
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
        "rope_parameters.rope_type",
        '"linear" is not supported; supported are: default, longrope',
    ),
    "LongRoPE named yarn or su": (
        {"rope_parameters": {**_INSIDE, "rope_type": "yarn"}},
        "rope_parameters.rope_type",
        "transformers takes it for LongRoPE",
    ),
    "head sizes of their own": ({"head_dim": 8}, "head_dim", "must be the hidden size divided by the heads"),
}
