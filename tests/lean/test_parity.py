"""The Lean checker and the Python verifier give the same verdict and code, on many certificates near the edges.

Both run on what both judge (`blockcert_verifier.lean.verdict`); the Lean side in one process for all cases. It needs a
build of Lean in `build/lean`, where `make lean` leaves one; without it the comparison is skipped. The bundles of the
conformance corpus are judged too; it is built for that, unless BLOCKCERT_CONFORMANCE names the folder of one. What was
found is written to the file that BLOCKCERT_LEAN_PARITY names, for the record.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from msgspec import Struct

from blockcert.bundle import STATEMENT
from blockcert.errors import Refusal
from blockcert.evidence_file import EvidenceTable
from blockcert.statement import Statement
from blockcert_producers.conformance.build import build
from blockcert_verifier.lean.export import Exported, export_bundle
from blockcert_verifier.lean.running import run_checker
from blockcert_verifier.lean.toolchain import find_tools
from blockcert_verifier.lean.verdict import NOT_IN_LEAN, Judged, Verdict, judge
from blockcert_verifier.steps import recompute
from tests.lean.cases import Base, Case, edge_cases, encoded, made_bases
from tests.lean.corpus import CORPUS, NO_ENVELOPE, NO_EVIDENCE, Corpus, read_corpus
from tests.lean.evidence import CHANGES, changed_evidence
from tests.support.bundles import change_statement, make_bundle

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "lean"
MOST_LISTED = 20
"""Codes beyond which the Python verifier counts instead of listing."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_bundle(make_bundle(tmp_path_factory.mktemp("made")).bundle)


class Cases(Struct, frozen=True):
    """What is judged: made here, of the corpus, and what of the corpus is not, with the reason; and what evidence a
    case of the corpus is given whose statement is refused by itself."""

    made: list[Case]
    base: Base
    corpus: Corpus

    @property
    def all(self) -> list[Case]:
        return [*self.made, *self.corpus.cases]


