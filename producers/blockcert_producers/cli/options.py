"""Options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Attribution",
    "Calibration",
    "Count",
    "Device",
    "Length",
    "Limit",
    "Out",
    "PassphraseFile",
    "Prompts",
    "Prove",
    "Seed",
]

Prompts = Annotated[
    list[Path],
    typer.Option("--prompts", metavar="FILE…", help="Text files (UTF-8) from which the prompts are drawn."),
]
Out = Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="The bundle to write; must not exist yet.")]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, max=1 << 20, help="Certification prompts.")]
Calibration = Annotated[
    int, typer.Option("--calibration", metavar="N", min=0, max=1 << 20, help="Calibration prompts.")
]
Length = Annotated[int, typer.Option("--length", metavar="T", min=2, help="Tokens in a prompt.")]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, max=(1 << 53) - 1, help="Seed of the draw."),
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="cpu, torch (a CPU too), cuda or cuda:N.")]
Attribution = Annotated[
    int,
    typer.Option(
        "--attribution",
        metavar="N",
        min=0,
        help="Prompts on which drift is attributed to blocks.",
    ),
]
Prove = Annotated[
    int,
    typer.Option(
        "--prove",
        metavar="N",
        min=0,
        help="Of how many prompts, the first that were drawn, to prove errors, drift and top-1 agreement in exact "
        "arithmetic: seconds to minutes each; needs blockcert[prove].",
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="memory=N",
        help="Your own most of memory while --prove works, as in memory=24GiB; what this machine has if not given.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="The passphrase is this file's first line (else BLOCKCERT_PASSPHRASE, else you are asked).",
    ),
]
