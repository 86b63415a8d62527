"""Passphrases: from a file, from the environment, or asked for; never from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from blockcert.errors import Refusal

__all__ = ["VARIABLE", "passphrase"]

VARIABLE = "BLOCKCERT_PASSPHRASE"
MOST_BYTES = 1 << 12
"""Most bytes of a passphrase in a file, its end of line included."""


def passphrase(file: Path | None, *, what: str, twice: bool = False) -> bytes:
    """The passphrase of `what`: the first line of `file`, else BLOCKCERT_PASSPHRASE, else asked for.

    `twice` asks for it twice, to set a new one.

    Raises:
        Refusal: `passphrase.file`, `passphrase.unavailable`, `passphrase.empty` or `passphrase.mismatch`.
    """
    if file is not None:
        place = str(file)
        try:
            with file.open("rb") as opened:
                line = opened.readline(MOST_BYTES + 1)
            if len(line) > MOST_BYTES:
                sentence = f"its first line has more than {MOST_BYTES} bytes: this is no passphrase file"
                raise Refusal("passphrase.file", place, sentence)
            text = line.decode("utf-8").removesuffix("\n").rstrip("\r")
        except (OSError, UnicodeDecodeError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
            raise Refusal("passphrase.file", place, f"the passphrase file cannot be read: {reason}") from None
    elif VARIABLE in os.environ:
        place, text = VARIABLE, os.environ[VARIABLE]
    else:
        place, text = what, _ask(what, twice)
    if not text:
        raise Refusal("passphrase.empty", place, "the passphrase is empty; a key needs one that protects it")
    return text.encode()


def _ask(what: str, twice: bool) -> str:
    if not sys.stdin.isatty():
        raise Refusal(
            "passphrase.unavailable",
            what,
            f"there is no terminal to ask for the passphrase; use --passphrase-file or set {VARIABLE}",
        )
    from getpass import getpass

    text = getpass(f"Passphrase for {what}: ", stream=sys.stderr)
    if twice and getpass("The same again: ", stream=sys.stderr) != text:
        raise Refusal("passphrase.mismatch", what, "the two passphrases differ; nothing was written")
    return text
