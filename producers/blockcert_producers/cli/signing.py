"""Who signs: a private key file with its passphrase, or a command that holds the key elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert.errors import Refusal
from blockcert.keys import Signs

__all__ = ["Key", "Public", "Signer", "chosen"]

Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Your private key, NAME.key.")]
Signer = Annotated[
    str | None,
    typer.Option(
        "--signer",
        metavar="CMD",
        help="In place of --key: a command that reads the bytes to sign on its standard input, and prints the 64 "
        "bytes of their Ed25519 signature, raw, in base64 or in hexadecimal.",
    ),
]
Public = Annotated[
    Path | None, typer.Option("--public", metavar="FILE", help="With --signer: the public key of its signatures.")
]


def chosen(key: Path | None, passphrase_file: Path | None, signer: str | None, public: Path | None) -> Signs:
    """What signs, by the options given.

    Raises:
        Refusal: ``usage.signer`` where they do not name one signer, and what keys and passphrases are refused for.
    """
    from blockcert import keys
    from blockcert_producers.cli.passphrase import passphrase

    if signer is not None and key is None:
        from blockcert_producers.signer import CommandSigner

        if public is None:
            raise Refusal("usage.signer", "--public", "--signer needs the public key that its signatures belong to")
        return CommandSigner(keys.load_public(public).key, signer)
    if key is None or signer is not None:
        raise Refusal("usage.signer", "--key", "say who signs: --key FILE, or --signer CMD with --public KEY.pub")
    if public is not None:
        raise Refusal("usage.signer", "--public", "--public goes with --signer; a private key knows its public one")
    try:
        found = keys.load_private(key, b"")
    except Refusal as refusal:
        if refusal.code != "key.passphrase":
            raise
        found = keys.load_private(key, passphrase(passphrase_file, what=str(key)))
    _warn_of_readers(key)
    return found


def _warn_of_readers(key: Path) -> None:
    """Says on standard error where others than its owner can read a private key: a passphrase can be guessed."""
    import os
    import stat
    import sys

    from blockcert.printable import plain

    mode = stat.S_IMODE(key.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        print(
            plain(f"blockcert: warning: {key}: others can read or change this private key; chmod 600 {key}"),
            file=sys.stderr,
        )
