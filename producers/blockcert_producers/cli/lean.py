"""`blockcert lean export` and `blockcert lean check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["check", "export"]

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
        bool, typer.Option("--install", help="Fetch the WebAssembly build of Lean into the cache if there is no lake.")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="FOLDER", help="Where that build is kept (default: ~/.cache/blockcert/lean)."),
    ] = None,
) -> None:
    """Judge the statement and its claims with the Lean checker and with this verifier, and show both verdicts.

    Exit code 0: both accept. 1: both refuse. 3: both leave it open. 70: they differ, which is a fault of one of them.
    Neither looks at signatures, weights or measurements: that is for `blockcert verify`.
    """
    import tempfile

    from blockcert.errors import Refusal
    from blockcert_verifier.lean.export import export_bundle, payload_of
    from blockcert_verifier.lean.toolchain import default_cache, find_tool, run_checker
    from blockcert_verifier.lean.verdict import NOT_IN_LEAN, judge

    tool = find_tool(cache or default_cache(), install=install)
    payload, evidence = payload_of(bundle), b"{}\n"
    try:
        found = export_bundle(bundle)
        evidence = found.evidence
        python = judge(payload, lambda _: (found.same, found.table))
    except Refusal as fault:
        refusal = fault

        def unread(_: object) -> tuple[tuple[bool, ...], object]:
            raise refusal

        python = judge(payload, unread)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="blockcert-lean-") as folder:
        pair = (Path(folder) / "statement.json", Path(folder) / "evidence.json")
        pair[0].write_bytes(payload)
        pair[1].write_bytes(evidence)
        [answer] = run_checker(tool, [pair])
    verdict, *codes = answer.split()
    print(f"Python  {python.verdict:13} {', '.join(dict.fromkeys(python.codes))}".rstrip())
    print(f"Lean    {verdict:13} {', '.join(dict.fromkeys(codes))}".rstrip())
    print(f"Lean ran as {tool.name}.")
    print("Judged: the statement, its evidence and its claims; not signatures, files, weights or measurements.")
    beyond = list(dict.fromkeys(code for code in python.codes if code in NOT_IN_LEAN))
    for code in beyond:
        print(f"{code} is not in the Lean checker: {NOT_IN_LEAN[code]}.")
    if not beyond and (verdict != python.verdict or codes[:1] != [*python.codes[:1]]):
        print("The two verdicts differ: one of the two checkers is wrong. Please report it with this bundle.")
        raise typer.Exit(70)
    raise typer.Exit({"ACCEPT": 0, "REJECT": 1}.get(python.verdict, 3))
