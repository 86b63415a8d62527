"""What Llama and its kin share: RMS norm before each half of a block, rotary positions, grouped heads, a gated MLP.

A family of this kind reads the options that are its own and states what differs; see ``README.md`` beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from blockcert.program import (
    Activation,
    Add,
    Attention,
    Dense,
    Embed,
    Linear,
    Multiply,
    Pattern,
    Program,
    RmsNorm,
    Rotary,
    Scaling,
    Stage,
    Step,
)
from blockcert_producers.lift.activations import ACTIVATIONS, ActivationName
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.options import WITHOUT_EFFECT, Options
from blockcert_producers.lift.rotary import read_rotary

__all__ = ["Shape", "build_decoder", "finish_options", "read_shape"]

# Rotary frequencies, which early conversions stored beside the weights; the rotary step defines them.
_FREQUENCIES = re.compile(r"(model\.)?layers\.[0-9]+\.self_attn\.rotary_emb\.inv_freq\Z")


Rotation: TypeAlias = Callable[[Options, int, int], tuple[int, str, Scaling | None]]
"""From a model's options, the channels of a head and the context: the rotated channels, the base and the scaling."""


class Shape(Struct, frozen=True, kw_only=True):
    """The sizes and functions of a decoder; ``inner`` is the number of neurons, ``rotated`` the channels of a head that
    are rotated."""

    hidden_size: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    rotated: int
    vocabulary: int
    context: int
    eps: str
    function: ActivationName
    tied: bool
    theta: str
    scaling: Scaling | None


