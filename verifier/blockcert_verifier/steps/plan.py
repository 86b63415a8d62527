"""What a replay is given: the certificate's parts, and the verifier's own choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from blockcert.evidence_file import EvidenceTable
from blockcert.file_range import Source
from blockcert.program import Program
from blockcert.statement import Statement

if TYPE_CHECKING:
    from blockcert_verifier.work import Estimate

__all__ = ["BETA", "Clock", "Look", "Plan", "Progress", "ReplayInputs"]

BETA = Fraction(1, 100)
"""One minus the confidence of the audit bound, unless the caller asks for another."""

Progress: TypeAlias = Callable[[int, int], None]
Clock: TypeAlias = Callable[[], float]
Look: TypeAlias = Callable[[], None]


class ReplayInputs(Struct, frozen=True):
    """What a replay needs of the certificate.

    ``weights`` says where every file is that the programs name. ``tokens`` are the certification prompts, one
    sequence a row. ``certificate`` is the certificate id's 32 bytes.
    """

    statement: Statement
    certificate: bytes
    reference: Program
    surrogate: Program
    table: EvidenceTable
    tokens: Sequence[Sequence[int]]
    weights: Mapping[str, Source]


class Plan(Struct, frozen=True):
    """The verifier's own choices.

    Attributes:
        asked: how many rows, drawn with ``seed`` (32 bytes); ``repeatable`` says that the caller gave the seed.
        beta: one minus the confidence.
        until: end at the first refutation; ``asked`` rows leave fewer than so many false ones possible.
        enough: confirmed rows that are enough where the replay ends early; None: none are.
        jobs, device: processes, and where they evaluate.
        deadline: the clock's time at which to end; None: no limit.
        state: the file from which to go on, and in which what is done is kept.
        catch: end at an interruption and report, in place of raising it.
        clock: seconds from some beginning.
        look: called now and then in what is not measuring; raises where the whole verification has no more time.
        memory: most bytes that measuring may be estimated to take; None: no limit.
        announce: called once, before rows are measured, with what they are estimated to cost.
    """

    asked: int
    seed: bytes
    repeatable: bool
    clock: Clock
    beta: Fraction = BETA
    until: int | None = None
    enough: int | None = None
    jobs: int = 1
    device: str = "cpu"
    deadline: float | None = None
    state: Path | None = None
    catch: bool = False
    announce: Callable[[Estimate], None] | None = None
    memory: int | None = None
    look: Look = lambda: None
