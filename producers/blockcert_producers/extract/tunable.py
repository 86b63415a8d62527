"""The numbers of a simplified block that can be tuned without making it dearer, and how they are stored again.

Every tensor is tuned as ``start + unit * change``: ``change`` is what descent moves, ``unit`` the size of a usual
value, so that one rate fits all. What the block computes with is always the value as it will be stored, rounded to its
format; the gradient passes through the rounding as if it were not there (Bengio et al. 2013). Scales of integers are
tuned so too (learned step sizes, Esser et al. 2020), and the integers themselves, the less the coarser their steps:
those of int4 hardly move, because error feedback has set them against each other and single flips undo that.

What is zero stays zero, and where weights were dropped no other becomes zero; supports, ranks, patterns and formats
stay. So a tuned block keeps no more multiply-adds and no more bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from blockcert.program import (
    Attention,
    Constant,
    Dense,
    Integer,
    LayerNorm,
    Linear,
    LinearMap,
    LowRank,
    RmsNorm,
    Rows,
    Sparse,
    Stage,
    Step,
    TensorRef,
)
from blockcert_producers.extract.differentiable import Loaded
from blockcert_producers.extract.tensors import Host, Tensor, bfloat16, ref, short, tensor
from blockcert_verifier.evaluate import Array, Backend, WeightStore

__all__ = ["Tunable"]

_FINE = 8.0
"""The usual size, in steps, of integers that are tuned as freely as floats; smaller ones less."""

_Value: TypeAlias = Callable[[], Array]
"""The present value of a tensor as it would be stored, differentiable."""


class Tunable:
    """The tensors of one simplified stage, as torch parameters.

    Args:
        stage: a stage of ``realise``: all of its linear maps have new tensors.
        tensors: those tensors by name.
        store: the reference's weights and the new tensors.
        backend: torch, in the precision of the descent.
        prefix: of the names of tensors that the stage takes from the reference so far, norms' and biases, and that get
            their own.
        sizes: gives for the name of a value the root of its mean square.
        pruned: whether weights were dropped; then no integer that is kept becomes zero.

    Attributes:
        parameters: what descent moves.
    """

    def __init__(
        self,
        stage: Stage,
        tensors: dict[str, Tensor],
        store: WeightStore,
        backend: Backend,
        prefix: str,
        sizes: Callable[[str], float],
        *,
        pruned: bool,
    ) -> None:
        import torch

        self._torch: Any = torch
        self._stage, self._tensors, self._store, self._backend = stage, dict(tensors), store, backend
        self._prefix, self._sizes, self._pruned = prefix, sizes, pruned
        self.parameters: list[Any] = []
        self._stored: dict[str, Callable[[], Tensor]] = {}
        self._steps: list[Step] = []
        self._values = [self._of_step(step) for step in stage.steps]

    def weights(self, otherwise: Sequence[Loaded]) -> list[Loaded]:
        """The weights of every step now, for ``Differentiable.run``; those that are not tuned from ``otherwise``."""
        found: list[Loaded] = []
        for values, untuned in zip(self._values, otherwise, strict=True):
            tuned = (*values, *(None,) * (len(untuned) - len(values)))
            found.append(tuple(u if t is None else t() for t, u in zip(tuned, untuned, strict=True)))
        return found

    def stored(self) -> tuple[Stage, dict[str, Tensor]]:
        """The stage and its tensors as they are now."""
        with self._torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
            made = {name: store() for name, store in self._stored.items()}
        return msgspec.structs.replace(self._stage, steps=tuple(self._steps)), self._tensors | made

    def _of_step(self, step: Step) -> tuple[_Value | None, ...]:
        """What is tuned of a step, in the order of ``LoadedStage.loaded``."""
        replace = msgspec.structs.replace
        found: tuple[_Value | None, ...] = ()
        match step:
            case Linear():
                found = self._map(step.map)
                if step.bias is not None:
                    # a bias may be near 0 where what it is added to is not
                    bias, kept = self._vector(step.bias, f"{step.out}.bias", self._sizes(step.out))
                    step, found = replace(step, bias=kept), (*found, bias)
            case RmsNorm():
                gain, kept = self._vector(step.weight, f"{step.out}.weight")
                step, found = replace(step, weight=kept), (_plus(gain, float(step.offset)),)
            case LayerNorm():
                gain, kept = self._vector(step.weight, f"{step.out}.weight")
                step, found = replace(step, weight=kept), (gain,)
                if step.bias is not None:
                    bias, kept = self._vector(step.bias, f"{step.out}.bias")
                    step, found = replace(step, bias=kept), (gain, bias)
            case Constant():
                value, kept = self._vector(step.value, f"{step.out}.value")
                step, found = replace(step, value=kept), (value,)
            case Attention() if step.means is not None and step.means.tensor in self._tensors:
                found = (None, self._floats(step.means.tensor))
            case _:
                pass
        self._steps.append(step)
        return found

    def _map(self, linear: LinearMap) -> tuple[_Value, _Value | None]:
        """The one or two matrices of a map as the evaluator holds them, in x out."""
        match linear:
            case Dense():
                return _transposed(self._floats(linear.weight.tensor)), None
            case LowRank():
                right, left = self._floats(linear.right.tensor), self._floats(linear.left.tensor)
                return _transposed(right), _transposed(left)
            case Rows():
                return _transposed(self._rows(linear)), None
            case Sparse():
                return _transposed(self._sparse(linear)), None
            case Integer():
                return _transposed(self._integer(linear)), None

    def _rows(self, linear: Rows) -> _Value:
        kept = self._floats(linear.weight.tensor)
        at = self._backend.integers(self._tensors[linear.indices.tensor].values)

        def matrix() -> Array:
            rows = kept()
            return rows.new_zeros((linear.size, rows.shape[1])).index_copy(0, at, rows)

        return matrix

    def _sparse(self, linear: Sparse) -> _Value:
        out, width = linear.shape
        name, scale = linear.values.tensor, None if linear.scale is None else self._floats(linear.scale.tensor)
        kept = self._floats(name) if scale is None else self._integers(name, 8)
        counts = np.diff(self._tensors[linear.row_starts.tensor].values.astype(np.int64))
        columns = self._tensors[linear.columns.tensor].values.astype(np.int64)
        at = self._backend.integers(np.repeat(np.arange(out), counts) * width + columns)

        def matrix() -> Array:
            values = kept()
            dense = values.new_zeros(out * width).index_copy(0, at, values).reshape(out, width)
            return dense if scale is None else dense * scale()[:, None]

        return matrix

    def _integer(self, linear: Integer) -> _Value:
        kept, scale = self._integers(linear.values.tensor, linear.bits), self._floats(linear.scale.tensor)
        out, width = self._tensors[linear.values.tensor].values.shape
        group = linear.group or width
        filled = -(-width // group) * group - width

        def matrix() -> Array:
            # by shape and not by index: the gradient of an index is summed in no fixed order
            cells = self._torch.nn.functional.pad(kept(), (0, filled)).reshape(out, -1, group)
            return (cells * scale().reshape(out, -1, 1)).reshape(out, -1)[:, :width]

        return matrix

    def _vector(self, reference: TensorRef, name: str, size: float | None = None) -> tuple[_Value, TensorRef]:
        """A vector of a step, and where it stands from now on: under a name of its own if it was the reference's."""
        if reference.tensor not in self._tensors or reference != ref(reference.tensor):
            own = ref(f"{self._prefix}.{name}")
            self._tensors[own.tensor] = tensor(short(self._store.floats(reference, (None,))))
            reference = own
        return self._floats(reference.tensor, size), reference

    def _change(self, start: Array, unit: float) -> _Value:
        """``start`` and what descent adds to it where it is not zero."""
        change = self._torch.zeros_like(start, requires_grad=True)
        self.parameters.append(change)
        units = unit * (start != 0)
        return lambda: start + units * change

    def _floats(self, name: str, size: float | None = None) -> _Value:
        """A tensor of floats, tuned in its own format."""
        torch, held = self._torch, self._tensors[name]
        values = held.values.astype(np.float64)
        if held.dtype == "BF16":
            values = (held.values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        exact = self._change(self._backend.array(values), _size(values) if size is None else size)
        kind = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}[held.dtype]

        def store() -> Tensor:
            now = self._backend.numpy(exact()).astype(np.float64)
            return bfloat16(now)[0] if held.dtype == "BF16" else tensor(now.astype(held.values.dtype))

        self._stored[name] = store
        return lambda: _straight_through(exact(), lambda x: x.to(kind).to(x.dtype))

    def _integers(self, name: str, bits: int) -> _Value:
        """Integers of so many bits, tuned in parts of their steps."""
        torch, held = self._torch, self._tensors[name]
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        start = self._backend.array(held.values.astype(np.float64))
        size = _size(held.values[held.values != 0].astype(np.float64))
        exact = self._change(start, size * min(1.0, size / _FINE))
        kept = start != 0

        def whole(x: Array) -> Array:
            rounded = torch.round(x)
            if self._pruned:
                rounded = torch.where((rounded == 0) & kept, torch.where(x < 0, -1.0, 1.0).to(x.dtype), rounded)
            return rounded

        def clipped() -> Array:
            return torch.clamp(exact(), low, high)

        self._stored[name] = lambda: tensor(self._backend.numpy(whole(clipped())).astype(np.int8))
        return lambda: _straight_through(clipped(), whole)


def _straight_through(exact: Array, rounding: Callable[[Array], Array]) -> Array:
    return exact + (rounding(exact) - exact).detach()


def _transposed(value: _Value) -> _Value:
    return lambda: value().T


def _plus(value: _Value, offset: float) -> _Value:
    return lambda: value() + offset


def _size(values: Host) -> float:
    """The root of the mean square; 1 for nothing."""
    return float(np.sqrt(np.mean(values**2))) if values.size else 1.0
