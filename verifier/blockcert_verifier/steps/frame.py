"""The frame: with the corpus at hand, every listed prompt is the window it is numbered as (BC-PRM-13, BC-PRM-14).

Without the corpus the frame is unverified, and the finding says so. What calibration and certification prompts share
needs no corpus and is always counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from blockcert.digest import FileDigests, digest_file
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.printable import plain
from blockcert.statement import CorpusFile, Frame
from blockcert_verifier.locate import file_size
from blockcert_verifier.report import FrameCheck
from blockcert_verifier.steps.outcome import capped, failed, failures, from_refusal, inconclusive, passed, skipped
from blockcert_verifier.steps.plan import Look
from blockcert_verifier.steps.prompts import PromptTable

if TYPE_CHECKING:
    from blockcert_verifier.corpus import Population

__all__ = ["SPAN", "Corpus", "frame", "match", "shared_spans"]

SPAN = 16
"""Tokens of a span that calibration and certification prompts may share."""
MOST_CALIBRATION_TOKENS = 1 << 20
"""Spans of calibration prompts are held in memory, about 140 bytes for each token."""
MOST_CERTIFICATION_TOKENS = 1 << 23
"""Spans of certification prompts are looked up one after another, some millions in a second."""
PLACE = "statement.dsse.json: $.predicate.prompts.frame"
_ROWS = 1024
_IMPOSSIBLE = frozenset({"prompts.not_utf8", "prompts.vocabulary", "prompts.length"})
"""What the very files that were signed cannot be: a frame of them is refuted. All else is this machine's."""


class Corpus(Struct, frozen=True):
    """What is at hand to derive the frame again: text files in any order and under any name, and a tokenizer."""

    files: tuple[Path, ...]
    tokenizer: Path | None


def frame(
    stated: Frame,
    place: str,
    table: PromptTable,
    corpus: Corpus | None,
    vocabulary: int,
    context: int,
    look: Look = lambda: None,
) -> tuple[FrameCheck, Population | None, list[Finding]]:
    """Whether the listed prompts are the frame's windows; the windows themselves where the corpus gives them.

    `place` is the prompts' file. Without `corpus` nothing is derived and the finding is skipped.

    Raises:
        Refusal: `install.corpus` where a corpus was given and the package that reads it is missing, and what `look`
            raises, which is called between rows and between files.
    """
    spans = shared_spans(table, stated.tokenizer.bos is not None, look)
    shared, sharing = (None, None) if spans is None else spans

    def check(status: str, compared: int) -> FrameCheck:
        return FrameCheck(
            status=status,  # pyright: ignore[reportArgumentType]
            windows=stated.windows,
            prompts=len(table.window),
            compared=compared,
            span=SPAN,
            shared_spans=shared,
            prompts_with_shared_spans=sharing,
        )

    if corpus is None or not corpus.files:
        sentence = "without the corpus, nobody sees that each prompt is the window it is numbered as"
        return check("unverified", 0), None, [skipped("recompute", "frame.unverified", PLACE, sentence)]
    population, findings = _population(stated, corpus, vocabulary, context, look)
    if population is None:
        return check("mismatch" if failures(findings) else "unverified", 0), None, findings
    findings = _compare(stated, place, table, population, look)
    if failures(findings):
        return check("mismatch", len(table.window)), None, findings
    rows = len(table.window)
    sentence = f"the corpus gives {stated.windows} windows, and each of the {rows} prompts is the one it is numbered as"
    return check("verified", len(table.window)), population, [passed("recompute", "frame.verified", PLACE, sentence)]


def match(
    stated: Sequence[CorpusFile], files: Sequence[Path], look: Look = lambda: None
) -> tuple[list[Path | None], list[Path]]:
    """For each file of the frame the path among `files` that has its size and BLAKE3, and the paths that are none.

    A file is hashed only where its size is one of the frame's. Names decide nothing.
    """
    sizes = {file.size for file in stated}
    digests: dict[Path, FileDigests] = {}
    for path in files:
        if file_size(path) in sizes:
            digests[path] = digest_file(path, progress=lambda _: look())
    found: list[Path | None] = []
    for file in stated:
        found.append(next((p for p, d in digests.items() if (d.size, d.blake3) == (file.size, file.blake3)), None))
    return found, [path for path in files if path not in found]


