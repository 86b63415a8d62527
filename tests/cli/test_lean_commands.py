"""`blockcert lean export` and `blockcert lean check`, without a build of Lean."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.evidence import columns
from blockcert.safetensors_file import read_header_bytes, write
from blockcert_producers.cli.run import run
from blockcert_verifier import terminal
from blockcert_verifier.lean import export, toolchain
from blockcert_verifier.lean.export import encode_export, exact_decimal, export_bundle, export_values
from blockcert_verifier.lean.toolchain import Tool
from tests.support.bundles import Made, change_statement, make_bundle, reseal, rewrite_column


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


EVIDENCE = "evidence.safetensors"


def altered(made: Made) -> str:
    """One bit of one cell, which only the file's digest shows."""
    file = made.bundle / EVIDENCE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    return "integrity.digest.mismatch"


def without_a_column(made: Made) -> str:
    """The digests are right again, and signed."""
    data = (made.bundle / EVIDENCE).read_bytes()
    kept = {name: one for name, one in read_header_bytes(data, EVIDENCE).items() if name != "kl_max"}
    columns = {name: (one.dtype, tuple(one.shape), data[one.begin : one.end]) for name, one in kept.items()}
    write(made.bundle / EVIDENCE, columns)
    reseal(made)
    return "evidence.columns"


def without_evidence(made: Made) -> str:
    (made.bundle / EVIDENCE).unlink()
    return "bundle.file_missing"


def without_a_program(made: Made) -> str:
    (made.bundle / "programs" / "surrogate.json").write_bytes(b"{}")
    reseal(made)
    return "json.type"


TAMPERED = [altered, without_a_column, without_evidence, without_a_program]


