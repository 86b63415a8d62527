"""The command in a process of its own: whatever becomes of its streams, its disk and its time, the exit code stays
what it is documented to be, nothing is half written, and nobody sees a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from blockcert.trust import encode_policy
from tests.support.bundles import Made, make_bundle

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the devices and limits of Linux")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make_bundle(tmp_path_factory.mktemp("made"))
    (made.bundle.parent / "trust.json").write_bytes(encode_policy(made.without_replay))
    return made


def command(made: Made, words: Sequence[str], shell: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """What ``blockcert`` gives with its streams, limits and environment as ``shell`` has them, around ``"$@"``."""
    ours = [sys.executable, "-m", "blockcert_producers.cli", *words]
    return subprocess.run(
        ["bash", "-c", shell, "bash", *ours],
        cwd=made.bundle.parent,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


VERIFY = ("verify", "bundle", "--trust", "trust.json", "--at", "2026-11-23T00:00:00Z")
SHOW = ("trust", "show", "trust.json")
CASES: dict[str, tuple[Sequence[str], str, int, str]] = {
    "a reader that has seen enough": (SHOW, 'set -o pipefail; "$@" | head -0', 0, ""),
    "a reader of help that is gone": (("--help",), 'set -o pipefail; "$@" | true', 0, ""),
    "standard output closed": (VERIFY, '"$@" >&-', 0, ""),
    "every stream closed": (VERIFY, '"$@" <&- >&- 2>&-', 0, ""),
    "standard output full": (VERIFY, '"$@" >/dev/full', 2, "standard output: it cannot be written: No space left"),
    "help onto a full disk": (("--help",), '"$@" >/dev/full', 2, "[output.unwritable]"),
    "standard error closed": (("nosuch",), '"$@" 2>&-', 2, ""),
    "standard error full": (("verify", "nowhere", "--trust", "trust.json"), '"$@" 2>/dev/full', 2, ""),
    "an encoding that has no such letter": (
        ("verify", "schön", "--trust", "trust.json"),
        'PYTHONIOENCODING=ascii "$@"',
        2,
        "sch\\xf6n: There is no such folder or file",
    ),
    "a seed that is not UTF-8": ((*VERIFY, "--seed"), '"$@" $(printf "a\\377")', 2, "[usage.text]"),
    "a path of five thousand letters": (
        ("verify", "bundle", "--trust", "trust.json", "--reference", "a" * 5000),
        '"$@"',
        2,
        "this path cannot be used: File name too long; --reference names",
    ),
    "no home, no terminal, no width": (VERIFY, 'env -u HOME -u TERM COLUMNS=x "$@"', 0, ""),
    "no room for temporary files": (
        ("conformance", "run", "--only", "number::nan"),
        'ulimit -f 0; "$@" 2>&1 | cat >&2; exit ${PIPESTATUS[0]}',
        2,
        "TMPDIR",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_exit_code_stays_what_it_is(case: str, made: Made) -> None:
    """BC-RES-06."""
    words, shell, code, said = CASES[case]
    done = command(made, words, shell)
    assert (done.returncode, done.stderr.count("Traceback")) == (code, 0), done.stderr
    assert said in done.stderr
    assert "internal fault" not in done.stderr


FULL: dict[str, Sequence[str]] = {
    "a policy": ("trust", "new", "--producer", "signer.pub", "--out", "new"),
    "a key": ("keygen", "new"),
    "a list": ("revoke", "--out", "new", "--key", "signer.key"),
    "a report": (*VERIFY, "--json", "new"),
    "what Lean reads": ("lean", "export", "bundle", "--out", "new"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_leaves_nothing_half_written(what: str, made: Made) -> None:
    folder = made.bundle.parent
    if not (folder / "signer.key").exists():
        assert command(made, ("keygen", "signer"), 'BLOCKCERT_PASSPHRASE=x "$@"').returncode == 0
    before = sorted(folder.rglob("*"))
    shell = 'export BLOCKCERT_PASSPHRASE=x; ulimit -f 0; "$@" 2>&1 | cat >&2; exit ${PIPESTATUS[0]}'
    done = command(made, FULL[what], shell)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("unwritable]")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_ended_is_an_interruption(number: signal.Signals, made: Made, tmp_path: Path) -> None:
    """While a signer is waited for: nothing is written, and what is left says why."""
    words = ["revoke", "--out", "list", "--public", "signer.pub", "--signer", "sh -c 'touch begun; exec sleep 60'"]
    if not (made.bundle.parent / "signer.key").exists():
        assert command(made, ("keygen", "signer"), 'BLOCKCERT_PASSPHRASE=x "$@"').returncode == 0
    (tmp_path / "signer.pub").write_bytes((made.bundle.parent / "signer.pub").read_bytes())
    # where the tests run in the background of a shell, interruptions are ignored, and children inherit that
    ours = signal.signal(number, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-m", "blockcert_producers.cli", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    signal.signal(number, ours)
    try:
        while not (tmp_path / "begun").exists() and process.poll() is None:
            signal.sigtimedwait([], 0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said == "blockcert: interrupted\n"
    assert not (tmp_path / "list").exists()
