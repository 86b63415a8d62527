"""A GPU where there is none: torch's fake tensors have shapes, types and a device, and no numbers.

What it shows: that every operation finds all its arrays on the GPU, in one type and of shapes that fit, and where the
host waits for numbers, since nothing but ``Backend.numpy`` gets any. What it cannot show: numbers, memory and speed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from blockcert_verifier.evaluate import Backend

__all__ = ["DEVICE", "fake_gpu"]

DEVICE = "cuda:0"


@contextmanager
def fake_gpu(patch: pytest.MonkeyPatch) -> Generator[list[tuple[int, ...]]]:
    """Within it ``Backend("cuda:0")`` is a GPU; yields the shapes of what the host waited for; ones arrive."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    types = {torch.float64: np.float64, torch.float32: np.float32, torch.int64: np.int64, torch.bool: np.bool_}
    fetched: list[tuple[int, ...]] = []

    def numpy(self: Backend, values: Any) -> np.ndarray[Any, Any]:
        assert str(values.device) == self.device
        fetched.append(tuple(values.shape))
        return np.ones(tuple(values.shape), types[values.dtype])

    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(Backend, "numpy", numpy)
    with FakeTensorMode(), _indexed_here():
        yield fetched


def _indexed_here() -> Any:
    """Indexing by operations alone: a torch without CUDA asks for a driver before it indexes what is on a GPU."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Here(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            if func is torch.Tensor.__getitem__:
                view, indices = _view(*args)
                return torch.ops.aten.index.Tensor(view, indices) if indices else view
            if func is torch.Tensor.__setitem__:
                view, indices = _view(*args[:2])
                value = args[2] if isinstance(args[2], torch.Tensor) else torch.full_like(view, args[2])
                if indices:
                    torch.ops.aten.index_put_.default(view, indices, value)
                else:
                    torch.ops.aten.copy_.default(view, value)
                return None
            return func(*args, **(kwargs or {}))

    return Here()


def _view(values: Any, key: Any) -> tuple[Any, list[Any]]:
    """The part of a tensor that numbers, slices, ellipsis and None name; and the tensors that index its axes."""
    import torch

    aten = torch.ops.aten
    words = list(key) if isinstance(key, tuple) else [key]
    named = sum(1 for word in words if word is not None and word is not Ellipsis)
    if Ellipsis not in [word for word in words if not isinstance(word, torch.Tensor)]:
        words.append(Ellipsis)
    at = next(i for i, word in enumerate(words) if word is Ellipsis)
    words[at : at + 1] = [slice(None)] * (values.dim() - named)
    axis, indices = 0, list[Any]()
    for word in words:
        if word is None:
            values = aten.unsqueeze.default(values, axis)
        elif isinstance(word, int):
            values = aten.select.int(values, axis, word)
            continue
        elif isinstance(word, slice):
            if word != slice(None):
                values = aten.slice.Tensor(values, axis, word.start, word.stop, word.step or 1)
        else:
            indices += [None] * (axis - len(indices)) + [word]
        axis += 1
    return values, indices
