"""Counts in sentences: what is said of one row is not said in the plural."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blockcert_verifier import Report, render, verify
from blockcert_verifier.counted import all_rows, counted, verb
from tests.support.bundles import NOW, Draws, Made, make_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def said(report: Report) -> str:
    return " ".join(render(report).split())


def test_one_and_several() -> None:
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert [all_rows(n) for n in (1, 2)] == ["the one row", "all 2 rows"]
    assert [verb(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


def test_a_replay_of_one_row(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=1, prove_stages=1)
    assert "and 1 of 6 rows was measured again and agrees" in report.sentence
    text = said(report)
    assert "each stage alone, at points of 1 row" in text
    assert "1 of 6 rows agrees" in text
    assert not re.findall(r"(?<![\w.,])1 (?:rows|prompts)\b(?! was)", text)
    (found,) = [one for one in report.findings if one.code == "replay.rows"]
    assert found.message == "1 of 6 rows was measured again, and every cell agrees"


def test_a_certificate_of_one_row(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, draws=Draws(certification=1))
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay="all")
    assert "and the one row was measured again and agrees" in report.sentence
    text = said(report)
    assert "The one row was measured again: it is not false" in text
    assert not re.findall(r"(?<![\w.,])1 (?:rows|prompts)\b(?! was)", text)
