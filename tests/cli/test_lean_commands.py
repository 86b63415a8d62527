"""`blockcert lean export` and `blockcert lean check`, without a build of Lean."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.evidence import columns
from blockcert_producers.cli.run import run
from blockcert_verifier.lean import toolchain
from blockcert_verifier.lean.export import exact_decimal, export_bundle
from blockcert_verifier.lean.toolchain import Tool
from tests.support.bundles import Made, change_statement, make_bundle, rewrite_column


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_cell_is_written_without_rounding(cell: float) -> None:
    text = exact_decimal(cell)
    assert Fraction(text) == Fraction(cell)
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith("0"))
    assert text != "-0"


def test_an_export_is_the_signed_bytes_and_every_cell(made: Made, tmp_path: Path) -> None:
    assert run(["lean", "export", str(made.bundle), "--out", str(tmp_path / "out")]) == 0
    assert run(["lean", "export", str(made.bundle), "--out", str(tmp_path / "again")]) == 0
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    assert (tmp_path / "out" / "statement.json").read_bytes() == payload
    evidence = (tmp_path / "out" / "evidence.json").read_bytes()
    assert (tmp_path / "again" / "evidence.json").read_bytes() == evidence
    table, document = export_bundle(made.bundle).table, json.loads(evidence)
    assert sorted(document["columns"]) == sorted(c.name for c in columns(table.shape))
    for c in columns(table.shape):
        cells = [cell for row in document["columns"][c.name] for cell in row]
        assert [Fraction(cell) for cell in cells] == [Fraction(cell) for cell in table.flat(c.name)]


def test_nothing_is_overwritten(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lean", "export", str(made.bundle), "--out", str(tmp_path)]) == 2
    assert "[output.exists]" in capsys.readouterr().err


def test_evidence_that_was_not_signed_is_not_exported(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = made.copy(tmp_path)
    rewrite_column(changed.bundle / "evidence.safetensors", "final_norm", lambda cells: cells.__imul__(2))
    assert run(["lean", "export", str(changed.bundle), "--out", str(tmp_path / "out")]) == 2
    assert "[integrity.digest.mismatch]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_lean_the_command_says_how_to_get_it(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["lean", "check", str(made.bundle), "--cache", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "[lean.not_found]" in said
    assert "--install" in said


def answering(answer: str) -> Tool:
    """A checker that gives one answer, whatever it is asked."""
    script = f"import sys; print(sys.argv[1] + ': {answer}')"
    return Tool((sys.executable, "-c", script), Path(), "a stand-in")


@pytest.mark.parametrize(
    ("alpha", "answer", "code"),
    [
        (None, "ACCEPT", 0),
        ("2", "REJECT population.alpha", 1),
        (None, "REJECT json.type", 70),
        ("2", "ACCEPT", 70),
        ("2", "REJECT recompute.claim.mismatch", 70),
        (None, "", 2),
    ],
)
def test_both_verdicts_stand_side_by_side(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    alpha: str | None,
    answer: str,
    code: int,
) -> None:
    """A disagreement is neither checker's verdict and is never passed over."""
    bundle = made.bundle
    if alpha is not None:
        changed = made.copy(tmp_path)
        change_statement(changed, lambda s: s["predicate"]["claims"]["population"].update(alpha=alpha))
        bundle = changed.bundle
    found = answering(answer) if answer else Tool((sys.executable, "-c", ""), Path(), "a stand-in")

    def find(*_: object, **__: object) -> Tool:
        return found

    monkeypatch.setattr(toolchain, "find_tool", find)
    assert run(["lean", "check", str(bundle)]) == code
    out, err = capsys.readouterr()
    if code == 2:
        assert "[lean.failed]" in err
    else:
        assert out.splitlines()[0].split()[:2] == ["Python", "REJECT" if alpha else "ACCEPT"]
        assert out.splitlines()[1].split()[:2] == ["Lean", answer.split(maxsplit=1)[0]]
        assert ("differ" in out) == (code == 70)


def test_a_relative_cache_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker runs in another folder than the command."""
    (tmp_path / "cache" / toolchain._build_folder(toolchain.library())).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(tmp_path / "cache") in toolchain.find_tool(Path("cache"), install=False).command
