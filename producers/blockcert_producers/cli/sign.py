"""`blockcert sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options, signing

__all__ = ["sign"]


def sign(
    *,
    bundles: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE…", help="What extract, compare or pack wrote; of a front all."),
    ],
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Put your signature into bundles, beside those they may carry already; their files are checked first."""
    from blockcert import keys
    from blockcert.bundle import Bundle
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert_producers.sign import sign_bundle, sign_bundles

    found: list[Path] = []
    for path in dict.fromkeys(bundles):
        if path.is_file() and _is_list(path):
            sentence = "this is a revocation list; sign it with: blockcert revoke --add-signature LIST"
            raise Refusal("bundle.not_a_folder", str(path), sentence)
        found += _bundles(path)
    for bundle in found:
        Bundle(bundle)  # a wrong path is said before a passphrase is asked for
    who = signing.chosen(key, passphrase_file, signer, public)
    if len(found) == 1:
        print(f"Signed {sign_bundle(found[0], who)}")
    else:
        for bundle, certificate in zip(found, sign_bundles(found, who), strict=True):
            print(plain(f"Signed {bundle}: {certificate}"))
    print(f"with the key {keys.fingerprint(who.public)}.")


def _bundles(path: Path) -> list[Path]:
    """The bundle itself, or those of a front, in its order."""
    from blockcert_producers.fronts import is_front

    if is_front(path):
        from blockcert_producers.fronts.table import read_front

        front = read_front(path)
        if front is not None:
            return [path / point.bundle for point in front.points if point.bundle is not None]
    return [path]


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
