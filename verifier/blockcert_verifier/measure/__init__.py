"""The one measuring engine: prompts in, evidence cells with their replay brackets out."""

from blockcert_verifier.measure.engine import Measured, Pair, Settings, measure
from blockcert_verifier.measure.tolerance import Cells, Tolerance

__all__ = ["Cells", "Measured", "Pair", "Settings", "Tolerance", "measure"]
