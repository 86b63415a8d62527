"""The caller's choices of how rows are measured, checked, and as the plan of a replay."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.numbers import parse_decimal
from blockcert_verifier.steps.plan import BETA, Clock, Look, Plan

if TYPE_CHECKING:
    from blockcert_verifier.work import Estimate

__all__ = ["Measuring", "beta"]


class Measuring(Struct, frozen=True):
    """What ``verify`` was asked to measure, and how; its arguments of the same names."""

    rows: int | Literal["all"] = 16
    beta: Fraction = BETA
    until: int | None = None
    seed: bytes | None = None
    jobs: int = 1
    device: str = "cpu"
    time_limit: float | None = None
    state: Path | None = None
    catch: bool = False
    announce: Callable[[Estimate], None] | None = None
    clock: Clock = monotonic
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until < 1:
            raise Refusal("usage.until", "--until", f"{self.until}: give 1 or more; fewer than 1 false row is none")
        if self.jobs < 1:
            raise Refusal("usage.jobs", "--jobs", f"{self.jobs} processes cannot measure anything; give 1 or more")
        if self.time_limit is not None and not self.time_limit > 0:
            raise Refusal("usage.time_limit", "--time-limit", f"{self.time_limit} seconds: give more than 0")

    def deadline(self, end: float) -> float:
        """The clock's time at which measuring that begins now must end; ``end`` is that of the whole verification."""
        return end if self.time_limit is None else min(end, self.clock() + self.time_limit)

    def plan(
        self, asked: int, seed: bytes, enough: int | None, deadline: float | None, look: Look = lambda: None
    ) -> Plan:
        """The plan of a replay; ``enough`` confirmed rows satisfy the policy where it ends early."""
        return Plan(
            asked=asked,
            seed=seed,
            repeatable=self.seed is not None,
            beta=self.beta,
            until=self.until,
            enough=enough,
            jobs=self.jobs,
            device=self.device,
            deadline=deadline,
            state=self.state,
            catch=self.catch,
            clock=self.clock,
            announce=self.announce,
            memory=self.memory,
            look=look,
        )


def beta(confidence: str) -> Fraction:
    """One minus a confidence, a decimal string.

    Raises:
        Refusal: ``usage.confidence`` where it is not between 0 and 1.
    """
    try:
        value = parse_decimal(confidence)
    except Refusal:
        value = Fraction(0)
    if not 0 < value < 1:
        sentence = f"{confidence!r} is no confidence; give a number between 0 and 1, such as 0.99"
        raise Refusal("usage.confidence", "--confidence", sentence)
    return 1 - value
