"""Which positions the last one of a prompt attends to, found by changing one token at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["reach"]


def reach(logits: Callable[[np.ndarray], np.ndarray], length: int, vocabulary: int) -> list[int]:
    """The positions whose token changes the last logits, of a prompt of ``length`` tokens.

    ``logits`` gives ``rows x T x vocabulary`` for tokens ``rows x T``; all prompts are run at once.
    """
    prompt = np.random.default_rng(11).integers(0, vocabulary, length)
    changed = np.tile(prompt, (length + 1, 1))
    for position in range(length):
        changed[position, position] = (prompt[position] + 1) % vocabulary
    last = logits(changed)[:, -1]
    return [position for position in range(length) if not np.array_equal(last[position], last[-1])]
