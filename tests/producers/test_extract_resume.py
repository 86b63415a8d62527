"""An extraction that is killed goes on where it was: the same bytes as an undisturbed one, but for the times."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from blockcert.bundle import STATEMENT
from blockcert.digest import blake3_bytes
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.program import Constant, Stage, TensorRef
from blockcert.statement import Cost
from blockcert_producers import bundling, embedded, output_lock
from blockcert_producers.cli.run import run
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract.budget import Aim, parse_budget
from blockcert_producers.extract.front import BlockSummary, Chosen
from blockcert_producers.extraction import Extracting
from blockcert_producers.output_lock import OutputLock
from blockcert_producers.produce import FrontProduced, Job, Produced, extract_bundle, extract_front
from blockcert_producers.work_folder import WorkFolder
from tests.support.certificates import NOW
from tests.support.checkpoints import make_checkpoint
from tests.support.corpora import save_tokenizer, save_windows

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
    (work,) = (blocks.parent for blocks in folder.glob(".killed.work/*/blocks"))
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
    (work,) = (blocks.parent for blocks in folder.glob(".killed.work/*/blocks"))
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
    (work.result / "seal").write_text("")
    for refused in (work.prepare, lambda: work.finish(work.result, "seal")):
        with pytest.raises(Refusal) as found:
            refused()
        assert found.value.code == "output.exists"
    assert (tmp_path / "out").read_text() == "mine"


def test_what_a_refused_request_kept_is_removed(tmp_path: Path) -> None:
    one, other = (WorkFolder(tmp_path / "out", key) for key in (b"one", b"other"))
    one.prepare()
    one.keep(1, (CHOSEN,))
    one.release()
    other.prepare()
    other.keep(1, (CHOSEN,))
    other.release()
    one.prepare()
    one.discard()
    assert one.load(1) is None
    assert other.load(1) == (CHOSEN,)
    other.prepare()
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


# --- several runs at once ---------------------------------------------------------------------------------------


def test_a_second_run_for_an_output_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    one = WorkFolder(tmp_path / "out", b"key")
    one.prepare()
    half = one.result / ".lossless.partial-0a1b2c3d"
    half.mkdir()
    for key in (b"key", b"another request"):
        with pytest.raises(Refusal) as found:
            WorkFolder(tmp_path / "out", key).prepare()
        assert (found.value.code, found.value.place) == ("output.busy", str(tmp_path / "out"))
    assert half.exists()
    WorkFolder(tmp_path / "elsewhere", b"key").prepare()
    one.prepare()  # its own lock is no other's
    one.release()
    other = WorkFolder(tmp_path / "out", b"key")
    other.prepare()
    assert not half.exists()


HOLDER = """
import sys, time
from pathlib import Path
from blockcert_producers.output_lock import OutputLock
from blockcert_producers.produce import FrontProduced, Job, Produced, extract_bundle, extract_front
from blockcert_producers.work_folder import WorkFolder
from tests.support.certificates import NOW
from tests.support.checkpoints import make_checkpoint
from tests.support.corpora import save_tokenizer, save_windows
work = WorkFolder(Path(sys.argv[1]), b"key")
work.prepare()
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Refusal) as found:
            WorkFolder(tmp_path / "out", b"key").prepare()
        assert found.value.code == "output.busy"
        process.kill()
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    work.discard()
    assert not list(tmp_path.iterdir())


