"""What evidence and constants are by definition, and what a passed step says that it leaves open.

Requirements: BC-EVD-04, 05.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import Envelope, Signature, encode_envelope, parse_envelope
from blockcert.evidence import columns
from blockcert.evidence_file import EvidenceTable, read_evidence
from blockcert.findings import Finding
from blockcert.program import Program
from blockcert.statement import Statement
from blockcert_verifier import verify
from blockcert_verifier.steps import recompute
from blockcert_verifier.text import render
from tests.support.bundles import LENGTH, NOW, Made, change_statement, make_bundle, restate, rewrite_column


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("definitions"))


def contradicted(findings: list[Finding]) -> set[str]:
    """The columns that contradict their definition."""
    places = [finding.place for finding in findings if finding.code == "evidence.definition"]
    return {place.partition(": ")[2].partition("[")[0] for place in places}


def test_one_program_on_both_sides_has_no_difference_at_the_end(made: Made) -> None:
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    statement = strict_json.decode(payload, Statement, STATEMENT)
    program = strict_json.decode((made.bundle / "programs/reference.json").read_bytes(), Program, "reference")
    shape = recompute.evidence_shape(statement)
    table = read_evidence(made.bundle / "evidence.safetensors", shape, "evidence")
    cells: dict[str, Any] = {column.name: list(table.flat(column.name)) for column in columns(shape)}

    at_the_end = {"logit_difference": 0, "loss_difference": 0, "kl_sum": 0, "kl_max": 0, "top1_agree": LENGTH}
    at_the_end |= {"loss_within": LENGTH - 1}
    for name, value in at_the_end.items():
        changed = cells | {name: [value + (1 if value == 0 else -1), *cells[name][1:]]}
        found = recompute.recompute(statement, (program, program), EvidenceTable(shape, changed))
        assert name in contradicted(found), name
    right = cells | {name: [value] * len(cells[name]) for name, value in at_the_end.items()}
    found = recompute.recompute(statement, (program, program), EvidenceTable(shape, right))
    assert contradicted(found).isdisjoint(at_the_end)


@pytest.mark.parametrize("name", ["identity.drift", "identity.relative_drift"])
def test_the_control_does_not_drift_at_the_embedding(made: Made, tmp_path: Path, name: str) -> None:
    copy = made.copy(tmp_path)

    def change(cells: Any) -> None:
        cells[0, 0] = 0.5

    rewrite_column(copy.bundle / "evidence.safetensors", name, change)
    restate(copy)
    report = verify(copy.bundle, copy.policy, at=NOW)
    assert report.verdict == "rejected"
    assert contradicted(list(report.findings)) == {name}


def test_a_negative_constant_is_refused_where_it_composes_nothing(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    given = {"constant": "-1", "scope": "all-inputs", "basis": "estimate"}
    change_statement(copy, lambda s: s["predicate"]["claims"]["stages"][1].update(lipschitz=given))
    report = verify(copy.bundle, copy.policy, at=NOW)
    assert [f.code for f in report.findings if f.status == "failed"] == ["lipschitz.negative"]


def test_what_a_passed_step_did_not_check_is_not_established(made: Made) -> None:
    report = verify(made.bundle, made.policy, at=NOW)
    steps = {step.step: step for step in report.steps}
    for name in ("integrity", "recompute"):
        skipped = [f.message for f in report.findings if f.step == name and f.status == "skipped"]
        assert len(skipped) == 1
        assert steps[name].status == "passed"
        assert skipped[0] not in steps[name].establishes
        assert steps[name].reason == skipped[0]
    assert steps["structure"].reason is None
    assert "; not checked: no reference model was given" in " ".join(render(report).split())


@pytest.mark.parametrize("size", [64, 63, 0])
def test_a_signature_that_anybody_appends_changes_nothing(made: Made, tmp_path: Path, size: int) -> None:
    copy = made.copy(tmp_path)
    path = copy.bundle / STATEMENT
    envelope = parse_envelope(path.read_bytes(), STATEMENT)
    appended = (Signature("", bytes(size)), Signature(envelope.signatures[0].keyid, bytes(size)))
    path.write_bytes(encode_envelope(Envelope(envelope.payload, signatures=(*envelope.signatures, *appended))))
    report = verify(copy.bundle, copy.without_replay, at=NOW)
    assert report.verdict == "accepted"
    found = {f.code: f.status for f in report.findings if f.code.startswith("signature.")}
    assert found == {"signature.unknown_key": "skipped", "signature.invalid": "skipped"}