@pytest.mark.parametrize("change", TAMPERED)
def test_what_python_cannot_read_is_refused_and_lean_is_not_asked(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Made], str],
) -> None:
    """Nobody's checker is blamed for a bundle that was tampered with; a build of Lean is not even needed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    copy = made.copy(tmp_path)
    code = change(copy)
    assert run(["lean", "check", str(copy.bundle), "--cache", str(tmp_path)]) == 1
    first, place, last = capsys.readouterr().out.splitlines()
    assert first.split() == ["Python", "REJECT", code]
    assert place.partition(":")[0]
    assert last == "Lean was not asked: its evidence cannot be read."


def test_an_export_has_as_many_values_as_were_foreseen(made: Made) -> None:
    """BC-NUM-11 counts commas and opening brackets outside strings, and one."""
    found = export_bundle(made.bundle)
    text = re.sub(rb'"[^"]*"', b"", found.evidence)
    assert export_values(found.table.shape, 2) == 1 + sum(text.count(one) for one in (b",", b"[", b"{"))
    one_file = encode_export(found.table, found.same, None)
    text = re.sub(rb'"[^"]*"', b"", one_file)
    assert export_values(found.table.shape, 0) == 1 + sum(text.count(one) for one in (b",", b"[", b"{"))


def test_lean_reads_as_many_values_as_are_exported() -> None:
    source = (toolchain.library() / "BlockCert" / "Json.lean").read_text(encoding="utf-8")
    caps = re.search(r"def exportCaps : Caps := \{ values := (\d+),", source)
    assert caps is not None
    assert int(caps[1]) == export.MOST_VALUES


@pytest.mark.parametrize("words", [["check"], ["export", "--out", "out"]])
def test_more_evidence_than_lean_reads_is_no_verdict(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    values = export_values(export_bundle(made.bundle).table.shape, 2)
    monkeypatch.setattr(export, "MOST_VALUES", values)
    export_bundle(made.bundle)
    monkeypatch.setattr(export, "MOST_VALUES", values - 1)
    assert run(["lean", *words[:1], str(made.bundle), *words[1:]]) == 2
    out, err = capsys.readouterr()
    assert "[lean.limit]" in err
    assert out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [[], ["--with", "wasm"], ["--with", "lake"]])
def test_without_lean_the_command_says_how_to_get_it(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ELAN_HOME", str(tmp_path))
    assert run(["lean", "check", str(made.bundle), "--cache", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert "[lean.not_found]" in said
    assert ("elan toolchain install leanprover/lean4:v" if "lake" in words else "--install") in said


def answering(answer: str) -> Tool:
    """A checker that gives one answer, whatever it is asked."""
    script = f"import sys; print(sys.argv[1] + ': {answer}')"
    return Tool((sys.executable, "-c", script), Path(), "a stand-in")


SILENT = Tool((sys.executable, "-c", ""), Path(), "one that says nothing")


def use(monkeypatch: pytest.MonkeyPatch, *tools: Tool) -> None:
    def find(*_: object, **__: object) -> list[Tool]:
        return list(tools)

    monkeypatch.setattr(toolchain, "find_tools", find)


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
    use(monkeypatch, answering(answer) if answer else SILENT)
    assert run(["lean", "check", str(bundle)]) == code
    out, err = capsys.readouterr()
    if code == 2:
        assert "[lean.failed]" in err
    else:
        assert out.splitlines()[0].split()[:2] == ["Python", "REJECT" if alpha else "ACCEPT"]
        assert out.splitlines()[1].split()[:2] == ["Lean", answer.split(maxsplit=1)[0]]
        assert ("differ" in out) == (code == 70)


def test_where_one_build_fails_the_next_is_asked(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, SILENT, answering("ACCEPT"))
    assert run(["lean", "check", str(made.bundle)]) == 0
    out, err = capsys.readouterr()
    assert "one that says nothing" in err
    assert "trying a stand-in" in err
    assert "Lean ran as a stand-in." in out


# --- limits -----------------------------------------------------------------------------------------------------

ENDLESS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open({file!r}, "w") as file:
    file.write(str(child.pid))
held = b"x" * 200_000_000 if {held} else b""
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are found and ended by their session")
@pytest.mark.parametrize(("limit", "code"), [("seconds=3", "limit.seconds"), ("memory=100000000", "limit.memory")])
def test_a_limit_ends_every_process_of_the_checker(
    made: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: str,
    code: str,
) -> None:
    script = ENDLESS.format(held=code == "limit.memory", file=str(tmp_path / "pid"))
    use(monkeypatch, Tool((sys.executable, "-c", script), Path(), "an endless one"), answering("ACCEPT"))
    assert run(["lean", "check", str(made.bundle), "--limit", limit]) == 2
    out, err = capsys.readouterr()
    assert f"[{code}]" in err
    assert out == ""
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not _running(pid):
            return
        time.sleep(0.1)
    pytest.fail("a process of the checker is still running")


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("limit", ["depth=3", "seconds", "seconds=0", "memory=-1"])
def test_other_limits_are_none(made: Made, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    assert run(["lean", "check", str(made.bundle), "--limit", limit]) == 2
    assert "[usage.limit]" in capsys.readouterr().err


def test_a_checker_that_takes_a_while_is_announced(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody watches, one line after five seconds; here after none."""
    monkeypatch.setattr(terminal, "_WORTH_SAYING", 0.0)
    slow = "import sys, time; time.sleep(0.6); print(sys.argv[1] + ': ACCEPT')"
    use(monkeypatch, Tool((sys.executable, "-c", slow), Path(), "a slow one"))
    assert run(["lean", "check", str(made.bundle)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("blockcert: Lean judges ")
    assert line.endswith("as a slow one")


# --- where Lean is ----------------------------------------------------------------------------------------------


def toolchain_in(folder: Path, *, whole: bool = True) -> Path:
    """The files by which an installed toolchain is known; its lake answers nothing."""
    for name in ("bin/lake", "bin/lean", "lib/lean/Init.olean"):
        if name == "bin/lake" or whole:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    return folder / "bin" / "lake"


@pytest.mark.skipif(sys.platform == "win32", reason="an executable's name ends differently there")
def test_only_a_toolchain_that_is_installed_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """elan's `lake` is elan, which would fetch the toolchain: it is never called."""
    shim = toolchain_in(tmp_path / "elan", whole=False)
    (tmp_path / "elan" / "bin" / "lean").write_text("")
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("ELAN_HOME", str(tmp_path / "elan"))
    with pytest.raises(Refusal) as refused:
        toolchain.find_tools([tmp_path], install=False)
    assert refused.value.code == "lean.not_found"

    toolchain_in(tmp_path / "elan" / "toolchains" / "leanprover--lean4---v4.0.0")
    with pytest.raises(Refusal):
        toolchain.find_tools([tmp_path], install=False)

    pinned = (toolchain.library() / "lean-toolchain").read_text(encoding="utf-8").strip()
    kept = toolchain_in(tmp_path / "elan" / "toolchains" / pinned.replace("/", "--").replace(":", "---"))
    (tool,) = toolchain.find_tools([tmp_path], install=False)
    assert tool.command == (str(kept), "exe", "blockcert-check")
    assert tool.variables is not None
    assert "ELAN_HOME" not in tool.variables

    first, second = toolchain.find_tools([tmp_path], install=True)
    assert (first.command, "--judge" in second.command) == (tool.command, True)
    (only,) = toolchain.find_tools([tmp_path], install=True, wanted="wasm")
    assert only == second


@pytest.mark.skipif(sys.platform == "win32", reason="an executable's name ends differently there")
def test_a_toolchain_on_the_path_is_found_through_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = toolchain_in(tmp_path / "lean-4")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lake").symlink_to(lake)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("ELAN_HOME", str(tmp_path / "none"))
    (tool,) = toolchain.find_tools([tmp_path], install=False, wanted="lake")
    assert tool.command[0] == str(lake)


@pytest.mark.skipif(sys.platform == "win32", reason="an executable's name ends differently there")
def test_lake_builds_a_copy_in_the_cache(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package may be read-only, and is nothing to build in."""
    lake = toolchain_in(tmp_path / "lean-4")
    lake.write_text(
        f"#!{sys.executable}\nimport os, sys\nopen('built', 'w').write(os.getcwd())\n"
        "assert sys.argv[1:3] == ['exe', 'blockcert-check']\nprint(sys.argv[3] + ': ACCEPT')\n"
    )
    monkeypatch.setenv("PATH", str(lake.parent))
    monkeypatch.setenv("ELAN_HOME", str(tmp_path / "none"))
    for _ in range(2):
        assert run(["lean", "check", str(made.bundle), "--cache", str(tmp_path / "cache")]) == 0
    (folder,) = (tmp_path / "cache").iterdir()
    assert (folder / "built").read_text() == str(folder)
    sources = toolchain.library()
    for name in ("lakefile.toml", "lean-toolchain", "BlockCert.lean", "BlockCert/Checker.lean"):
        assert (folder / name).read_bytes() == (sources / name).read_bytes()
    assert not (sources / "built").exists()


def test_a_relative_cache_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker runs in another folder than the command."""
    (tmp_path / "cache" / toolchain._build_folder(toolchain.library())).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tool,) = toolchain.find_tools([Path("cache")], install=False, wanted="wasm")
    assert str(tmp_path / "cache") in tool.command


def test_in_a_checkout_what_make_lean_fetched_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = toolchain.caches()
    assert first == tmp_path / "blockcert" / "lean"
    assert second == Path(__file__).resolve().parents[2] / "build" / "lean"
    monkeypatch.setattr(toolchain, "library", lambda: tmp_path)
    assert toolchain.caches() == [first]


def test_the_cache_that_has_the_build_is_used(tmp_path: Path) -> None:
    (tmp_path / "second" / toolchain._build_folder(toolchain.library())).mkdir(parents=True)
    places = [tmp_path / "first", tmp_path / "second"]
    for install in (False, True):
        (tool,) = toolchain.find_tools(places, install=install, wanted="wasm")
        assert str(tmp_path / "second") in tool.command
