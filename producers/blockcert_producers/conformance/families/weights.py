"""Weight files that do not give what the programs ask of them: seen when a row is replayed, and never skipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from blockcert.errors import Refusal
from blockcert_producers.conformance.changes import bundle, cell, program, replayed, step
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import Entry, accepted, case, rejected
from blockcert_producers.conformance.families.programs import set_new
from blockcert_producers.conformance.repair import recount, redraw, repoint, restate
from blockcert_producers.conformance.tensors import read_column, split, to_bytes

__all__ = ["CASES"]

SURROGATE = "programs/surrogate.safetensors"


def recounted(draft: Draft) -> None:
    """Costs put right where they can be counted at all."""
    with contextlib.suppress(Refusal):
        recount(draft)


AROUND: tuple[Change, ...] = (repoint, redraw, recounted, restate)
"""Digests, draw, costs and claims put right around a weight that is wrong; cells are left."""


def tensor(name: str, change: Callable[[Any], Any]) -> Change:
    """A tensor of the surrogate's file replaced, of whatever shape and type."""

    def apply(draft: Draft) -> None:
        data = draft.files[SURROGATE]
        found = {n: read_column(data, n) for n in split(data)[0]}
        found[name] = change(found.get(name))
        draft.files[SURROGATE] = to_bytes(found)

    return apply


def weight_of(name: str, other: str) -> Change:
    """The first block's norm reads another tensor of the surrogate's file."""
    return step("surrogate", 1, name, "weight", {"file": SURROGATE, "tensor": other})


def two_huge_maps(draft: Draft) -> None:
    """Two matrices of four million rows, of which one row each is stored."""
    document = draft.program("surrogate")
    steps = document["stages"][1]["steps"]
    huge = {"kind": "rows", "size": 1 << 22, "indices": {"file": SURROGATE, "tensor": "one"}}
    huge["weight"] = {"file": SURROGATE, "tensor": "row"}
    take = {"file": SURROGATE, "tensor": "first"}
    at = next(i for i, s in enumerate(steps) if s["out"] == "mlp")
    extra: list[dict[str, Any]] = []
    for i in range(3):
        extra += [
            {"op": "linear", "out": f"huge_{i}", "input": "hidden", "map": huge},
            {"op": "take", "out": f"part_{i}", "input": f"huge_{i}", "indices": take},
            {"op": "add", "out": f"sum_{i}", "left": "mlp" if i == 0 else f"sum_{i - 1}", "right": f"part_{i}"},
        ]
    steps[at + 1 : at + 1] = extra
    steps[-1]["right"] = "sum_2"
    draft.set_program("surrogate", document)
    for name, value in (
        ("one", np.zeros(1, "<i4")),
        ("row", np.ones((1, 8), "<f4")),
        ("first", np.arange(8, dtype="<i4")),
    ):
        tensor(name, lambda _, value=value: value)(draft)


