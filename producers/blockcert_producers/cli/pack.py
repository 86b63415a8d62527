"""`blockcert pack` and `blockcert unpack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["pack", "unpack"]


def pack(
    *,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write, e.g. certificate.zip.")],
) -> None:
    """Put a bundle into one file, for sending: the same bundle gives the same bytes. Nothing is checked."""
    from blockcert.packing import pack as run
    from blockcert.printable import plain

    size = run(bundle, out)
    print(plain(f"Wrote {out}: {size} bytes"))


def unpack(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file that pack wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder to write.")],
) -> None:
    """Put a packed bundle back into a folder. Nothing is checked but that it is whole; verify takes the file itself."""
    from blockcert.packing import unpack as run
    from blockcert.printable import plain
    from blockcert_verifier.counted import counted

    count = run(file, out)
    print(plain(f"Wrote {out}: {counted(count, 'file')}"))
