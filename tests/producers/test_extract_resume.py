"""An extraction that is killed goes on where it was: the same bytes as an undisturbed one, but for the times."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.program import Constant, Stage, TensorRef
from blockcert.statement import Cost
from blockcert_producers import embedded
from blockcert_producers.cli.run import run
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract.front import BlockSummary, Chosen
from blockcert_producers.work_folder import WorkFolder

COUNTS = ("--count", "6", "--calibration", "12", "--attribution", "2", "--length", "32")
SECONDS = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(generate(5, 20_000), encoding="utf-8")
    (tmp_path / "other.txt").write_text(generate(6, 4_000)[::-1], encoding="utf-8")
    return tmp_path


def words(folder: Path, out: str, *more: str) -> list[str]:
    texts = ("--prompts", str(folder / "text.txt"), "--out", str(folder / out))
    return ["extract", str(embedded.path("gpt2")), *texts, *COUNTS, *more]


def start(folder: Path, out: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "blockcert_producers.cli", *words(folder, out, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(folder: Path, out: str, *more: str) -> None:
    assert run(words(folder, out, *more)) == 0


def kill_once_there(folder: Path, out: str, found: str, *more: str) -> None:
    """Start, and kill without warning as soon as something of that name is in the work folder."""
    process = start(folder, out, *more)
    deadline = time.monotonic() + SECONDS
    while not list(folder.glob(f".{out}.work/*/{found}")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / out).exists()


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name; of a statement all but its times."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == STATEMENT:
            statement = json.loads(parse_envelope(data, STATEMENT).payload)
            del statement["predicate"]["issued_at"], statement["predicate"]["not_after"]
            data = json.dumps(statement).encode()
        found[str(path.relative_to(folder))] = data
    return found


def test_killed_after_a_block_it_gives_the_same_bundle(folder: Path) -> None:
    finish(folder, "undisturbed")
    kill_once_there(folder, "killed", "blocks/2")
    (work,) = folder.glob(".killed.work/*")
    before = (work / "blocks" / "1" / "chosen.json").stat().st_mtime_ns
    kill_once_there(folder, "killed", "blocks/3")
    # the first block was not made again
    assert (work / "blocks" / "1" / "chosen.json").stat().st_mtime_ns == before
    finish(folder, "killed")
    assert content(folder / "killed") == content(folder / "undisturbed")
    assert sorted(path.name for path in folder.iterdir()) == ["killed", "other.txt", "text.txt", "undisturbed"]


@pytest.mark.slow
def test_killed_in_the_middle_of_a_polish_it_gives_the_same_bundle(folder: Path) -> None:
    more = ("--polish", "12", "--budget", "0.1", "--calibration", "8", "--length", "16", "--attribution", "0")
    finish(folder, "undisturbed", *more)
    kill_once_there(folder, "killed", "blocks/2", *more)
    (work,) = folder.glob(".killed.work/*")
    assert any(b"polished" in (work / "blocks" / number / "chosen.json").read_bytes() for number in ("1", "2"))
    finish(folder, "killed", *more)
    assert content(folder / "killed") == content(folder / "undisturbed")


@pytest.mark.slow
def test_killed_between_bundles_it_gives_the_same_front(folder: Path) -> None:
    more = ("--budgets", "lossless,0.05", "--shift", str(folder / "other.txt"))
    finish(folder, "undisturbed", *more)
    kill_once_there(folder, "killed", "result/lossless/statement.dsse.json", *more)
    finish(folder, "killed", *more)
    names = content(folder / "undisturbed")
    assert {"front.json", "front.svg", "0.05.shift.json", "lossless.shift.json"} <= set(names)
    assert content(folder / "killed") == names


def test_another_request_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, other = (WorkFolder(tmp_path / "out", key) for key in (b"one", b"other"))
    assert one.folder != other.folder
    assert one.folder == WorkFolder(tmp_path / "out", b"one").folder
    assert one.folder != WorkFolder(tmp_path / "elsewhere", b"one").folder


CHOSEN = Chosen(
    Stage("block", (Constant("x", TensorRef("programs/surrogate.safetensors", "x")),), "x"),
    {"x": ("F32", (2,), b"\0\0\x80?\0\0\0@")},
    BlockSummary(1, "words", 0.1, 1e-300, Cost(3, 4, 5), Cost(1, 2, 3)),
)


def test_a_kept_block_comes_back_whole(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    nothing = msgspec.structs.replace(CHOSEN, tensors={})
    assert work.load(1) is None
    work.keep(1, (CHOSEN, nothing))
    assert WorkFolder(tmp_path / "out", b"key").load(1) == (CHOSEN, nothing)
    assert work.load(2) is None


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "tensors cut short": ("0", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "a byte of the tensors changed": ("0", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"A")),
    "tensors gone": ("0", Path.unlink),
    "the record cut short": ("chosen.json", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "the record gone": ("chosen.json", Path.unlink),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_block_is_made_again(tmp_path: Path, case: str) -> None:
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    work.keep(1, (CHOSEN,))
    name, damage = DAMAGE[case]
    damage(work.folder / "blocks" / "1" / name)
    assert work.load(1) is None
    work.keep(1, (CHOSEN,))
    assert work.load(1) == (CHOSEN,)


def test_an_output_that_stands_is_never_replaced(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    (tmp_path / "out").write_text("mine")
    for refused in (work.prepare, lambda: work.finish(work.result)):
        with pytest.raises(Refusal) as found:
            refused()
        assert found.value.code == "output.exists"
    assert (tmp_path / "out").read_text() == "mine"


def test_what_a_refused_request_kept_is_removed(tmp_path: Path) -> None:
    one, other = (WorkFolder(tmp_path / "out", key) for key in (b"one", b"other"))
    one.prepare()
    other.prepare()
    one.keep(1, (CHOSEN,))
    other.keep(1, (CHOSEN,))
    one.discard()
    assert one.load(1) is None
    assert other.load(1) == (CHOSEN,)
    other.discard()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_half_done_is_removed(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    work.keep(1, (CHOSEN,))
    half = [work.folder / "blocks" / "2.partial-0a1b2c3d", work.result / ".lossless.partial-0a1b2c3d"]
    for folder in half:
        folder.mkdir()
        (folder / "chosen.json").write_text("[")
    (work.result / "approximate").mkdir()
    work.prepare()
    assert not any(folder.exists() for folder in half)
    assert (work.result / "approximate").exists()
    assert work.load(1) == (CHOSEN,)
