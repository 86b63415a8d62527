"""`blockcert trust rotate`, `accept` and `show`: a policy that follows another, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blockcert_producers.cli import options, signing
from blockcert_producers.cli.trust_change import NewPolicy, Policy

if TYPE_CHECKING:
    from blockcert.trust import TrustPolicy

__all__ = ["accept", "rotate", "show"]


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
    from blockcert.printable import plain
    from blockcert.rotation import PAYLOAD_TYPE, check_follows, missing, sign_policy
    from blockcert_producers.cli.files import update_file
    from blockcert_producers.cli.policy_text import differences
    from blockcert_verifier.verification import read_policy

    old, following = read_policy(policy), read_policy(new)
    check_follows(old, following, str(new))
    who = signing.chosen(key, passphrase_file, signer, public)
    if not any(one.public_key == who.public.raw.hex() and "owner" in one.roles for one in (*old.keys, *following.keys)):
        sentence = "your key is an owner of neither policy, so its signature would count for nothing"
        raise Refusal("trust.rotation.no_owner", str(new), sentence)
    written: list[bytes] = []

    def add(signed: bytes | None) -> bytes:
        written.append(sign_policy(following, who, signed, str(out)))
        return written[-1]

    update_file(out, add, "signed policy")
    lacking = missing(old, following, parse_envelope(written[-1], str(out), PAYLOAD_TYPE), datetime.now(UTC), str(out))
    state = "signed by enough owners of both"
    if lacking:
        said = " and ".join(f"{count} more of the {which} policy's owners" for which, count in lacking.items())
        state = f"still to be signed by {said}"
    print(plain(f"Wrote {out}: policy number {following.number}, {state}."))
    _print_changes(differences(old, following))


def accept(
    *,
    policy: Policy,
    signed: Annotated[Path, typer.Argument(metavar="SIGNED", help="The signed policy that follows it.")],
    out: NewPolicy,
) -> None:
    """Take the policy that follows yours, if enough owners of both signed it, and print what it changes."""
    from datetime import UTC, datetime

    from blockcert import trust
    from blockcert.printable import plain
    from blockcert.rotation import successor
    from blockcert_producers.cli.files import read, write_new
    from blockcert_producers.cli.policy_text import differences
    from blockcert_verifier.verification import read_policy

    old = read_policy(policy)
    data = read(signed)
    _check_signed(data, str(signed))
    following = successor(old, data, datetime.now(UTC), str(signed))
    write_new(out, trust.encode_policy(following), "policy")
    print(plain(f"Wrote {out}: policy number {following.number}, signed by enough owners of both."))
    _print_changes(differences(old, following))


def _check_signed(data: bytes, place: str) -> None:
    """Refuse a policy that nobody signed, as what it is."""
    from blockcert.errors import Refusal
    from blockcert.trust import parse_policy

    try:
        parse_policy(data, place)
    except Refusal:
        return
    sentence = "this is a policy that nobody signed; its owners sign it: blockcert trust rotate POLICY NEW --key FILE"
    raise Refusal("trust.rotation.threshold", place, f"{sentence} --out SIGNED")


def _print_changes(lines: list[str]) -> None:
    from blockcert_producers.cli.policy_text import printed

    print(printed(["Against the policy before it, this one", *(f"  {line}" for line in lines)]))


def show(*, policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy, signed or not.")]) -> None:
    """Print whom a policy trusts, for what and until when, and what it asks for; of a signed one, who signed it."""
    from blockcert_producers.cli.policy_text import policy_lines, printed
    from blockcert_verifier.verification import read_policy

    opened = _signed(policy)
    found, lines = (read_policy(policy), []) if opened is None else opened
    print(printed((*lines, *policy_lines(found))))


def _signed(path: Path) -> tuple[TrustPolicy, list[str]] | None:
    """The policy in a signed one, and what is to be said first; None where the file is no such envelope."""
    from datetime import UTC, datetime

    from blockcert.authority import authorised
    from blockcert.dsse import parse_envelope
    from blockcert.errors import Refusal
    from blockcert.rotation import PAYLOAD_TYPE
    from blockcert.trust import parse_policy
    from blockcert_verifier.counted import counted
    from blockcert_verifier.verification import read_signed

    data = read_signed(path)
    if PAYLOAD_TYPE.encode() not in data:
        return None
    try:
        envelope = parse_envelope(data, str(path), PAYLOAD_TYPE)
    except Refusal:
        return None
    found = parse_policy(envelope.payload, str(path))
    authority = authorised(found, envelope, datetime.now(UTC), None, str(path))
    names = [signer.name for signer in authority.signers if "owner" in signer.roles]
    by = f"of its own owners by {', '.join(names)}" if names else "by none of its own owners"
    signed = f"A signed policy, with {counted(len(envelope.signatures), 'signature')}: {by}."
    return found, [signed, "It holds once you take it: blockcert trust accept POLICY SIGNED --out FILE."]
