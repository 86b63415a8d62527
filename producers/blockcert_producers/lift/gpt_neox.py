"""GPT-NeoX: partly rotated heads, queries, keys and values in one matrix, a parallel residual (Pythia).

Defaults of absent options are those of ``transformers``' ``GPTNeoXConfig``.
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
    Program,
    Rotary,
    Scaling,
    Stage,
    Step,
)
from blockcert_producers.lift.activations import ACTIVATIONS, ActivationName
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.options import WITHOUT_EFFECT, Options
from blockcert_producers.lift.rotary import rotated_channels
from blockcert_producers.lift.scalings import read_kind, read_scaling

__all__ = ["IGNORED", "build"]

IGNORED = WITHOUT_EFFECT | {"attention_probs_dropout_prob", "classifier_dropout", "hidden_dropout_prob"}
"""The options without effect: those of every family, dropout under its old names, and before a classification head."""

# Masks and rotary frequencies, which early releases stored beside the weights; the steps have them by definition.
_BUFFERS = re.compile(r"(gpt_neox\.)?layers\.[0-9]+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)\Z")


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a GPT-NeoX checkpoint (Black et al. 2022; Biderman et al. 2023; ``GPTNeoXForCausalLM``).

    GPT-NeoX 20B itself is refused: its activation is ``gelu_fast``.
    """
    options = checkpoint.options()
    d = options.integer("hidden_size")
    layers = options.integer("num_hidden_layers", most=4094)
    heads = options.integer("num_attention_heads")
    inner = options.integer("intermediate_size")
    vocabulary = options.integer("vocab_size")
    context = options.integer("max_position_embeddings", 2048)
    eps = options.number("layer_norm_eps", "0.00001")
    function: ActivationName = options.choice("hidden_act", ACTIVATIONS, "gelu")
    biased = options.flag("attention_bias", True)
    parallel = options.flag("use_parallel_residual", True)
    tied = options.flag("tie_word_embeddings", False)
    if d % heads:
        options.refuse("num_attention_heads", f"{heads} heads do not divide the hidden size {d}")
    size = d // heads
    rotated, theta, scaling = _read_rotary(options, size, context)
    options.only("is_encoder_decoder", False, why="only decoders can be lifted")
    options.only("is_decoder", False, True, why="it must be true or false")
    options.only("pruned_heads", {}, why="heads removed by the config are not lifted")
    options.finish(IGNORED)

    weights = checkpoint.weights()
    prefix = "gpt_neox." if "gpt_neox.embed_in.weight" in weights else ""
    embedding = weights.ref(f"{prefix}embed_in.weight", (vocabulary, d))

    def layer_norm(out: str, source: str, name: str) -> LayerNorm:
        weight, bias = weights.ref(f"{name}.weight", (d,)), weights.ref(f"{name}.bias", (d,))
        return LayerNorm(out, source, weight, eps, bias)

    def linear(out: str, source: str, name: str, shape: tuple[int, int], with_bias: bool = True) -> Linear:
        weight = weights.ref(f"{name}.weight", shape)
        return Linear(out, source, Dense(weight), weights.ref(f"{name}.bias", shape[:1]) if with_bias else None)

    def part(out: str, name: str, j: int) -> Linear:
        # the rows of the fused matrix lie head by head, in each its query, its key, its value
        rows, period = (j * size, (j + 1) * size), 3 * size
        weight = weights.ref(f"{name}.weight", (3 * d, d), rows=rows, period=period)
        bias = weights.ref(f"{name}.bias", (3 * d,), rows=rows, period=period) if biased else None
        return Linear(out, "attention_in", Dense(weight), bias)

    def block(i: int) -> Stage:
        name = f"{prefix}layers.{i}"
        fused = f"{name}.attention.query_key_value"
        steps: tuple[Step, ...] = (
            layer_norm("attention_in", "hidden", f"{name}.input_layernorm"),
            part("q", fused, 0),
            part("k", fused, 1),
            part("v", fused, 2),
            Rotary("q_rotated", "q", size, rotated, theta, scaling),
            Rotary("k_rotated", "k", size, rotated, theta, scaling),
            Attention(
                "attended",
                query="q_rotated",
                key="k_rotated",
                value="v",
                heads=heads,
                key_value_heads=heads,
                head_size=size,
                denominator_squared=str(size),
                patterns=(DensePattern(),) * heads,
            ),
            linear("attention_out", "attended", f"{name}.attention.dense", (d, d), biased),
            Add("after_attention", "hidden", "attention_out"),
            layer_norm("mlp_in", "hidden" if parallel else "after_attention", f"{name}.post_attention_layernorm"),
            linear("up", "mlp_in", f"{name}.mlp.dense_h_to_4h", (inner, d)),
            Activation("active", "up", function),
            linear("mlp_out", "active", f"{name}.mlp.dense_4h_to_h", (d, inner)),
            Add("after_mlp", "after_attention", "mlp_out"),
        )
        return Stage("block", steps, "after_mlp")

    # embed_out is its name in files, lm_head that of the module since release 5 of transformers
    head = "lm_head.weight" if "lm_head.weight" in weights else "embed_out.weight"
    first = Stage("embedding", (Embed("embedded", embedding),), "embedded")
    blocks = tuple(block(i) for i in range(layers))
    if tied:
        weights.tied(head, f"{prefix}embed_in.weight")
        unembedding = embedding
    else:
        unembedding = weights.ref(head, (vocabulary, d))
    last = Stage(
        "head",
        (layer_norm("final", "hidden", f"{prefix}final_layer_norm"), Linear("logits", "final", Dense(unembedding))),
        "logits",
    )
    files = weights.finish(lambda tensor: _BUFFERS.match(tensor) is not None)
    return Program(
        version="1.0",
        architecture="gpt_neox",
        hidden_size=d,
        vocabulary=vocabulary,
        context=context,
        files=files,
        stages=(first, *blocks, last),
    )


