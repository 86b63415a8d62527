"""`blockcert trust add-key`, `rotate`, `accept` and `show`: a policy's life after it was new."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from blockcert_producers.cli import options, signing

__all__ = ["accept", "add_key", "rotate", "show"]

Policy = Annotated[Path, typer.Argument(metavar="POLICY", help="The policy that holds now.")]
NewPolicy = Annotated[Path, typer.Option("--out", metavar="FILE", help="The policy to write; must not exist yet.")]


def add_key(
    *,
    policy: Policy,
    key: Annotated[Path, typer.Argument(metavar="KEY.pub", help="The public key to trust.")],
    role: Annotated[
        Literal["producer", "auditor", "revoker", "owner"], typer.Option("--role", help="What it may sign.")
    ] = "producer",
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help="Trusted from then on.")
    ] = None,
    not_after: Annotated[str | None, typer.Option("--not-after", metavar="TIME", help="Trusted until then.")] = None,
    out: NewPolicy,
) -> None:
    """Write the policy with one more key, or with one more role for a key that it has; its number grows by one."""
    from msgspec.structs import replace

    from blockcert import keys, trust
    from blockcert.errors import Refusal
    from blockcert.times import parse_time
    from blockcert_producers.cli.files import write_new
    from blockcert_verifier.verification import read_policy

    for option, time in (("--not-before", not_before), ("--not-after", not_after)):
        if time is not None:
            parse_time(time, option)
    old, named = read_policy(policy), keys.load_public(key)
    raw = named.key.raw.hex()
    held = next((one for one in old.keys if one.public_key == raw), None)
    if held is None:
        changed = (*old.keys, trust.TrustedKey(named.name, "ed25519", raw, (role,), not_before, not_after))
    elif role in held.roles:
        raise Refusal("trust.key", str(policy), f"the policy trusts {held.name} as {role} already")
    elif not_before is not None or not_after is not None:
        raise Refusal(
            "trust.window", str(policy), f"the policy has {held.name} with a window of its own; edit the file"
        )
    else:
        roles = tuple(one for one in trust.ROLES if one in (*held.roles, role))
        changed = tuple(replace(one, roles=roles) if one is held else one for one in old.keys)
    new = trust.encode_policy(replace(old, keys=changed, number=old.number + 1))
    trust.parse_policy(new, "new policy")
    write_new(out, new, "policy")
    print(f"Wrote {out}, number {old.number + 1}: trusts {named.name} ({keys.fingerprint(named.key)}) as {role}.")


def rotate(
    *,
    policy: Policy,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The policy that follows it, number N + 1.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The signed policy; your signature is added where it is there."),
    ],
    key: signing.Key = None,
    passphrase_file: options.PassphraseFile = None,
    signer: signing.Signer = None,
    public: signing.Public = None,
) -> None:
    """Sign the policy that follows yours, as one of its owners. Those who hold the old one can then accept the new."""
    from datetime import UTC, datetime

    from blockcert.dsse import parse_envelope
    from blockcert.errors import Refusal
    from blockcert.rotation import PAYLOAD_TYPE, check_follows, missing, sign_policy
    from blockcert_producers.cli.files import read, replace_file
    from blockcert_verifier.verification import read_policy

    old, following = read_policy(policy), read_policy(new)
    check_follows(old, following, str(new))
    signed = read(out) if out.exists() else None
    who = signing.chosen(key, passphrase_file, signer, public)
    if not any(one.public_key == who.public.raw.hex() and "owner" in one.roles for one in (*old.keys, *following.keys)):
        sentence = "your key is an owner of neither policy, so its signature would count for nothing"
        raise Refusal("trust.rotation.no_owner", str(new), sentence)
    data = sign_policy(following, who, signed, str(out))
    replace_file(out, data, "signed policy")
    lacking = missing(old, following, parse_envelope(data, str(out), PAYLOAD_TYPE), datetime.now(UTC), str(out))
    if lacking:
        said = " and ".join(f"{count} more of the {which} policy's owners" for which, count in lacking.items())
        print(f"Wrote {out}: policy number {following.number}, still to be signed by {said}.")
    else:
        print(f"Wrote {out}: policy number {following.number}, signed by enough owners of both.")


def accept(
    *,
    policy: Policy,
    signed: Annotated[Path, typer.Argument(metavar="SIGNED", help="The signed policy that follows it.")],
    out: NewPolicy,
) -> None:
    """Take the policy that follows yours, if enough owners of both signed it."""
    from datetime import UTC, datetime

    from blockcert import trust
    from blockcert.rotation import successor
    from blockcert_producers.cli.files import read, write_new
    from blockcert_verifier.verification import read_policy

    following = successor(read_policy(policy), read(signed), datetime.now(UTC), str(signed))
    write_new(out, trust.encode_policy(following), "policy")
    print(f"Wrote {out}: policy number {following.number}, signed by enough owners of both.")


def show(*, policy: Policy) -> None:
    """Print whom a policy trusts, for what and until when, and what it asks for."""
    from blockcert import keys
    from blockcert.printable import plain
    from blockcert_verifier.verification import read_policy

    found = read_policy(policy)
    print(f"Policy number {found.number}")
    print(f"Requires: {', '.join(found.require)}.")
    print("Trusts:")
    for key in found.keys:
        until = f", {key.not_before or 'ever'} to {key.not_after or 'ever'}" if key.not_before or key.not_after else ""
        print(f"  {key.name}: {', '.join(key.roles)}{until}")
        print(f"    {keys.fingerprint(keys.public_from_hex(key.public_key, key.name))}")
    needed = found.thresholds
    print(f"Must sign: {needed.producer} producers, and {needed.auditor} auditors must approve.")
    if found.able("owner"):
        print(f"The policy that follows must be signed by {needed.owner} owners.")
    if found.able("revoker"):
        print(f"A revocation list must be signed by {needed.revoker} revokers.")
    if found.revocation is not None:
        print(plain(f"Asks for a revocation list: {found.revocation.source}"))
    limits = {name: getattr(found.limits, name) for name in found.limits.__struct_fields__}
    said = [f"{name} {_limit(value)}" for name, value in limits.items() if value is not None]
    print(f"Limits: {'; '.join(said) or 'none'}.")


def _limit(value: object) -> str:
    fields = getattr(value, "__struct_fields__", None)
    return str(value) if fields is None else " ".join(f"{name} {getattr(value, name)}" for name in fields)
