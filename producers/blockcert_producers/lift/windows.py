"""Sliding windows: which layers of a model have one, and how wide it is.

A window of ``width`` reaches from a position to the ``width - 1`` before it, and itself
(``transformers.masking_utils.sliding_window_overlay``), which is the language's ``window`` pattern without sinks.
"""

from __future__ import annotations

from collections.abc import Callable

from blockcert.program import DensePattern, Pattern, WindowPattern
from blockcert_producers.lift.options import Options

__all__ = ["read_layer_patterns", "read_qwen_patterns", "window"]

_TYPES = {"full_attention": False, "sliding_attention": True}


def window(width: int | None) -> Pattern:
    """The pattern of a head with a window of ``width`` positions; None: it attends to all."""
    return DensePattern() if width is None else WindowPattern(width)


def read_layer_patterns(
    options: Options, layers: int, width: int | None, default: Callable[[int], bool]
) -> tuple[Pattern, ...]:
    """The pattern of the heads of each layer, by ``layer_types``.

    Args:
        options: those of the model.
        layers: how many layers it has.
        width: the window of its sliding layers; None where it has none.
        default: whether layer ``i``, from 0, is sliding where ``layer_types`` is absent or null.
    """
    sliding = options.choices("layer_types", _TYPES, layers)
    if sliding is None:
        sliding = tuple(default(i) for i in range(layers))
    elif width is None and any(sliding):
        options.refuse("layer_types", "a layer is sliding_attention, but the config gives no window")
    return tuple(window(width if slides else None) for slides in sliding)


def read_qwen_patterns(options: Options, layers: int) -> tuple[Pattern, ...]:
    """The patterns of each layer of a Qwen 2 or 3: windows only with ``use_sliding_window``, and, where
    ``layer_types`` is silent, only from layer ``max_window_layers`` on."""
    width = options.integer_or_none("sliding_window", 4096)
    if not options.flag("use_sliding_window", False):
        width = None
    first = options.integer("max_window_layers", 28, least=0)
    return read_layer_patterns(options, layers, width, lambda i: width is not None and i >= first)
