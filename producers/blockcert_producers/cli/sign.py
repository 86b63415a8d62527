"""`blockcert sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options, signing

__all__ = ["sign"]


def sign(
    *,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What extract, compare or pack wrote.")],
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Put your signature into a bundle, beside those it may carry already; its files are checked first."""
    from blockcert import keys
    from blockcert.bundle import Bundle
    from blockcert_producers.sign import sign_bundle

    Bundle(bundle)  # a wrong path is said before a passphrase is asked for
    who = signing.chosen(key, passphrase_file, signer, public)
    certificate = sign_bundle(bundle, who)
    print(f"Signed {certificate}")
    print(f"with the key {keys.fingerprint(who.public)}.")
