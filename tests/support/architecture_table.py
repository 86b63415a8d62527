"""The README's table of architectures, made of the adapters and of what the tests lift and see refused.

``python -m tests.support.architecture_table`` writes it between its marks in the README.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from blockcert_producers.lift import ARCHITECTURES
from tests.support.architectures import REFUSED, SHAPES

__all__ = ["BEGIN", "END", "README", "lines", "main", "section"]

README = Path(__file__).parents[2] / "README.md"
BEGIN = "<!-- made by tests/support/architecture_table.py -->"
END = "<!-- end of what was made -->"
_HEADER = "| `model_type` | what it is | options varied and compared | refused by name |\n|---|---|---|---|"
_NO_OPTIONS = {"dtype", "shard"}


def _always() -> list[str]:
    """What every family refuses."""
    first, *others = REFUSED.values()
    return [name for name in first if all(name in other for other in others)]


def _rope_types(value: object) -> set[str]:
    """The rotary types anywhere in the value of an option, which may be nested by kind of layer."""
    if not isinstance(value, dict):
        return set()
    entries = cast(dict[str, object], value)
    named = entries.get("rope_type")
    return {str(named)} if named is not None else set().union(*map(_rope_types, entries.values()))


def _compared(family: str) -> str:
    shapes = SHAPES[family].values()
    types = sorted(set[str]().union(*(_rope_types(value) for shape in shapes for value in shape.values())))
    names = sorted({option for shape in shapes for option in shape} - _NO_OPTIONS)
    return ", ".join(f"`{name}` ({', '.join(types)})" if name == "rope_parameters" else f"`{name}`" for name in names)


def lines() -> list[str]:
    """The rows, in the order of the names."""
    always, rows = _always(), list[str]()
    for family, build in sorted(ARCHITECTURES.items()):
        what = (sys.modules[build.__module__].__doc__ or "").splitlines()[0].rstrip(".")
        refused = [name for name in REFUSED[family] if name not in always]
        rows.append(f"| `{family}` | {what} | {_compared(family)} | {', '.join(refused)} |")
    return rows


def section() -> str:
    """The whole of what stands between the marks."""
    always = f"Refused of every family: {', '.join(_always())}; and every option that is not known."
    return "\n".join((_HEADER, *lines(), "", always))


def main() -> None:
    """Write the table into the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{section()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