ROWS: tuple[tuple[str, str, str, str, tuple[Change, ...]], ...] = (
    (
        "missing",
        "A tensor that the file does not have",
        "BC-PRG-16",
        "tensor.missing",
        (step("surrogate", 1, "q", "map.scale.tensor", "nowhere"),),
    ),
    (
        "integers-for-reals",
        "Integers where real values are needed",
        "BC-PRG-07",
        "tensor.dtype",
        (tensor("ints", lambda _: np.ones(8, "<i4")), weight_of("normed", "ints")),
    ),
    (
        "reals-for-integers",
        "Real values where indices are needed",
        "BC-PRG-07",
        "tensor.dtype",
        (tensor("up.rows", lambda v: v.astype("<f4")),),
    ),
    (
        "header",
        "A weight file without a header",
        "BC-BND-14",
        "tensor.header",
        (bundle(SURROGATE, lambda _: b"\0" * 7),),
    ),
    (
        "pickle",
        "A pickle in the place of a weight file",
        "BC-BND-15",
        "tensor.header",
        (bundle(SURROGATE, lambda _: b"\x80\x04\x95" + b"\0" * 100 + b"."),),
    ),
    (
        "trailing-byte",
        "A weight file with a byte behind its last tensor",
        "BC-BND-14",
        "tensor.layout",
        (bundle(SURROGATE, lambda d: d + b"\0"),),
    ),
    (
        "nan",
        "A weight that is NaN",
        "BC-PRG-16 BC-NUM-08",
        "tensor.not_finite",
        (cell(SURROGATE, "up.weight", (0, 0), float("nan")),),
    ),
    (
        "infinity",
        "A scale that is infinite",
        "BC-PRG-16 BC-NUM-08",
        "tensor.not_finite",
        (cell(SURROGATE, "q.scale", 0, float("inf")),),
    ),
    (
        "bits",
        "An integer of more bits than it is said to have",
        "BC-PRG-14",
        "tensor.range",
        (step("surrogate", 1, "q", "map.bits", 4),),
    ),
    ("rows-twice", "A row of a matrix given twice", "BC-PRG-13", "tensor.rows", (cell(SURROGATE, "up.rows", 1, 0),)),
    ("rows-outside", "A row beyond the matrix", "BC-PRG-13", "tensor.rows", (cell(SURROGATE, "up.rows", -1, 12),)),
    (
        "columns-twice",
        "A column of a sparse row given twice",
        "BC-PRG-12",
        "tensor.sparse",
        (cell(SURROGATE, "gate.columns", 1, lambda _: 0), cell(SURROGATE, "gate.columns", 0, lambda _: 0)),
    ),
    (
        "columns-outside",
        "A column beyond the sparse matrix",
        "BC-PRG-12",
        "tensor.sparse",
        (cell(SURROGATE, "gate.columns", -1, 8),),
    ),
    ("starts", "Row starts that decrease", "BC-PRG-12", "tensor.sparse", (cell(SURROGATE, "gate.starts", 1, 1000),)),
    (
        "starts-wrapping",
        "Row starts whose differences overflow",
        "BC-PRG-12",
        "tensor.sparse",
        (tensor("gate.starts", lambda v: np.array([0, 2**63 - 1, -(2**63) + 5, *v[3:]], dtype="<i8")),),
    ),
    (
        "shape",
        "A scale for fewer rows than there are",
        "BC-PRG-07",
        "tensor.shape",
        (tensor("q.scale", lambda v: v[:-1]),),
    ),
    (
        "slice",
        "A range beyond the tensor",
        "BC-PRG-06",
        "tensor.slice",
        (set_new("surrogate", 1, "normed", ("weight", "rows"), [0, 9]),),
    ),
    (
        "columns-of-a-vector",
        "Columns of a tensor with one axis",
        "BC-PRG-06",
        "tensor.slice",
        (set_new("surrogate", 1, "normed", ("weight", "columns"), [0, 1]),),
    ),
    (
        "period",
        "A period that does not divide the rows",
        "BC-PRG-06",
        "tensor.slice",
        (
            set_new("surrogate", 1, "attended", ("map", "weight", "rows"), [0, 2]),
            set_new("surrogate", 1, "attended", ("map", "weight", "period"), 3),
        ),
    ),
    (
        "not-broadcast",
        "A norm's weight of one entry is not broadcast",
        "BC-PRG-07 BC-PRG-16",
        "program.shape",
        (set_new("surrogate", 1, "normed", ("weight", "rows"), [0, 1]),),
    ),
    (
        "memory",
        "Matrices of millions of rows of which one is stored",
        "BC-PRG-17 BC-VER-03",
        "program.memory",
        (two_huge_maps,),
    ),
    (
        "embedding-of-other-tokens",
        "An embedding of fewer rows than the vocabulary",
        "BC-PRG-16",
        "tensor.shape",
        (program("surrogate", "stages[0].steps[0].weight", {"file": "reference/model.safetensors", "tensor": "0.o"}),),
    ),
)


def _entries() -> tuple[Entry, ...]:
    return tuple(
        case(f"weight::{name}", tests, f"{requirements} BC-VER-08", rejected(code), *changes, *AROUND, replayed)
        for name, tests, requirements, code, changes in ROWS
    )


def short_table(draft: Draft) -> None:
    """Learned positions for fewer tokens than a prompt has."""
    for side in ("reference", "surrogate"):
        document = draft.program(side)
        document["stages"][0]["steps"][1]["weight"]["rows"] = [0, 7]
        draft.set_program(side, document)


def taken(index: int) -> Change:
    """A channel that `take` asks for."""

    def apply(draft: Draft) -> None:
        cell("model.safetensors", "order", 0, index)(draft)

    return apply


CASES = (
    *_entries(),
    case(
        "weight::positions",
        "Learned positions for fewer tokens than a prompt has",
        "BC-PRG-05",
        rejected("program.context"),
        short_table,
        *AROUND,
        replayed,
        base="language",
    ),
    case(
        "weight::zero-point-wrapping",
        "A zero point whose difference from a value overflows",
        "BC-PRG-14",
        rejected("tensor.range"),
        tensor("int.zero", lambda v: np.full(v.shape, -(2**63), dtype="<i8")),
        *AROUND,
        replayed,
        base="language",
    ),
    case(
        "weight::integer-of-2-to-the-53",
        "A stored integer that a float does not hold",
        "BC-PRG-12",
        rejected("tensor.range"),
        tensor("sparse.values", lambda v: np.full(v.shape, 2**53 + 1, dtype="<i8")),
        *AROUND,
        replayed,
        base="language",
    ),
    case(
        "weight::take-outside",
        "A channel that is not there",
        "BC-PRG-19",
        rejected("program.shape"),
        taken(8),
        *AROUND,
        replayed,
        base="language",
    ),
    case(
        "weight::take-negative",
        "A channel counted from the end",
        "BC-PRG-19",
        rejected("program.shape"),
        taken(-1),
        *AROUND,
        replayed,
        base="language",
    ),
    case(
        "weight::unread-without-the-model",
        "A weight that is NaN, and no model to replay with",
        "BC-VER-04",
        accepted("replay.not_run"),
        cell(SURROGATE, "up.weight", (0, 0), float("nan")),
        *AROUND,
    ),
)
