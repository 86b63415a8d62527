"""`blockcert review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from blockcert_producers.cli import options, signing

__all__ = ["review"]


def review(
    *,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle that was reviewed.")],
    outcome: Annotated[
        Literal["approves", "objects"], typer.Option("--outcome", help="What you say of the certificate.")
    ],
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, in a sentence.")] = "",
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="What you rest on, e.g. a report of verify: named by digest."),
    ] = None,
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Put your own signed word about a certificate beside it. The certificate and its signatures stay as they are."""
    from datetime import UTC, datetime

    from blockcert import keys
    from blockcert.bundle import STATEMENT, Bundle, append_statement
    from blockcert.dsse import LIMITS, certificate_id, parse_envelope
    from blockcert.review import new_review, sign_review
    from blockcert_producers.cli.files import read

    payload = parse_envelope(Bundle(bundle).read(STATEMENT, LIMITS.bytes), STATEMENT).payload
    rests = None if report is None else read(report)
    who = signing.chosen(key, passphrase_file, signer, public)
    made = new_review(payload, outcome, made_at=datetime.now(UTC), note=note, report=rests)
    name, data = sign_review(made, who)
    append_statement(bundle, name, data)
    verb = "approves" if outcome == "approves" else "objects to"
    print(f"Wrote {name} into {bundle}:")
    print(f"  {keys.fingerprint(who.public)}")
    print(f"  {verb} {certificate_id(payload)}.")
