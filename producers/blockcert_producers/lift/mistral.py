"""Mistral: as Llama, with one sliding window for all layers (Mistral 7B, Nemo, Small).

Defaults of absent options are those of ``transformers``' ``MistralConfig``.
"""

from __future__ import annotations

from blockcert.program import Program
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.decoder import build_decoder, finish_options, read_shape
from blockcert_producers.lift.windows import window

__all__ = ["build"]


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Mistral checkpoint (Jiang et al. 2023; ``MistralForCausalLM``)."""
    options = checkpoint.options()
    shape = read_shape(options, context=131072, key_value_heads=8)
    # one for all layers; null is none, absent the default
    width = options.integer_or_none("sliding_window", 4096)
    finish_options(options)
    return build_decoder(checkpoint, shape, (window(width),) * shape.layers)
