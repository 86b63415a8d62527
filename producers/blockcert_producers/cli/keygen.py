"""`blockcert keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockcert_producers.cli import options

__all__ = ["keygen"]


def keygen(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; names the files.")],
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where the two files are written.")
    ] = Path(),
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Make a signing key: NAME.key, encrypted and yours alone, and NAME.pub, to give to everybody.

    Nothing that exists is overwritten.
    """
    from blockcert import keys
    from blockcert.errors import Refusal
    from blockcert_producers.cli.passphrase import passphrase

    if len(Path(name).parts) > 1:
        raise Refusal("key.name", "NAME", f"{name!r} is a path; give the name alone, and --folder {Path(name).parent}")
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.pub"
    keys.check_key_name(name, "NAME")
    if not folder.is_dir():
        raise Refusal("file.missing", str(folder), "there is no such folder; make it first")
    for path in (private_path, public_path):
        if path.exists():
            raise Refusal("key.exists", str(path), "there is a file already; a key is never overwritten")
    secret = passphrase(passphrase_file, what=str(private_path), twice=True)
    key = keys.generate()
    keys.save_private(private_path, key, secret)
    keys.save_public(public_path, key.public, name)
    print(f"Wrote {private_path} (keep it, and its passphrase) and {public_path} (give it away).")
    print(f"Fingerprint, to read out to those who should trust it: {keys.fingerprint(key.public)}")
