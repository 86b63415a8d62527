"""`blockcert demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the demonstration is left.")] = Path(
        "build/demo"
    ),
    device: options.Device = "cpu",
    verifier: Annotated[
        Path | None,
        typer.Option(
            "--verifier",
            metavar="PYTHON",
            help="The Python of a second environment to verify in, one with the base install only.",
        ),
    ] = None,
) -> None:
    """Certify the two small models that come with BlockCert, verify, change one byte, see the refusal."""
    from functools import partial

    from blockcert_producers.demo import run_demo

    # minutes pass between two lines: in a pipe or a log they are to be seen as they are said
    run_demo(out, device=device, verifier=verifier, say=partial(print, flush=True))
