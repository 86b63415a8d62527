"""The families of cases: one table of entries in each module.

A case is one entry: an id, what it tests, the requirements that decide it, what every verifier must say, and the
changes that make it of a base, in order. A change is any function of a draft; ``changes`` has the usual ones, and
``repair`` what puts right around a lie::

    case("replay::kl-max-smaller", "A cell of kl_max made smaller", "BC-VER-09 BC-VER-11",
         rejected("replay.cell.refuted"), evidence("kl_max", (3,), lambda v: v / 32), restate, replayed)

What a sealed bundle's files or folder need after signing is put off with ``Draft.later`` and ``Draft.on_disk``. After a
new entry: ``python -m tests.schemas.test_requirements`` writes the table of requirements again.
"""

from blockcert_producers.conformance.entry import Entry
from blockcert_producers.conformance.families import (
    appended,
    brackets,
    claims,
    compositions,
    containers,
    digests,
    documents,
    enclosures,
    evidence,
    frames,
    fresh,
    json_traps,
    limits,
    names,
    numbers,
    own_limits,
    packed,
    policies,
    programs,
    proofs,
    replays,
    resolution,
    reviews,
    revocations,
    rotations,
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
    packed.CASES,
    digests.CASES,
    signatures.CASES,
    policies.CASES,
    revocations.CASES,
    reviews.CASES,
    appended.CASES,
    rotations.CASES,
    limits.CASES,
    own_limits.CASES,
    statements.CASES,
    programs.CASES,
    tensors.CASES,
    evidence.CASES,
    claims.CASES,
    compositions.CASES,
    frames.CASES,
    weights.CASES,
    replays.CASES,
    resolution.CASES,
    brackets.CASES,
    proofs.CASES,
    enclosures.CASES,
    fresh.CASES,
)
"""Every family, in the order of the index."""
