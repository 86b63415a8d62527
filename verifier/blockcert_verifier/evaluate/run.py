"""A whole program on a batch of prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from blockcert.program import Program
from blockcert_verifier.evaluate.backend import Backend
from blockcert_verifier.evaluate.stage import LoadedStage
from blockcert_verifier.evaluate.weights import WeightStore

__all__ = ["logits"]


def logits(
    program: Program, store: WeightStore, tokens: np.ndarray[Any, Any], backend: Backend
) -> np.ndarray[Any, Any]:
    """The logits of a program, B x T x vocabulary, from token ids B x T; one stage's weights in memory at a time.

    Raises:
        Refusal: ``tensor.*`` or ``program.*`` where the program cannot be evaluated with these weights.
    """
    values = backend.integers(tokens)
    with np.errstate(all="ignore"):
        for stage in program.stages:
            values = LoadedStage(stage, store, backend, tokens.shape[1], program, whole=False)(values)
    return backend.numpy(values)
