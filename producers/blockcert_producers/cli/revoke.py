"""`blockcert revoke`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blockcert_producers.cli import options, signing

if TYPE_CHECKING:
    from blockcert.keys import PublicKey
    from blockcert.revocation import RevocationList, SignedList

__all__ = ["revoke"]


def revoke(
    *,
    certificate: Annotated[
        list[str] | None,
        typer.Option("--certificate", metavar="ID|BUNDLE…", help="Certificates that no longer count."),
    ] = None,
    of_key: Annotated[
        list[Path] | None,
        typer.Option("--of-key", metavar="KEY.pub…", help="Keys whose certificates and reviews no longer count."),
    ] = None,
    reason: Annotated[
        Literal["error", "superseded", "withdrawn", "key-compromise"], typer.Option("--reason", help="Why.")
    ] = "withdrawn",
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, in a sentence.")] = "",
    superseded_by: Annotated[
        str | None, typer.Option("--superseded-by", metavar="ID|BUNDLE", help="The certificate that replaces them.")
    ] = None,
    after: Annotated[
        Path | None,
        typer.Option("--after", metavar="LIST", help="The list before this one, whose entries are carried on."),
    ] = None,
    after_key: Annotated[
        Path | None,
        typer.Option("--after-key", metavar="KEY.pub", help="Who signed that list, where it was not your key."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The list to write; must not exist yet.")],
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3650, help="Until the next list is promised.")
    ] = 30,
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Write a signed revocation list: the one before it, and what no longer counts. Without either, an empty one.

    Verifiers whose policy trusts your key as revoker take it: blockcert verify --revocations FILE.
    """
    from datetime import UTC, datetime, timedelta

    from blockcert import keys
    from blockcert.revocation import RevokedCertificate, RevokedKey, new_list, parse_list, sign_list
    from blockcert.times import format_time
    from blockcert_producers.cli.files import read, write_new

    now = datetime.now(UTC)
    since = format_time(now)
    instead = None if superseded_by is None else _digest(superseded_by)
    who = signing.chosen(key, passphrase_file, signer, public)
    author = who.public if after_key is None else keys.load_public(after_key).key
    before = None if after is None else _before(parse_list(read(after), str(after)), author, str(after))
    found = new_list(
        before,
        [RevokedCertificate(_digest(one), since, reason, note, instead) for one in certificate or ()],
        [RevokedKey(keys.load_public(path).key.raw.hex(), since, reason, note) for path in of_key or ()],
        issued_at=now,
        next_update=now + timedelta(days=days),
    )
    write_new(out, sign_list(found, who), "revocation list")
    print(f"Wrote {out}: list number {found.number}, {len(found.certificates)} certificates, {len(found.keys)} keys;")
    print(f"the next is promised by {found.next_update}. Signed with the key {keys.fingerprint(who.public)}.")


def _before(found: SignedList, author: PublicKey, place: str) -> RevocationList:
    """The list before, which `author` must have signed: a changed one could have lost what your new one carries on."""
    from blockcert.dsse import pae
    from blockcert.errors import Refusal

    message = pae(found.envelope.payload_type, found.envelope.payload)
    if not any(author.verify(signature.sig, message) for signature in found.envelope.signatures):
        sentence = "your key did not sign this list; name the key that did, if you trust it, as --after-key KEY.pub"
        raise Refusal("revocation.untrusted", place, sentence)
    return found.list


def _digest(text: str) -> str:
    """The digest of a certificate named by its id, or by its bundle."""
    from blockcert.bundle import STATEMENT, Bundle
    from blockcert.dsse import LIMITS, certificate_digest, parse_envelope
    from blockcert.review import require_hash

    if Path(text).exists():
        return certificate_digest(
            parse_envelope(Bundle(Path(text)).read(STATEMENT, LIMITS.bytes), STATEMENT).payload
        ).hex()
    return require_hash(text, "--certificate")
