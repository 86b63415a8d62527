"""Evidence that cannot be, or that no claim can state: for the Lean checker as an export, for Python as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.errors import Refusal
from blockcert.evidence import columns
from blockcert.evidence_file import EvidenceTable, read_evidence
from blockcert.safetensors_file import write
from blockcert_verifier.lean.export import encode_export, exact_decimal
from tests.lean.cases import Base

__all__ = ["CHANGES", "changed_evidence"]

_DTYPES = {"F64": "<f8", "I64": "<i8"}


def _cell(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(cells: dict[str, Any]) -> None:
        cells[name].flat[0] = value

    return change


def _end(name: str, value: float) -> Callable[[dict[str, Any]], None]:
    """A proven end of the first row, where there is one."""

    def change(cells: dict[str, Any]) -> None:
        if f"enclosure.{name}" in cells:
            cells[f"enclosure.{name}"].flat[0] = value

    return change


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another cell": lambda cells: cells["final_norm"].__imul__(1.5),
    "another error": lambda cells: cells["error"].__imul__(1 + 2**-50),
    "a count too many": _cell("top1_agree", 1 << 20),
    "a count too many, of a loss": _cell("loss_within", 1 << 20),
    "a negative norm": _cell("drift", -1.0),
    "a negative count": _cell("covered", -1),
    "a negative difference": _cell("loss_difference", -0.25),
    "minus zero": _cell("kl_sum", -0.0),
    "a control that changes the embedding": _cell("identity.error", 0.5),
    "a control that covers less of it": _cell("identity.covered", 0),
    "too large to be stated": _cell("kl_max", 1e300),
    "the largest that is stated": _cell("kl_max", 9.9e39),
    "the smallest float64": _cell("kl_sum", 5e-324),
    "a column missing": lambda cells: cells.pop("kl_max"),
    "a column more": lambda cells: cells.update(other=cells["kl_max"]),
    "a column of another name": lambda cells: cells.update(other=cells.pop("kl_max")),
    "a row fewer": lambda cells: cells.update(kl_max=cells["kl_max"][1:]),
    "cells of another shape": lambda cells: cells.update(error=cells["error"][:, 1:]),
    "another end": _end("drift", 1e9),
    "a lower end": _end("drift", 0.0),
    "a negative end": _end("error", -1.0),
    "another proven count": _end("decided", 1),
    "a proven count too many": _end("top1_agree", 1 << 20),
    "a proven count too many, of a loss": _end("loss_within", 1 << 20),
    "an end that changes the embedding": _end("error", 0.5),
    "a proven count less of the embedding": _end("covered", 0),
    "an end too large to be stated": _end("kl_max", 1e300),
    "more bits": _end("bits", 1 << 20),
    "ends missing": lambda cells: cells.pop("enclosure.kl_max", None),
}


def changed_evidence(base: Base, name: str, folder: Path) -> Base:
    """The base with its evidence changed; where Python refuses to read it, that is what the base holds."""
    shape = base.table.shape
    cells = {c.name: np.array(base.table.flat(c.name), _DTYPES[c.dtype]).reshape(c.shape) for c in columns(shape)}
    CHANGES[name](cells)
    kinds = {c.name: c.dtype for c in columns(shape)} | {"other": "F64"}
    path = folder / "evidence.safetensors"
    write(path, {key: (kinds[key], value.shape, value.tobytes()) for key, value in cells.items()})
    document = json.loads(encode_export(base.table, base.same, None))
    document["strata"] = json.loads(base.export)["strata"]
    document["columns"] = {key: _rows(value) for key, value in cells.items()}
    export = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    table: EvidenceTable | Refusal
    try:
        table = read_evidence(path, shape, path.name)
    except Refusal as refusal:
        table = refusal
    found = table if isinstance(table, EvidenceTable) else base.table
    return Base(
        f"{base.name}-{list(CHANGES).index(name)}",
        base.statement,
        base.same,
        found,
        export,
        None if isinstance(table, EvidenceTable) else table.code,
    )


def _rows(cells: Any) -> list[list[Any]]:
    flat = cells.reshape(len(cells), -1)
    if cells.dtype == np.dtype("<i8"):
        return flat.tolist()
    return [[exact_decimal(cell) for cell in row] for row in flat.tolist()]
