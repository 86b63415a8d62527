"""`blockcert conformance build | run | serve`: the corpus, and any verifier's score on it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from blockcert_producers.conformance.entry import Entry
    from blockcert_verifier.conformance.index import Case

__all__ = ["build", "run", "serve"]

T = TypeVar("T", "Case", "Entry")


def build(
    *, out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to make; must not exist yet.")]
) -> None:
    """Build the conformance corpus: index.json and a folder for each case.

    Every key in it is made from a public seed: never trust one of them.
    """
    from blockcert_producers.conformance import build as build_corpus
    from blockcert_verifier.counted import counted

    index = build_corpus(out)
    left = sum(case.unbuilt is not None for case in index.cases)
    print(
        f"Wrote {out}: {counted(len(index.cases), 'case')}" + (f", {left} of them without files" if left else "") + "."
    )


def run(
    *,
    implementation: Annotated[
        str | None,
        typer.Option("--implementation", metavar="CMD", help="The verifier to score; this one if not given."),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", metavar="DIR", help="A corpus that was built; else one is built for now.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PATTERN", help="Only cases whose id fits, e.g. 'signature::*'.")
    ] = None,
    codes: Annotated[bool, typer.Option("--codes", help="Fail cases with the right verdict and other codes.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", metavar="SECONDS", help="How long an answer may take.")] = "60",
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there ('-': standard output).")
    ] = None,
) -> None:
    """Score a verifier on the conformance corpus, by the protocol of spec/14-conformance.md.

    CMD gets a request on a line of its standard input and writes an answer on a line of its standard output.
    Exit code 0: no case failed. 1: one did. 2: wrong usage.
    """
    from blockcert_verifier.conformance.implementation import Implementation, split_command
    from blockcert_verifier.conformance.index import read_index
    from blockcert_verifier.conformance.score import encode_score, score
    from blockcert_verifier.conformance.table import render_score
    from blockcert_verifier.output import emit, is_standard_output, write_file

    seconds = _seconds(timeout)
    ours = [sys.executable, "-m", "blockcert_producers.cli", "conformance", "serve"]
    words = ours if implementation is None else split_command(implementation)
    with tempfile.TemporaryDirectory() as scratch, Implementation(words, seconds) as asked:
        if corpus is None:
            from blockcert_producers.conformance import all_cases
            from blockcert_producers.conformance import build as build_corpus

            corpus = Path(scratch) / "corpus"
            build_corpus(corpus, _chosen(all_cases(), only))
        cases = _chosen(read_index(corpus).cases, only)
        name = "blockcert" if implementation is None else implementation
        found = score(cases, corpus, asked, name, codes=codes, progress=_progress(len(cases)))
    if json is not None:
        write_file(json, encode_score(found))
    if not is_standard_output(json):
        emit(render_score(found).encode())
    raise typer.Exit(found.exit_code)


def serve() -> None:
    """Answer requests of the conformance protocol on standard input: this verifier, behind the door of all others."""
    from blockcert_verifier.conformance.serve import serve as serve_lines

    serve_lines(sys.stdin.buffer, sys.stdout.buffer)


def _chosen(cases: tuple[T, ...], only: str | None) -> tuple[T, ...]:
    if only is None:
        return cases
    from fnmatch import fnmatchcase

    from blockcert.errors import Refusal

    found = tuple(case for case in cases if fnmatchcase(case.id, only))
    if not found:
        families = ", ".join(dict.fromkeys(case.id.partition("::")[0] for case in cases))
        raise Refusal("usage.only", "--only", f"no case fits {only!r}; the families are {families}")
    return found


def _seconds(text: str) -> float:
    from blockcert.errors import Refusal
    from blockcert_verifier.amounts import amount_of_seconds

    try:
        return amount_of_seconds(text)
    except ValueError as fault:
        raise Refusal("usage.timeout", "--timeout", f"{text!r}: {fault}") from None


def _progress(total: int) -> Callable[[int], None]:
    if not sys.stderr.isatty():
        return lambda _done: None

    def tell(done: int) -> None:
        sys.stderr.write(f"\r{done} of {total} cases\x1b[K" if done + 1 < total else "\r\x1b[K")
        sys.stderr.flush()

    return tell