def test_a_lock_on_a_file_that_the_run_before_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder goes while a second run has opened its file and not locked it yet."""
    folder = tmp_path / ".out.work"
    first, second, third = (OutputLock(tmp_path / "out", folder) for _ in range(3))
    first.take()
    lock = output_lock.fcntl.flock  # type: ignore[union-attr]

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(output_lock.fcntl, "flock", lock)
        shutil.rmtree(folder)
        first.release()
        lock(descriptor, how)

    monkeypatch.setattr(output_lock.fcntl, "flock", late)
    second.take()
    with pytest.raises(Refusal) as found:
        third.take()
    assert found.value.code == "output.busy"
    second.release()
    assert not folder.exists()


@pytest.mark.parametrize("missing", [True, False])
def test_without_locks_nothing_is_locked(missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    if missing:
        monkeypatch.setattr(output_lock, "fcntl", None)
    else:
        monkeypatch.setattr(output_lock.fcntl, "flock", unsupported)
    one, other = (WorkFolder(tmp_path / "out", b"key") for _ in range(2))
    one.prepare()
    other.prepare()
    one.discard()
    other.release()
    assert not list(tmp_path.iterdir())


# --- stopped while it ends, and what is said ----------------------------------------------------------------------


class Killed(BaseException):
    """A process that is gone at this point: nothing after it runs but what the system does."""


VOCABULARY, LENGTH = 29, 12


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with a random model of four blocks, and texts of two populations."""
    model = make_checkpoint(tmp_path / "model", "gpt2", n_layer=4)
    save_tokenizer(model / "tokenizer.json", VOCABULARY)
    for seed, name in enumerate(("text.txt", "other.txt")):
        windows = np.random.default_rng(seed).integers(0, VOCABULARY, size=(20, LENGTH)).tolist()
        save_windows(tmp_path / name, windows)
    return tmp_path


def made(folder: Path, out: str, **options: Any) -> Produced:
    job = Job((folder / "text.txt",), folder / out, count=3, calibration=6, length=LENGTH, attribution=0)
    more = {"budget": "0.2", "shift": (folder / "other.txt",), "now": NOW, **options}
    return extract_bundle(folder / "model", job, **more)


def killed_at(monkeypatch: pytest.MonkeyPatch, what: str, call: Callable[[], object]) -> None:
    with monkeypatch.context() as patch:

        def stop(*_: object, **__: object) -> None:
            raise Killed

        patch.setattr(WorkFolder, what, stop)
        with pytest.raises(Killed):
            call()


