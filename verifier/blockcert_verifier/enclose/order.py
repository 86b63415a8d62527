"""Which rows a verifier encloses, and in which order (``spec/15-enclosures.md``, BC-ENC-02)."""

from __future__ import annotations

from collections.abc import Sequence

from blockcert.draw import replay_rows
from blockcert.evidence import EvidenceShape

__all__ = ["proof_order", "rows_to_prove"]


def proof_order(drawn: Sequence[int], enclosed: int, asked: int) -> list[int]:
    """The rows to be proven, ``asked`` of all rows, given the order in which they are drawn (BC-ENC-02).

    Every other row, beginning with the first, is one of the first ``enclosed``, which have proven ends, while one is
    left; both kinds come in the order drawn.
    """
    inside, all_ = (row for row in drawn if row < enclosed), iter(drawn)
    found: dict[int, None] = {}
    while len(found) < min(asked, len(drawn)):
        row = next((row for row in inside if row not in found), None) if len(found) % 2 == 0 else None
        if row is None:
            row = next(row for row in all_ if row not in found)
        found[row] = None
    return list(found)


def rows_to_prove(certificate: bytes, seed: bytes, shape: EvidenceShape, asked: int) -> list[int]:
    """The rows that a verifier encloses, ``asked`` or all there are, in the order of BC-ENC-02.

    Args:
        certificate: the certificate id's 32 bytes.
        seed: the replay's, 32 bytes.
        shape: of the evidence: its rows, and how many have proven ends.
        asked: how many rows are to be enclosed.
    """
    # whichever row has proven ends may be drawn last
    least = shape.rows if shape.enclosed_rows else min(asked, shape.rows)
    return proof_order(replay_rows(certificate, seed, shape.rows, least), shape.enclosed_rows, asked)
