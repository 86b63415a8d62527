"""Rotary options in both spellings: ``rope_theta`` with ``rope_scaling``, and ``rope_parameters``."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TypeAlias

from blockcert.program import LinearScaling, Llama3Scaling, YarnScaling
from blockcert_producers.lift.options import Options

__all__ = ["WHOLE", "Scaling", "read_rotary", "read_scaling"]

Scaling: TypeAlias = LinearScaling | Llama3Scaling | YarnScaling

_TYPES = {name: name for name in ("default", "linear", "dynamic", "llama3", "yarn")}
_REFUSED = {
    "longrope": "it divides every frequency by a factor of its own, and by others in prompts longer than the original "
    "context; a program's frequencies depend on neither a list nor the prompt's length",
    "proportional": "it turns some channels of a head by frequencies that are those of the whole head",
    "axial": "its positions have two axes, and a prompt has one",
}
WHOLE = "only rotations of whole heads can be lifted"


def read_rotary(
    options: Options, *, size: int, context: int, default_theta: str = "10000"
) -> tuple[str, Scaling | None]:
    """The base of the rotary frequencies and their scaling (None: as they are).

    Where both spellings stand in a config they must say the same: ``transformers`` silently prefers one of
    them, and which one depends on its version.

    Args:
        options: those of the model.
        size: the rotated channels of a head.
        context: the model's greatest number of positions, ``max_position_embeddings``.
        default_theta: the base where none is given.
    """
    outer = options.number("rope_theta", default_theta)
    options.only("partial_rotary_factor", None, 1, 1.0, why=WHOLE)
    old, new = options.group("rope_scaling"), options.group("rope_parameters")
    if old is not None and new is not None and not old.same(new):
        options.refuse("rope_scaling", "it differs from rope_parameters, so the rotary positions are ambiguous")
    name, group = ("rope_scaling", old) if new is None else ("rope_parameters", new)
    if group is None:
        return outer, None
    group.only("partial_rotary_factor", None, 1, 1.0, why=WHOLE)
    theta = group.number("rope_theta", outer)
    if options.given("rope_theta") and theta != outer:
        options.refuse("rope_theta", f"{outer} differs from {theta} in {name}, so the rotary base is ambiguous")
    return theta, read_scaling(group, theta, size=size, context=context)


def read_scaling(group: Options, theta: str, *, size: int, context: int) -> Scaling | None:
    """The scaling that one group of rotary options describes (None: the frequencies are as they are).

    ``theta`` is the base that belongs to the group; ``size`` and ``context`` as for :func:`read_rotary`. All options
    of the group are then known or refused, ``partial_rotary_factor`` too unless the caller has asked for it.
    """
    kind = _kind(group)
    group.number("rope_theta", theta)
    scaling: Scaling | None = None
    match kind:
        case "linear":
            scaling = LinearScaling(group.number("factor"))
        case "llama3":
            scaling = _llama3(group, context)
        case "yarn":
            scaling = _yarn(group, theta, size, context)
        case "dynamic":
            # The base grows with prompts longer than max_position_embeddings, which is the program's context: up to
            # there the frequencies are as they are.
            group.number("factor")
            if size == 2:
                group.refuse("rope_type", "dynamic is not defined for heads of 2 rotated channels")
        case _:
            # written by some releases beside the default type, where nothing reads it
            group.only("factor", None, 1, 1.0, why="without a scaling type it is read by nothing")
    group.finish()
    return scaling


def _kind(group: Options) -> str:
    kind = group.choice("rope_type", _TYPES, "default", refused=_REFUSED)
    if group.given("type"):
        older = group.choice("type", _TYPES, kind, refused=_REFUSED)
        if group.given("rope_type") and older != kind:
            group.refuse("type", f"{older} differs from the rope_type {kind}, so the scaling is ambiguous")
        kind = older
    return kind


def _original(group: Options, context: int) -> int:
    """The context before it was extended; the model's own where the option is absent (null is refused)."""
    name = "original_max_position_embeddings"
    return group.integer(name, None if name in group else context)


def _llama3(group: Options, context: int) -> Llama3Scaling:
    low, high = group.number("low_freq_factor"), group.number("high_freq_factor")
    if Fraction(high) <= Fraction(low):
        group.refuse("high_freq_factor", f"{high} must be greater than the low_freq_factor {low}")
    return Llama3Scaling(group.number("factor"), low, high, _original(group, context))


def _yarn(group: Options, theta: str, size: int, context: int) -> YarnScaling:
    """YaRN (Peng et al. 2023) with the ends of its ramp and its attention factor as ``transformers`` computes them.

    They are logarithms, so no decimal is exact: each is the float64 that ``transformers`` uses, in the same order of
    operations, as the exact decimal of its shortest spelling.
    """
    factor = group.number("factor")
    scale, base, original = float(factor), float(theta), _original(group, context)
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
