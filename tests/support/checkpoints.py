"""Tiny checkpoints with random weights, made with ``transformers`` itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

_DECODER: dict[str, Any] = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_GEMMA: dict[str, Any] = {
    "vocab_size": 29,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "query_pre_attn_scalar": 7,
    "sliding_window": 5,
    "max_position_embeddings": 64,
}
TINY: dict[str, dict[str, Any]] = {
    "gemma2": {**_GEMMA, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 9.0},
    "gemma3_text": {**_GEMMA, "layer_types": ["sliding_attention", "full_attention"]},
    "gpt2": {"vocab_size": 29, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 24},
    "gpt_neox": {
        "vocab_size": 29,
        "hidden_size": 24,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    },
    "llama": _DECODER,
    # narrower than the prompts of the tests
    "mistral": {**_DECODER, "sliding_window": 7},
    # a token for padding that the small vocabulary has
    "phi3": {**_DECODER, "pad_token_id": 0},
    "qwen2": _DECODER,
    "qwen3": {**_DECODER, "head_dim": 6},
}
"""The smallest options of each family by its ``model_type``; all others are the defaults of its config class."""
LLAMA3 = {
    # over 8 rotary frequencies of base 500000 these keep one, blend one and slow the others
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 48,
}
YARN = {
    # over 8 rotary frequencies of base 50 these keep two, blend three and slow the others
    "rope_type": "yarn",
    "rope_theta": 50.0,
    "factor": 4.0,
    "original_max_position_embeddings": 48,
    "beta_fast": 4.0,
    "beta_slow": 0.8,
}
LONGROPE = {
    # 8 rotary frequencies, slowed in short prompts otherwise than in those of more than 12 tokens
    "rope_type": "longrope",
    "rope_theta": 50.0,
    "original_max_position_embeddings": 12,
    "short_factor": [1, 1.0, 1.1, 1.2, 1.5, 1.8, 2.2, 2.6],
    "long_factor": [1.1, 1.3, 1.9, 2.7, 4, 6.5, 9.25, 12.0],
}
PROPORTIONAL = {
    # of 8 rotary frequencies the first 5
    "rope_type": "proportional",
    "rope_theta": 50.0,
    "partial_rotary_factor": 0.7,
    "factor": 1.5,
}


def make_checkpoint(folder: Path, kind: str, *, dtype: str = "float32", shard: str = "5GB", **options: Any) -> Path:
    """A checkpoint of the family ``kind`` in ``folder``, its options those of the tiny models above but ``options``.

    Every weight is random, norms and biases too, and large enough that each option shows in the logits.
    """
    config: Any = transformers.AutoConfig.for_model(kind, **{**TINY[kind], **options})
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Gemma adds 1 to the weights of its norms itself
            centre = 1.0 if name.endswith("weight") and parameter.ndim == 1 and "gemma" not in kind else 0.0
            parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard)
    return folder


def edit_config(folder: Path, changes: Mapping[str, Any], *, remove: tuple[str, ...] = ()) -> Path:
    """The same checkpoint with options of its ``config.json`` changed or removed."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in remove}))
    return folder


def edit_tensors(folder: Path, change: Any) -> Path:
    """The same checkpoint with ``change`` applied to its dictionary of tensors, in place."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return folder
