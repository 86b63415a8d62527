"""GPT-2: learned positions, layer norm before each half of a block, Conv1D matrices stored in x out.

Defaults of absent options are those of ``transformers``' ``GPT2Config``.
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
    LayerNorm,
    Linear,
    Positions,
    Program,
    Stage,
    Step,
    TensorRef,
)
from blockcert_producers.lift.activations import ACTIVATIONS, ActivationName
from blockcert_producers.lift.checkpoint import Checkpoint, Weights
from blockcert_producers.lift.options import WITHOUT_EFFECT

__all__ = ["build"]

# The causal mask, which early releases stored beside the weights; the attention step has it by definition.
_MASK = re.compile(r"(transformer\.)?h\.[0-9]+\.attn\.(bias|masked_bias)\Z")


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a GPT-2 checkpoint (Radford et al. 2019; ``GPT2LMHeadModel``)."""
    options = checkpoint.options()
    d = options.integer("n_embd")
    layers = options.integer("n_layer", most=4094)
    heads = options.integer("n_head")
    vocabulary = options.integer("vocab_size")
    context = options.integer("n_positions")
    inner = options.integer("n_inner", 4 * d)
    eps = options.number("layer_norm_epsilon", "0.00001")
    function: ActivationName = options.choice("activation_function", ACTIVATIONS, "gelu_tanh")
    scaled = options.flag("scale_attn_weights", True)
    by_layer = options.flag("scale_attn_by_inverse_layer_idx", False)
    # the order of the products and their float type: the same real-number function either way
    options.flag("reorder_and_upcast_attn", False)
    tied = options.flag("tie_word_embeddings", True)
    options.only("n_ctx", context, why="it must be the same as n_positions")
    options.only("add_cross_attention", False, why="a program has no second input to attend to")
    options.only("is_encoder_decoder", False, why="only decoders can be lifted")
    options.only("is_decoder", False, True, why="it must be true or false")
    options.only("pruned_heads", {}, why="heads removed by the config are not lifted")
    options.finish(WITHOUT_EFFECT)
    if d % heads:
        options.refuse("n_head", f"{heads} heads do not divide the hidden size {d}")
    size = d // heads

    weights = checkpoint.weights()
    prefix = "transformer." if "transformer.wte.weight" in weights else ""
    embedding = weights.ref(f"{prefix}wte.weight", (vocabulary, d))

    def layer_norm(out: str, source: str, name: str) -> LayerNorm:
        weight, bias = weights.ref(f"{name}.weight", (d,)), weights.ref(f"{name}.bias", (d,))
        return LayerNorm(out, source, weight, eps, bias)

    def block(i: int) -> Stage:
        name = f"{prefix}h.{i}"
        qkv = [_part(weights, f"{name}.attn.c_attn", (d, 3 * d), (j * d, (j + 1) * d)) for j in range(3)]
        (q, q_bias), (k, k_bias), (v, v_bias) = qkv
        attention_out, attention_bias = _part(weights, f"{name}.attn.c_proj", (d, d))
        up, up_bias = _part(weights, f"{name}.mlp.c_fc", (d, inner))
        down, down_bias = _part(weights, f"{name}.mlp.c_proj", (inner, d))
        denominator = (size if scaled else 1) * ((i + 1) ** 2 if by_layer else 1)
        steps: tuple[Step, ...] = (
            layer_norm("attention_in", "hidden", f"{name}.ln_1"),
            Linear("q", "attention_in", q, q_bias),
            Linear("k", "attention_in", k, k_bias),
            Linear("v", "attention_in", v, v_bias),
            Attention(
                "attended",
                query="q",
                key="k",
                value="v",
                heads=heads,
                key_value_heads=heads,
                head_size=size,
                denominator_squared=str(denominator),
                patterns=(DensePattern(),) * heads,
            ),
            Linear("attention_out", "attended", attention_out, attention_bias),
            Add("after_attention", "hidden", "attention_out"),
            layer_norm("mlp_in", "after_attention", f"{name}.ln_2"),
            Linear("up", "mlp_in", up, up_bias),
            Activation("active", "up", function),
            Linear("mlp_out", "active", down, down_bias),
            Add("after_mlp", "after_attention", "mlp_out"),
        )
        return Stage("block", steps, "after_mlp")

    first = Stage(
        "embedding",
        (
            Embed("token", embedding),
            Positions("position", weights.ref(f"{prefix}wpe.weight", (context, d))),
            Add("embedded", "token", "position"),
        ),
        "embedded",
    )
    blocks = tuple(block(i) for i in range(layers))
    if tied:
        weights.tied("lm_head.weight", f"{prefix}wte.weight")
        unembedding = embedding
    else:
        unembedding = weights.ref("lm_head.weight", (vocabulary, d))
    last = Stage(
        "head",
        (layer_norm("final", "hidden", f"{prefix}ln_f"), Linear("logits", "final", Dense(unembedding))),
        "logits",
    )
    files = weights.finish(lambda tensor: _MASK.match(tensor) is not None)
    return Program(
        version="1.0",
        architecture="gpt2",
        hidden_size=d,
        vocabulary=vocabulary,
        context=context,
        files=files,
        stages=(first, *blocks, last),
    )


def _part(
    weights: Weights, name: str, shape: tuple[int, int], part: tuple[int, int] | None = None
) -> tuple[Dense, TensorRef]:
    """The outputs ``part`` (all by default) of a Conv1D, whose matrix is stored as ``shape``, inputs x outputs."""
    weight = weights.ref(f"{name}.weight", shape, columns=part, transpose=True)
    return Dense(weight), weights.ref(f"{name}.bias", shape[1:], rows=part)
