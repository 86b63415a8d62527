"""The verifier's evaluator, run once over a whole program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from blockcert.program import Program
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore


def evaluate(
    program: Program, files: Mapping[str, Path], tokens: np.ndarray, backend: Backend | None = None
) -> list[np.ndarray]:
    """The output of every stage in turn, the logits last, on tokens ``B x T``."""
    backend = backend or Backend()
    store = WeightStore(files)
    value = backend.integers(tokens)
    outputs: list[np.ndarray] = []
    for stage in program.stages:
        value = LoadedStage(stage, store, backend, tokens.shape[1])(value)
        outputs.append(backend.numpy(value))
    return outputs
