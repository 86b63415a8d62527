"""Qwen3: as Llama, with norms of queries and keys in every head and, where switched on, windows (Qwen 3, dense).

Defaults of absent options are those of ``transformers``' ``Qwen3Config``.
"""

from __future__ import annotations

from blockcert.program import Program
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.decoder import build_decoder, finish_options, read_shape
from blockcert_producers.lift.windows import read_qwen_patterns

__all__ = ["build"]


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a dense Qwen3 checkpoint (Yang et al. 2025; ``Qwen3ForCausalLM``)."""
    options = checkpoint.options()
    shape = read_shape(options, context=32768, key_value_heads=32, head_size=128)
    patterns = read_qwen_patterns(options, shape.layers)
    bias = options.flag("attention_bias", False)
    finish_options(options)
    return build_decoder(checkpoint, shape, patterns, qkv_bias=bias, output_bias=bias, head_norms=True)