def shared_spans(table: PromptTable, bos: bool, look: Look = lambda: None) -> tuple[int, int] | None:
    """How many different spans of certification prompts stand in a calibration prompt, and in how many prompts.

    A span is :data:`SPAN` consecutive tokens; a starting token (`bos`) is left out. None where there are too many
    tokens to count.
    """
    certification = len(table.window) - table.calibration
    if (
        table.calibration * table.length > MOST_CALIBRATION_TOKENS
        or certification * table.length > MOST_CERTIFICATION_TOKENS
    ):
        return None
    known = {span for row in range(table.calibration) for span in _spans(table.row(row), bos)}
    if not known:
        return 0, 0
    shared: set[bytes] = set()
    prompts = 0
    for row in table.certification():
        look()
        mine = known.intersection(_spans(row, bos))
        shared |= mine
        prompts += bool(mine)
    return len(shared), prompts


def _spans(row: Sequence[int], bos: bool) -> Iterator[bytes]:
    tokens = array("i", row)
    width, data = tokens.itemsize, tokens.tobytes()
    for at in range(width * bos, len(data) - width * SPAN + 1, width):
        yield data[at : at + width * SPAN]


def _population(
    stated: Frame, corpus: Corpus, vocabulary: int, context: int, look: Look
) -> tuple[Population | None, list[Finding]]:
    from blockcert_verifier.corpus import read_population

    try:
        found, others = match(stated.corpus, corpus.files, look)
        missing = [
            inconclusive("recompute", "frame.corpus_missing", f"{PLACE}.corpus[{i}]", _missing(file, others))
            for i, (file, path) in enumerate(zip(stated.corpus, found, strict=True))
            if path is None
        ]
        missing += _tokenizer(stated, corpus.tokenizer)
        if missing or corpus.tokenizer is None:
            return None, capped(missing)
        population = read_population(
            [path for path in found if path is not None],
            corpus.tokenizer,
            length=stated.length,
            bos=stated.tokenizer.bos,
            vocabulary=vocabulary,
            context=context,
            look=look,
            tokenizer_blake3=stated.tokenizer.blake3,
            files_blake3=[file.blake3 for file in stated.corpus],
        )
    except Refusal as refusal:
        if refusal.code in ("install.corpus", "limit.seconds"):
            raise
        if refusal.code in _IMPOSSIBLE:
            return None, [from_refusal("recompute", refusal)]
        return None, [inconclusive("recompute", "frame.unread", refusal.place, refusal.sentence)]
    return population, []


def _missing(file: CorpusFile, others: Sequence[Path]) -> str:
    given = f"; {plain(others[0].name)[:100]} is not it" if len(others) == 1 else ""
    return f"{plain(file.name)[:200]} was not given ({file.size} bytes, BLAKE3 {file.blake3}){given}"


def _tokenizer(stated: Frame, path: Path | None) -> list[Finding]:
    wanted = stated.tokenizer.blake3
    if path is None:
        sentence = f"tokenizer.json was not given (BLAKE3 {wanted}); it stands in the reference model's folder"
    elif (found := digest_file(path).blake3) != wanted:
        sentence = f"{plain(path.name)[:100]} has the BLAKE3 digest {found}, and the frame's tokenizer has {wanted}"
    else:
        return []
    return [inconclusive("recompute", "frame.corpus_missing", f"{PLACE}.tokenizer", sentence)]


def _compare(stated: Frame, place: str, table: PromptTable, population: Population, look: Look) -> list[Finding]:
    """Findings where the numbers of windows differ, or else where a listed prompt is not its window."""
    findings = [
        failed("recompute", "frame.mismatch", f"{PLACE}.corpus[{i}].windows", _counts(file.name, file.windows, count))
        for i, (file, count) in enumerate(zip(stated.corpus, population.counts, strict=True))
        if file.windows != count
    ]
    if population.windows != stated.windows:
        sentence = _counts("the corpus", stated.windows, population.windows)
        findings.append(failed("recompute", "frame.mismatch", f"{PLACE}.windows", sentence))
    if findings:
        return capped(findings)
    return capped(_rows(place, table, population, look))


def _counts(name: str, stated: int, found: int) -> str:
    return f"{plain(name)[:200]} gives {found} windows, and the frame states {stated}"


def _rows(place: str, table: PromptTable, population: Population, look: Look) -> Iterator[Finding]:
    for begin in range(0, len(table.window), _ROWS):
        look()
        numbers = [int(number) for number in table.window[begin : begin + _ROWS]]
        for row, (number, tokens) in enumerate(zip(numbers, population.tokens(numbers), strict=True), begin):
            listed, derived = list(table.row(row)), [int(token) for token in tokens]
            if listed == derived:
                continue
            at = next(i for i, (a, b) in enumerate(zip(listed, derived, strict=True)) if a != b)
            file = plain(population.corpus[population.file_of(number)].name)[:200]
            sentence = f"the token is {listed[at]}, and window {number} (of {file}) has {derived[at]} there"
            yield failed("recompute", "frame.mismatch", f"{place}: tokens[{row}, {at}]", sentence)