def _read_rotary(options: Options, size: int, context: int) -> tuple[int, str, Scaling | None]:
    """The rotated channels of a head of ``size``, the base and the scaling.

    ``rotary_pct`` and ``rotary_emb_base`` are the old spelling, with ``rope_scaling``; ``rope_parameters`` the new one.
    Between them some releases wrote ``partial_rotary_factor`` and ``rope_theta`` too. All that stand must agree.
    """
    share, theta = options.number("rotary_pct", "0.25"), options.number("rotary_emb_base", "10000")
    old, new = options.group("rope_scaling"), options.group("rope_parameters")
    if old is not None and new is not None and not old.same(new):
        options.refuse("rope_scaling", "it differs from rope_parameters, so the rotary positions are ambiguous")
    group, at, name = (old if new is None else new), options, "rotary_pct"
    if group is not None:
        if group.given("partial_rotary_factor"):
            at, name = group, "partial_rotary_factor"
        share, theta = group.number("partial_rotary_factor", share), group.number("rope_theta", theta)
    for other, found, what in (
        ("rotary_pct", share, "the share of rotated channels"),
        ("partial_rotary_factor", share, "the share of rotated channels"),
        ("rotary_emb_base", theta, "the rotary base"),
        ("rope_theta", theta, "the rotary base"),
    ):
        if options.number(other, found) != found:
            options.refuse(other, f"it differs from the {found} said elsewhere or by default, so {what} is ambiguous")
    kind = "default" if group is None else read_kind(group)
    if kind == "proportional":
        # its frequencies are those of the whole head, of which the others are 0
        rotated = size
        if size % 2:
            options.refuse("num_attention_heads", f"a head of {size} channels cannot be rotated by halves")
    else:
        rotated = rotated_channels(at, name, share=share, size=size)
    if group is None:
        return rotated, theta, None
    scaling = read_scaling(kind, group, theta, size=rotated, context=context, share=share, beside=options)
    return rotated, theta, scaling
