"""The commands: where each lives and the one line that `--help` shows of it.

The lines stand here, not in the commands' modules, so that `blockcert --help` imports none of them.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "CONFORMANCE", "LEAN", "SCHEMA", "TRUST", "Entry"]


class Entry(NamedTuple):
    """A command: the function of a module, or a table of further commands."""

    summary: str
    module: str = ""
    function: str = ""
    table: dict[str, Entry] | None = None


TRUST: dict[str, Entry] = {
    "new": Entry("Write a policy that trusts the keys you name.", "blockcert_producers.cli.trust_new", "new"),
    "add-key": Entry("Trust one more key, or a key for more.", "blockcert_producers.cli.trust_change", "add_key"),
    "remove-key": Entry("Trust a key no more, or for less.", "blockcert_producers.cli.trust_change", "remove_key"),
    "set": Entry("Change what is asked of a certificate.", "blockcert_producers.cli.trust_set", "set_"),
    "rotate": Entry("Sign the policy that follows yours.", "blockcert_producers.cli.trust_rotate", "rotate"),
    "accept": Entry("Take the policy that follows yours.", "blockcert_producers.cli.trust_rotate", "accept"),
    "show": Entry("Print whom a policy trusts, and for what.", "blockcert_producers.cli.trust_rotate", "show"),
}

CONFORMANCE: dict[str, Entry] = {
    "build": Entry("Build the corpus into a folder.", "blockcert_producers.cli.conformance", "build"),
    "run": Entry("Score a verifier on the corpus.", "blockcert_producers.cli.conformance", "run"),
    "serve": Entry("Be the verifier that is scored.", "blockcert_producers.cli.conformance", "serve"),
}

SCHEMA: dict[str, Entry] = {
    "check": Entry("Check a JSON document against its schema.", "blockcert_producers.cli.schema", "check"),
}

LEAN: dict[str, Entry] = {
    "export": Entry("Write what the Lean checker reads of a bundle.", "blockcert_producers.cli.lean", "export"),
    "check": Entry("Judge a bundle's claims with Lean and Python.", "blockcert_producers.cli.lean", "check"),
}

COMMANDS: dict[str, Entry] = {
    "verify": Entry("Check a certificate, offline; the exit code is the verdict.", "blockcert_verifier.cli", "verify"),
    "show": Entry("Print what a certificate says, without checking it.", "blockcert_producers.cli.show", "show"),
    "trust": Entry("Write down whose certificates you accept.", table=TRUST),
    "extract": Entry(
        "Make an explicit surrogate of a model and certify it.", "blockcert_producers.cli.extract", "extract"
    ),
    "compare": Entry("Certify how far a copy of a model drifts from it.", "blockcert_producers.cli.compare", "compare"),
    "keygen": Entry("Make a signing key.", "blockcert_producers.cli.keygen", "keygen"),
    "sign": Entry("Sign a bundle, several, or all of a front.", "blockcert_producers.cli.sign", "sign"),
    "pack": Entry("Put a bundle into one file; every command takes it.", "blockcert_producers.cli.pack", "pack"),
    "unpack": Entry("Put a packed bundle back into a folder.", "blockcert_producers.cli.pack", "unpack"),
    "review": Entry("Put your word about a certificate beside it, signed.", "blockcert_producers.cli.review", "review"),
    "revoke": Entry("Write a signed list of what no longer counts.", "blockcert_producers.cli.revoke", "revoke"),
    "schema": Entry("Check documents against the standard's schemas.", table=SCHEMA),
    "conformance": Entry("The conformance corpus, and any verifier's score on it.", table=CONFORMANCE),
    "lean": Entry("Check a certificate's claims with the proved checker.", table=LEAN),
    "demo": Entry(
        "Run the whole way once on a small model, tampering included.", "blockcert_producers.cli.demo", "demo"
    ),
}
