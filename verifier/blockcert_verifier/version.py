"""The version of this verifier, as reports state it; a test holds it equal to the distribution's."""

from __future__ import annotations

__all__ = ["VERSION"]

# not read from the installed metadata: that costs as much time as a whole small verification
VERSION = "0.1.0"