@pytest.fixture(scope="module")
def cases(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    strata = recompute.terms(exported.parsed, exported.same).strata
    folder = tmp_path_factory.mktemp("bases")
    bases = made_bases(exported.payload, exported.same, exported.table, strata, folder)
    made = edge_cases(bases)
    for base in bases[:3]:
        for name in CHANGES:
            changed = changed_evidence(base, name, folder)
            made.append(Case(name, encoded(base.statement), changed))
    built = os.environ.get(CORPUS)
    return Cases(made, bases[0], read_corpus(Path(built), bases[0]) if built else Corpus([], {}))


def python_verdict(case: Case) -> Judged:
    def evidence(statement: Statement) -> tuple[tuple[bool, ...], EvidenceTable]:
        if case.base.refused is not None:
            raise Refusal(case.base.refused, "evidence", "refused when it was read")
        if recompute.evidence_shape(statement) != case.base.table.shape:
            raise Refusal("evidence.columns", "evidence", "the shape differs")
        return case.base.same, case.base.table

    return judge(case.payload, evidence)


def test_the_cases_are_many_and_of_every_kind(cases: Cases) -> None:
    found = Counter(code for case in cases.made for code in python_verdict(case).codes[:1] or ("accepted",))
    assert len(cases.made) >= 1000
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


def test_both_checkers_agree(cases: Cases, tmp_path: Path) -> None:
    """What is left out of the corpus, and on which codes nothing is compared, stands by case and reason beside the
    record."""
    try:
        (tool,) = find_tools([CACHE], install=False, wanted="wasm")
    except Refusal as refusal:
        pytest.skip(f"{refusal.sentence}; `make lean` fetches one into build/lean")
    if not cases.corpus.cases:
        build(tmp_path / "corpus")
        cases = Cases(cases.made, cases.base, read_corpus(tmp_path / "corpus", cases.base))
    assert len(cases.corpus.cases) >= 600
    # what is the same to both is judged once
    alike: dict[tuple[str, bytes], tuple[Path, Path]] = {}
    for case in cases.all:
        name = f"{len(alike)}.json"
        if (case.base.name, case.payload) not in alike:
            pair = (tmp_path / name, tmp_path / f"{case.base.name}.export.json")
            pair[0].write_bytes(case.payload)
            pair[1].write_bytes(case.base.export)
            alike[case.base.name, case.payload] = pair
    before = _children_cpu()
    given = dict(zip(alike, run_checker(tool, list(alike.values())), strict=True))
    cpu = _children_cpu() - before
    answers = [given[case.base.name, case.payload] for case in cases.all]
    assert disagreements(cases.all, answers) == []
    file = os.environ.get("BLOCKCERT_LEAN_PARITY")
    if file:
        _write(Path(file), cases, len(alike), round(cpu))


def _write(file: Path, cases: Cases, distinct: int, cpu: int) -> None:
    """What was found, by reason, and beside it each case that was left out."""
    beyond = {f"{case.base.name}, {case.name}": code for case in cases.all for code in _not_in_lean(case)[:1]}
    found = {
        "cases": len(cases.all),
        "distinct": distinct,
        "disagreements": 0,
        "verdicts_only": dict(sorted(Counter(beyond.values()).items())),
        "corpus": {
            "cases": len(cases.corpus.cases),
            "left_out": dict(sorted(Counter(cases.corpus.left_out.values()).items())),
        },
        "cpu_seconds": cpu,
    }
    file.write_text(json.dumps(found), encoding="utf-8")
    listed = [f"{name}\tnot judged: {reason}" for name, reason in cases.corpus.left_out.items()]
    listed += [f"{name}\tcodes not compared: {code}: {NOT_IN_LEAN[code]}" for name, code in beyond.items()]
    file.with_name("left-out.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")


def _not_in_lean(case: Case) -> list[str]:
    return [code for code in python_verdict(case).codes if code in NOT_IN_LEAN]


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def disagreements(cases: list[Case], answers: list[str]) -> list[str]:
    """Each case on which the verdicts or codes differ; where Python gives a code that Lean does not have, each to which
    Lean gives no verdict at all."""
    found: list[str] = []
    for case, answer in zip(cases, answers, strict=True):
        python = python_verdict(case)
        verdict, *codes = answer.split() or [""]
        if set(python.codes) & NOT_IN_LEAN.keys() and verdict in get_args(Verdict):
            continue
        same = verdict == python.verdict and codes[:1] == [*python.codes[:1]]
        if not same or (len(python.codes) < MOST_LISTED and set(codes) != set(python.codes)):
            found.append(f"{case.base.name}, {case.name}: Python {python}, Lean {answer}")
    return found


def test_a_verdict_is_asked_for_where_codes_are_not_compared(cases: Cases) -> None:
    case = next(case for case in cases.made if _not_in_lean(case))
    assert disagreements([case], ["ACCEPT"]) == []
    assert disagreements([case], ["REJECT name.unsafe"]) == []
    for answer in ("", "UNREADABLE"):
        assert len(disagreements([case], [answer])) == 1


def test_a_bundle_of_the_corpus_is_judged_or_left_out_with_a_reason(cases: Cases, tmp_path: Path) -> None:
    """A corpus of five cases: two that differ in their policies only, and one for each way of not being read."""
    made = make_bundle(tmp_path)
    copies = {name: made.copy(tmp_path / name) for name in ("envelope", "evidence", "statement")}
    (copies["envelope"].bundle / STATEMENT).write_bytes(b"{}")
    (copies["evidence"].bundle / "evidence.safetensors").unlink()
    change_statement(copies["statement"], lambda statement: statement.update(_type="another"))
    bundles = {"whole": made, "again": made, **copies}
    listed = [{"id": id_, "inputs": {"bundle": str(one.bundle.relative_to(tmp_path))}} for id_, one in bundles.items()]
    (tmp_path / "index.json").write_text(json.dumps({"cases": listed}))
    found = read_corpus(tmp_path, cases.made[0].base)
    assert [case.name for case in found.cases] == ["whole", "again", "statement"]
    assert found.cases[0].base is found.cases[1].base
    assert found.left_out == {"envelope": NO_ENVELOPE, "evidence": NO_EVIDENCE}
    verdicts = [python_verdict(case) for case in found.cases]
    assert [one.verdict for one in verdicts] == ["ACCEPT", "ACCEPT", "REJECT"]
