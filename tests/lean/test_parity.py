"""The Lean checker and the Python verifier give the same verdict and code, on many certificates near the edges.

Both run on what both judge (`blockcert_verifier.lean.verdict`); the Lean side in one process for all cases. It needs a
build of Lean in `build/lean`, where `make lean` leaves one; without it the comparison is skipped. With
BLOCKCERT_CONFORMANCE naming the folder of a built conformance corpus, its bundles are judged too. What was found is
written to the file that BLOCKCERT_LEAN_PARITY names, for the record of `make lean-record`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.statement import Statement
from blockcert_verifier.lean.export import Exported, export_bundle
from blockcert_verifier.lean.toolchain import find_tool, run_checker
from blockcert_verifier.lean.verdict import NOT_IN_LEAN, Judged, judge
from blockcert_verifier.steps import recompute
from tests.lean.cases import Case, edge_cases, encoded, made_bases
from tests.lean.corpus import corpus_cases
from tests.lean.evidence import CHANGES, changed_evidence
from tests.support.bundles import make_bundle

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "lean"
MOST_LISTED = 20
"""Codes beyond which the Python verifier counts instead of listing."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_bundle(make_bundle(tmp_path_factory.mktemp("made")).bundle)


@pytest.fixture(scope="module")
def cases(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    strata = recompute.terms(exported.parsed, exported.same).strata
    folder = tmp_path_factory.mktemp("bases")
    bases = made_bases(exported.payload, exported.same, exported.table, strata, folder)
    cases = [*edge_cases(bases), *corpus_cases(bases[0])]
    for base in bases[:3]:
        for name in CHANGES:
            changed = changed_evidence(base, name, folder)
            cases.append(Case(name, encoded(base.statement), changed))
    return cases


def python_verdict(case: Case) -> Judged:
    def evidence(statement: Statement) -> tuple[tuple[bool, ...], EvidenceTable]:
        if case.base.refused is not None:
            raise Refusal(case.base.refused, "evidence", "refused when it was read")
        if recompute.evidence_shape(statement) != case.base.table.shape:
            raise Refusal("evidence.columns", "evidence", "the shape differs")
        return case.base.same, case.base.table

    return judge(case.payload, evidence)


def test_the_cases_are_many_and_of_every_kind(cases: list[Case]) -> None:
    found = Counter(code for case in cases for code in python_verdict(case).codes[:1] or ("accepted",))
    assert len(cases) >= 1000
    assert found["accepted"] >= 30
    wanted = {
        "json.encoding", "json.limit", "json.number", "json.syntax", "json.duplicate_key", "json.type",
        "statement.type", "statement.predicate_type", "statement.version_unsupported", "statement.critical",
        "statement.extension_unknown", "statement.files", "statement.file_name", "statement.kind",
        "statement.fidelity", "statement.times", "statement.rows", "statement.lengths", "statement.windows",
        "statement.tokenizer", "prompts.duplicate", "time.calendar", "evidence.columns", "evidence.negative",
        "evidence.count", "evidence.definition", "number.not_decimal", "thresholds.order",
        "thresholds.post_hoc", "population.alpha", "population.share", "population.threshold", "lipschitz.negative",
        "lipschitz.unverified", "claims.predicate", "claims.threshold", "claims.scope", "composition.below_measured",
        "recompute.claim.mismatch", "recompute.composition.mismatch", "recompute.population.mismatch",
        "recompute.control.mismatch",
    }  # fmt: skip
    assert sorted(wanted - found.keys()) == []


def test_both_checkers_agree(cases: list[Case], tmp_path: Path) -> None:
    try:
        tool = find_tool(CACHE, install=False)
    except Refusal as refusal:
        pytest.skip(f"{refusal.sentence}; `make lean` fetches one into build/lean")
    pairs: list[tuple[Path, Path]] = []
    for i, case in enumerate(cases):
        pair = (tmp_path / f"{i}.json", tmp_path / f"{case.base.name}.export.json")
        pair[0].write_bytes(case.payload)
        pair[1].write_bytes(case.base.export)
        pairs.append(pair)
    before = _children_cpu()
    answers = run_checker(tool, pairs)
    assert disagreements(cases, answers) == []
    file = os.environ.get("BLOCKCERT_LEAN_PARITY")
    if file:
        found = {"cases": len(cases), "disagreements": 0, "cpu_seconds": round(_children_cpu() - before)}
        Path(file).write_text(json.dumps(found), encoding="utf-8")


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def disagreements(cases: list[Case], answers: list[str]) -> list[str]:
    """Each case on which the verdicts or codes differ, but for codes that Lean does not give."""
    found: list[str] = []
    for case, answer in zip(cases, answers, strict=True):
        python = python_verdict(case)
        verdict, *codes = answer.split()
        if set(python.codes) & NOT_IN_LEAN.keys():
            continue
        same = verdict == python.verdict and codes[:1] == [*python.codes[:1]]
        if not same or (len(python.codes) < MOST_LISTED and set(codes) != set(python.codes)):
            found.append(f"{case.base.name}, {case.name}: Python {python}, Lean {answer}")
    return found
