"""The body of `blockcert verify`: paths and words in, text and an exit code out."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from blockcert.errors import Refusal
from blockcert.printable import plain
from blockcert_verifier.output import check_writable, emit, is_standard_output, tell, write_file

__all__ = ["verify"]

BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="The bundle: a folder, or the file that pack wrote.")
]


def verify(
    *,
    bundle: BundleArgument,
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="Your trust policy (blockcert trust new).")],
    reference: Annotated[
        Path | None,
        typer.Option("--reference", metavar="MODEL", help="The original model's folder or cache: rows are run again."),
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(
            "--published", metavar="FILE", help="Published SHA-256 digests of the model, compared with the signed ones."
        ),
    ] = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option("--corpus", metavar="FILE…", help="The frame's text files: the prompts are derived again."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="FILE", help="The frame's tokenizer.json, if not the reference model's."),
    ] = None,
    fresh: Annotated[
        str | None, typer.Option("--fresh", metavar="N", help="Measure N windows of the corpus that nobody listed.")
    ] = None,
    own: Annotated[
        list[Path] | None,
        typer.Option("--own", metavar="FILE…", help="Measure texts of your own, or --fresh N of their windows."),
    ] = None,
    transformers: Annotated[
        bool, typer.Option("--transformers", help="Compare the reference program with transformers on replayed rows.")
    ] = False,
    prove: Annotated[
        str | None, typer.Option("--prove", metavar="N", help="Prove N rows: enclose them in exact arithmetic.")
    ] = None,
    prove_stages: Annotated[
        str | None,
        typer.Option("--prove-stages", metavar="N", help="Prove each stage alone, at the activations of N rows."),
    ] = None,
    replay: Annotated[str, typer.Option("--replay", metavar="N|all", help="How many rows to measure again.")] = "16",
    confidence: Annotated[
        str,
        typer.Option(
            "--confidence", metavar="P", help="Confidence of the bound on false rows among those that were not drawn."
        ),
    ] = "0.99",
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="K", help="Replay until fewer than K false rows are possible or one is found."),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option("--seed", metavar="S", help="Choose the rows by this seed: repeatable, but not an audit."),
    ] = None,
    jobs: Annotated[str, typer.Option("--jobs", metavar="N", help="Processes that measure.")] = "1",
    device: Annotated[
        str,
        typer.Option("--device", metavar="DEVICE", help="Where they measure: cpu, torch (a CPU too), cuda or cuda:N."),
    ] = "cpu",
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="SECONDS", help="Measure no longer; what is done by then is reported."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="FILE", help="Keep what is measured there, and go on from it the next time."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Verify as of this time, e.g. 2026-01-31T23:59:59Z."),
    ] = None,
    revocations: Annotated[
        Path | None,
        typer.Option("--revocations", metavar="FILE", help="A signed list of what no longer counts."),
    ] = None,
    revocation_state: Annotated[
        Path | None,
        typer.Option("--revocation-state", metavar="FILE", help="Remembers the highest list seen; an older is told."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="Your own most of bytes, members, depth, seconds or memory, e.g. memory=2GiB; repeatable.",
        ),
    ] = None,
    all_digests: Annotated[bool, typer.Option("--all-digests", help="Compare SHA-256 digests too.")] = False,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the whole report there ('-': standard output).")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report there as one page for a browser.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict's sentence only.")] = False,
) -> None:
    """Check a certificate: signatures, files, arithmetic and, with --reference, the measurements. Offline.

    Exit code 0: accepted. 1: rejected. 3: indeterminate. 2: wrong usage, nothing was decided.
    """

    from blockcert.bundle import check_outside
    from blockcert_verifier.limits import read_limits
    from blockcert_verifier.report import to_json
    from blockcert_verifier.terminal import announcement, progress_line
    from blockcert_verifier.verification import verify as run

    if json is not None and (json == html or (is_standard_output(json) and is_standard_output(html))):
        raise Refusal("output.unwritable", str(json), "--json and --html are two reports; give each a file of its own")
    for path in (json, html):
        if path is not None:
            check_writable(path)
    for written in (json, html, resume, revocation_state):
        if written is not None and not is_standard_output(written):
            check_outside(written, bundle)
    report = run(
        bundle,
        trust,
        reference=reference,
        published=published,
        corpus=corpus or (),
        tokenizer=tokenizer,
        fresh=0 if fresh is None else _whole("usage.fresh", "--fresh", fresh),
        own=own or (),
        transformers=transformers,
        prove=0 if prove is None else _whole("usage.prove", "--prove", prove),
        prove_stages=0 if prove_stages is None else _whole("usage.prove", "--prove-stages", prove_stages),
        replay=_rows(replay),
        confidence=confidence,
        until=None if until is None else _whole("usage.until", "--until", until),
        seed=None if seed is None else _seed(seed),
        jobs=_whole("usage.jobs", "--jobs", jobs),
        device=device,
        time_limit=None if time_limit is None else _seconds(time_limit),
        state=resume,
        catch_interrupt=True,
        announce=None if quiet else announcement(),
        at=None if at is None else _time(at),
        limits=read_limits(limit or ()),
        all_digests=all_digests,
        revocations=revocations,
        revocation_state=revocation_state,
        progress=progress_line(),
    )
    if json is not None:
        write_file(json, to_json(report))
    if html is not None:
        from blockcert_verifier.page import render_page

        write_file(html, render_page(report).encode())
    beside = is_standard_output(json) or is_standard_output(html)  # what a program reads is the report and nothing else
    if quiet:
        (tell if beside else emit)(plain(report.sentence).encode() + b"\n")
    elif not beside:
        from blockcert_verifier.text import render

        emit(render(report, colour=_colour()).encode())
    raise typer.Exit(report.exit_code)


def _rows(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Refusal("usage.replay", "--replay", f"{text!r} is not a number of rows; give one, or the word all")
    return int(text)


def _whole(code: str, option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise Refusal(code, option, f"{text!r} is no whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    from blockcert_verifier.amounts import amount_of_seconds

    try:
        return amount_of_seconds(text)
    except ValueError as fault:
        raise Refusal("usage.time_limit", "--time-limit", f"{text!r}: {fault}") from None


def _seed(text: str) -> bytes:
    """32 bytes: 64 hexadecimal digits as they are, any other text by its BLAKE3 digest."""
    if len(text) == 64 and all(c in "0123456789abcdef" for c in text):
        return bytes.fromhex(text)
    from blockcert.digest import blake3_bytes

    return bytes.fromhex(blake3_bytes(text.encode()))


def _time(text: str) -> datetime:
    from blockcert.times import parse_time

    return parse_time(text, "--at")


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
