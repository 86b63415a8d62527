"""What the library writes, the schemas accept: one measured and signed bundle, its policy and its reports."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

from blockcert.keys import generate
from blockcert.revocation import encode_state, new_list, parse_list, sign_list
from blockcert.trust import encode_policy
from blockcert_verifier import to_json, verify
from tests.support.bundles import NOW, Made, make_bundle

SCHEMAS = Path(__file__).parents[2] / "schemas"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def check(kind: str, data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_bytes())
    validator = Draft202012Validator(schema, registry=Registry())
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []
    return document


def test_envelope_statement_and_programs(made: Made) -> None:
    """BC-CNF-01."""
    envelope = check("envelope", (made.bundle / "statement.dsse.json").read_bytes())
    check("statement", base64.b64decode(envelope["payload"]))
    for side in ("reference", "surrogate"):
        check("program", (made.bundle / "programs" / f"{side}.json").read_bytes())


def test_a_revocation_state() -> None:
    key = generate()
    found = new_list(None, (), (), issued_at=NOW, next_update=NOW + timedelta(days=1))
    signed = parse_list(sign_list(found, key), "list")
    check("revocation-list", signed.envelope.payload)
    check("revocation-state", encode_state(signed, [key.public.raw.hex()]))


def test_policies(made: Made) -> None:
    for policy in (made.policy, made.without_replay):
        check("trust-policy", encode_policy(policy))


@pytest.mark.parametrize("with_reference", [True, False])
def test_a_report_that_accepts_and_one_that_cannot(made: Made, with_reference: bool) -> None:
    """BC-VER-16."""
    report = verify(made.bundle, made.policy, reference=made.model if with_reference else None, at=NOW)
    document = check("report", to_json(report))
    assert document["verdict"] == ("accepted" if with_reference else "indeterminate")


def test_a_report_that_rejects(made: Made, tmp_path: Path) -> None:
    """BC-VER-16."""
    changed = made.copy(tmp_path)
    evidence = changed.bundle / "evidence.safetensors"
    data = bytearray(evidence.read_bytes())
    data[-1] ^= 1
    evidence.write_bytes(data)
    document = check("report", to_json(verify(changed.bundle, made.policy, at=NOW)))
    assert (document["verdict"], document["findings"][-1]["code"]) == ("rejected", "integrity.digest.mismatch")


def test_a_report_on_what_is_no_envelope(made: Made, tmp_path: Path) -> None:
    changed = made.copy(tmp_path)
    (changed.bundle / "statement.dsse.json").write_bytes(b"[]")
    document = check("report", to_json(verify(changed.bundle, made.policy, at=NOW)))
    assert (document["verdict"], document["certificate"]) == ("rejected", None)