def test_killed_while_it_moves_its_result_a_run_ends_that_move(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny
    whole = made(folder, "whole")
    names = {"model", "other.txt", "text.txt", "whole", "whole.shift.json", "out", "out.shift.json"}
    # the bundle stands, what was to stand beside it does not
    killed_at(monkeypatch, "complete", lambda: made(folder, "out"))
    assert (folder / "out").is_dir()
    assert not (folder / "out.shift.json").exists()
    said: list[str] = []
    again = made(folder, "out", notice=said.append)
    assert {path.name for path in folder.iterdir()} == names
    assert (folder / "out.shift.json").read_bytes() == (folder / "whole.shift.json").read_bytes()
    assert content(folder / "out") == content(folder / "whole")
    assert (again.notes, again.shift, again.out) == (whole.notes, whole.shift, folder / "out")
    assert "was finished by an earlier run of this command" in said[0]
    with pytest.raises(Refusal) as found:
        made(folder, "out")
    assert found.value.code == "output.exists"


def test_what_was_missed_is_said_by_the_run_that_ends_it_too(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # one prompt to fit to, and none held out: what is certified falls short
    job = Job((tiny / "text.txt",), tiny / "out", count=8, calibration=1, length=LENGTH, attribution=0)
    whole = extract_bundle(tiny / "model", msgspec.structs.replace(job, out=tiny / "whole"), budget="0.02", now=NOW)
    assert whole.missed is not None
    killed_at(monkeypatch, "complete", lambda: extract_bundle(tiny / "model", job, budget="0.02", now=NOW))
    assert extract_bundle(tiny / "model", job, budget="0.02", now=NOW).missed == whole.missed
    job = msgspec.structs.replace(job, out=tiny / "front")
    killed_at(monkeypatch, "complete", lambda: extract_front(tiny / "model", job, budgets="0.02", now=NOW))
    again = extract_front(tiny / "model", job, budgets="0.02", now=NOW)
    assert [one.missed for one in again.bundles] == [whole.missed]


def test_a_changed_configuration_is_another_request(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement names the digest of config.json, which the program does not."""
    job = Job((tiny / "text.txt",), tiny / "out", count=2, calibration=4, length=LENGTH, attribution=0)

    def front() -> FrontProduced:
        return extract_front(tiny / "model", job, budgets="0.2,0.4", now=NOW)

    killed_at(monkeypatch, "finish", front)
    config = tiny / "model" / "config.json"
    config.write_text(config.read_text().replace("{", '{"_name_or_path": "elsewhere",', 1))
    digests = [
        {subject.name: subject.digest.blake3 for subject in one.statement.subject}["reference/config.json"]
        for one in front().bundles
    ]
    assert digests == [blake3_bytes(config.read_bytes())] * 2


CHANGED: dict[str, dict[str, Any]] = {
    "prompts to certify": {"count": 3},
    "prompts to calibrate": {"calibration": 5},
    "length": {"length": LENGTH - 1},
    "seed": {"seed": 1},
    "device": {"device": "torch"},
    "attribution": {"attribution": 1},
    "proofs": {"prove": 1},
    "a second text": {"prompts": ("text.txt", "other.txt")},
}


def test_what_changes_the_result_is_another_request_and_a_limit_is_not(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "require_flint", lambda: None)
    monkeypatch.setattr(bundling, "check_lift", lambda *_: None)
    monkeypatch.setattr(WorkFolder, "prepare", lambda _: None)
    monkeypatch.setattr(WorkFolder, "others", lambda _: 0)

    def request(budget: str = "0.2", aim: Aim = "structure", polish: int = 0, shift: str = "", **job: Any) -> str:
        texts = tuple(tiny / name for name in job.pop("prompts", ("text.txt",)))
        usual: dict[str, Any] = {"count": 2, "calibration": 4, "length": LENGTH, "attribution": 0}
        whole = Job(texts, tiny / "out", **(usual | job))
        others = [tiny / shift] if shift else []
        made = Extracting(tiny / "model", whole, (parse_budget(budget),), aim, others, polish)
        return made._work.folder.name  # pyright: ignore[reportPrivateUsage]

    names = [request(), *(request(**job) for job in CHANGED.values())]
    names += [request(budget="0.3"), request(budget="kl=0.2"), request(aim="bits"), request(polish=3)]
    names += [request(polish=4), request(shift="other.txt")]
    # what is computed on a GPU is not what the host computes, of one build of torch
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    names.append(request(device="cuda"))
    assert len(set(names)) == len(names)
    assert request() == request(memory=1 << 40) == names[0]


NOTES = {
    1: "95 % of calibration tokens in every block, none of them held out",
    4: "95 % of calibration tokens in every block, on the one held-out prompt without a margin",
    8: "95 % of calibration tokens in every block, on held-out prompts with a margin of two standard errors",
}


@pytest.mark.parametrize("calibration", NOTES)
def test_the_signed_note_says_no_more_than_was_looked_at(calibration: int, tiny: Path) -> None:
    job = Job((tiny / "text.txt",), tiny / "out", count=2, calibration=calibration, length=LENGTH, attribution=0)
    note = extract_bundle(tiny / "model", job, budget="0.2012345678", now=NOW).statement.predicate.surrogate.note
    assert note.startswith(f"extracted within a budget of 0.2012345678: {NOTES[calibration]}; fewest ")


def test_killed_once_its_front_stands_a_run_ends_that(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job((tiny / "text.txt",), tiny / "out", count=2, calibration=4, length=LENGTH, attribution=0)

    def front() -> FrontProduced:
        return extract_front(tiny / "model", job, budgets="0.2,0.4", shift=(tiny / "other.txt",), now=NOW)

    killed_at(monkeypatch, "complete", front)
    before = content(tiny / "out")
    again = front()
    assert content(tiny / "out") == before
    assert not list(tiny.glob(".out*"))
    assert [one.out for one in again.bundles] == [tiny / "out" / "0.2", tiny / "out" / "0.4"]
    for one, point in zip(again.bundles, again.table.points, strict=True):
        assert one.shift == point.shift is not None
        assert len(one.notes) == 4
        assert one.statement.predicate.claims.end_to_end.kl_mean == point.kl_mean


def test_killed_while_it_removes_its_work_a_run_ends_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    work.keep(1, (CHOSEN,))
    bundle = work.result / "one"
    bundle.mkdir()
    (bundle / "seal").write_text("mine")
    shift = work.beside("shift.json", b"{}")
    remove = shutil.rmtree

    def stop(path: Path, **options: Any) -> None:
        if path.name.endswith(".work"):
            raise Killed
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", stop)
    with pytest.raises(Killed):
        work.finish(bundle, "seal", {shift: tmp_path / "out.shift.json"})
    monkeypatch.undo()
    work.release()
    again = WorkFolder(tmp_path / "out", b"key")
    assert again.moved
    assert not WorkFolder(tmp_path / "out", b"another").moved
    again.prepare()
    again.complete({shift: tmp_path / "out.shift.json"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.shift.json"]


def test_an_output_that_took_the_place_of_a_moved_one_is_a_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = WorkFolder(tmp_path / "out", b"key")
    work.prepare()
    bundle = work.result / "one"
    bundle.mkdir()
    (bundle / "seal").write_text("mine")
    killed_at(monkeypatch, "complete", lambda: work.finish(bundle, "seal"))
    work.release()
    (tmp_path / "out" / "seal").write_text("another's")
    with pytest.raises(Refusal) as found:
        WorkFolder(tmp_path / "out", b"key").prepare()
    assert found.value.code == "output.exists"


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, after: int, *more: str) -> int:
    """The exit code of a run that is interrupted once it has kept so many blocks."""
    keep = WorkFolder.keep

    def stop(work: WorkFolder, block: int, chosen: Any) -> None:
        keep(work, block, chosen)
        if block == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "keep", stop)
        counts = ("--count", "3", "--calibration", "6", "--length", str(LENGTH), "--budget", "0.2")
        texts = ("--prompts", str(folder / "text.txt"), "--out", str(folder / "out"))
        return run(["extract", str(folder / "model"), *texts, *counts, *more])


def test_an_interruption_says_what_is_kept_and_the_next_run_what_it_takes(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny
    assert interrupted(folder, monkeypatch, 2) == 130
    kept = folder / ".out.work"
    said = f"what is finished is kept in {kept}; the same command goes on from block 3 of 4"
    assert capsys.readouterr().err.splitlines()[-2:] == [f"blockcert: {said}", "blockcert: interrupted"]
    assert interrupted(folder, monkeypatch, 3) == 130
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "blockcert: an earlier run of this command finished 2 of 4 blocks; they are taken as they are"
    assert interrupted(folder, monkeypatch, 1, "--seed", "1") == 130
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith(f"blockcert: {kept} keeps 3 finished blocks of an earlier run with other options or texts")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Refusal("output.unwritable", "somewhere", "no")])
def test_where_nothing_is_finished_nothing_is_left(
    stop: BaseException, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise stop

    before = sorted(tiny.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "keep", stopped)
        assert interrupted(tiny, patch, 1) in (2, 130)
    (line,) = capsys.readouterr().err.splitlines()
    assert line in ("blockcert: interrupted", "blockcert: somewhere: no [output.unwritable]")
    assert sorted(tiny.iterdir()) == before


def test_an_interruption_while_it_ends_loses_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_at(monkeypatch, "complete", lambda: made(tiny, "out"))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "complete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            made(tiny, "out")
    assert not (tiny / "out.shift.json").exists()
    made(tiny, "out")
    assert (tiny / "out.shift.json").exists()


KEPT = {"tensor.unreadable": True, "output.unwritable": True, "extract.not_finite": False, "measure.not_finite": False}


@pytest.mark.parametrize("code", KEPT)
def test_work_is_given_up_for_what_was_asked_and_not_for_a_file(
    code: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = WorkFolder.keep

    def stop(work: WorkFolder, block: int, chosen: Any) -> None:
        keep(work, block, chosen)
        raise Refusal(code, "somewhere", "no")

    monkeypatch.setattr(WorkFolder, "keep", stop)
    with pytest.raises(Refusal):
        made(tiny, "out")
    assert bool(list(tiny.glob(".out.work/*/blocks/1"))) == KEPT[code]


def test_the_certified_population_is_no_other(tiny: Path) -> None:
    folder = tiny
    (folder / "copy.txt").write_bytes((folder / "text.txt").read_bytes())
    with pytest.raises(Refusal) as found:
        made(folder, "out", shift=(folder / "other.txt", folder / "copy.txt"))
    assert (found.value.code, found.value.place) == ("prompts.duplicate", "--shift: copy.txt")
    assert "this is the text text.txt of --prompts" in found.value.sentence
    assert not list(folder.glob(".out*"))
