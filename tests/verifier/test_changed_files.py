"""Files that change while they are verified: whatever is measured from them decides nothing, and nothing crashes.

Requirements: BC-VER-30.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.file_range import FileRange, identity, opened, pinned, read_into
from blockcert.program import TensorRef
from blockcert.safetensors_file import write
from blockcert_verifier import Report, verify
from blockcert_verifier.evaluate import WeightStore
from tests.support.bundles import NOW, Made, make_bundle

WEIGHTS = "model.safetensors"
SURROGATE = "programs/surrogate.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def made(whole: Made, tmp_path: Path) -> Made:
    return whole.copy(tmp_path / "copy")


def cut(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def swapped(path: Path) -> None:
    other = path.with_name("other")
    shutil.copyfile(path, other)
    flipped(other)
    other.replace(path)


def flipped(path: Path) -> None:
    """Other weights of the same size, with the old time of modification."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x40
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def removed(path: Path) -> None:
    path.unlink()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = [cut, halved, swapped, flipped, removed, a_pipe]


def changed_at(made: Made, moment: str, change: Callable[[], None], **options: int) -> Report:
    """The report of a verification during which something changes when a step says for the first time how far it is."""
    waiting = [change]

    def progress(step: str, _done: int, _total: int) -> None:
        if step == moment and waiting:
            waiting.pop()()

    report = verify(made.bundle, made.policy, reference=made.model, replay="all", at=NOW, progress=progress, **options)
    assert not waiting
    return report


def assert_open_for_a_change(report: Report, name: str) -> None:
    assert report.verdict == "indeterminate"
    wrong = [one for one in report.findings if one.status in ("failed", "inconclusive")]
    assert {(one.code, one.status) for one in wrong} == {("bundle.changed", "inconclusive")}
    assert {one.place for one in wrong} == {name}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("moment", ["recompute", "replay"])
def test_the_model_changes_after_it_was_compared(made: Made, change: Callable[[Path], None], moment: str) -> None:
    report = changed_at(made, moment, lambda: change(made.model / WEIGHTS))
    assert_open_for_a_change(report, f"reference/{WEIGHTS}")


@pytest.mark.parametrize("change", CHANGES)
def test_the_surrogate_changes_while_rows_are_measured(made: Made, change: Callable[[Path], None]) -> None:
    assert_open_for_a_change(changed_at(made, "replay", lambda: change(made.bundle / SURROGATE)), SURROGATE)


def test_both_are_cut_while_rows_are_measured(made: Made) -> None:
    def change() -> None:
        cut(made.model / WEIGHTS)
        cut(made.bundle / SURROGATE)

    report = changed_at(made, "replay", change)
    assert report.verdict == "indeterminate"
    assert {one.code for one in report.findings if one.status == "inconclusive"} == {"bundle.changed"}


def test_processes_measure_the_files_that_were_compared(made: Made) -> None:
    report = changed_at(made, "recompute", lambda: swapped(made.model / WEIGHTS), jobs=2)
    assert_open_for_a_change(report, f"reference/{WEIGHTS}")


def test_a_model_behind_links_is_the_file_that_they_named(made: Made, tmp_path: Path) -> None:
    blobs, target = tmp_path / "blobs", made.model / WEIGHTS
    blobs.mkdir()
    target.rename(blobs / "a")
    shutil.copyfile(blobs / "a", blobs / "b")
    flipped(blobs / "b")
    target.symlink_to(blobs / "a")
    assert verify(made.bundle, made.policy, reference=made.model, replay=1, at=NOW).verdict == "accepted"

    def other() -> None:
        target.unlink()
        target.symlink_to(blobs / "b")

    # what is measured is the file that was compared, whatever the link names by then
    assert changed_at(made, "recompute", other).verdict == "accepted"


def test_a_step_that_no_policy_requires_is_open_all_the_same(made: Made) -> None:
    waiting = [made.model / WEIGHTS]

    def progress(step: str, _done: int, _total: int) -> None:
        if step == "recompute" and waiting:
            cut(waiting.pop())

    report = verify(made.bundle, made.without_replay, reference=made.model, at=NOW, progress=progress)
    assert report.verdict == "indeterminate"


def test_a_change_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)
    before = pinned(path)
    assert isinstance(before, FileRange)
    flipped(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.listed.size, before.listed.modified)
    with pytest.raises(Refusal) as refused, opened(before, "file"):
        pass
    assert refused.value.code == "bundle.changed"


def test_a_change_while_a_file_is_open_is_noticed_when_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100)

    def read() -> None:
        with opened(pinned(path), "file") as span:
            read_into(span, 10, memoryview(bytearray(20)))
            flipped(path)

    with pytest.raises(Refusal) as refused:
        read()
    assert refused.value.code == "bundle.changed"


def test_what_is_no_regular_file_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    assert pinned(tmp_path) == tmp_path
    assert pinned(tmp_path / "missing") == tmp_path / "missing"
    assert pinned(Path("a\0b")) == Path("a\0b")


def test_an_identity_is_of_one_state_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a")
    before = identity(path.stat())
    flipped(path)
    assert identity(path.stat()) != before


def test_half_of_another_weight_is_no_weight_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write(path, {"w": ("F16", (4, 4), np.ones((4, 4), "<f2").tobytes())})
    store = WeightStore({"f": path})
    store.info(TensorRef("f", "w"))

    def reading(span: object, begin: int, buffer: memoryview) -> None:
        data = path.read_bytes()
        path.write_bytes(data[:-32] + b"\xff" * 32)
        buffer[:] = b"\xff" * len(buffer)

    monkeypatch.setattr("blockcert_verifier.evaluate.stored.read_into", reading)
    with pytest.raises(Refusal) as refused:
        store.floats(TensorRef("f", "w"))
    assert refused.value.code == "bundle.changed"


def test_threads_read_one_store(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {f"w{i}": rng.standard_normal((50, 30)).astype(np.float32) for i in range(20)}
    write(tmp_path / "f", {name: ("F32", one.shape, one.tobytes()) for name, one in values.items()})
    store = WeightStore({"f": tmp_path / "f"})
    wrong: list[str] = []

    def read() -> None:
        for name, one in values.items():
            if not np.array_equal(store.floats(TensorRef("f", name)), one):
                wrong.append(name)

    threads = [Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
