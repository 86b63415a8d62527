"""`blockcert keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blockcert_producers.cli import options

if TYPE_CHECKING:
    from blockcert.keys import PublicKey

__all__ = ["keygen"]


def keygen(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; names the files.")],
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where the two files are written.")
    ] = Path(),
    public_from: Annotated[
        Path | None,
        typer.Option(
            "--public-from",
            metavar="FILE",
            help="Make no key: write NAME.pub of this public key (PEM or DER) whose private one lives elsewhere.",
        ),
    ] = None,
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Make a signing key: NAME.key, encrypted and yours alone, and NAME.pub, to give to everybody.

    Nothing that exists is overwritten. Where a hardware module keeps the key, --public-from makes NAME.pub of what
    openssl pkey -pubout writes, and --signer of the commands that sign asks the module.
    """
    import os

    from blockcert import keys
    from blockcert.bundle import check_in_no_bundle
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert_producers.cli.passphrase import passphrase

    if len(Path(name).parts) > 1:
        raise Refusal("key.name", "NAME", f"{name!r} is a path; give the name alone, and --folder {Path(name).parent}")
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    keys.check_key_name(name, "NAME")
    if not folder.is_dir():
        what = "this is a file; name a folder" if folder.exists() else "there is no such folder; make it first"
        raise Refusal("file.missing", str(folder), what)
    check_in_no_bundle(public_path)
    if public_from is not None:
        if passphrase_file is not None:
            sentence = "a passphrase protects a private key, and with --public-from none is made; leave out one of them"
            raise Refusal("usage.keygen", "--passphrase-file", sentence)
        public = keys.load_spki(public_from)
        keys.save_public(public_path, public, name)
        print(plain(f"Wrote {public_path} (give it away); its private key stays where it is."))
        _read_out(public)
        return
    for path in (private_path, public_path):
        if os.path.lexists(path):
            raise Refusal("key.exists", str(path), "there is a file already; a key is never overwritten")
    secret = passphrase(passphrase_file, what=str(private_path), twice=True)
    key = keys.generate()
    keys.save_private(private_path, key, secret)
    try:
        keys.save_public(public_path, key.public, name)
    except BaseException:
        private_path.unlink(missing_ok=True)  # a key of which nobody has the public half would only be in the way
        raise
    print(plain(f"Wrote {private_path} (keep it, and its passphrase) and {public_path} (give it away)."))
    _read_out(key.public)


def _read_out(key: PublicKey) -> None:
    from blockcert.keys import fingerprint

    print(f"Fingerprint, to read out to those who should trust it: {fingerprint(key)}")
