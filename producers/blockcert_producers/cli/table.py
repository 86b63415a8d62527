"""The commands: where each lives and the one line that `--help` shows of it.

The lines stand here, not in the commands' modules, so that `blockcert --help` imports none of them.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "LEAN", "TRUST", "Entry"]


class Entry(NamedTuple):
    """A command: the function of a module, or a table of further commands."""

    summary: str
    module: str = ""
    function: str = ""
    table: dict[str, Entry] | None = None


TRUST: dict[str, Entry] = {
    "new": Entry("Write a policy that trusts the keys you name.", "blockcert_producers.cli.trust", "new"),
}

LEAN: dict[str, Entry] = {
    "export": Entry("Write what the Lean checker reads of a bundle.", "blockcert_producers.cli.lean", "export"),
    "check": Entry("Judge a bundle's claims with Lean and Python.", "blockcert_producers.cli.lean", "check"),
}

COMMANDS: dict[str, Entry] = {
    "verify": Entry("Check a certificate, offline; the exit code is the verdict.", "blockcert_verifier.cli", "verify"),
    "show": Entry("Print what a certificate says, without checking it.", "blockcert_verifier.show", "show"),
    "trust": Entry("Write down whose certificates you accept.", table=TRUST),
    "extract": Entry(
        "Make an explicit surrogate of a model and certify it.", "blockcert_producers.cli.extract", "extract"
    ),
    "compare": Entry("Certify how far a copy of a model drifts from it.", "blockcert_producers.cli.compare", "compare"),
    "keygen": Entry("Make a signing key.", "blockcert_producers.cli.keygen", "keygen"),
    "sign": Entry("Sign a bundle.", "blockcert_producers.cli.sign", "sign"),
    "lean": Entry("Check a certificate's claims with the proved checker.", table=LEAN),
    "demo": Entry(
        "Run the whole way once on a small model, tampering included.", "blockcert_producers.cli.demo", "demo"
    ),
}
