"""Cases from a built conformance corpus: each bundle's statement and evidence, where the Lean checker reads them."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Struct

from blockcert.errors import Refusal
from blockcert_verifier.lean.export import export_bundle, payload_of
from blockcert_verifier.steps import structure
from tests.lean.cases import Base, Case

__all__ = ["CORPUS", "NO_ENVELOPE", "NO_EVIDENCE", "Corpus", "read_corpus"]

CORPUS = "BLOCKCERT_CONFORMANCE"
"""The variable that names the folder of a built corpus."""
NO_ENVELOPE = "the envelope is refused, and a statement is what the Lean checker begins with"
NO_EVIDENCE = "a program or the evidence file is refused, of which the Lean checker reads an export"


class Corpus(Struct, frozen=True):
    """The cases that both checkers judge, and why each other is left out, by its id."""

    cases: list[Case]
    left_out: dict[str, str]


def read_corpus(folder: Path, any_base: Base) -> Corpus:
    """The cases of a built corpus; one whose statement is refused by itself is given the evidence of `any_base`.

    Cases that differ in a policy, a time or a model only are the same to both checkers, and share their base.
    """
    index = json.loads((folder / "index.json").read_bytes())
    found: list[Case] = []
    left_out: dict[str, str] = {}
    bases: dict[tuple[bytes, bytes], Base] = {}
    for number, case in enumerate(index["cases"]):
        bundle = folder / case["inputs"]["bundle"]
        try:
            payload = payload_of(bundle)
        except Refusal:
            left_out[case["id"]] = NO_ENVELOPE
            continue
        if structure.statement(payload)[0] is None:
            found.append(Case(case["id"], payload, any_base))
            continue
        try:
            read = export_bundle(bundle)
        except Refusal:
            left_out[case["id"]] = NO_EVIDENCE
            continue
        base = Base(f"corpus{number}", json.loads(payload), read.same, read.table, read.evidence)
        found.append(Case(case["id"], payload, bases.setdefault((payload, read.evidence), base)))
    assert len(found) + len(left_out) == len(index["cases"]), "an id stands twice"
    return Corpus(found, left_out)
