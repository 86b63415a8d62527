"""What Gemma 2 and Gemma 3 have in common: the options, and the program they stand for.

RMS norms whose weights count from 1, before and after each half of a block; the embedding scaled; layers that attend
within a window and layers that attend to everything; capped logits.
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
    SoftCap,
    Stage,
    Step,
)
from blockcert_producers.lift.activations import ACTIVATIONS, ActivationName
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.options import WITHOUT_EFFECT, Options
from blockcert_producers.lift.windows import read_layer_patterns

__all__ = ["IGNORED", "Gemma", "Rotation", "gemma_program", "read_cap", "read_gemma"]

Rotation: TypeAlias = tuple[str, Scaling | None]
"""The base of the rotary frequencies and their scaling."""

IGNORED = WITHOUT_EFFECT | {"cache_implementation"}
"""The options without effect: those of every family, and the kind of cache that generation uses."""

# Rotary frequencies stored beside the weights, as some conversions do; the rotary step defines them.
_FREQUENCIES = re.compile(r"(model\.)?layers\.[0-9]+\.self_attn\.rotary_emb\.inv_freq\Z")


class Gemma(Struct, frozen=True):
    """What both generations spell alike. ``patterns`` has one entry for each layer."""

    hidden_size: int
    heads: int
    key_value_heads: int
    head_size: int
    inner: int
    vocabulary: int
    context: int
    eps: str
    function: ActivationName
    biased: bool
    tied: bool
    denominator_squared: str
    patterns: tuple[Pattern, ...]
    embedding_scale: str
    final_cap: str | None


def read_gemma(options: Options, *, context: int, final_cap: str | None, sliding: Callable[[int], bool]) -> Gemma:
    """Those options, and the refusals that are the same.

    Args:
        options: those of the model.
        context: the default of ``max_position_embeddings``.
        final_cap: the default of ``final_logit_softcapping``.
        sliding: whether layer ``i``, from 0, has a window where ``layer_types`` is absent.
    """
    d = options.integer("hidden_size")
    layers = options.integer("num_hidden_layers", most=4094)
    heads = options.integer("num_attention_heads")
    groups = options.integer("num_key_value_heads", 4)
    size = options.integer("head_dim", 256)
    function: ActivationName = options.choice("hidden_activation", ACTIVATIONS, "gelu_tanh")
    if options.choice("hidden_act", ACTIVATIONS, function) != function:
        options.refuse("hidden_act", "it differs from hidden_activation, which alone is read")
    if d % heads:
        options.refuse("num_attention_heads", f"{heads} heads do not divide the hidden size {d}")
    if heads % groups:
        options.refuse("num_key_value_heads", f"{groups} key and value heads do not divide {heads} query heads")
    if size % 2:
        options.refuse("head_dim", f"a head of {size} channels cannot be rotated by halves; it must be even")
    width = options.integer_or_none("sliding_window", 4096)
    if width is None:
        options.refuse("sliding_window", "null is not supported: transformers makes no mask without a window")
    options.only("use_bidirectional_attention", None, False, why="a program attends to no later token")
    options.only("is_encoder_decoder", False, why="only decoders can be lifted")
    options.only("is_decoder", False, True, why="it must be true or false")
    options.only("pruned_heads", {}, why="heads removed by the config are not lifted")
    return Gemma(
        hidden_size=d,
        heads=heads,
        key_value_heads=groups,
        head_size=size,
        inner=options.integer("intermediate_size"),
        vocabulary=options.integer("vocab_size"),
        context=options.integer("max_position_embeddings", context),
        eps=options.number("rms_norm_eps", "0.000001"),
        function=function,
        biased=options.flag("attention_bias", False),
        tied=options.flag("tie_word_embeddings", True),
        denominator_squared=options.number("query_pre_attn_scalar", "256"),
        patterns=read_layer_patterns(options, layers, width, sliding),
        # Gemma multiplies the embedding by sqrt(d) in the type it runs in: float64 here, as everything in a program.
        # In bfloat16, in which it was trained, the factor is rounded too (sqrt(3072) = 55.4256... to 55.5, 0.13 per
        # cent more); that rounding belongs to the run in bfloat16, like every other of it, and not to the model.
        embedding_scale=options.decimal("hidden_size", d**0.5),
        final_cap=read_cap(options, "final_logit_softcapping", final_cap),
    )


def read_cap(options: Options, name: str, default: str | None) -> str | None:
    """A soft cap: null means none, absent the default of the family."""
    if options.given(name):
        return options.number(name)
    options.only(name, None, why="")
    return None if name in options else default


def gemma_program(
    checkpoint: Checkpoint,
    gemma: Gemma,
    *,
    rotation: Callable[[Pattern], Rotation],
    cap: str | None = None,
    head_norms: bool = False,
) -> Program:
    """The program of a Gemma.

    Args:
        checkpoint: the opened checkpoint.
        gemma: its options.
        rotation: the rotary positions of a layer, by what it attends to.
        cap: the soft cap of the attention scores.
        head_norms: whether queries and keys are normed in every head before they are rotated.
    """
    weights = checkpoint.weights()
    d, size, heads, groups = gemma.hidden_size, gemma.head_size, gemma.heads, gemma.key_value_heads
    prefix = "model." if "model.embed_tokens.weight" in weights else ""
    embedding = weights.ref(f"{prefix}embed_tokens.weight", (gemma.vocabulary, d))

    def rms_norm(out: str, source: str, name: str) -> RmsNorm:
        return RmsNorm(out, source, weights.ref(f"{name}.weight", (d,)), gemma.eps, offset="1")

    def linear(out: str, source: str, name: str, shape: tuple[int, int], biased: bool = False) -> Linear:
        weight = weights.ref(f"{name}.weight", shape)
        return Linear(out, source, Dense(weight), weights.ref(f"{name}.bias", shape[:1]) if biased else None)

    def rotated(out: str, source: str, name: str, pattern: Pattern) -> tuple[Step, ...]:
        if not head_norms:
            return (Rotary(out, source, size, size, *rotation(pattern)),)
        weight = weights.ref(f"{name}.weight", (size,))
        return (
            RmsNorm(f"{source}_normed", source, weight, gemma.eps, offset="1", head_size=size),
            Rotary(out, f"{source}_normed", size, size, *rotation(pattern)),
        )

    def block(i: int, pattern: Pattern) -> Stage:
        name = f"{prefix}layers.{i}"
        attention, mlp = f"{name}.self_attn", f"{name}.mlp"
        steps: tuple[Step, ...] = (
            rms_norm("attention_in", "hidden", f"{name}.input_layernorm"),
            linear("q", "attention_in", f"{attention}.q_proj", (heads * size, d), gemma.biased),
            linear("k", "attention_in", f"{attention}.k_proj", (groups * size, d), gemma.biased),
            linear("v", "attention_in", f"{attention}.v_proj", (groups * size, d), gemma.biased),
            *rotated("q_rotated", "q", f"{attention}.q_norm", pattern),
            *rotated("k_rotated", "k", f"{attention}.k_norm", pattern),
            Attention(
                "attended",
                query="q_rotated",
                key="k_rotated",
                value="v",
                heads=heads,
                key_value_heads=groups,
                head_size=size,
                denominator_squared=gemma.denominator_squared,
                patterns=(pattern,) * heads,
                cap=cap,
            ),
            linear("attention_out", "attended", f"{attention}.o_proj", (d, heads * size), gemma.biased),
            rms_norm("attention_normed", "attention_out", f"{name}.post_attention_layernorm"),
            Add("after_attention", "hidden", "attention_normed"),
            rms_norm("mlp_in", "after_attention", f"{name}.pre_feedforward_layernorm"),
            linear("gate", "mlp_in", f"{mlp}.gate_proj", (gemma.inner, d)),
            linear("up", "mlp_in", f"{mlp}.up_proj", (gemma.inner, d)),
            Activation("active", "gate", gemma.function),
            Multiply("gated", "active", "up"),
            linear("mlp_out", "gated", f"{mlp}.down_proj", (d, gemma.inner)),
            rms_norm("mlp_normed", "mlp_out", f"{name}.post_feedforward_layernorm"),
            Add("after_mlp", "after_attention", "mlp_normed"),
        )
        return Stage("block", steps, "after_mlp")

    first = Stage("embedding", (Embed("embedded", embedding, gemma.embedding_scale),), "embedded")
    blocks = tuple(block(i, pattern) for i, pattern in enumerate(gemma.patterns))
    if gemma.tied:
        weights.tied("lm_head.weight", f"{prefix}embed_tokens.weight")
        unembedding = embedding
    else:
        unembedding = weights.ref("lm_head.weight", (gemma.vocabulary, d))
    final = rms_norm("final", "hidden", f"{prefix}norm")
    head: tuple[Step, ...] = (final, Linear("logits", "final", Dense(unembedding)))
    if gemma.final_cap is not None:
        head = (final, Linear("uncapped", "final", Dense(unembedding)), SoftCap("logits", "uncapped", gemma.final_cap))
    files = weights.finish(lambda tensor: _FREQUENCIES.match(tensor) is not None)
    return Program(
        version="1.0",
        architecture=checkpoint.model_type,
        hidden_size=d,
        vocabulary=gemma.vocabulary,
        context=gemma.context,
        files=files,
        stages=(first, *blocks, Stage("head", head, "logits")),
    )
