"""Enclosures: rigorous intervals around what two programs compute in exact real numbers.

``balls``, ``maps``, ``stage`` and ``trajectories`` evaluate programs in ball arithmetic of arbitrary precision
(``python-flint``); ``point`` encloses one stage in float64 with midpoints and radii. ``interval`` and ``judge`` are
exact and need neither. Normative text: ``spec/15-enclosures.md``.

Nothing here is imported before a proof is asked for: python-flint is an extra.
"""

from blockcert_verifier.enclose.install import require_flint
from blockcert_verifier.enclose.interval import Enclosed, Interval

__all__ = ["Enclosed", "Interval", "require_flint"]
