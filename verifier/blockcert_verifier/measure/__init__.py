"""The one measuring engine: prompts in, evidence cells with their replay brackets out."""

from blockcert_verifier.measure.batch import Unresolved
from blockcert_verifier.measure.confirm import Confirmation, Disagreement, confirm, first_not_finite, moved_rows
from blockcert_verifier.measure.engine import Measured, Pair, Settings, measure
from blockcert_verifier.measure.resolution import measure_resolved
from blockcert_verifier.measure.tolerance import Cells, Tolerance

__all__ = [
    "Cells",
    "Confirmation",
    "Disagreement",
    "Measured",
    "Pair",
    "Settings",
    "Tolerance",
    "Unresolved",
    "confirm",
    "first_not_finite",
    "measure",
    "measure_resolved",
    "moved_rows",
]
