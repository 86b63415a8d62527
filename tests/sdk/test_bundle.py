"""Bundles: what a hostile folder may try, and a writer that leaves a whole bundle or none.

Requirements: BC-BND-01, 03, 04, 18.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blockcert import bundle as bundle_module
from blockcert.bundle import STATEMENT, Bundle, BundleWriter, append_statement, replace_statement
from blockcert.errors import Refusal

FILES = {STATEMENT: b"{}", "programs/reference.json": b"[1]", "a/b/c.safetensors": b"", "evidence": b"e" * 100}


def make(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def refusal(action: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        action()
    assert str(refused.value).isprintable()
    return refused.value


def test_a_good_bundle_is_listed_and_read(tmp_path: Path) -> None:
    bundle = Bundle(make(tmp_path / "b"))
    assert bundle.sizes == {name: len(data) for name, data in sorted(FILES.items())}
    assert list(bundle.sizes) == sorted(FILES)
    for name, data in FILES.items():
        assert bundle.read(name, 100) == data
        assert Path(bundle.file(name).path).read_bytes() == data


def test_the_folder_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    make(tmp_path / "b")
    (tmp_path / "latest").symlink_to("b")
    assert Bundle(tmp_path / "latest").read("evidence", 100) == b"e" * 100


# --- folders that are no bundle ------------------------------------------------------------------------------------


def test_a_missing_folder_says_what_to_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none" / "inner"):
        refused = refusal(lambda path=path: Bundle(path))
        assert refused.code == "bundle.not_found"
        assert "blockcert extract" in refused.sentence
        assert refused.place == str(path)


def test_a_file_says_to_name_its_folder(tmp_path: Path) -> None:
    make(tmp_path)
    refused = refusal(lambda: Bundle(tmp_path / STATEMENT))
    assert refused.code == "bundle.not_a_folder"
    assert "the folder that holds" in refused.sentence
    assert refusal(lambda: Bundle(tmp_path / STATEMENT / "x")).code == "bundle.not_found"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "wrote"),
        ({"config.json": b"{}", "model.safetensors": b""}, "model checkpoint"),
        ({f"inner/{STATEMENT}": b"{}"}, "'inner' inside it"),
    ],
    ids=["empty", "checkpoint", "bundle one level down"],
)
def test_a_folder_without_a_statement_says_what_to_do(files: dict[str, bytes], told: str, tmp_path: Path) -> None:
    refused = refusal(lambda: Bundle(make(tmp_path, files)))
    assert refused.code == "bundle.no_statement"
    assert told in refused.sentence


def test_an_unreadable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "b")

    def denied(path: Path) -> None:  # permissions do not bind the superuser, who may run this test
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    refused = refusal(lambda: Bundle(folder))
    assert refused.code == "bundle.unreadable"
    assert "Permission denied" in refused.sentence


# --- hostile folders -----------------------------------------------------------------------------------------------


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


HOSTILE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "link to a file": ("bundle.symlink", lambda f: (f / "x").symlink_to(f / "evidence")),
    "link out of the bundle": ("bundle.symlink", lambda f: (f / "x").symlink_to("/etc/passwd")),
    "link to a folder": ("bundle.symlink", lambda f: (f / "x").symlink_to(f / "a")),
    "link in a loop": ("bundle.symlink", lambda f: (f / "x").symlink_to("x")),
    "dangling link": ("bundle.symlink", lambda f: (f / "a" / "x").symlink_to("nowhere")),
    "pipe": ("bundle.special_file", lambda f: os.mkfifo(f / "x")),
    "socket": ("bundle.special_file", lambda f: bind_socket(f / "x")),
    "hard link inside": ("bundle.hard_link", lambda f: (f / "x").hardlink_to(f / "evidence")),
    "hard link from outside": (
        "bundle.hard_link",
        lambda f: (f.parent / "outside").hardlink_to(f / "evidence"),
    ),
    "backslash": ("name.unsafe", lambda f: (f / "a\\b").touch()),
    "control character": ("name.unsafe", lambda f: (f / "a\x1b[31m").touch()),
    "name that is not UTF-8": ("name.unsafe", lambda f: (f / os.fsdecode(b"\xff")).touch()),
    "device name": ("name.unsafe", lambda f: (f / "aux.json").touch()),
    "folder with an unsafe name": ("name.unsafe", lambda f: (f / "a:").mkdir()),
    "case collision": ("name.collision", lambda f: (f / "EVIDENCE").touch()),
    "Unicode collision": ("name.collision", lambda f: make(f, {"ﬁle": b"", "file": b""})),
    "Unicode collision of folders": ("name.collision", lambda f: make(f, {"straße/x": b"", "STRASSE/y": b""})),
    "not in normal form": ("name.unsafe", lambda f: (f / "e\u0301").touch()),
    "case collision of folders": ("name.collision", lambda f: make(f, {"A/x": b""})),
    "file against folder": ("name.collision", lambda f: (f / "A").touch()),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_folders_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    folder = make(Path("b"))
    code, spoil = HOSTILE[case]
    spoil(folder)
    assert refusal(lambda: Bundle(folder)).code == code


def test_a_device_is_refused_and_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "b")
    try:
        os.mknod(folder / "x", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except (AttributeError, PermissionError):
        pytest.skip("only the superuser makes devices")

    def never(*_: object) -> int:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", never)
    assert refusal(lambda: Bundle(folder)).code == "bundle.special_file"


def test_a_million_files_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk ends at the cap, whatever else is there."""
    folder, seen = make(tmp_path / "b"), 0

    [entry] = [one for one in os.scandir(folder) if one.name == "evidence"]

    def many() -> Iterator[os.DirEntry[str]]:
        nonlocal seen
        for _ in range(10**6):
            seen += 1
            yield entry

    monkeypatch.setattr(os, "scandir", lambda _: contextlib.closing(many()))
    assert refusal(lambda: Bundle(folder)).code == "bundle.too_many_files"
    assert seen == 10_001


