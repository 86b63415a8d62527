"""Scalings of rotary frequencies: what a group of rotary options says, as ``transformers`` computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, TypeAlias

from blockcert.program import (
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    ProportionalScaling,
    Scaling,
    YarnScaling,
)
from blockcert_producers.lift.options import Options

__all__ = ["Kind", "read_kind", "read_scaling"]

Kind: TypeAlias = Literal["default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"]

_KINDS: Mapping[str, Kind] = {
    "default": "default",
    "linear": "linear",
    "dynamic": "dynamic",
    "llama3": "llama3",
    "yarn": "yarn",
    "longrope": "longrope",
    "proportional": "proportional",
}
_REFUSED = {"axial": "its positions have two axes, and a prompt has one"}
_ORIGINAL = "original_max_position_embeddings"


def read_kind(group: Options, kinds: Mapping[str, Kind] = _KINDS, refused: Mapping[str, str] = _REFUSED) -> Kind:
    """The kind of scaling of a group, under either name of the option.

    Args:
        group: rotary options.
        kinds: the kinds of the family by the names that a config has for them.
        refused: for other names, why they are refused.
    """
    kind: Kind = group.choice("rope_type", kinds, "default", refused=refused)
    if group.given("type"):
        older: Kind = group.choice("type", kinds, kind, refused=refused)
        if group.given("rope_type") and older != kind:
            group.refuse("type", f"{older} differs from the rope_type {kind}, so the scaling is ambiguous")
        kind = older
    return kind


def read_scaling(
    kind: Kind,
    group: Options,
    theta: str,
    *,
    size: int,
    context: int,
    share: str = "1",
    beside: Options | None = None,
    original: int | None = None,
) -> Scaling | None:
    """The scaling that one group of rotary options describes (None: the frequencies are as they are).

    All options of the group are then known or refused, ``partial_rotary_factor`` too unless the caller has asked for
    it.

    Args:
        kind: from :func:`read_kind`.
        group: rotary options.
        theta: the base that belongs to them.
        size: the rotated channels of a head; with proportional positions all of them.
        context: the model's greatest number of positions, ``max_position_embeddings``.
        share: of proportional positions, the share of channels that turn.
        beside: where ``original_max_position_embeddings`` may stand too, as in Phi-3's configs.
        original: what its absence means there; None where it means nothing.
    """
    group.number("rope_theta", theta)
    scaling: Scaling | None = None
    match kind:
        case "linear":
            scaling = LinearScaling(group.number("factor"))
        case "llama3":
            scaling = _llama3(group, _original(group, context, beside, original))
        case "yarn":
            scaling = _yarn(group, theta, size, _original(group, context, beside, original))
        case "longrope":
            scaling = _longrope(group, size, context, _original(group, context, beside, original))
        case "proportional":
            scaling = _proportional(group, size, share)
        case "dynamic":
            # The base grows with prompts longer than max_position_embeddings, which is the program's context: up to
            # there the frequencies are as they are.
            group.number("factor")
            if size == 2:
                group.refuse("rope_type", "dynamic is not defined for heads of 2 rotated channels")
        case "default":
            # written by some releases beside the default type, where nothing reads it
            group.only("factor", None, 1, 1.0, why="without a scaling type it is read by nothing")
    group.finish()
    return scaling


def _original(group: Options, context: int, beside: Options | None, absent: int | None) -> int:
    """The context before it was extended; the model's own where it stands nowhere (null is refused).

    What stands beside the group has precedence in ``transformers``, so both must say the same.
    """
    if beside is None or (absent is None and _ORIGINAL not in beside):
        return group.integer(_ORIGINAL, None if _ORIGINAL in group else context)
    outer = beside.integer(_ORIGINAL, None if _ORIGINAL in beside else absent)
    inner = group.integer(_ORIGINAL, None if _ORIGINAL in group else outer)
    if inner != outer:
        group.refuse(_ORIGINAL, f"{inner} differs from the {outer} beside these options, which transformers prefers")
    return outer


def _llama3(group: Options, original: int) -> Llama3Scaling:
    low, high = group.number("low_freq_factor"), group.number("high_freq_factor")
    if Fraction(high) <= Fraction(low):
        group.refuse("high_freq_factor", f"{high} must be greater than the low_freq_factor {low}")
    return Llama3Scaling(group.number("factor"), low, high, original)


def _yarn(group: Options, theta: str, size: int, original: int) -> YarnScaling:
    """YaRN (Peng et al. 2023) with the ends of its ramp and its attention factor as ``transformers`` computes them.

    They are logarithms, so no decimal is exact: each is the float64 that ``transformers`` uses, in the same order of
    operations, as the exact decimal of its shortest spelling.
    """
    factor = group.number("factor")
    scale, base = float(factor), float(theta)
    # 0 is as good as absent, as in transformers
    fast = float(group.number("beta_fast", "0", zero=True)) or 32.0
    slow = float(group.number("beta_slow", "0", zero=True)) or 1.0
    above, below = (float(group.number(name, "0", zero=True)) for name in ("mscale", "mscale_all_dim"))
    truncate = group.flag("truncate", True)
    usual = _mscale(scale, above) / _mscale(scale, below) if above and below else _mscale(scale, 1.0)
    attention = group.number("attention_factor", group.decimal("factor", usual))
    if base == 1:
        group.refuse("rope_theta", "with a base of 1 every frequency is the same, and yarn has no ramp over them")

    def turning(rotations: float) -> float:
        """The frequency, counted from the fastest, that turns so often in the original context."""
        return (size * math.log(original / (rotations * 2 * math.pi))) / (2 * math.log(base))

    low, high = turning(fast), turning(slow)
    if truncate:
        low, high = float(math.floor(low)), float(math.ceil(high))
    low, high = max(low, 0.0), min(high, size - 1.0)
    if high == low:
        high += 0.001
    if high < low:
        group.refuse("beta_fast", f"the ramp from {fast:g} to {slow:g} rotations runs backwards, from {low} to {high}")
    return YarnScaling(factor, group.decimal("beta_fast", low), group.decimal("beta_slow", high), attention)


def _mscale(scale: float, factor: float) -> float:
    return 1.0 if scale <= 1 else 0.1 * factor * math.log(scale) + 1.0


def _longrope(group: Options, size: int, context: int, original: int) -> LongRopeScaling:
    """LongRoPE (Ding et al. 2024); its attention factor, where none is given, is the float64 that ``transformers``
    computes of the factor by which the context was extended."""
    short, long = (group.numbers(name, size // 2) for name in ("short_factor", "long_factor"))
    # null is as good as absent, as in transformers
    extended = float(group.number("factor", "0")) or context / original
    if group.given("attention_factor"):
        return LongRopeScaling(short, long, original, group.number("attention_factor"))
    group.only("attention_factor", None, why="it must be a positive number")
    usual = 1.0
    if extended > 1:
        if original == 1:
            group.refuse(_ORIGINAL, "from an original context of 1 token no attention_factor follows; give one")
        usual = math.sqrt(1 + math.log(extended) / math.log(original))
    return LongRopeScaling(short, long, original, group.decimal("attention_factor", usual))


def _proportional(group: Options, size: int, share: str) -> ProportionalScaling:
    """Proportional rotary positions, of which a whole head is ``size`` channels."""
    factor = group.number("factor", None if "factor" in group else "1")
    # as transformers cuts it: the product in binary64, half of it, its integer part
    turned = int(float(share) * size // 2)
    if turned > size // 2:
        group.refuse("partial_rotary_factor", f"the share {share} turns more channels than the {size} of a head")
    return ProportionalScaling(factor, turned)
