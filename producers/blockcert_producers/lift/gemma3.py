"""Gemma 3 (text alone): as Gemma 2 without capped scores, with norms in heads, most layers windowed, two rotary bases.

Defaults of absent options are those of ``transformers``' ``Gemma3TextConfig``.
"""

from __future__ import annotations

from blockcert.program import Program, WindowPattern
from blockcert_producers.lift.checkpoint import Checkpoint
from blockcert_producers.lift.gemma import IGNORED as SHARED
from blockcert_producers.lift.gemma import Gemma, Rotation, gemma_program, read_gemma
from blockcert_producers.lift.options import Options
from blockcert_producers.lift.rotary import WHOLE, read_share
from blockcert_producers.lift.scalings import read_kind, read_scaling

__all__ = ["IGNORED", "build"]

IGNORED = SHARED | {"_sliding_window_pattern"}
"""The options without effect; the last is written beside ``layer_types``, whatever stands there, and never read."""
_UNREAD = "transformers looks for it beside the layers' options and not in them, so it truncates whatever stands here"


def build(checkpoint: Checkpoint) -> Program:
    """The reference program of a Gemma 3 text checkpoint (Gemma Team 2025; ``Gemma3ForCausalLM``)."""
    options = checkpoint.options()
    every = options.integer("sliding_window_pattern", 6)
    gemma = read_gemma(options, context=131072, final_cap=None, sliding=lambda i: (i + 1) % every > 0)
    stands = tuple(isinstance(pattern, WindowPattern) for pattern in gemma.patterns)
    if options.given("sliding_window_pattern") and stands != tuple((i + 1) % every > 0 for i in range(len(stands))):
        options.refuse(
            "sliding_window_pattern", "it differs from layer_types, so which layers have a window is ambiguous"
        )
    options.only("attn_logit_softcapping", None, why="Gemma 3 does not cap its attention scores, whatever stands here")
    sliding, full = _read_rotary(options, gemma)
    options.finish(IGNORED)
    return gemma_program(
        checkpoint,
        gemma,
        rotation=lambda pattern: sliding if isinstance(pattern, WindowPattern) else full,
        head_norms=True,
    )


def _read_rotary(options: Options, gemma: Gemma) -> tuple[Rotation, Rotation]:
    """The rotary positions of the layers with a window and of those without.

    New: ``rope_parameters`` with an object for each of the two. Old: ``rope_local_base_freq`` for those with a window,
    ``rope_theta`` and ``rope_scaling`` for those without. What stands in both must agree.
    """
    options.only("partial_rotary_factor", None, 1, 1.0, why=WHOLE)
    old, new = options.group("rope_scaling"), options.group("rope_parameters")
    local, wide = (None, None) if new is None else (new.group("sliding_attention"), new.group("full_attention"))
    if old is not None and old.given("type") and not old.given("rope_type"):
        old.refuse("type", "without rope_type some releases of transformers scale and some do not")
    if new is not None:
        new.finish()
        if old is not None and (wide is None or not old.same(wide)):
            options.refuse(
                "rope_scaling", "it differs from rope_parameters.full_attention, so the rotary positions are ambiguous"
            )

    def rotation(group: Options | None, name: str, default: str) -> Rotation:
        outer = options.number(name, default)
        if group is None:
            return outer, None
        kind, share = read_kind(group), "1"
        if kind == "proportional":
            share = read_share(group, options)
        else:
            group.only("partial_rotary_factor", None, 1, 1.0, why=WHOLE)
        group.only("truncate", None, True, why=_UNREAD)
        theta = group.number("rope_theta", outer)
        if options.given(name) and theta != outer:
            options.refuse(name, f"{outer} differs from {theta} in the layers' own options, so the base is ambiguous")
        return theta, read_scaling(kind, group, theta, size=gemma.head_size, context=gemma.context, share=share)

    sliding = rotation(local, "rope_local_base_freq", "10000")
    full = rotation(old if wide is None else wide, "rope_theta", "1000000")
    return sliding, full