def test_a_statement_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    (folder / STATEMENT).rename(tmp_path / "s")
    (folder / STATEMENT).symlink_to(tmp_path / "s")
    assert refusal(lambda: Bundle(folder)).code == "bundle.symlink"


def test_names_that_are_expected_are_checked_together_and_with_those_before(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        writer.write("a/b", b"")
        assert refusal(lambda: writer.expect(["c", "A/d"])).code == "name.collision"
        assert refusal(lambda: writer.expect(["../c"])).code == "name.unsafe"
        assert writer.names == ("a/b",)
        writer.expect(["c", "a/d"])
        assert refusal(lambda: writer.path("C")).code == "name.collision"
        writer.write("c", b"1")
        assert writer.names == ("a/b", "a/d", "c")


def test_too_many_files_or_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "b")
    entries = len(list(folder.rglob("*")))
    monkeypatch.setattr(bundle_module, "MAX_FILES", entries)
    Bundle(folder)
    (folder / "empty").mkdir()
    assert refusal(lambda: Bundle(folder)).code == "bundle.too_many_files"


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["missing", "", "../b/evidence", "a", "a/../evidence", "EVIDENCE", "/etc/passwd"])
def test_only_listed_names_are_read(name: str, tmp_path: Path) -> None:
    bundle = Bundle(make(tmp_path / "b"))
    assert refusal(lambda: bundle.read(name, 100)).code == "bundle.file_missing"
    assert refusal(lambda: bundle.file(name)).code == "bundle.file_missing"


def test_the_cap_is_the_most_that_is_read(tmp_path: Path) -> None:
    bundle = Bundle(make(tmp_path / "b"))
    assert len(bundle.read("evidence", 100)) == 100
    refused = refusal(lambda: bundle.read("evidence", 99))
    assert (refused.code, refused.place) == ("bundle.file_too_large", "evidence")
    assert "100" in refused.sentence
    assert "99" in refused.sentence


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"E" * 100)


SWAPS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "grown": ("bundle.changed", lambda p: p.write_bytes(b"e" * 101)),
    "cut": ("bundle.changed", lambda p: p.write_bytes(b"e" * 99)),
    "rewritten": ("bundle.changed", lambda p: (p.write_bytes(b"E" * 100), os.utime(p, ns=(1, 1)))),
    "replaced by a pipe": ("bundle.changed", lambda p: (p.unlink(), os.mkfifo(p))),
    "replaced by a link": ("bundle.unreadable", lambda p: (p.unlink(), p.symlink_to("/etc/passwd"))),
    "removed": ("bundle.unreadable", lambda p: p.unlink()),
}


@pytest.mark.parametrize("case", SWAPS)
def test_a_file_swapped_after_the_listing_is_refused(case: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    bundle = Bundle(folder)
    code, swap = SWAPS[case]
    swap(folder / "evidence")
    refused = refusal(lambda: bundle.read("evidence", 1000))
    assert (refused.code, refused.place) == (code, "evidence")


def test_a_folder_swapped_for_a_link_after_the_listing_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    bundle = Bundle(folder)
    make(tmp_path / "other", {"reference.json": b"[2]"})
    (folder / "programs").rename(tmp_path / "old")
    (folder / "programs").symlink_to(tmp_path / "other")
    assert refusal(lambda: bundle.read("programs/reference.json", 100)).code == "bundle.changed"


# --- writing -------------------------------------------------------------------------------------------------------


def test_a_committed_bundle_is_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """BC-BND-17."""
    output = tmp_path / "new" / "b"
    with BundleWriter(output) as writer:
        assert not output.exists()
        for name, data in FILES.items():
            writer.write(name, data)
        writer.path("deep/er/file").write_bytes(b"x")
        assert list(output.parent.iterdir()) == [writer.partial]
        writer.commit()
        assert output.is_dir()
    assert list(output.parent.iterdir()) == [output]
    assert Bundle(output).sizes == {**{n: len(d) for n, d in FILES.items()}, "deep/er/file": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, MemoryError])
