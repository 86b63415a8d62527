"""The second verifier, written in JavaScript from spec/ and schemas/ alone, agrees on the conformance corpus.

A verdict on which it differs is a fault of the standard, of the corpus or of one of the two verifiers. Codes are what
others SHOULD report (BC-RES-07): where they differ, a table here says why.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from blockcert_producers.cli.run import run
from blockcert_producers.conformance import build
from blockcert_verifier.conformance.index import read_index

VERIFIER = Path(__file__).with_name("verifier.js")

ENCLOSING = "it encloses no rows"
OUT_OF_SCOPE = {
    "proof::honest": ENCLOSING,
    "proof::inside-the-tolerance": ENCLOSING,
    "proof::lost-in-float64": ENCLOSING,
    "enclosure::proven-again": ENCLOSING,
    "enclosure::first-proven-row": ENCLOSING,
    "enclosure::larger-ends": ENCLOSING,
    "enclosure::error-inside-the-tolerance": ENCLOSING,
    "enclosure::relative-error-inside-the-tolerance": ENCLOSING,
    "enclosure::relative-update-error-inside-the-tolerance": ENCLOSING,
    "enclosure::drift-inside-the-tolerance": ENCLOSING,
    "enclosure::relative-drift-inside-the-tolerance": ENCLOSING,
    "enclosure::logit-difference-inside-the-tolerance": ENCLOSING,
    "enclosure::kl-max-inside-the-tolerance": ENCLOSING,
}
OTHER_CODES = {
    "container::policy-a-key": "it knows no key files, so that this one is not JSON",
    "packed::name-not-utf-8": "the order of names is judged before their characters",
    "packed::overlapping": "it goes from header to header and never to a second entry for one",
    "policy::key-small-order-signed": "the spelling of a key is judged before its order",
    "replay::two-false-rows": "it stops at the first row that is refuted",
    "replay::frequencies-of-a-shorter-prompt": "it stops at the first row that is refuted",
    "replay::another-surrogate": "it stops at the first row that is refuted",
    "replay::other-weights": "it stops at the first row that is refuted",
    "bracket::infinite-ratio": "a ratio that is infinite is a row that cannot be measured",
    "resolution::not-refuted": "the cells of a row that is not resolved are not compared",
    "replay::evidence-of-a-better-copy": "it stops at the first row that is refuted",
}


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"Node is {said.strip()}, and the second verifier is written for 20")
    return found


@pytest.fixture(scope="module")
def results(node: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the runner found of each case whose files this machine could make, by the case's id."""
    folder = tmp_path_factory.mktemp("second")
    corpus, scores = folder / "corpus", folder / "scores.json"
    build(corpus)
    command = shlex.join([node, str(VERIFIER)])
    run(["conformance", "run", "--corpus", str(corpus), "--implementation", command, "--json", str(scores)])
    unbuilt = {case.id for case in read_index(corpus).cases if case.unbuilt is not None}
    found: list[dict[str, Any]] = json.loads(scores.read_bytes())["results"]
    return {result["id"]: result for result in found if result["id"] not in unbuilt}


def test_every_verdict_is_the_same(results: dict[str, dict[str, Any]]) -> None:
    """BC-CNF-03, BC-CNF-05."""
    failed = [one for one in results.values() if one["status"] == "failed"]
    assert [(one["id"], one["expected"], one["got"], one["codes"], one["why"]) for one in failed] == []


def test_it_skips_what_it_says_and_nothing_else(results: dict[str, dict[str, Any]]) -> None:
    """BC-CNF-12."""
    assert {name for name, one in results.items() if one["status"] == "skipped"} == set(OUT_OF_SCOPE)


def test_codes_differ_where_it_is_known_why(results: dict[str, dict[str, Any]]) -> None:
    """BC-RES-07; a case that is not in the corpus of this machine excuses nothing."""
    assert {name for name, one in results.items() if one["other_codes"]} == set(OTHER_CODES) & set(results)
