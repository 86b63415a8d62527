"""What a proof established: enclosures of the exact values on the rows that it was asked for (BC-ENC-07)."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["CellCounts", "EnclosedClaim", "Proof", "ProofVerdict", "ProvenEnds"]

ProofVerdict: TypeAlias = Literal["confirmed", "refuted", "inconclusive"]


class CellCounts(Struct, frozen=True):
    """How many recorded cells of the rows are confirmed, refuted, or neither."""

    confirmed: int
    refuted: int
    inconclusive: int


class EnclosedClaim(Struct, frozen=True):
    """What is exactly so of the rows, beside what is stated.

    ``column`` is the evidence's; ``threshold`` the one that is counted at. Of a maximum, ``at_least`` and ``at_most``
    enclose the largest exact value over the rows and ``stated`` is the certificate's bound; of a count they enclose the
    sum over the rows, and ``stated`` is the recorded sum. An end that no decimal string states is null. The verdict is
    the worst of the rows'.
    """

    column: str
    stage: int | None
    threshold: str | None
    at_least: str | None
    at_most: str | None
    stated: str
    verdict: ProofVerdict


class ProvenEnds(Struct, frozen=True):
    """What became of the proven ends that the certificate itself states, of ``rows`` rows.

    ``enclosed`` of these rows were enclosed here; on ``confirmed`` of them every stated end holds.
    """

    rows: int
    enclosed: int
    confirmed: int
    cells: CellCounts


class Proof(Struct, frozen=True):
    """The rows that were enclosed, in the order of BC-ENC-02: all that were done when it ended.

    ``rows`` are all of the certificate's, ``asked`` those that were to be proven, ``confirmed`` the ones of ``drawn``
    whose every cell is. ``bits`` is the highest precision that was needed, ``seconds`` what it took. ``enclosures`` is
    about the proven ends that the certificate states, null where it states none.
    """

    rows: int
    asked: int
    drawn: tuple[int, ...]
    confirmed: int
    seed: str
    repeatable: bool
    ending: Literal["time-limit", "interrupted", "refuted"] | None
    bits: int
    cells: CellCounts
    claims: tuple[EnclosedClaim, ...]
    seconds: str
    enclosures: ProvenEnds | None = None
    basis: Literal["enclosure"] = "enclosure"
