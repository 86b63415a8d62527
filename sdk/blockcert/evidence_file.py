"""Reading evidence without numpy: columns as flat typed arrays, checked against the certificate's shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from blockcert.errors import Refusal
from blockcert.evidence import Column, EvidenceShape, columns
from blockcert.names import shown
from blockcert.safetensors_file import TensorInfo, column, read_header_bytes

__all__ = ["EvidenceTable", "read_evidence", "table_from_bytes"]


class EvidenceTable:
    """Evidence columns of one certificate; every cell is finite, and none that is a norm or a count is negative.

    Args:
        shape: the sizes that fix the columns.
        cells: for each column name its cells, flat, in row-major order.
        look: called whenever cells are asked for; whoever has no more time raises there. Most of what is computed from
            evidence goes through many columns, each for a short while.
    """

    def __init__(
        self, shape: EvidenceShape, cells: Mapping[str, Sequence[float]], look: Callable[[], None] = lambda: None
    ) -> None:
        self.shape = shape
        self.look = look
        self._columns: dict[str, Column] = {c.name: c for c in columns(shape)}
        self._cells = dict(cells)

    def flat(self, name: str) -> Sequence[float]:
        """All cells of a column, row-major."""
        self.look()
        return self._cells[name]

    def at(self, name: str, *index: int) -> Sequence[float]:
        """The cells of all rows at one place of a column's other axes, e.g. ``at("covered", stage, threshold)``."""
        self.look()
        shape = self._columns[name].shape
        if len(index) != len(shape) - 1:
            raise ValueError(f"{name} has {len(shape) - 1} axes beside the row")
        width, offset = 1, 0
        for size, position in zip(reversed(shape[1:]), reversed(index), strict=True):
            offset += position * width
            width *= size
        return self._cells[name][offset::width]


_SIGNED = {"loss_difference"}


def table_from_bytes(
    data: bytes, shape: EvidenceShape, place: str, look: Callable[[], None] = lambda: None
) -> EvidenceTable:
    """The evidence table in the bytes of a safetensors file; ``look`` as in :class:`EvidenceTable`.

    Raises:
        Refusal: ``evidence.columns`` where a column is missing, unknown, or of another dtype or shape;
            ``evidence.not_finite`` and ``evidence.negative`` for a cell that cannot be.
    """
    header = read_header_bytes(data, place)
    wanted = {c.name: c for c in columns(shape)}
    for name in sorted(header.keys() | wanted.keys()):
        _check_column(name, header.get(name), wanted.get(name), place)
    cells: dict[str, Sequence[float]] = {}
    for name, expected in wanted.items():
        look()
        values: Sequence[float] = column(data, header[name])
        _check_cells(name, values, expected, place)
        cells[name] = values
    return EvidenceTable(shape, cells, look)


def _check_column(name: str, found: TensorInfo | None, wanted: Column | None, place: str) -> None:
    if wanted is None:  # a name that anybody may have written
        where = f"{place}: {shown(name)[1:-1]}"
        raise Refusal("evidence.columns", where, "the certificate's evidence has no such column")
    if found is None:
        raise Refusal("evidence.columns", f"{place}: {name}", "this evidence column is missing")
    if (found.dtype, tuple(found.shape)) != (wanted.dtype, wanted.shape):
        is_, must = f"{found.dtype} {list(found.shape)}", f"{wanted.dtype} {list(wanted.shape)}"
        raise Refusal("evidence.columns", f"{place}: {name}", f"the column is {is_}, the certificate needs {must}")


def _check_cells(name: str, values: Sequence[float], column_: Column, place: str) -> None:
    if not values:
        return
    least = min(values)
    if column_.dtype == "F64" and not all(map(math.isfinite, values)):
        index = next(i for i, value in enumerate(values) if not math.isfinite(value))
        sentence = f"the cell is {values[index]}, and evidence must be finite"
        raise Refusal("evidence.not_finite", f"{place}: {_cell(column_, index)}", sentence)
    if name not in _SIGNED and least < 0:
        index = next(i for i, value in enumerate(values) if value < 0)
        raise Refusal("evidence.negative", f"{place}: {_cell(column_, index)}", "a norm or a count cannot be negative")


def _cell(column_: Column, index: int) -> str:
    places: list[str] = []
    for size in reversed(column_.shape):
        places.append(str(index % size))
        index //= size
    return f"{column_.name}[{', '.join(reversed(places))}]"


def read_evidence(path: Path, shape: EvidenceShape, place: str) -> EvidenceTable:
    """The evidence table of a file; raises as ``table_from_bytes``."""
    return table_from_bytes(path.read_bytes(), shape, place)
