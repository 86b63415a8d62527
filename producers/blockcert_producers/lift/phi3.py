"""Phi-3: as Llama, with fused maps, partly rotated heads and LongRoPE (Phi 3 and 3.5 mini, Phi 4, Phi 4 mini).

Defaults of absent options are those of ``transformers``' ``Phi3Config``.
"""

from __future__ import annotations

from collections.abc import Mapping

from blockcert.program import Program, Scaling
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.decoder import build_decoder, finish_options, read_shape
from blockcert_producers.lift.options import Options
from blockcert_producers.lift.rotary import read_share, rotated_channels
from blockcert_producers.lift.scalings import Kind, read_kind, read_scaling
from blockcert_producers.lift.windows import window

__all__ = ["build"]

_KINDS: Mapping[str, Kind] = {"default": "default", "longrope": "longrope"}
_REFUSED = {
    "yarn": "of this family transformers takes it for LongRoPE, and the configs that said it meant something else",
    "su": "it was LongRoPE's name, and transformers does not run it; say longrope",
}
# The family's first code, which published configs name. It became that of transformers, and none is run.
_CODE = {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Phi-3 checkpoint (Abdin et al. 2024; ``Phi3ForCausalLM``)."""
    options = checkpoint.options()
    shape = read_shape(options, context=4096, whole_heads=True, eps="0.00001", rotation=_read_rotary)
    width = options.integer_or_none("sliding_window", None)
    # written beside published weights, and read by nothing
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        options.only(name, None, False, why="its maps have no biases, whatever stands here")
    for name in ("full_attn_mod", "interpolate_factor"):
        options.only(name, None, 1, why="it is read by nothing")
    options.only(
        "auto_map",
        None,
        _CODE,
        {**_CODE, "AutoTokenizer": "Xenova/gpt-4o"},
        why='"auto_map" names code other than the family\'s own, and none is run',
    )
    finish_options(options)
    return build_decoder(checkpoint, shape, (window(width),) * shape.layers, fused=True)


def _read_rotary(options: Options, size: int, context: int) -> tuple[int, str, Scaling | None]:
    """The rotated channels of a head of ``size``, the base and the scaling.

    The original context stands beside the rotary options; where it does not, it is 4096, whatever stands in them.
    """
    whole = options.integer("hidden_size") // options.integer("num_attention_heads")
    options.only("head_dim", whole, why="it must be the hidden size divided by the heads")
    outer, share, kind = options.number("rope_theta", "10000"), "partial_rotary_factor", "default"
    original = options.integer("original_max_position_embeddings", 4096)
    old, new = options.group("rope_scaling"), options.group("rope_parameters")
    if old is not None and new is not None and not old.same(new):
        options.refuse("rope_scaling", "it differs from rope_parameters, so the rotary positions are ambiguous")
    name, group = ("rope_scaling", old) if new is None else ("rope_parameters", new)
    if share in options and not options.given(share):
        options.refuse(share, "null is no share of a head")
    if group is None:
        return rotated_channels(options, share, share=options.number(share, "1"), size=size), outer, None
    kind = read_kind(group, _KINDS, _REFUSED)
    rotated = rotated_channels(group, share, share=read_share(group, options), size=size)
    theta = group.number("rope_theta", outer)
    if options.given("rope_theta") and theta != outer:
        options.refuse("rope_theta", f"{outer} differs from {theta} in {name}, so the rotary base is ambiguous")
    scaling = read_scaling(kind, group, theta, size=rotated, context=context, beside=options, original=original)
    return rotated, theta, scaling