def read_shape(
    options: Options,
    *,
    context: int,
    key_value_heads: int | None = None,
    head_size: int | None = None,
    whole_heads: bool = False,
    eps: str = "0.000001",
    rotation: Rotation | None = None,
) -> Shape:
    """The options that all families of this kind have, with the defaults that differ among them.

    Args:
        options: those of the model.
        context: the default of ``max_position_embeddings``.
        key_value_heads: the default of ``num_key_value_heads``; None, and null in the config: as many as query heads.
        head_size: the default of ``head_dim``; None, and null in the config: the hidden size divided by the heads.
        whole_heads: whether the heads must divide the hidden size even where ``head_dim`` is given.
        eps: the default of ``rms_norm_eps``.
        rotation: how rotary options are read where heads need not be rotated whole.
    """
    d = options.integer("hidden_size")
    heads = options.integer("num_attention_heads")
    if d % heads and (whole_heads or (head_size is None and not options.given("head_dim"))):
        options.refuse("num_attention_heads", f"{heads} heads do not divide the hidden size {d}")
    groups = options.integer("num_key_value_heads", key_value_heads or heads, null=heads)
    if heads % groups:
        options.refuse("num_key_value_heads", f"{groups} key and value heads do not divide {heads} query heads")
    size = options.integer("head_dim", head_size or d // heads, null=d // heads)
    positions = options.integer("max_position_embeddings", context)
    rotated, theta, scaling = (rotation or _whole)(options, size, positions)
    return Shape(
        hidden_size=d,
        inner=options.integer("intermediate_size"),
        layers=options.integer("num_hidden_layers", most=4094),
        heads=heads,
        key_value_heads=groups,
        head_size=size,
        rotated=rotated,
        vocabulary=options.integer("vocab_size"),
        context=positions,
        eps=options.number("rms_norm_eps", eps),
        function=options.choice("hidden_act", ACTIVATIONS, "silu"),
        tied=options.flag("tie_word_embeddings", False),
        theta=theta,
        scaling=scaling,
    )


def _whole(options: Options, size: int, context: int) -> tuple[int, str, Scaling | None]:
    if size % 2:
        options.refuse("head_dim", f"a head of {size} channels cannot be rotated by halves; it must be even")
    return size, *read_rotary(options, size=size, context=context)


def finish_options(options: Options) -> None:
    """Refuse what is no plain decoder, and every option that nothing has asked for."""
    options.only("is_encoder_decoder", False, why="only decoders can be lifted")
    options.only("is_decoder", False, True, why="it must be true or false")
    options.only("pruned_heads", {}, why="heads removed by the config are not lifted")
    options.finish(WITHOUT_EFFECT)


def build_decoder(
    checkpoint: Checkpoint,
    shape: Shape,
    patterns: tuple[Pattern, ...],
    *,
    qkv_bias: bool = False,
    output_bias: bool = False,
    mlp_bias: bool = False,
    head_norms: bool = False,
    fused: bool = False,
) -> Program:
    """The program of a decoder whose tensors are named as Llama's.

    Args:
        checkpoint: where the weights lie.
        shape: its sizes.
        patterns: what the heads of each layer attend to.
        qkv_bias: whether queries, keys and values have biases.
        output_bias: whether the map that reads the heads has one.
        mlp_bias: whether the maps of the MLP have.
        head_norms: whether queries and keys are normed in heads, before they are rotated.
        fused: whether the maps of queries, keys and values are the rows of one matrix, and the two into the MLP those
            of another; neither has biases then.
    """
    weights = checkpoint.weights()
    prefix = "model." if "model.embed_tokens.weight" in weights else ""
    d, size, inner = shape.hidden_size, shape.head_size, shape.inner
    queries, keys = shape.heads * size, shape.key_value_heads * size
    embedding = weights.ref(f"{prefix}embed_tokens.weight", (shape.vocabulary, d))

    def rms_norm(out: str, source: str, name: str) -> RmsNorm:
        return RmsNorm(out, source, weights.ref(f"{name}.weight", (d,)), shape.eps)

    def linear(out: str, source: str, name: str, size: tuple[int, int], biased: bool) -> Linear:
        weight = weights.ref(f"{name}.weight", size)
        bias = weights.ref(f"{name}.bias", size[:1]) if biased else None
        return Linear(out, source, Dense(weight), bias)

    def rows(out: str, source: str, name: str, among: tuple[int, ...], at: int) -> Linear:
        """The map of part ``at`` of a fused matrix, whose parts have so many rows."""
        begin = sum(among[:at])
        weight = weights.ref(f"{name}.weight", (sum(among), d), rows=(begin, begin + among[at]))
        return Linear(out, source, Dense(weight))

    def qkv(attention: str) -> tuple[Linear, ...]:
        among = (queries, keys, keys)
        if fused:
            return tuple(rows(out, "attention_in", f"{attention}.qkv_proj", among, i) for i, out in enumerate("qkv"))
        return tuple(
            linear(out, "attention_in", f"{attention}.{out}_proj", (wide, d), qkv_bias)
            for out, wide in zip("qkv", among, strict=True)
        )

    def gate_up(mlp: str) -> tuple[Linear, ...]:
        names = ("gate", "up")
        if fused:
            return tuple(rows(out, "mlp_in", f"{mlp}.gate_up_proj", (inner, inner), i) for i, out in enumerate(names))
        return tuple(linear(out, "mlp_in", f"{mlp}.{out}_proj", (inner, d), mlp_bias) for out in names)

    def turned(out: str, name: str) -> tuple[Step, ...]:
        """The steps from the queries or keys ``out`` to the rotated ones."""
        if not head_norms:
            return (Rotary(f"{out}_rotated", out, size, shape.rotated, shape.theta, shape.scaling),)
        weight = weights.ref(f"{name}.{out}_norm.weight", (size,))
        return (
            RmsNorm(f"{out}_normed", out, weight, shape.eps, head_size=size),
            Rotary(f"{out}_rotated", f"{out}_normed", size, shape.rotated, shape.theta, shape.scaling),
        )

    def block(i: int) -> Stage:
        name = f"{prefix}layers.{i}"
        attention, mlp = f"{name}.self_attn", f"{name}.mlp"
        steps: tuple[Step, ...] = (
            rms_norm("attention_in", "hidden", f"{name}.input_layernorm"),
            *qkv(attention),
            *turned("q", attention),
            *turned("k", attention),
            Attention(
                "attended",
                query="q_rotated",
                key="k_rotated",
                value="v",
                heads=shape.heads,
                key_value_heads=shape.key_value_heads,
                head_size=size,
                denominator_squared=str(size),
                patterns=(patterns[i],) * shape.heads,
            ),
            linear("attention_out", "attended", f"{attention}.o_proj", (d, queries), output_bias),
            Add("after_attention", "hidden", "attention_out"),
            rms_norm("mlp_in", "after_attention", f"{name}.post_attention_layernorm"),
            *gate_up(mlp),
            Activation("active", "gate", shape.function),
            Multiply("gated", "active", "up"),
            linear("mlp_out", "gated", f"{mlp}.down_proj", (d, inner), mlp_bias),
            Add("after_mlp", "after_attention", "mlp_out"),
        )
        return Stage("block", steps, "after_mlp")

    first = Stage("embedding", (Embed("embedded", embedding),), "embedded")
    blocks = tuple(block(i) for i in range(shape.layers))
    if shape.tied:
        weights.tied("lm_head.weight", f"{prefix}embed_tokens.weight")
        unembedding = embedding
    else:
        unembedding = weights.ref("lm_head.weight", (shape.vocabulary, d))
    last = Stage(
        "head",
        (rms_norm("final", "hidden", f"{prefix}norm"), Linear("logits", "final", Dense(unembedding))),
        "logits",
    )
    files = weights.finish(lambda tensor: _FREQUENCIES.match(tensor) is not None)
    return Program(
        version="1.0",
        architecture=checkpoint.model_type,
        hidden_size=d,
        vocabulary=shape.vocabulary,
        context=shape.context,
        files=files,
        stages=(first, *blocks, last),
    )
