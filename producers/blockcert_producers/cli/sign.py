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
    from blockcert.errors import Refusal
    from blockcert_producers.sign import sign_bundle

    if bundle.is_file() and _is_list(bundle):
        sentence = "this is a revocation list; sign it with: blockcert revoke --add-signature LIST"
        raise Refusal("bundle.not_a_folder", str(bundle), sentence)
    Bundle(bundle)  # a wrong path is said before a passphrase is asked for
    who = signing.chosen(key, passphrase_file, signer, public)
    certificate = sign_bundle(bundle, who)
    print(f"Signed {certificate}")
    print(f"with the key {keys.fingerprint(who.public)}.")


def _is_list(path: Path) -> bool:
    from blockcert.errors import Refusal
    from blockcert.revocation import parse_list
    from blockcert_producers.cli.files import read

    try:
        with path.open("rb") as file:
            if file.read(1) != b"{":
                return False
        parse_list(read(path), str(path))
    except (OSError, Refusal):
        return False
    return True