def test_any_error_removes_the_partial_bundle(error: type[BaseException], tmp_path: Path) -> None:
    """BC-BND-17."""

    def fail() -> None:
        with BundleWriter(tmp_path / "b") as writer:
            writer.write("a/b", b"x")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        writer.write(STATEMENT, b"{}")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="not being written"):
        writer.write("x", b"")


@pytest.mark.parametrize("kind", ["folder", "full folder", "file", "dangling link"])
def test_an_existing_output_is_never_touched(kind: str, tmp_path: Path) -> None:
    """BC-BND-17."""
    output = tmp_path / "b"
    if kind == "file":
        output.write_bytes(b"old")
    elif kind == "dangling link":
        output.symlink_to("nowhere")
    else:
        make(output, FILES if kind == "full folder" else {})
        output.mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    assert refusal(lambda: BundleWriter(output).__enter__()).code == "output.exists"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def write() -> None:
        with BundleWriter(tmp_path / "b") as writer:
            writer.write(STATEMENT, b"new")
            make(tmp_path / "b", {STATEMENT: b"old"})
            writer.commit()

    assert refusal(write).code == "output.exists"
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]
    assert (tmp_path / "b" / STATEMENT).read_bytes() == b"old"


def test_a_bundle_that_could_not_be_opened_is_not_committed(tmp_path: Path) -> None:
    def write(spoil: Callable[[BundleWriter], object]) -> None:
        with BundleWriter(tmp_path / "b") as writer:
            writer.write("x", b"1")
            spoil(writer)
            writer.commit()

    assert refusal(lambda: write(lambda writer: writer.partial)).code == "bundle.no_statement"
    refused = refusal(lambda: write(lambda writer: writer.path(STATEMENT).hardlink_to(writer.path("x"))))
    assert refused.code == "bundle.hard_link"
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_names_that_the_reader_would(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        writer.write("a/b", b"1")
        writer.write("a/b", b"2")
        assert refusal(lambda: writer.write("../x", b"")).code == "name.unsafe"
        assert refusal(lambda: writer.write("A/b", b"")).code == "name.collision"
        assert refusal(lambda: writer.write("a", b"")).code == "name.collision"
        assert writer.path("a/b").read_bytes() == b"2"


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = refusal(lambda: BundleWriter(tmp_path / "file" / "b").__enter__())
    assert refused.code == "output.unwritable"


# --- the statement -------------------------------------------------------------------------------------------------


def test_the_statement_is_replaced_in_one_step(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    with (folder / STATEMENT).open("rb") as reader:
        replace_statement(folder, b"signed")
        assert reader.read() == b"{}"
    assert Bundle(folder).read(STATEMENT, 10) == b"signed"
    assert sorted(Bundle(folder).sizes) == sorted(FILES)


def test_a_failed_replacement_leaves_the_old_statement_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "b")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_statement(folder, b"signed")
    assert Bundle(folder).read(STATEMENT, 10) == b"{}"
    assert sorted(Bundle(folder).sizes) == sorted(FILES)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused = refusal(lambda: replace_statement(folder, b"signed"))
    assert refused.code == "output.unwritable"
    assert "No space left" in refused.sentence
    assert sorted(Bundle(folder).sizes) == sorted(FILES)


@pytest.mark.parametrize("beside", [True, False])
def test_a_reader_sees_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool) -> None:
    folder = make(tmp_path / "b")
    flush, replace = os.fsync, Path.replace
    seen: list[list[str]] = []

    def look(descriptor: int) -> None:
        seen.append(sorted(Bundle(folder).sizes))
        flush(descriptor)

    def another_file_system(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(18, "Invalid cross-device link")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", look)
    if not beside:
        monkeypatch.setattr(Path, "replace", another_file_system)
    append_statement(folder, "appended/a.dsse.json", b"{}")
    assert seen[0] == sorted(FILES)
    assert Bundle(folder).read("appended/a.dsse.json", 2) == b"{}"
    assert sorted(Bundle(folder).sizes) == sorted([*FILES, "appended/a.dsse.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_another_wrote_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    folder = make(tmp_path / "b")
    opened = Bundle(folder)
    replace_statement(folder, b"signed by another")
    assert refusal(lambda: replace_statement(opened, b"signed")).code == "bundle.changed"
    assert Bundle(folder).read(STATEMENT, 20) == b"signed by another"
    assert sorted(Bundle(folder).sizes) == sorted(FILES)


def test_only_a_bundle_s_statement_is_replaced(tmp_path: Path) -> None:
    assert refusal(lambda: replace_statement(tmp_path, b"x")).code == "bundle.no_statement"
    assert list(tmp_path.iterdir()) == []
