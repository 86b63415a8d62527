"""Text that may stand on a terminal: no character of it moves the cursor, turns the direction or hides.

The class is that of `spec/02-bundle.md` (BC-BND-07): C0, DEL and C1; marks that turn the direction of text or hide in
it; line and paragraph separators; the byte-order mark.
"""

from __future__ import annotations

import re

__all__ = ["INVISIBLE", "PRINTABLE", "plain"]

INVISIBLE = r"\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
"""The characters, as the inside of a regular expression's class."""
PRINTABLE = rf"^[^{INVISIBLE}]*\Z"
"""Matches a string without any of them."""
_REPLACED = re.compile(f"[{INVISIBLE}\ud800-\udfff]")
_REPLACED_IN_LINES = re.compile(rf"(?!\n)[{INVISIBLE}\ud800-\udfff]")


def plain(text: str, *, lines: bool = False) -> str:
    """`text` with a replacement character, U+FFFD, for each such character; with `lines`, line feeds stay."""
    return (_REPLACED_IN_LINES if lines else _REPLACED).sub("\ufffd", text)
