"""The families of cases: one table of entries in each module."""

from blockcert_producers.conformance.entry import Entry
from blockcert_producers.conformance.families import (
    claims,
    containers,
    digests,
    documents,
    evidence,
    frames,
    fresh,
    json_traps,
    limits,
    names,
    numbers,
    policies,
    programs,
    replays,
    signatures,
    statements,
    tensors,
    times,
    weights,
    wellformed,
)

__all__ = ["FAMILIES"]

FAMILIES: tuple[tuple[Entry, ...], ...] = (
    wellformed.CASES,
    json_traps.CASES,
    documents.CASES,
    numbers.CASES,
    times.CASES,
    names.CASES,
    containers.CASES,
    digests.CASES,
    signatures.CASES,
    policies.CASES,
    limits.CASES,
    statements.CASES,
    programs.CASES,
    tensors.CASES,
    evidence.CASES,
    claims.CASES,
    frames.CASES,
    weights.CASES,
    replays.CASES,
    fresh.CASES,
)
"""Every family, in the order of the index."""
