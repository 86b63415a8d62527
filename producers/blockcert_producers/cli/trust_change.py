"""`blockcert trust add-key` and `remove-key`: whom a policy trusts, after it was new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from blockcert.trust import TrustedKey, TrustPolicy

__all__ = ["Keep", "NewPolicy", "Policy", "add_key", "remove_key", "write_changed"]

Policy = Annotated[Path, typer.Argument(metavar="POLICY", help="The policy that holds now.")]
NewPolicy = Annotated[Path, typer.Option("--out", metavar="FILE", help="The policy to write; must not exist yet.")]
Keep = Annotated[
    bool,
    typer.Option("--keep-number", help="Keep the number: one more change of a policy that nobody holds yet."),
]


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
    keep_number: Keep = False,
    out: NewPolicy,
) -> None:
    """Write the policy with one more key, or with one more role for a key that it has; its number grows by one."""
    from msgspec.structs import replace

    from blockcert import keys, trust
    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert.times import parse_time
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
        sentence = (
            f"the policy has {held.name} with a window of its own; take it out with blockcert trust remove-key, and "
            "add it again with --keep-number and another one"
        )
        raise Refusal("trust.window", str(policy), sentence)
    else:
        roles = tuple(one for one in trust.ROLES if one in (*held.roles, role))
        changed = tuple(replace(one, roles=roles) if one is held else one for one in old.keys)
    new = write_changed(old, replace(old, keys=changed), out, keep_number)
    print(plain(f"Wrote {out}, number {new.number}: trusts {named.name} ({keys.fingerprint(named.key)}) as {role}."))


def remove_key(
    *,
    policy: Policy,
    key: Annotated[
        str, typer.Argument(metavar="NAME|KEY.pub", help="The key, by its name in the policy or by its file.")
    ],
    role: Annotated[
        Literal["producer", "auditor", "revoker", "owner"] | None,
        typer.Option("--role", help="Take this role from it, and leave it the others."),
    ] = None,
    keep_number: Keep = False,
    out: NewPolicy,
) -> None:
    """Write the policy without a key, or without one of its roles; its number grows by one."""
    from msgspec.structs import replace

    from blockcert.errors import Refusal
    from blockcert.printable import plain
    from blockcert_producers.cli.policy_text import fingerprint
    from blockcert_verifier.verification import read_policy

    old = read_policy(policy)
    held = _held(old, key)
    if role is not None and role not in held.roles:
        raise Refusal("trust.key", str(policy), f"the policy does not trust {held.name} as {role}")
    roles = () if role is None else tuple(one for one in held.roles if one != role)
    kept = [replace(one, roles=roles) if one is held else one for one in old.keys if one is not held or roles]
    new = write_changed(old, replace(old, keys=tuple(kept)), out, keep_number)
    what = f"as {role}" if roles else "any more"
    print(plain(f"Wrote {out}, number {new.number}: does not trust {held.name} ({fingerprint(held)}) {what}."))


def _held(policy: TrustPolicy, key: str) -> TrustedKey:
    """The key that is meant, by its name, or else by its file."""
    from blockcert import keys
    from blockcert.errors import Refusal
    from blockcert.names import shown

    named = next((one for one in policy.keys if one.name == key), None)
    if named is not None:
        return named
    if not Path(key).exists():
        names = ", ".join(one.name for one in policy.keys)
        sentence = f"the policy has no key of the name {shown(key, 80)}, nor is there such a file; it has {names}"
        raise Refusal("trust.key", "KEY", sentence)
    raw = keys.load_public(key).key.raw.hex()
    found = next((one for one in policy.keys if one.public_key == raw), None)
    if found is None:
        raise Refusal("trust.key", key, "the policy does not trust this key")
    return found


def write_changed(old: TrustPolicy, new: TrustPolicy, out: Path, keep_number: bool) -> TrustPolicy:
    """Writes a changed policy, its number one above that of ``old`` or the same; refuses as ``parse_policy``."""
    from msgspec.structs import replace

    from blockcert import trust
    from blockcert_producers.cli.files import write_new

    data = trust.encode_policy(replace(new, number=old.number + (not keep_number)))
    found = trust.parse_policy(data, "new policy")
    write_new(out, data, "policy")
    return found
