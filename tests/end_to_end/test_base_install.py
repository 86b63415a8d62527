"""What a third party has: the wheel without extras, no torch, no transformers, no network."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from blockcert_producers import embedded
from blockcert_producers.demo import GUARD
from blockcert_producers.produce import Job, compare_bundle
from tests.support.certificates import NOW, corpus_for, rounded_copy, sign_and_trust

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def base_python() -> Path:
    """The Python of an environment into which the wheel was installed without extras; built where it is stale."""
    subprocess.run(["make", "--silent", "build/base-env/.ready"], cwd=ROOT, check=True, capture_output=True)
    return ROOT / "build" / "base-env" / "bin" / "python"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Bundle, trust policy and reference model of a bfloat16 copy of the embedded GPT-2."""
    folder = tmp_path_factory.mktemp("certificate")
    model = embedded.path("gpt2")
    copy = rounded_copy(model, folder / "copy", "bfloat16")
    job = Job((corpus_for(model, folder),), folder / "bundle", count=20, calibration=0, attribution=5)
    compare_bundle(model, copy, job, now=NOW)
    return job.out, sign_and_trust(job.out, folder / "trust.json"), model


def guarded(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-c", GUARD, *words], capture_output=True, text=True, check=False)


def test_the_environment_is_the_base_install(base_python: Path) -> None:
    code = "import importlib.util as u; print([m for m in ('torch', 'transformers', 'tokenizers') if u.find_spec(m)])"
    found = subprocess.run([base_python, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_guard_really_blocks_the_network(base_python: Path) -> None:
    attempt = GUARD.replace(
        "from blockcert_producers.cli import main\nmain()", "import socket\nsocket.create_connection(('127.0.0.1', 9))"
    )
    assert "create_connection" in attempt
    found = subprocess.run([base_python, "-c", attempt], capture_output=True, text=True, check=False)
    assert "the demonstration blocks the network" in found.stderr


def test_every_row_replays_without_torch_or_network(
    base_python: Path, certificate: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    bundle, trust, model = certificate
    out = tmp_path / "report.json"
    words = ("--trust", str(trust), "--reference", str(model), "--replay", "all", "--at", "2026-11-22T12:00:00Z")
    found = guarded(base_python, "verify", str(bundle), *words, "--json", str(out))
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.startswith("ACCEPTED")
    report = json.loads(out.read_bytes())
    assert report["verdict"] == "accepted"


def test_the_conformance_corpus_is_built_and_run(base_python: Path, tmp_path: Path) -> None:
    out = tmp_path / "score.json"
    words = ("conformance", "run", "--codes", "--only", "[rfw][era]*::*", "--json", str(out))
    found = guarded(base_python, *words)
    assert found.returncode == 0, found.stdout + found.stderr
    results = json.loads(out.read_bytes())["results"]
    assert {result["id"].partition("::")[0] for result in results} >= {"replay", "fresh", "frame"}
    assert {result["status"] for result in results} == {"passed", "skipped"}
    assert all("blockcert[corpus]" in result["why"] for result in results if result["status"] == "skipped")


def test_producer_commands_say_what_to_install(base_python: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words to draw from\n")
    words = ("extract", str(embedded.path("gpt2")), "--prompts", str(text), "--out", str(tmp_path / "bundle"))
    found = subprocess.run(
        [base_python, "-c", "from blockcert_producers.cli import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert "pip install 'blockcert[produce]'" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "bundle").exists()
