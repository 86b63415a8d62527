"""`blockcert revoke`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blockcert_producers.cli import options, signing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blockcert.keys import PublicKey, Signs
    from blockcert.revocation import RevocationList

__all__ = ["revoke"]

MOST_LISTED = 20
"""Entries that are printed to whoever signs a list."""
DAYS = 30
"""Until the next list is promised, unless something else is asked for."""


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
        Literal["error", "superseded", "withdrawn", "key-compromise"] | None,
        typer.Option("--reason", help="Why; withdrawn where nothing is said."),
    ] = None,
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
    append_to: Annotated[
        list[Path] | None,
        typer.Option("--append-to", metavar="BUNDLE…", help="Put the list beside these certificates too."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", min=1, max=3650, help="Until the next list is promised; 30 if not given."),
    ] = None,
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Write a signed revocation list: the one before it, and what no longer counts. Without either, an empty one.

    Verifiers whose policy trusts your key as revoker take it: blockcert verify --revocations FILE. Where it asks for
    several revokers, the others sign what the first wrote: blockcert revoke --add-signature FILE. --append-to also puts
    the list beside a certificate: whoever has a policy that trusts its signers then sees what it revokes.
    """
    from datetime import UTC, datetime, timedelta

    from blockcert import keys
    from blockcert.bundle import Bundle
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert.revocation import RevokedCertificate, RevokedKey, new_list, sign_list
    from blockcert.times import format_time
    from blockcert_producers.cli.files import write_new

    for bundle in append_to or ():
        Bundle(bundle)  # a wrong path is said before anything is signed
    if add_signature is not None:
        if out is not None or certificate or of_key or reason or note or superseded_by or days:
            sentence = (
                "a list is signed as it stands; leave out --out, --certificate, --of-key, --reason, --note, "
                "--superseded-by, --days"
            )
            raise Refusal("usage.revoke", "--add-signature", sentence)
        data = _sign_too(add_signature, after, after_key, signing.chosen(key, passphrase_file, signer, public))
        _append(data, append_to or ())
        return
    said = {"--reason": reason, "--note": note, "--superseded-by": superseded_by}
    if any(said.values()) and not (certificate or of_key):
        sentence = "this is said of what the list revokes; name that too, as --certificate or --of-key"
        raise Refusal("usage.revoke", next(option for option, word in said.items() if word), sentence)
    if superseded_by is not None and not certificate:
        sentence = "a certificate replaces certificates; name those as --certificate"
        raise Refusal("usage.revoke", "--superseded-by", sentence)
    if out is None:
        sentence = "name the list to write; or, to sign one that others wrote, --add-signature LIST"
        raise Refusal("usage.revoke", "--out", sentence)
    now = datetime.now(UTC)
    since = format_time(now)
    instead = None if superseded_by is None else _digest(superseded_by, "--superseded-by")
    named = [_digest(one, "--certificate") for one in certificate or ()]
    if instead in named:
        sentence = f"blake3:{instead} cannot replace itself; name the certificate that holds in its place"
        raise Refusal("usage.revoke", "--superseded-by", sentence)
    who = signing.chosen(key, passphrase_file, signer, public)
    before = _before(after, after_key, who.public)
    why = reason or "withdrawn"
    found = new_list(
        before,
        [RevokedCertificate(digest, since, why, note, instead) for digest in named],
        [RevokedKey(keys.load_public(path).key.raw.hex(), since, why, note) for path in of_key or ()],
        issued_at=now,
        next_update=now + timedelta(days=days or DAYS),
    )
    data = sign_list(found, who)
    write_new(out, data, "revocation list")
    print(plain(f"Wrote {out}: {_said(found)}"))
    _print_entries(found, before)
    if before is None:
        print("There is no list before this one: where there is, name it as --after, or what it revoked is dropped.")
    print(f"Signed with the key {keys.fingerprint(who.public)}.")
    _append(data, append_to or ())


def _append(data: bytes, bundles: Sequence[Path]) -> None:
    """Puts a signed list beside certificates."""
    from blockcert.appended import statement_name
    from blockcert.bundle import append_statement
    from blockcert.printable import plain

    for bundle in bundles:
        append_statement(bundle, statement_name(data), data)
        print(plain(f"Put it beside the certificate in {bundle}."))


def _sign_too(path: Path, after: Path | None, after_key: Path | None, who: Signs) -> bytes:
    """Put one more signature into a list, print what it is put to, and return the list."""
    from blockcert import keys
    from blockcert.printable import plain
    from blockcert.revocation import add_to_list, check_carries_on, parse_list
    from blockcert_producers.cli.files import read, update_file
    from blockcert_verifier.counted import counted

    before = _before(after, after_key, who.public)
    written: list[bytes] = []

    def add(data: bytes | None) -> bytes:
        # whoever signs at the same time is heard too: what is there now gets the signature
        signed = parse_list(read(path) if data is None else data, str(path))
        if before is not None:
            check_carries_on(before, signed.list, str(path))
        written.append(add_to_list(signed, who, str(path)))
        return written[-1]

    update_file(path, add, "revocation list")
    signed = parse_list(written[-1], str(path))
    others = counted(len(signed.envelope.signatures) - 1, "signature")
    print(plain(f"Signed {path}: {_said(signed.list)}"))
    _print_entries(signed.list, before)
    print(f"Signed with the key {keys.fingerprint(who.public)}, beside {others}.")
    return written[-1]


def _said(found: RevocationList) -> str:
    from blockcert_verifier.counted import counted

    certificates, revoked = counted(len(found.certificates), "certificate"), counted(len(found.keys), "key")
    return f"list number {found.number}, {certificates}, {revoked};"


def _print_entries(found: RevocationList, before: RevocationList | None) -> None:
    from blockcert.printable import plain

    beyond = " beyond the one before:" if before else ":"
    print(f"the next is promised by {found.next_update}. It revokes{beyond}")
    for line in _entries(found, before):
        print(plain(f"  {line}"))


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
