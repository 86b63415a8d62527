"""Gemma 2: norms before and after each half of a block, windows in every other layer, capped scores and logits.

Defaults of absent options are those of ``transformers``' ``Gemma2Config``.
"""

from __future__ import annotations

from blockcert.program import Program
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.gemma import IGNORED, gemma_program, read_cap, read_gemma
from blockcert_producers.lift.rotary import read_rotary

__all__ = ["IGNORED", "build"]


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Gemma 2 checkpoint (Gemma Team 2024; ``Gemma2ForCausalLM``)."""
    options = checkpoint.options()
    gemma = read_gemma(options, context=8192, final_cap="30", sliding=lambda i: i % 2 == 0)
    cap = read_cap(options, "attn_logit_softcapping", "50")
    rotation = read_rotary(options, size=gemma.head_size, context=gemma.context)
    # written beside sliding_window in some published configs, and read by nothing
    options.only("sliding_window_size", None, options.integer("sliding_window", 4096), why="it must be sliding_window")
    options.finish(IGNORED)
    return gemma_program(checkpoint, gemma, rotation=lambda _: rotation, cap=cap)
