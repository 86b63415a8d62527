"""Rotary options in both spellings: ``rope_theta`` with ``rope_scaling``, and ``rope_parameters``."""

from __future__ import annotations

from fractions import Fraction

from blockcert.program import LinearScaling, Llama3Scaling
from blockcert_producers.lift.options import Options

__all__ = ["read_rotary"]

_TYPES = {"default": "default", "linear": "linear", "llama3": "llama3"}
_DEFAULT_THETA = "10000"


def read_rotary(options: Options) -> tuple[str, LinearScaling | Llama3Scaling | None]:
    """The base of the rotary frequencies and their scaling (None: as they are).

    Where both spellings stand in a config they must say the same: ``transformers`` silently prefers one of
    them, and which one depends on its version.
    """
    outer = options.number("rope_theta", _DEFAULT_THETA)
    options.only("partial_rotary_factor", None, 1, 1.0, why="only rotations of whole heads can be lifted")
    old, new = options.group("rope_scaling"), options.group("rope_parameters")
    if old is not None and new is not None and not old.same(new):
        options.refuse("rope_scaling", "it differs from rope_parameters, so the rotary positions are ambiguous")
    name, group = ("rope_scaling", old) if new is None else ("rope_parameters", new)
    if group is None:
        return outer, None

    theta = group.number("rope_theta", outer)
    if options.given("rope_theta") and theta != outer:
        options.refuse("rope_theta", f"{outer} differs from {theta} in {name}, so the rotary base is ambiguous")
    kind = group.choice("rope_type", _TYPES, "default")
    if group.given("type"):
        older = group.choice("type", _TYPES, kind)
        if group.given("rope_type") and older != kind:
            group.refuse("type", f"{older} differs from the rope_type {kind}, so the scaling is ambiguous")
        kind = older
    group.only("partial_rotary_factor", None, 1, 1.0, why="only rotations of whole heads can be lifted")

    scaling: LinearScaling | Llama3Scaling | None = None
    if kind == "linear":
        scaling = LinearScaling(group.number("factor"))
    elif kind == "llama3":
        low, high = group.number("low_freq_factor"), group.number("high_freq_factor")
        if Fraction(high) <= Fraction(low):
            group.refuse("high_freq_factor", f"{high} must be greater than the low_freq_factor {low}")
        original = group.integer("original_max_position_embeddings")
        scaling = Llama3Scaling(group.number("factor"), low, high, original)
    else:
        # written by some releases beside the default type, where nothing reads it
        group.only("factor", None, 1, 1.0, why="without a scaling type it is read by nothing")
    group.finish()
    return theta, scaling
