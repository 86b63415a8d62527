"""Llama: RMS norm, rotary positions, grouped query heads, gated MLP (Llama 1 to 3.x, TinyLlama).

Defaults of absent options are those of ``transformers``' ``LlamaConfig``.
"""

from __future__ import annotations

import re

from blockcert.program import (
    Activation,
    Add,
    Attention,
    Dense,
    DensePattern,
    Embed,
    Linear,
    Multiply,
    Program,
    RmsNorm,
    Rotary,
    Stage,
    Step,
)
from blockcert_producers.lift.activations import ACTIVATIONS, ActivationName
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.options import WITHOUT_EFFECT
from blockcert_producers.lift.rotary import read_rotary

__all__ = ["build"]

# Rotary frequencies, which early conversions stored beside the weights; the rotary step defines them.
_FREQUENCIES = re.compile(r"(model\.)?layers\.[0-9]+\.self_attn\.rotary_emb\.inv_freq\Z")


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Llama checkpoint (Touvron et al. 2023; ``LlamaForCausalLM``)."""
    options = checkpoint.options()
    d = options.integer("hidden_size")
    layers = options.integer("num_hidden_layers", most=4094)
    heads = options.integer("num_attention_heads")
    groups = options.integer("num_key_value_heads", heads)
    inner = options.integer("intermediate_size")
    vocabulary = options.integer("vocab_size")
    context = options.integer("max_position_embeddings", 2048)
    eps = options.number("rms_norm_eps", "0.000001")
    function: ActivationName = options.choice("hidden_act", ACTIVATIONS, "silu")
    attention_bias = options.flag("attention_bias", False)
    mlp_bias = options.flag("mlp_bias", False)
    tied = options.flag("tie_word_embeddings", False)
    if d % heads:
        options.refuse("num_attention_heads", f"{heads} heads do not divide the hidden size {d}")
    if heads % groups:
        options.refuse("num_key_value_heads", f"{groups} key and value heads do not divide {heads} query heads")
    size = options.integer("head_dim", d // heads)
    if size % 2:
        options.refuse("head_dim", f"a head of {size} channels cannot be rotated by halves; it must be even")
    theta, scaling = read_rotary(options)
    options.only("is_encoder_decoder", False, why="only decoders can be lifted")
    options.only("is_decoder", False, True, why="it must be true or false")
    options.only("pruned_heads", {}, why="heads removed by the config are not lifted")
    options.finish(WITHOUT_EFFECT)

    weights = checkpoint.weights()
    prefix = "model." if "model.embed_tokens.weight" in weights else ""
    embedding = weights.ref(f"{prefix}embed_tokens.weight", (vocabulary, d))

    def rms_norm(out: str, source: str, name: str) -> RmsNorm:
        return RmsNorm(out, source, weights.ref(f"{name}.weight", (d,)), eps)

    def linear(out: str, source: str, name: str, shape: tuple[int, int], biased: bool) -> Linear:
        weight = weights.ref(f"{name}.weight", shape)
        bias = weights.ref(f"{name}.bias", shape[:1]) if biased else None
        return Linear(out, source, Dense(weight), bias)

    def block(i: int) -> Stage:
        name = f"{prefix}layers.{i}"
        attention, mlp = f"{name}.self_attn", f"{name}.mlp"
        steps: tuple[Step, ...] = (
            rms_norm("attention_in", "hidden", f"{name}.input_layernorm"),
            linear("q", "attention_in", f"{attention}.q_proj", (heads * size, d), attention_bias),
            linear("k", "attention_in", f"{attention}.k_proj", (groups * size, d), attention_bias),
            linear("v", "attention_in", f"{attention}.v_proj", (groups * size, d), attention_bias),
            Rotary("q_rotated", "q", size, size, theta, scaling),
            Rotary("k_rotated", "k", size, size, theta, scaling),
            Attention(
                "attended",
                query="q_rotated",
                key="k_rotated",
                value="v",
                heads=heads,
                key_value_heads=groups,
                head_size=size,
                denominator_squared=str(size),
                patterns=(DensePattern(),) * heads,
            ),
            linear("attention_out", "attended", f"{attention}.o_proj", (d, heads * size), attention_bias),
            Add("after_attention", "hidden", "attention_out"),
            rms_norm("mlp_in", "after_attention", f"{name}.post_attention_layernorm"),
            linear("gate", "mlp_in", f"{mlp}.gate_proj", (inner, d), mlp_bias),
            linear("up", "mlp_in", f"{mlp}.up_proj", (inner, d), mlp_bias),
            Activation("active", "gate", function),
            Multiply("gated", "active", "up"),
            linear("mlp_out", "gated", f"{mlp}.down_proj", (d, inner), mlp_bias),
            Add("after_mlp", "after_attention", "mlp_out"),
        )
        return Stage("block", steps, "after_mlp")

    first = Stage("embedding", (Embed("embedded", embedding),), "embedded")
    blocks = tuple(block(i) for i in range(layers))
    if tied:
        weights.tied("lm_head.weight", f"{prefix}embed_tokens.weight")
        unembedding = embedding
    else:
        unembedding = weights.ref("lm_head.weight", (vocabulary, d))
    last = Stage(
        "head",
        (rms_norm("final", "hidden", f"{prefix}norm"), Linear("logits", "final", Dense(unembedding))),
        "logits",
    )
    files = weights.finish(lambda tensor: _FREQUENCIES.match(tensor) is not None)
    return Program(
        version="1.0",
        architecture="llama",
        hidden_size=d,
        vocabulary=vocabulary,
        context=context,
        files=files,
        stages=(first, *blocks, last),
    )
