"""A GPU where there is none: torch's meta device, whose arrays have a shape and a type, and no numbers.

What it shows: that every operation finds all its arrays on the GPU and of shapes that fit, since torch refuses any in
which a value of the host meets one of that device; and where the host waits for numbers, since nothing but
``Backend.numpy`` gets any. What it cannot show: numbers, memory and speed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from blockcert_verifier.evaluate import Backend

__all__ = ["DEVICE", "fake_gpu"]

DEVICE = "cuda"


@contextmanager
def fake_gpu(
    patch: pytest.MonkeyPatch, numbers: Callable[[tuple[int, ...]], np.ndarray[Any, Any]] = np.ones
) -> Generator[list[tuple[int, ...]]]:
    """Within it ``Backend("cuda")`` is a GPU; yields the shapes of what the host waited for, and ``numbers`` arrive."""
    import torch

    fetched: list[tuple[int, ...]] = []

    def place(backend: Backend) -> str:
        return "meta" if backend.device == DEVICE else "cpu"

    def numpy(backend: Backend, values: Any) -> np.ndarray[Any, Any]:
        if not isinstance(values, torch.Tensor):
            return np.asarray(values)
        assert values.device.type == place(backend)
        fetched.append(tuple(values.shape))
        return numbers(tuple(values.shape)).astype(str(values.dtype).removeprefix("torch."))

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(Backend, "_place", property(place))
    patch.setattr(Backend, "numpy", numpy)
    yield fetched
