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
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The policy to write; must not exist yet.")],
    require: Annotated[
        Literal["replay", "recompute"],
        typer.Option("--require", help="replay: rows must be measured again; recompute: the arithmetic is enough."),
    ] = "replay",
    threshold: Annotated[int, typer.Option("--threshold", metavar="N", min=1, help="How many keys must sign.")] = 1,
) -> None:
    """Write a policy that accepts certificates signed by the keys you name.

    It is a JSON file to read and edit: its limits say what you ask of a certificate.
    """
    from blockcert import keys, trust
    from blockcert.errors import Refusal

    if out.is_dir():
        raise Refusal("output.exists", str(out), "this is a folder; name the file to write, for instance trust.json")
    producers = [keys.load_public(path) for path in producer]
    policy = trust.new_policy(producers, replay=require == "replay", threshold=threshold)
    try:
        with out.open("xb") as file:
            file.write(trust.encode_policy(policy))
    except FileExistsError:
        raise Refusal("output.exists", str(out), "there is a file already, and a policy is not overwritten") from None
    except OSError as fault:
        raise Refusal("output.unwritable", str(out), f"the policy cannot be written: {fault.strerror}") from None
    for named in producers:
        print(f"Trusts {named.name} ({keys.fingerprint(named.key)}): compare it with what its owner tells you.")
    print(f"Wrote {out}; it requires {', '.join(policy.require)}.")
