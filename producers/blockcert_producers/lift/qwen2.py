"""Qwen2: as Llama, with biases on queries, keys and values and, where switched on, windows (Qwen 1.5, 2 and 2.5).

Defaults of absent options are those of ``transformers``' ``Qwen2Config``.
"""

from __future__ import annotations

from blockcert.program import Program
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.decoder import build_decoder, finish_options, read_shape
from blockcert_producers.lift.windows import read_qwen_patterns

__all__ = ["build"]


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Qwen2 checkpoint (Yang et al. 2024; ``Qwen2ForCausalLM``)."""
    options = checkpoint.options()
    shape = read_shape(options, context=32768, key_value_heads=32)
    patterns = read_qwen_patterns(options, shape.layers)
    # written by some releases; positions of several axes belong to the models that see pictures
    options.only("use_mrope", False, why="positions of several axes cannot be lifted")
    finish_options(options)
    return build_decoder(checkpoint, shape, patterns, qkv_bias=True)
