"""Scoring answers: what passed, failed or was skipped, case by case (`spec/14-conformance.md`, BC-CNF-10 to 13)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Struct

from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert_verifier.conformance.index import Case, CaseId, Code, Expected, Outcome
from blockcert_verifier.conformance.messages import Answer, Request, request_of

__all__ = ["Asked", "NoAnswer", "Result", "Score", "encode_score", "judge", "parse_score", "run", "score"]

MOST_WHY = 2048
MOST_NAME = 4096
"""Characters of a reason and of an implementation's name."""

Status: TypeAlias = Literal["passed", "failed", "skipped"]


class NoAnswer(Struct, frozen=True):
    """Why there is no answer that could be scored: a timeout, a crash, or what was said in the place of one."""

    why: str


class Asked(Protocol):
    """Whatever answers requests."""

    def ask(self, request: Request) -> Answer | NoAnswer:
        """The answer to one request, or why there is none; never raises for what an implementation does."""
        ...


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """How one case ended. `got` and `codes` are the answer's; `why` says why it was skipped, or failed without one.

    `other_codes`: the verdict is right, and codes or notes are not those of the index.
    """

    id: CaseId
    status: Status
    expected: Expected
    got: Outcome | None
    codes: Annotated[tuple[Code, ...], Meta(max_length=1024)]
    other_codes: bool
    why: Annotated[str, Meta(max_length=MOST_WHY)]


class Score(Struct, frozen=True, forbid_unknown_fields=True):
    """The results of a run, in the order of the index; `strict` says that other codes fail a case (BC-CNF-11).

    Schema: ``schemas/conformance-score.schema.json``.
    """

    type: Literal["blockcert-conformance-score"]
    version: Literal[1]
    implementation: Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]
    strict: bool
    results: Annotated[tuple[Result, ...], Meta(max_length=10_000)]

    def count(self, status: Status) -> int:
        """The number of cases that ended so."""
        return sum(result.status == status for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 where no case failed and at least one passed, else 1."""
        return 0 if self.count("passed") and not self.count("failed") else 1


def _without(case: Case, status: Status, why: str) -> Result:
    """The result of a case that was not answered."""
    return Result(case.id, status, case.expected, None, (), other_codes=False, why=why[:MOST_WHY])


def judge(case: Case, answer: Answer | NoAnswer, *, codes: bool = False) -> Result:
    """How a case ended: by its verdict alone, or with `codes` by codes and notes too (BC-RES-07)."""
    expected = case.expected
    if isinstance(answer, NoAnswer):
        return _without(case, "failed", answer.why)
    if answer.fault is not None:
        return _without(case, "failed", f"a fault of its own: {answer.fault}")
    if answer.skipped is not None and not case.needs:
        why = f"skipped, though it needs nothing that a verifier may leave out (BC-CNF-12): {answer.skipped}"
        return _without(case, "failed", why)
    if answer.skipped is not None:
        return _without(case, "skipped", answer.skipped)
    other = set(answer.codes) != set(expected.codes) or not set(expected.notes) <= set(answer.notes)
    same = answer.verdict == expected.verdict
    status: Status = "passed" if same and not (codes and other) else "failed"
    return Result(case.id, status, expected, answer.verdict, answer.codes, other_codes=same and other, why="")


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
            yield _without(case, "skipped", case.unbuilt)
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
    results = tuple(run(cases, corpus, implementation, codes=codes, progress=progress))
    return Score("blockcert-conformance-score", 1, name[:MOST_NAME], codes, results)


def parse_score(data: bytes, place: str) -> Score:
    """The score in a JSON document.

    Raises:
        Refusal: what the JSON gate refuses, ``conformance.score`` where a case stands twice or a result contradicts
            itself.
    """
    found = strict_json.decode(data, Score, place)
    seen: set[str] = set()
    for i, result in enumerate(found.results):
        wrong = "the case stands twice" if result.id in seen else _contradiction(result, strict=found.strict)
        if wrong is not None:
            raise Refusal("conformance.score", f"{place}: $.results[{i}]", f"{result.id}: {wrong}")
        seen.add(result.id)
    return found


def encode_score(score: Score) -> bytes:
    """The score as JSON for a person to read: indented, fields in the schema's order."""
    return msgspec.json.format(msgspec.json.encode(score), indent=1) + b"\n"


def _contradiction(result: Result, *, strict: bool) -> str | None:
    """How a result contradicts itself; None where it does not."""
    if result.got is None:
        if result.status == "passed" or result.codes or result.other_codes or not result.why:
            return "without a verdict a case is failed or skipped, has no codes, and says why"
        return None
    same = result.got == result.expected.verdict
    fits = same and not (strict and result.other_codes)
    if result.why or result.status != ("passed" if fits else "failed") or (result.other_codes and not same):
        return f"the verdict is {result.got}, where {result.expected.verdict} is expected, and it is {result.status}"
    if same and not result.other_codes and set(result.codes) != set(result.expected.codes):
        return "its codes are not those that are expected, and it says that they are"
    return None
