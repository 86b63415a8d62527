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
    append_report: Annotated[
        bool, typer.Option("--append-report", help="Put the report of verify --json beside the certificate too.")
    ] = False,
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Put your own signed word about a certificate beside it. The certificate and its signatures stay as they are."""
    from datetime import UTC, datetime

    from blockcert import keys
    from blockcert.appended import check_report, report_name
    from blockcert.bundle import STATEMENT, Bundle, append_statement
    from blockcert.dsse import LIMITS, certificate_id, parse_envelope
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert.review import new_review, sign_review
    from blockcert_producers.cli.files import read

    payload = parse_envelope(Bundle(bundle).read(STATEMENT, LIMITS.bytes), STATEMENT).payload
    rests = None if report is None else read(report)
    if append_report:
        if rests is None:
            sentence = "name the report to put there, as --report FILE"
            raise Refusal("usage.review", "--append-report", sentence)
        check_report(rests, str(report))
    who = signing.chosen(key, passphrase_file, signer, public)
    made = new_review(payload, outcome, made_at=datetime.now(UTC), note=note, report=rests)
    name, data = sign_review(made, who)
    beside = None if rests is None or not append_report else report_name(rests)
    if rests is not None and beside is not None and beside not in Bundle(bundle).files:
        append_statement(bundle, beside, rests)
    append_statement(bundle, name, data)
    verb = "approves" if outcome == "approves" else "objects to"
    print(plain(f"Wrote {name} into {bundle}:"))
    print(f"  {keys.fingerprint(who.public)}")
    print(f"  {verb} {certificate_id(payload)}.")
    if beside is not None:
        print(f"The report that it names stands beside it: {beside}.")
