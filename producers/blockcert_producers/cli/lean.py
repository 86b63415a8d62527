"""`blockcert lean export` and `blockcert lean check`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from blockcert.statement import Statement
    from blockcert_verifier.lean.toolchain import Tool
    from blockcert_verifier.limits import Limits

__all__ = ["check", "export"]


class Kind(StrEnum):
    """How Lean is run."""

    LAKE = "lake"
    WASM = "wasm"


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]


def export(
    *,
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write; must not exist yet.")],
) -> None:
    """Write what the Lean checker reads: statement.json, the signed bytes, and evidence.json, exact decimal strings.

    The same bundle gives the same bytes. No signature is verified.
    """
    import os
    import shutil

    from blockcert.bundle import check_new, check_outside, writing
    from blockcert_verifier.lean.export import export_bundle

    check_new(out)
    check_outside(out, bundle)
    found = export_bundle(bundle)
    partial = out.with_name(f".{out.name}.partial-{os.urandom(4).hex()}")
    try:
        with writing(out):
            partial.mkdir(parents=True)
            (partial / "statement.json").write_bytes(found.payload)
            (partial / "evidence.json").write_bytes(found.evidence)
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"Wrote {out / 'statement.json'} and {out / 'evidence.json'}.")


def check(
    *,
    bundle: BundleArgument,
    install: Annotated[
        bool, typer.Option("--install", help="Fetch the WebAssembly build of Lean into the cache if it is not there.")
    ] = False,
    with_: Annotated[
        Kind | None,
        typer.Option("--with", help="Only with lake, or only with the WebAssembly build; else lake, then that build."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="FOLDER", help="Where Lean is kept and built (default: ~/.cache/blockcert/lean)."
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=N", help="Your own most of seconds or bytes of memory; repeatable."),
    ] = None,
) -> None:
    """Judge the statement and its claims with the Lean checker and with this verifier, and show both verdicts.

    Exit code 0: both accept. 1: both refuse, or this one does and Lean has nothing to read. 3: both leave it open. 70:
    they differ, which is a fault of one of them. Neither looks at signatures, weights or measurements: that is for
    `blockcert verify`.
    """
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert_verifier.lean.export import export_bundle, payload_of
    from blockcert_verifier.lean.toolchain import caches, find_tools
    from blockcert_verifier.lean.verdict import NOT_IN_LEAN, judge
    from blockcert_verifier.limits import read_limits
    from blockcert_verifier.steps import structure

    limits = read_limits(limit or (), ("seconds", "memory"))
    payload, evidence = payload_of(bundle), b"{}\n"
    try:
        found = export_bundle(bundle)
        evidence = found.evidence
        python = judge(payload, lambda _: (found.same, found.table))
    except Refusal as refusal:
        if refusal.code.startswith("lean."):
            raise  # it is too much for Lean, which says nothing of the bundle
        if structure.statement(payload)[0] is not None:
            print(f"Python  REJECT        {refusal.code}")
            print(plain(f"{refusal.place}: {refusal.sentence}"))
            print("Lean was not asked: its evidence cannot be read.")
            raise typer.Exit(1) from None
        python = judge(payload, _nothing)  # a statement that is refused by itself: neither looks at evidence
    wanted = None if with_ is None else with_.value
    tools = find_tools([cache] if cache else caches(), install=install, wanted=wanted)
    name, answer = _asked(tools, payload, evidence, limits)
    verdict, *codes = answer.split()
    print(f"Python  {python.verdict:13} {', '.join(dict.fromkeys(python.codes))}".rstrip())
    print(f"Lean    {verdict:13} {', '.join(dict.fromkeys(codes))}".rstrip())
    print(f"Lean ran as {name}.")
    print("Judged: the statement, its evidence and its claims; not signatures, files, weights or measurements.")
    beyond = list(dict.fromkeys(code for code in python.codes if code in NOT_IN_LEAN))
    for code in beyond:
        print(f"{code} is not in the Lean checker: {NOT_IN_LEAN[code]}.")
    if not beyond and (verdict != python.verdict or codes[:1] != [*python.codes[:1]]):
        print("The two verdicts differ: one of the two checkers is wrong. Please report it with this bundle.")
        raise typer.Exit(70)
    raise typer.Exit({"ACCEPT": 0, "REJECT": 1}.get(python.verdict, 3))


def _nothing(_: Statement) -> NoReturn:
    raise AssertionError("the statement was refused before")


def _asked(tools: list[Tool], payload: bytes, evidence: bytes, limits: Limits) -> tuple[str, str]:
    """The name of the first tool that answers, and its answer; that another did not is said."""
    import tempfile

    from blockcert.errors import Refusal
    from blockcert_verifier.lean.running import run_checker
    from blockcert_verifier.terminal import waiting_line

    with tempfile.TemporaryDirectory(prefix="blockcert-lean-") as folder:
        pair = (Path(folder) / "statement.json", Path(folder) / "evidence.json")
        pair[0].write_bytes(payload)
        pair[1].write_bytes(evidence)
        for tool in tools:
            try:
                with waiting_line(f"Lean judges {len(evidence):,} bytes of evidence, as {tool.name}") as tell:
                    [answer] = run_checker(tool, [pair], limits, tell)
            except Refusal as refusal:
                if refusal.code != "lean.failed" or tool is tools[-1]:
                    raise
                print(f"blockcert: {refusal}; trying {tools[tools.index(tool) + 1].name}", file=sys.stderr)
            else:
                return tool.name, answer
    raise AssertionError("no tool is the last one")
