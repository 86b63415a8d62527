"""`blockcert sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options

__all__ = ["sign"]


def sign(
    *,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What extract, compare or pack wrote.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Your private key, NAME.key.")],
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Put your signature into a bundle, beside those it may carry already; its files are checked first."""
    from blockcert import keys
    from blockcert.bundle import Bundle
    from blockcert.errors import Refusal
    from blockcert_producers.cli.passphrase import passphrase
    from blockcert_producers.sign import sign_bundle

    Bundle(bundle)  # a wrong path is said before a passphrase is asked for
    try:
        private = keys.load_private(key, b"")
    except Refusal as refusal:
        if refusal.code != "key.passphrase":
            raise
        private = keys.load_private(key, passphrase(passphrase_file, what=str(key)))
    certificate = sign_bundle(bundle, private)
    print(f"Signed {certificate}")
    print(f"with the key {keys.fingerprint(private.public)}.")
