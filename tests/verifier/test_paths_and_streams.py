"""What a caller gives: paths that name nothing, and files that have no end; and that what it gets can be written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from blockcert import strict_json
from blockcert.appended import check_report
from blockcert.bundle import STATEMENT
from blockcert.errors import Refusal
from blockcert.schema_check import kind_of
from blockcert.statement import Kept
from blockcert.trust import encode_policy
from blockcert_producers.cli.passphrase import passphrase
from blockcert_verifier import to_json, verify
from blockcert_verifier.conformance.messages import Request
from blockcert_verifier.conformance.serve import answer
from tests.support.bundles import NOW, Made, make_bundle

ENDLESS = Path("/dev/zero")
endless = pytest.mark.skipif(not ENDLESS.exists(), reason="there is no file without an end here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def request_(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Request:
    policy = tmp_path_factory.mktemp("policy") / "policy.json"
    policy.write_bytes(encode_policy(made.without_replay))
    nothing = dict.fromkeys(
        ("reference", "tokenizer", "published", "revocations", "revocation_state", "follows", "seed")
    )
    return Request(
        case="a::b",
        bundle=str(made.bundle),
        policy=str(policy),
        corpus=(),
        own=(),
        at="2026-11-23T00:00:00Z",
        replay=1,
        fresh=0,
        all_digests=False,
        prove=0,
        **nothing,  # type: ignore[arg-type]
    )


def test_the_request_is_answered(request_: Request) -> None:
    assert answer(request_).verdict == "accepted"


NOT_THERE = {
    "bundle": "bundle.not_found",
    "policy": "trust.not_found",
    "reference": "reference.not_found",
    "tokenizer": "corpus.not_found",
    "published": "published.unreadable",
    "revocations": "file.missing",
    "revocation_state": "file.missing",
    "follows": "trust.not_found",
    "corpus": "corpus.not_found",
    "own": "corpus.not_found",
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_a_path_with_a_nul_in_it_names_nothing(request_: Request, name: str) -> None:
    path = "/a\0b"
    found = answer(replace(request_, **{name: (path,) if name in ("corpus", "own") else path}))
    assert (found.verdict, found.codes, found.fault) == ("refused", (NOT_THERE[name],), None)


@endless
def test_a_policy_without_an_end(made: Made) -> None:
    with pytest.raises(Refusal) as refused:
        verify(made.bundle, ENDLESS, at=NOW)
    assert refused.value.code == "json.limit"


@endless
def test_a_passphrase_without_an_end() -> None:
    with pytest.raises(Refusal) as refused:
        passphrase(ENDLESS, what="a key")
    assert refused.value.code == "passphrase.file"
    assert "4096 bytes" in refused.value.sentence


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nmore\n"])
def test_a_passphrase_is_the_first_line(tmp_path: Path, end: str) -> None:
    (tmp_path / "words").write_bytes(("words of a key" + end).encode())
    assert passphrase(tmp_path / "words", what="a key") == b"words of a key"


def test_a_report_on_a_path_that_is_no_text_can_be_written(made: Made, tmp_path: Path) -> None:
    """A finding names the path; JSON holds no byte that is not UTF-8."""
    folder = tmp_path / "b\udcff"
    try:
        shutil.copytree(made.bundle, folder)
    except OSError:
        pytest.skip("this file system takes no such name")
    (folder / "link").symlink_to(folder / STATEMENT)
    report = verify(folder, made.without_replay, at=NOW)
    (finding,) = [one for one in report.findings if one.status == "failed"]
    assert finding.code == "bundle.symlink"
    assert finding.place.endswith("b\ufffd: link")
    assert json.loads(to_json(report))["verdict"] == "rejected"


def test_a_report_is_written_whatever_the_claims_of_a_statement_amount_to(made: Made) -> None:
    """4,094 blocks with 16 thresholds of each kind: a statement within its caps, and what a report says beside it."""
    report = verify(made.bundle, made.without_replay, at=NOW)
    assert report.certificate is not None
    assert report.depth is not None
    claims, kept = report.certificate.claims, report.certificate.kept
    many = (7,) * 16
    stages = tuple(replace(claims.stages[1], index=i, covered=many, loss_covered=many) for i in range(4096))
    costs = Kept((kept.reference[1],) * 4096, (kept.surrogate[1],) * 4096)
    certificate = replace(report.certificate, claims=replace(claims, stages=stages), kept=costs)
    depth = tuple(replace(report.depth[1], index=i, loss_covered=many) for i in range(4096))
    data = to_json(replace(report, certificate=certificate, depth=depth))
    assert data.count(b",") > strict_json.DEFAULT.nodes
    assert kind_of(data, "report") == "report"
    check_report(data, "report")
