"""The listed prompts: their file, and that they are what the draw gives (BC-PRM-03 to 05)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from blockcert.draw import draw_windows
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.names import shown
from blockcert.safetensors_file import column, read_header_bytes
from blockcert.statement import Frame, Statement
from blockcert_verifier.steps.outcome import failed, failures, from_refusal, passed

__all__ = ["PromptTable", "prompts", "read_prompts"]

Cells: TypeAlias = Sequence[int]


class PromptTable(Struct, frozen=True):
    """The columns of `prompts.safetensors`, flat: tokens `(C+N) x length`, window numbers and splits `C+N`."""

    length: int
    calibration: int
    tokens: Cells
    window: Cells
    split: Cells

    def row(self, number: int) -> Cells:
        """The tokens of one row of the file."""
        return self.tokens[number * self.length : (number + 1) * self.length]

    def certification(self) -> list[Cells]:
        """The tokens of every certification prompt, in the order of the evidence's rows."""
        return [self.row(number) for number in range(self.calibration, len(self.window))]


def read_prompts(data: bytes, frame: Frame, place: str) -> PromptTable:
    """The prompts in the bytes of their file.

    Raises:
        Refusal: `prompts.columns` where the columns are not exactly the format's, or what the container refuses.
    """
    header = read_header_bytes(data, place)
    rows = frame.calibration + frame.certification
    wanted = {
        "tokens": ("I32", (rows, frame.length)),
        "window": ("I64", (rows,)),
        "split": ("U8", (rows,)),
    }
    found = {name: (info.dtype, tuple(info.shape)) for name, info in header.items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            has = "missing" if name not in found else f"{found[name][0]} {list(found[name][1])}"
            must = "not be there" if name not in wanted else f"be {wanted[name][0]} {list(wanted[name][1])}"
            raise Refusal("prompts.columns", f"{place}: {shown(name)[1:-1]}", f"the column is {has}, and must {must}")
    tokens, window, split = (column(data, header[name], place) for name in wanted)
    return PromptTable(frame.length, frame.calibration, tokens, window, split)  # type: ignore[arg-type]


def prompts(statement: Statement, table: PromptTable, vocabulary: int) -> list[Finding]:
    """Whether the prompts' numbers are those that the draw gives, and their tokens possible."""
    frame, place = statement.predicate.prompts.frame, statement.predicate.prompts.file
    digests = {subject.name: subject.digest.blake3 for subject in statement.subject}
    try:
        drawn = draw_windows(
            frame,
            digests[statement.predicate.reference.program],
            digests[statement.predicate.surrogate.program],
        )
    except Refusal as refusal:
        return [from_refusal("recompute", refusal)]
    windows = (*drawn.calibration, *drawn.certification)
    splits = [0] * frame.calibration + [1] * frame.certification
    findings = [
        *_compare(table.window, windows, f"{place}: window", "window"),
        *_compare(table.split, splits, f"{place}: split", "split"),
        *_tokens(table, frame, vocabulary, place),
    ]
    if failures(findings):
        return findings
    sentence = f"the {len(windows)} windows are those that the key draws"
    return [passed("recompute", "recompute.draw", place, sentence)]


def _compare(found: Cells, drawn: Sequence[int], place: str, what: str) -> list[Finding]:
    row = next((i for i, (a, b) in enumerate(zip(found, drawn, strict=True)) if a != b), None)
    if row is None:
        return []
    sentence = f"row {row} says {what} {found[row]}, and the draw gives {drawn[row]}"
    return [failed("recompute", "recompute.draw.mismatch", f"{place}[{row}]", sentence)]


def _tokens(table: PromptTable, frame: Frame, vocabulary: int, place: str) -> list[Finding]:
    findings: list[Finding] = []
    if min(table.tokens) < 0 or max(table.tokens) >= vocabulary:
        at = next(i for i, token in enumerate(table.tokens) if not 0 <= token < vocabulary)
        where = f"{place}: tokens[{at // table.length}, {at % table.length}]"
        sentence = f"the token is {table.tokens[at]}, and the vocabulary has {vocabulary}"
        findings.append(failed("recompute", "prompts.token", where, sentence))
    bos = frame.tokenizer.bos
    if bos is not None:
        row = next((i for i in range(len(table.window)) if table.tokens[i * table.length] != bos), None)
        if row is not None:
            first = table.tokens[row * table.length]
            sentence = f"the row begins with token {first}, and every row must begin with {bos}"
            findings.append(failed("recompute", "prompts.bos", f"{place}: tokens[{row}, 0]", sentence))
    return findings
