"""Array back ends: numpy by default, torch on CPU or CUDA, one code for all through the array API."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from blockcert.errors import Refusal

__all__ = ["Array", "Backend", "Precision", "extended_is_wider"]

Array: TypeAlias = Any
"""An array of the back end's namespace. The array API has no typed protocol yet; shapes stand in comments."""
Precision: TypeAlias = Literal["float64", "float32", "extended"]
"""``extended`` is numpy's long double: 64 bits of mantissa on x86, no wider than float64 on some machines."""


_CACHED = 1 << 15
"""Elements that an elementwise function is given at once."""


def extended_is_wider() -> bool:
    """Whether this machine's ``extended`` precision has more mantissa bits than float64."""
    return bool(np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant)


def _is_here(device: str, cuda: Any) -> bool:
    """Whether ``cuda`` or ``cuda:N`` is a GPU of this machine: one that is not would fail at every row, as if by it."""
    kind, colon, number = device.partition(":")
    if kind != "cuda" or not cuda.is_available():
        return False
    return not colon or (number.isascii() and number.isdigit() and int(number) < cuda.device_count())


class Backend:
    """Where and in which precision programs are evaluated.

    Args:
        device: ``cpu`` for numpy; ``torch`` for torch on the CPU; ``cuda`` or ``cuda:N`` for torch on a GPU.
        precision: the working precision of every value and weight.
        reverse: sum every inner product from its other end; a second summation order, for self-checks.
        noise: a seed; every step's result then moves by noise of the size of rounding (``evaluate.noise``).

    Raises:
        Refusal: ``device.unavailable`` where torch or the GPU is not there.
    """

    def __init__(
        self, device: str = "cpu", precision: Precision = "float64", *, reverse: bool = False, noise: int | None = None
    ) -> None:
        self.device = device
        self.precision: Precision = precision
        self.reverse = reverse
        self.noise = noise
        self.xp: Any
        self._torch: Any = None
        if device == "cpu":
            import array_api_compat.numpy as xp

            self.xp = xp
            self.dtype: Any = np.dtype(np.longdouble if precision == "extended" else precision)
            return
        if precision == "extended":
            raise Refusal("device.precision", device, "extended precision is numpy's; use the device cpu for it")
        try:
            import array_api_compat.torch as xp
            import torch
        except ImportError:
            raise Refusal(
                "device.unavailable",
                device,
                "this device needs torch, which is not here; use --device cpu, or pip install 'blockcert[produce]'",
            ) from None
        if device != "torch" and not _is_here(device, torch.cuda):
            raise Refusal(
                "device.unavailable",
                device or "--device",
                "there is no such device on this machine; use --device cpu or torch",
            )
        self._torch = torch
        self.xp = xp
        self.dtype = getattr(torch, precision)

    @property
    def on_cpu(self) -> bool:
        """Whether values are numpy arrays, which several threads may work on."""
        return self._torch is None

    @property
    def host(self) -> np.dtype[Any] | None:
        """The working precision where weights are best converted to it as they are read; None where it is not numpy
        that converts them."""
        return self.dtype if self._torch is None else None

    @property
    def _place(self) -> str:
        return "cpu" if self.device == "torch" else self.device

    def array(self, values: np.ndarray[Any, Any]) -> Array:
        """``values`` in the working precision, on the device."""
        if self._torch is None:
            return np.ascontiguousarray(values, dtype=self.dtype)
        narrow = values.astype(np.float32) if values.dtype == np.float16 else values
        # moved as it is stored and widened there: half of the bytes of float64
        return self._torch.from_numpy(np.array(narrow)).to(self._place).to(self.dtype)

    def integers(self, values: np.ndarray[Any, Any]) -> Array:
        """``values`` as int64, on the device."""
        wide = np.ascontiguousarray(values, dtype=np.int64)
        return wide if self._torch is None else self._torch.from_numpy(np.array(wide)).to(self._place)

    def numpy(self, values: Array) -> np.ndarray[Any, Any]:
        """``values`` as a numpy array on the host."""
        return np.asarray(values) if self._torch is None else values.detach().cpu().numpy()

    def on_host(self, values: Mapping[str, Array]) -> dict[str, np.ndarray[Any, Any]]:
        """Some values as float64 on the host, truth as 0 and 1: one transfer, hence one wait for a GPU, for all."""
        if self._torch is None:
            return {name: np.asarray(array, dtype=np.float64) for name, array in values.items()}
        flat = [self.xp.reshape(array, (-1,)).to(self.dtype) for array in values.values()]
        whole = self.numpy(self.xp.concat(flat)).astype(np.float64)
        found: dict[str, np.ndarray[Any, Any]] = {}
        begin = 0
        for name, array in values.items():
            shape = tuple(array.shape)
            end = begin + math.prod(shape)
            found[name] = whole[begin:end].reshape(shape)
            begin = end
        return found

    def cast(self, values: Array) -> Array:
        """A value of another back end of the same namespace and device in this one's precision."""
        return values.astype(self.dtype) if self._torch is None else values.to(self.dtype)

    def number(self, decimal: str) -> Any:
        """A decimal string in the working precision (a numpy long double where that is wider than float64)."""
        return np.longdouble(decimal) if self.precision == "extended" else float(decimal)

    def empty(self, shape: tuple[int, ...]) -> Array:
        """An array of no particular values in the working precision, on the device."""
        return (
            np.empty(shape, dtype=self.dtype)
            if self._torch is None
            else self._torch.empty(shape, dtype=self.dtype, device=self._place)
        )

    def matmul(self, left: Array, right: Array, out: Array | None = None) -> Array:
        """``left @ right`` over the last two axes; summed from the other end where ``reverse`` is set.

        Put into ``out``, an array of numpy's, where it is given.
        """
        if self.reverse:
            left, right = self.xp.flip(left, axis=-1), self.xp.flip(right, axis=-2)
        return left @ right if out is None else np.matmul(left, right, out=out)

    def largest(self, values: Array, *, keep: bool = False) -> Array:
        """The largest value over the last axis, which is left out or kept as one element."""
        if self._torch is None:
            return np.maximum.reduce(values, axis=-1, keepdims=keep)
        return self.xp.max(values, axis=-1, keepdims=keep)

    def smallest(self, values: Array) -> Array:
        """The smallest value over the last axis, which is left out."""
        return np.minimum.reduce(values, axis=-1) if self._torch is None else self.xp.min(values, axis=-1)

    def total(self, values: Array, *, keep: bool = False) -> Array:
        """The sum over the last axis, which is left out or kept as one element."""
        if self._torch is None:
            return np.add.reduce(values, axis=-1, keepdims=keep)
        return self.xp.sum(values, axis=-1, keepdims=keep)

    def erf(self, values: Array, out: Array) -> None:
        """The error function, into ``out``; float64 at most, its one-ulp error does not accumulate."""
        if self._torch is not None:
            self._torch.special.erf(values, out=out)
            return
        from scipy.special import erf  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        if self.precision == "extended":
            out[...] = erf(values.astype(np.float64))
        else:
            erf(values, out=out)

    def elementwise(self, function: Callable[[Backend, Array, Array], None], values: Array) -> Array:
        """What ``function(backend, part, out)`` writes into ``out``, element by element.

        On the host it is given parts that stay in a processor's cache while its steps pass over them.
        """
        if self._torch is not None:
            out = self.xp.empty_like(values)
            function(self, values, out)
            return out
        whole = np.ascontiguousarray(values)
        out = np.empty_like(whole)
        source, target = whole.reshape(-1), out.reshape(-1)
        for begin in range(0, source.size, _CACHED):
            function(self, source[begin : begin + _CACHED], target[begin : begin + _CACHED])
        return out
