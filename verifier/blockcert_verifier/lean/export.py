"""What the Lean checker reads of a bundle: the statement's bytes, and the evidence as exact decimal strings.

The form is that of `lean/README.md`, "The evidence export". The same bundle gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.json import encode

from blockcert import strict_json
from blockcert.bundle import STATEMENT, Bundle
from blockcert.digest import blake3_bytes
from blockcert.dsse import LIMITS, parse_envelope
from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape, columns
from blockcert.evidence_file import EvidenceTable, table_from_bytes
from blockcert.same_program import same_stages
from blockcert.statement import MOST_STRATA, Statement
from blockcert.strata import Strata
from blockcert_verifier.steps import recompute, structure

__all__ = [
    "EXPORT_TYPE",
    "MOST_VALUES",
    "Exported",
    "encode_export",
    "exact_decimal",
    "export_bundle",
    "export_values",
    "payload_of",
]

EXPORT_TYPE = "urn:blockcert:evidence-export:v1"
MOST_VALUES = 64_000_000
"""Values of an export, as BC-NUM-11 counts them, that the Lean checker reads: `exportCaps` in `BlockCert.Json`."""
MOST_EVIDENCE = 1 << 30
"""Bytes of an evidence file that is exported: more than cells in these values take."""


class Exported(Struct, frozen=True):
    """A bundle as the Lean checker reads it.

    `payload` are the statement's bytes, `evidence` the export; `same`, `table` and `parsed` are what it says.
    """

    payload: bytes
    evidence: bytes
    parsed: Statement
    same: tuple[bool, ...]
    table: EvidenceTable


def exact_decimal(cell: float) -> str:
    """The float64 as a decimal string without rounding: no exponent, no trailing zero, `-0.0` as `0`."""
    text = format(Decimal(cell), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _rows(cells: Sequence[float], rows: int, counts: bool) -> list[list[Any]]:
    width = len(cells) // rows
    written = [int(cell) for cell in cells] if counts else [exact_decimal(cell) for cell in cells]
    return [written[row * width : (row + 1) * width] for row in range(rows)]


def encode_export(table: EvidenceTable, same: Sequence[bool], strata: Strata | None) -> bytes:
    """The evidence export: keys sorted, compact; each column as its rows, the column's other axes in row-major order.

    Beside the columns it has what the claims take from other files of the bundle: `same_program` for each stage, and
    the corpus files as strata, null where there are none.
    """
    listed = {c.name: _rows(table.flat(c.name), c.shape[0], c.dtype == "I64") for c in columns(table.shape)}
    drawn = None if strata is None else {"windows": list(strata.windows), "of_row": list(strata.of_row)}
    document = {"type": EXPORT_TYPE, "same_program": list(same), "strata": drawn, "columns": listed}
    return encode(document, order="sorted") + b"\n"


def export_values(shape: EvidenceShape, files: int) -> int:
    """The values of an export as BC-NUM-11 counts them: commas and opening brackets outside strings, and one.

    Args:
        shape: of the evidence.
        files: strata that the export lists; 0 where it has none.
    """

    def listed(count: int) -> int:  # an array or object of so many entries: a bracket, and commas between them
        return 1 + max(0, count - 1)

    found = 1 + listed(4) + listed(shape.stages) + (listed(2) + listed(files) + listed(shape.rows) if files else 0)
    found += listed(len(columns(shape)))
    for one in columns(shape):
        rows, width = one.shape[0], math.prod(one.shape[1:])
        found += listed(rows) + rows * listed(width)
    return found


def payload_of(folder: Path) -> bytes:
    """The payload of a bundle's envelope, byte for byte; no signature is verified."""
    return parse_envelope(Bundle(folder).read(STATEMENT, LIMITS.bytes), STATEMENT).payload


def export_bundle(folder: Path) -> Exported:
    """The bundle in `folder` as the Lean checker reads it. No signature is verified.

    Raises:
        Refusal: where the statement, a program or the evidence cannot be read, with the code that `blockcert verify`
            has for it; `integrity.digest.mismatch` where one of them is not the file that the statement names;
            `lean.limit` where the evidence is larger than what the Lean checker reads, which is no fault of it.
    """
    bundle = Bundle(folder)
    payload = parse_envelope(bundle.read(STATEMENT, LIMITS.bytes), STATEMENT).payload
    statement, findings = structure.statement(payload)
    if statement is None:
        first = findings[0]
        raise Refusal(first.code, first.place, first.message)
    p = statement.predicate
    shape = recompute.evidence_shape(statement)
    files = len(p.prompts.frame.corpus)
    values = export_values(shape, files if 2 <= files <= MOST_STRATA else 0)
    if values > MOST_VALUES:
        sentence = f"an export of it would have {values} values, and the Lean checker reads at most {MOST_VALUES}"
        raise Refusal("lean.limit", p.evidence.file, sentence)
    signed = {subject.name: subject.digest.blake3 for subject in statement.subject}

    def read(name: str, cap: int) -> bytes:
        data = bundle.read(name, cap)
        found = blake3_bytes(data)
        if found != signed[name]:
            sentence = f"the file has BLAKE3 {found}, and the statement names {signed[name]}"
            raise Refusal("integrity.digest.mismatch", name, sentence)
        return data

    names = (p.reference.program, p.surrogate.program)
    first, second = ((name, read(name, strict_json.DEFAULT.bytes)) for name in names)
    programs, found = structure.programs(statement, first, second)
    if programs is None:
        raise Refusal(found[0].code, found[0].place, found[0].message)
    same = same_stages(*programs)
    table = table_from_bytes(read(p.evidence.file, MOST_EVIDENCE), shape, p.evidence.file)
    strata = recompute.terms(statement, same).strata
    return Exported(payload, encode_export(table, same, strata), statement, same, table)
