"""Scoring answers: what passed, failed or was skipped, case by case (`spec/14-conformance.md`, BC-CNF-10 to 12)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from blockcert_verifier.conformance.index import Case, Code, Expected, Outcome
from blockcert_verifier.conformance.messages import Answer, Request, request_of

__all__ = ["Asked", "NoAnswer", "Result", "Score", "judge", "run", "score"]

Status: TypeAlias = Literal["passed", "failed", "skipped"]


class NoAnswer(Struct, frozen=True):
    """Why there is no answer that could be scored: a timeout, a crash, or what was said in the place of one."""

    why: str


class Asked(Protocol):
    """Whatever answers requests."""

    def ask(self, request: Request) -> Answer | NoAnswer:
        """The answer to one request, or why there is none; never raises for what an implementation does."""
        ...


class Result(Struct, frozen=True):
    """How one case ended. `got` and `codes` are the answer's; `why` says why it was skipped, or failed without one.

    `other_codes`: the verdict is right, and codes or notes are not those of the index.
    """

    id: str
    status: Status
    expected: Expected
    got: Outcome | None = None
    codes: tuple[Code, ...] = ()
    other_codes: bool = False
    why: str = ""


class Score(Struct, frozen=True):
    """The results of a run, in the order of the index."""

    implementation: str
    results: tuple[Result, ...]

    def count(self, status: Status) -> int:
        """The number of cases that ended so."""
        return sum(result.status == status for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 where no case failed and at least one passed, else 1."""
        return 0 if self.count("passed") and not self.count("failed") else 1


def judge(case: Case, answer: Answer | NoAnswer, *, codes: bool = False) -> Result:
    """How a case ended: by its verdict alone, or with `codes` by codes and notes too (BC-RES-07)."""
    expected = case.expected
    if isinstance(answer, NoAnswer):
        return Result(case.id, "failed", expected, why=answer.why)
    if answer.fault is not None:
        return Result(case.id, "failed", expected, why=f"a fault of its own: {answer.fault}")
    if answer.skipped is not None and not case.needs:
        why = f"skipped, though it needs nothing that a verifier may leave out (BC-CNF-12): {answer.skipped}"
        return Result(case.id, "failed", expected, why=why)
    if answer.skipped is not None:
        return Result(case.id, "skipped", expected, why=answer.skipped)
    other = set(answer.codes) != set(expected.codes) or not set(expected.notes) <= set(answer.notes)
    right = answer.verdict == expected.verdict and not (codes and other)
    return Result(case.id, "passed" if right else "failed", expected, answer.verdict, answer.codes, other_codes=other)


def run(
    cases: Iterable[Case],
    corpus: Path,
    implementation: Asked,
    *,
    codes: bool = False,
    progress: Callable[[int], None] = lambda _done: None,
) -> Iterator[Result]:
    """The result of every case, one after another; a case whose files are not there is skipped and not asked."""
    for done, case in enumerate(cases):
        progress(done)
        if case.unbuilt is not None:
            yield Result(case.id, "skipped", case.expected, why=case.unbuilt)
            continue
        yield judge(case, implementation.ask(request_of(case, corpus)), codes=codes)


def score(
    cases: Iterable[Case],
    corpus: Path,
    implementation: Asked,
    name: str,
    *,
    codes: bool = False,
    progress: Callable[[int], None] = lambda _done: None,
) -> Score:
    """The score of an implementation on these cases."""
    return Score(name, tuple(run(cases, corpus, implementation, codes=codes, progress=progress)))
