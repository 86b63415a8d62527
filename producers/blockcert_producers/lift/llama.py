"""Llama: RMS norm, rotary positions, grouped query heads, gated MLP (Llama 1 to 3.x, TinyLlama).

Defaults of absent options are those of ``transformers``' ``LlamaConfig``.
"""

from __future__ import annotations

from blockcert.program import DensePattern, Program
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.decoder import build_decoder, finish_options, read_shape

__all__ = ["build"]


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Llama checkpoint (Touvron et al. 2023; ``LlamaForCausalLM``)."""
    options = checkpoint.options()
    shape = read_shape(options, context=2048, whole_heads=True)
    attention_bias = options.flag("attention_bias", False)
    mlp_bias = options.flag("mlp_bias", False)
    # written beside SmolLM's weights, where it is false
    options.only("rope_interleaved", False, why="neighbouring channels are not rotated together by transformers")
    finish_options(options)
    return build_decoder(
        checkpoint,
        shape,
        (DensePattern(),) * shape.layers,
        qkv_bias=attention_bias,
        output_bias=attention_bias,
        mlp_bias=mlp_bias,
    )
