"""Cases from a built conformance corpus: each bundle's statement and evidence, where the Lean checker reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from blockcert.errors import Refusal
from blockcert_verifier.lean.export import export_bundle, payload_of
from blockcert_verifier.steps import structure
from tests.lean.cases import Base, Case

__all__ = ["CORPUS", "corpus_cases"]

CORPUS = "BLOCKCERT_CONFORMANCE"
"""The variable that names the folder of a built corpus."""


def corpus_cases(any_base: Base) -> list[Case]:
    """A case for each bundle of the corpus that `CORPUS` names, none where it is not set.

    Left out, because the Lean checker does not read them: bundles whose envelope, programs or evidence file is refused.
    """
    folder = os.environ.get(CORPUS)
    if not folder:
        return []
    index = json.loads((Path(folder) / "index.json").read_bytes())
    found: list[Case] = []
    for number, case in enumerate(index["cases"]):
        bundle = Path(folder) / case["inputs"]["bundle"]
        try:
            payload = payload_of(bundle)
        except Refusal:
            continue
        if structure.statement(payload)[0] is None:
            found.append(Case(case["id"], payload, any_base))
            continue
        try:
            read = export_bundle(bundle)
        except Refusal:
            continue
        base = Base(f"corpus{number}", json.loads(payload), read.same, read.table, read.evidence)
        found.append(Case(case["id"], payload, base))
    return found
