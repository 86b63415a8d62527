"""Evidence: one row per certification prompt, in columns whose name, dtype, shape and order are fixed.

The normative text is ``spec/07-evidence.md``. A file of evidence is one safetensors file; every column is a tensor
whose first axis is the row. Definitions use: stages ``0 .. n+1``, ``S = n + 2``; ``R`` relative thresholds, ``Q`` loss
thresholds; ``N`` rows, of which the first ``A`` carry attribution and the first ``E`` an enclosure.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["ENCLOSED", "ENCLOSURE", "Column", "ColumnType", "EvidenceShape", "columns"]

ColumnType: TypeAlias = Literal["F64", "I64"]


ENCLOSURE = "enclosure."
"""Begins the name of a column of proven ends: ``enclosure.error`` is of ``error``."""
ENCLOSED = (
    "error",
    "relative_error",
    "relative_update_error",
    "covered",
    "drift",
    "relative_drift",
    "logit_difference",
    "top1_agree",
    "decided",
    "loss_within",
    "kl_max",
)
"""Columns of which a certificate may state proven ends: upper ones, of a count lower ones (BC-EVD-10)."""


class Column(Struct, frozen=True):
    """One column: its safetensors name, dtype and shape; ``shape[0]`` counts rows."""

    name: str
    dtype: ColumnType
    shape: tuple[int, ...]


class EvidenceShape(Struct, frozen=True):
    """The sizes that fix every column's shape."""

    blocks: int
    rows: int
    attribution_rows: int
    relative_thresholds: int
    loss_thresholds: int
    enclosed_rows: int = 0

    @property
    def stages(self) -> int:
        """The number of stages, embedding and head included."""
        return self.blocks + 2


def columns(shape: EvidenceShape) -> tuple[Column, ...]:
    """The columns of a certificate's evidence, in the order of ``spec/07-evidence.md``."""
    n, s, rows, a = shape.blocks, shape.stages, shape.rows, shape.attribution_rows
    r, q = shape.relative_thresholds, shape.loss_thresholds
    core = (
        # per stage, at the reference's own input
        Column("error", "F64", (rows, s)),
        Column("relative_error", "F64", (rows, s)),
        Column("relative_update_error", "F64", (rows, n)),
        Column("covered", "I64", (rows, s, r)),
        # stitched trajectory against reference trajectory
        Column("drift", "F64", (rows, s)),
        Column("relative_drift", "F64", (rows, s)),
        Column("final_norm", "F64", (rows,)),
        Column("logit_difference", "F64", (rows,)),
        Column("top1_agree", "I64", (rows,)),
        Column("decided", "I64", (rows,)),
        Column("loss_reference", "F64", (rows,)),
        Column("loss_surrogate", "F64", (rows,)),
        Column("loss_difference", "F64", (rows,)),
        Column("loss_within", "I64", (rows, q)),
        Column("kl_sum", "F64", (rows,)),
        Column("kl_max", "F64", (rows,)),
        # every block replaced by the identity
        Column("identity.error", "F64", (rows, s)),
        Column("identity.relative_error", "F64", (rows, s)),
        Column("identity.covered", "I64", (rows, s, r)),
        Column("identity.drift", "F64", (rows, s)),
        Column("identity.relative_drift", "F64", (rows, s)),
        Column("identity.logit_difference", "F64", (rows,)),
        Column("identity.top1_agree", "I64", (rows,)),
        Column("identity.decided", "I64", (rows,)),
        # plain float32 evaluation of each reference stage
        Column("float32.relative_error", "F64", (rows, s)),
    )
    # with only this stage replaced; hybrid steps D_0 .. D_n
    attribution = (
        Column("attribution.loss_within", "I64", (a, s, q)),
        Column("attribution.hybrid_step", "F64", (a, n + 1)),
    )
    named = {column.name: column for column in core}
    e = shape.enclosed_rows
    enclosure = (
        *(Column(ENCLOSURE + name, named[name].dtype, (e, *named[name].shape[1:])) for name in ENCLOSED),
        Column("enclosure.bits", "I64", (e,)),
    )
    return (*core, *(attribution if a else ()), *(enclosure if e else ()))
