"""`blockcert trust new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["new"]


def new(
    *,
    producer: Annotated[
        list[Path], typer.Option("--producer", metavar="KEY.pub…", help="Public keys whose signatures you trust.")
    ],
    auditor: Annotated[
        list[Path] | None, typer.Option("--auditor", metavar="KEY.pub…", help="Keys whose reviews you trust.")
    ] = None,
    revoker: Annotated[
        list[Path] | None, typer.Option("--revoker", metavar="KEY.pub…", help="Keys whose revocation lists you trust.")
    ] = None,
    owner: Annotated[
        list[Path] | None,
        typer.Option("--owner", metavar="KEY.pub…", help="Keys that may sign the policy after this one."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The policy to write; must not exist yet.")],
    require: Annotated[
        Literal["replay", "recompute"],
        typer.Option("--require", help="replay: rows must be measured again; recompute: the arithmetic is enough."),
    ] = "replay",
    threshold: Annotated[
        int, typer.Option("--threshold", metavar="N", min=1, max=256, help="How many keys must sign.")
    ] = 1,
    approvals: Annotated[
        int, typer.Option("--approvals", metavar="N", min=0, max=256, help="How many auditors must approve.")
    ] = 0,
    revoker_threshold: Annotated[
        int,
        typer.Option("--revoker-threshold", metavar="N", min=1, max=256, help="How many revokers must sign a list."),
    ] = 1,
    owner_threshold: Annotated[
        int,
        typer.Option(
            "--owner-threshold", metavar="N", min=1, max=256, help="How many owners must sign the next policy."
        ),
    ] = 1,
    revocations: Annotated[
        str | None,
        typer.Option("--revocations", metavar="WHERE", help="Ask for a revocation list; WHERE says who publishes it."),
    ] = None,
) -> None:
    """Write a policy that accepts certificates signed by the keys you name.

    It is a JSON file to read; blockcert trust set says what you ask of a certificate beyond that.
    """
    from blockcert import keys, trust
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert_producers.cli.files import write_new

    producers = [keys.load_public(path) for path in producer]
    given: dict[trust.Role, list[keys.NamedKey]] = {
        "auditor": [keys.load_public(path) for path in auditor or ()],
        "revoker": [keys.load_public(path) for path in revoker or ()],
        "owner": [keys.load_public(path) for path in owner or ()],
    }
    for option, named in (("--producer", producer), ("--auditor", auditor), ("--revoker", revoker), ("--owner", owner)):
        if len(set(named or ())) != len(named or ()):
            raise Refusal("trust.key", option, "a key is named twice; one key counts once")
    for option, needed, named in (("--revoker", revoker_threshold, revoker), ("--owner", owner_threshold, owner)):
        if needed > max(1, len(named or ())):
            sentence = f"{needed} must sign, and {len(named or ())} are named as {option} KEY.pub"
            raise Refusal("trust.threshold", f"{option}-threshold", sentence)
    policy = trust.new_policy(
        producers,
        replay=require == "replay",
        threshold=threshold,
        others=given,
        auditors=approvals,
        revokers=revoker_threshold,
        owners=owner_threshold,
        revocation=None if revocations is None else trust.Revocation(revocations),
    )
    write_new(out, trust.encode_policy(policy), "policy")
    for key in policy.keys:
        shown = keys.fingerprint(keys.public_from_hex(key.public_key, key.name))
        roles = "" if key.roles == ("producer",) else f" as {', '.join(key.roles)}"
        print(f"Trusts {key.name} ({shown}){roles}: compare it with what its owner tells you.")
    print(plain(f"Wrote {out}; it requires {', '.join(policy.require)}."))
    print("It sets no limits: a poor surrogate that is honestly measured is accepted too. To set some, for example:")
    print(plain(f"blockcert trust set {out} --coverage 0.95@0.05 --top1-share 0.95 --keep-number --out limits.json"))
