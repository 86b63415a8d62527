"""`blockcert show`: the verifier's, and besides it the table of a front."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from shlex import quote
from typing import Any

from blockcert.printable import plain
from blockcert_producers.fronts import is_front
from blockcert_verifier.output import emit
from blockcert_verifier.show import show as show_bundles

__all__ = ["show"]


@wraps(show_bundles)
def show(**options: Any) -> None:
    """As the verifier's; the folder of a front, without further options, is shown as its table."""
    bundles: list[Path] = options["bundles"]
    others = [value for name, value in options.items() if name != "bundles"]
    if len(bundles) != 1 or any(others) or not is_front(bundles[0]):
        show_bundles(**options)
        return
    from blockcert_producers.fronts import table
    from blockcert_verifier.layout import joined, wrap

    front = bundles[0]
    found = table.read_front(front)
    if found is not None:
        head = f"A front of {found.architecture}, {found.blocks} blocks, fewest {table.FIRST[found.aim]}."
        names = ", ".join(point.name for point in found.points)
        end = (
            f"Nothing is checked, and nothing here is signed. Certificates are the bundles {names}: blockcert show "
            f"{quote(str(front))}/NAME, blockcert verify {quote(str(front))}/NAME."
        )
        # anyone may have written it
        emit(plain(joined([wrap(head), table.lines(found), wrap(end)]), lines=True).encode())
