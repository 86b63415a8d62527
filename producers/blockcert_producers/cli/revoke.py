"""`blockcert revoke`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blockcert_producers.cli import options, signing

if TYPE_CHECKING:
    from blockcert.keys import PublicKey, Signs
    from blockcert.revocation import RevocationList

__all__ = ["revoke"]

MOST_LISTED = 20
"""Entries that are printed to whoever signs a list."""


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
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The list to write; must not exist yet.")
    ] = None,
    add_signature: Annotated[
        Path | None,
        typer.Option(
            "--add-signature",
            metavar="LIST",
            help="In place of --out: sign a list that others wrote. With --after it must carry that one on.",
        ),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3650, help="Until the next list is promised.")
    ] = 30,
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Write a signed revocation list: the one before it, and what no longer counts. Without either, an empty one.

    Verifiers whose policy trusts your key as revoker take it: blockcert verify --revocations FILE. Where it asks for
    several revokers, the others sign what the first wrote: blockcert revoke --add-signature FILE.
    """
    from datetime import UTC, datetime, timedelta

    from blockcert import keys
    from blockcert.errors import Refusal
    from blockcert.revocation import RevokedCertificate, RevokedKey, new_list, sign_list
    from blockcert.times import format_time
    from blockcert_producers.cli.files import write_new

    if add_signature is not None:
        if out is not None or certificate or of_key or note or superseded_by:
            sentence = (
                "a list is signed as it stands; leave out --out, --certificate, --of-key, --note, --superseded-by"
            )
            raise Refusal("usage.revoke", "--add-signature", sentence)
        _sign_too(add_signature, after, after_key, signing.chosen(key, passphrase_file, signer, public))
        return
    if (note or superseded_by) and not (certificate or of_key):
        sentence = "this is said of what the list revokes; name that too, as --certificate or --of-key"
        raise Refusal("usage.revoke", "--note" if note else "--superseded-by", sentence)
    if superseded_by is not None and not certificate:
        sentence = "a certificate replaces certificates; name those as --certificate"
        raise Refusal("usage.revoke", "--superseded-by", sentence)
    if out is None:
        sentence = "name the list to write; or, to sign one that others wrote, --add-signature LIST"
        raise Refusal("usage.revoke", "--out", sentence)
    now = datetime.now(UTC)
    since = format_time(now)
    instead = None if superseded_by is None else _digest(superseded_by, "--superseded-by")
    who = signing.chosen(key, passphrase_file, signer, public)
    found = new_list(
        _before(after, after_key, who.public),
        [RevokedCertificate(_digest(one, "--certificate"), since, reason, note, instead) for one in certificate or ()],
        [RevokedKey(keys.load_public(path).key.raw.hex(), since, reason, note) for path in of_key or ()],
        issued_at=now,
        next_update=now + timedelta(days=days),
    )
    write_new(out, sign_list(found, who), "revocation list")
    print(f"Wrote {out}: {_said(found)}")
    print(f"the next is promised by {found.next_update}. Signed with the key {keys.fingerprint(who.public)}.")


def _sign_too(path: Path, after: Path | None, after_key: Path | None, who: Signs) -> None:
    """Put one more signature into a list, and print what it is put to."""
    from blockcert import keys
    from blockcert.printable import plain
    from blockcert.revocation import add_to_list, check_carries_on, parse_list
    from blockcert_producers.cli.files import read, replace_file

    signed = parse_list(read(path), str(path))
    before = _before(after, after_key, who.public)
    if before is not None:
        check_carries_on(before, signed.list, str(path))
    data = add_to_list(signed, who, str(path))
    replace_file(path, data, "revocation list")
    others = len(signed.envelope.signatures)
    print(plain(f"Signed {path}: {_said(signed.list)}"))
    print(
        f"the next is promised by {signed.list.next_update}. It revokes"
        + (" beyond the one before:" if before else ":")
    )
    for line in _entries(signed.list, before):
        print(plain(f"  {line}"))
    print(f"Signed with the key {keys.fingerprint(who.public)}, beside {others} signature{'s' * (others != 1)}.")


def _said(found: RevocationList) -> str:
    from blockcert_verifier.layout import counted

    certificates, revoked = counted(len(found.certificates), "certificate"), counted(len(found.keys), "key")
    return f"list number {found.number}, {certificates}, {revoked};"


def _entries(found: RevocationList, before: RevocationList | None) -> list[str]:
    """What a list revokes, and the one before it does not, a line each."""
    known = () if before is None else (*before.certificates, *before.keys)
    lines = [f"certificate blake3:{one.certificate} ({one.reason})" for one in found.certificates if one not in known]
    lines += [f"key {one.public_key} ({one.reason})" for one in found.keys if one not in known]
    more = len(lines) - MOST_LISTED
    return [*lines[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])] or ["nothing"]


def _before(path: Path | None, author_path: Path | None, mine: PublicKey) -> RevocationList | None:
    """The list before, which its author must have signed: a changed one could have lost what the new one carries on."""
    from blockcert import keys
    from blockcert.dsse import pae
    from blockcert.errors import Refusal
    from blockcert.revocation import parse_list
    from blockcert_producers.cli.files import read

    if path is None:
        if author_path is not None:
            raise Refusal(
                "usage.revoke", "--after-key", "this says who signed the list before; name that as --after LIST"
            )
        return None
    author = mine if author_path is None else keys.load_public(author_path).key
    found = parse_list(read(path), str(path))
    message = pae(found.envelope.payload_type, found.envelope.payload)
    if not any(author.verify(signature.sig, message) for signature in found.envelope.signatures):
        sentence = "your key did not sign this list; name the key that did, if you trust it, as --after-key KEY.pub"
        if author_path is not None:
            sentence = f"the key in {author_path} did not sign this list; name one that did, and that you trust"
        raise Refusal("revocation.untrusted", str(path), sentence)
    return found.list


def _digest(text: str, option: str) -> str:
    """The digest of a certificate named by its id, or by its bundle; refuses ``certificate.id`` for what is neither."""
    from blockcert.bundle import STATEMENT, Bundle
    from blockcert.dsse import LIMITS, certificate_digest, parse_envelope
    from blockcert.review import require_hash

    if text and Path(text).exists():
        return certificate_digest(
            parse_envelope(Bundle(Path(text)).read(STATEMENT, LIMITS.bytes), STATEMENT).payload
        ).hex()
    return require_hash(text, option)
