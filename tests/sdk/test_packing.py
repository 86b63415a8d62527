"""Packed bundles: one spelling for the same files, read by common tools; everything that is not it is refused.

BC-BND-22 to 27.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockcert import archive, bundle, folder, packing
from blockcert.archive import ALIGNMENT, LARGE, Member, layout, read_archive
from blockcert.bundle import STATEMENT, Bundle, BundleWriter, append_statement, replace_statement
from blockcert.digest import digest_file
from blockcert.errors import Refusal
from blockcert.file_range import opened
from blockcert.names import check_names
from blockcert.packing import pack, unpack, write_packed
from blockcert.safetensors_file import read_header, write

FILES = {
    STATEMENT: b"{}",
    "programs/reference.json": b"[1]",
    "a/b/c": b"",
    "evidence": b"e" * 1000,
    "surrogate/größe": b"\x00\xff" * 40,
}


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


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    pack(make(tmp_path / "b"), tmp_path / "b.zip")
    return tmp_path / "b.zip"


# --- what is written -----------------------------------------------------------------------------------------------


def test_the_same_files_give_the_same_bytes_however_they_came_to_be(packed: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "again", dict(reversed(FILES.items())))
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    (folder / STATEMENT).chmod(0o600)
    assert pack(folder, tmp_path / "again.zip") == packed.stat().st_size
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    pack(packed, tmp_path / "repacked.zip")
    assert (tmp_path / "repacked.zip").read_bytes() == packed.read_bytes()


def test_a_packed_bundle_opens_as_its_folder_does(packed: Path, tmp_path: Path) -> None:
    folder, file = Bundle(tmp_path / "b"), Bundle(packed)
    assert (folder.packed, file.packed) == (False, True)
    assert file.sizes == folder.sizes
    for name, data in FILES.items():
        assert file.read(name, 1000) == data
        assert file.file(name).begin % ALIGNMENT == 0
        assert digest_file(file.file(name), True) == digest_file(folder.file(name), True)
    assert refusal(lambda: file.read("evidence", 999)).code == "bundle.file_too_large"
    assert refusal(lambda: file.file("b.zip")).code == "bundle.file_missing"


def test_a_packed_bundle_may_be_reached_through_a_link(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(packed)
    assert Bundle(tmp_path / "latest").read("evidence", 1000) == FILES["evidence"]


def test_unpacking_gives_the_folder_back(packed: Path, tmp_path: Path) -> None:
    assert unpack(packed, tmp_path / "out") == len(FILES)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in Bundle(tmp_path / "out").sizes} == FILES


def test_python_reads_it(packed: Path) -> None:
    with zipfile.ZipFile(packed) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == FILES
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="no unzip on this machine")
def test_unzip_reads_it(packed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(["unzip", "-q", str(packed), "-d", str(tmp_path / "out")], check=True, env=environment)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES


def test_tensors_are_read_in_place(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    from blockcert.program import TensorRef
    from blockcert_verifier.evaluate import WeightStore

    folder = make(tmp_path / "b", {STATEMENT: b"{}", "padding": b"x" * 5000})
    weights = np.arange(300, dtype="<f4").reshape(3, 100)
    odd = {"five": ("U8", (5,), b"12345"), "odd": ("F32", (3, 100), weights.tobytes())}
    write(folder / "w.safetensors", {"w": ("F32", (3, 100), weights.tobytes()), **odd})
    pack(folder, tmp_path / "b.zip")
    file = Bundle(tmp_path / "b.zip").file("w.safetensors")
    assert read_header(file, "w") == read_header(folder / "w.safetensors", "w")
    store = WeightStore({"w.safetensors": file})
    found = store.raw(TensorRef("w.safetensors", "w"))[1]
    assert (found == weights).all()
    assert (store.floats(TensorRef("w.safetensors", "odd")) == weights).all()  # of any alignment
    assert file.begin % ALIGNMENT == 0  # so that who maps the file can


# --- zip64 ---------------------------------------------------------------------------------------------------------


def test_zip64_is_used_from_its_threshold_on(tmp_path: Path) -> None:
    """The threshold lowered to 500 bytes: sizes and offsets in 64 bits, which Python reads and this reader too."""
    bundle = Bundle(make(tmp_path / "b"))
    with (tmp_path / "b.zip").open("xb") as file:
        write_packed(bundle, file, {}, large=500)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
    with opened(tmp_path / "b.zip", "b.zip") as span:
        found = read_archive(span, 100, "b.zip", large=500)
        assert refusal(lambda: read_archive(span, 100, "b.zip")).code == "bundle.zip.form"
    data = (tmp_path / "b.zip").read_bytes()
    assert {m.name: data[begin : begin + m.size] for m, begin in found} == FILES
    assert data.count(b"PK\x06\x06") == data.count(b"PK\x06\x07") == 1


def test_a_file_beyond_four_gigabytes(tmp_path: Path) -> None:
    """Sparse, so that nothing is written: what stands before, in and behind a member of 5 GiB is found."""
    size = 5 << 30
    contents = {"evidence": b"abc", STATEMENT: b"{}"}
    members = [Member(name, len(data), zlib.crc32(data)) for name, data in contents.items()]
    members.insert(1, Member("huge", size, 0))
    found = layout(members)
    with (tmp_path / "b.zip").open("wb") as file:
        for offset, header in zip(found.offsets, found.headers, strict=True):
            file.seek(offset)
            file.write(header)
        for begin, data in ((found.begins[0], b"abc"), (found.begins[2], b"{}")):
            file.seek(begin)
            file.write(data)
        file.write(found.tail)
    bundle = Bundle(tmp_path / "b.zip")
    assert bundle.sizes == {"evidence": 3, "huge": size, STATEMENT: 2}
    assert (bundle.read("evidence", 10), bundle.read(STATEMENT, 10)) == (b"abc", b"{}")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.getinfo("huge").file_size == size
        assert archive.read(STATEMENT) == b"{}"
    assert found.size > LARGE
    # only a member that needs it has the wide fields
    assert [b"\x01\x00\x10\x00" in header for header in found.headers] == [False, True, False]


@given(
    st.dictionaries(
        st.text(st.sampled_from("abcxyzé漢0_-"), min_size=1, max_size=20), st.integers(0, 1 << 34), max_size=6
    )
)
@settings(max_examples=50)
def test_python_finds_the_same_members(sizes: dict[str, int]) -> None:
    """Sizes across the threshold of zip64, and the directory that they call for."""
    members = [Member(name, size, len(name)) for name, size in sorted(sizes.items())]
    found = layout(members)
    assert all(begin % ALIGNMENT == 0 for begin in found.begins)

    class Sparse:
        """The tail at its place in a file whose other bytes are never read."""

        at = 0

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + {0: 0, 1: self.at, 2: found.size}[whence]
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, size: int = -1) -> bytes:
            begin = self.at - (found.size - len(found.tail))
            if begin < 0:  # Python looks for zip64 records where there may be none
                return bytes(max(size, 0))
            data = found.tail[begin:] if size < 0 else found.tail[begin : begin + size]
            self.at += len(data)
            return data

        def seekable(self) -> bool:
            return True

        def close(self) -> None: ...

    with zipfile.ZipFile(Sparse()) as archive:  # type: ignore[arg-type]
        assert [(i.filename, i.file_size, i.CRC) for i in archive.infolist()] == [tuple(m) for m in members]
        assert [i.header_offset for i in archive.infolist()] == list(found.offsets)


# --- hostile files -------------------------------------------------------------------------------------------------


def spelled(files: list[tuple[str, bytes]]) -> bytes:
    """A packed bundle of these files in this order, whether they may stand in one or not."""
    members = [Member(name, len(data), zlib.crc32(data)) for name, data in files]
    found = layout(members)
    parts = [header + data for header, (_, data) in zip(found.headers, files, strict=True)]
    return b"".join(parts) + found.tail


def named(*names: str) -> bytes:
    """Files of these names beside a statement, sorted as they must be."""
    return spelled(sorted([(name, b"x") for name in names] + [(STATEMENT, b"{}")]))


def foreign(**options: object) -> Callable[[bytes], bytes]:
    """The same files, zipped by Python."""

    def zipped(_: bytes) -> bytes:
        import io

        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", **options) as archive:  # type: ignore[call-overload]
            for name, data in sorted(FILES.items()):
                archive.writestr(zipfile.ZipInfo(name), data, compress_type=options.get("compression"))
        return buffer.getvalue()

    return zipped


def local(field: str, at: int, value: int) -> Callable[[bytes], bytes]:
    """A field of the first local header set to another value."""

    def change(data: bytes) -> bytes:
        return data[:at] + struct.pack(field, value) + data[at + struct.calcsize(field) :]

    return change


def central(field: str, at: int, value: int) -> Callable[[bytes], bytes]:
    """A field of the first directory entry set to another value."""

    def change(data: bytes) -> bytes:
        begin = data.index(b"PK\x01\x02") + at
        return data[:begin] + struct.pack(field, value) + data[begin + struct.calcsize(field) :]

    return change


def both(change_local: Callable[[bytes], bytes], change_central: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: change_central(change_local(data))


def end(field: str, at: int, value: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        begin = len(data) - 22 + at
        return data[:begin] + struct.pack(field, value) + data[begin + struct.calcsize(field) :]

    return change


def gap(data: bytes) -> bytes:
    """Bytes of no file before the directory, whose offset is put right."""
    at = data.index(b"PK\x01\x02")
    return end("<I", 16, at + 64)(data[:at] + bytes(64) + data[at:])


def swapped_contents(data: bytes) -> bytes:
    """Two entries of the directory that point at each other's content."""
    at = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", at + 1)
    first_offset, second_offset = data[at + 42 : at + 46], data[second + 42 : second + 46]
    data = data[: at + 42] + second_offset + data[at + 46 :]
    return data[: second + 42] + first_offset + data[second + 46 :]


def overlapping(data: bytes) -> bytes:
    """Every entry of the directory is the first one, the way a bomb is made."""
    at = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", at + 1)
    tail = data[at:second] * len(FILES)
    return data[:at] + tail + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(FILES), len(FILES), len(tail), at, 0)


def huge_sizes(data: bytes) -> bytes:
    """Two members of 2^64 - 1 bytes each: their sum fits no field."""
    name = b"a"
    extra = struct.pack("<2H2Q", 1, 16, (1 << 64) - 1, (1 << 64) - 1)
    entry = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 45, 45, 0x800, 0, 0, 33, 0, LARGE, LARGE, len(name), len(extra), 0, 0, 0, 0, 0
    )
    tail = (entry + name + extra) + (entry + b"b" + extra)
    return b"PK\3\4" + tail + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(tail), 4, 0)


def twice_at_the_end(data: bytes) -> bytes:
    """A second directory and end record behind the first: which one a reader sees depends on the reader."""
    at = data.index(b"PK\x01\x02")
    return data + data[at:]


HOSTILE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "prefix": ("bundle.zip.form", lambda d: d[:4] + bytes(60) + d),
    "trailing byte": ("bundle.zip.form", lambda d: d + b"\n"),
    "comment": ("bundle.zip.form", lambda d: d[:-2] + b"\x02\x00hi"),
    "end record in a comment": ("bundle.zip.form", lambda d: d[:-2] + b"\x16\x00" + d[-22:]),
    "two directories": ("bundle.zip.form", twice_at_the_end),
    "cut off": ("bundle.zip.form", lambda d: d[:-1]),
    "cut in the middle": ("bundle.zip.form", lambda d: d[: len(d) // 2]),
    "a header alone": ("bundle.zip.form", lambda d: d[:30]),
    "gap": ("bundle.zip.form", gap),
    "swapped contents": ("bundle.zip.form", swapped_contents),
    "overlapping files": ("name.collision", overlapping),
    "sizes beyond 64 bits": ("bundle.zip.form", huge_sizes),
    "fewer files than stated": ("bundle.zip.form", end("<H", 10, len(FILES) + 1)),
    "more files than stated": ("bundle.zip.form", end("<H", 10, len(FILES) - 1)),
    "files on another disk": ("bundle.zip.form", end("<H", 4, 1)),
    "directory at another place": ("bundle.zip.form", end("<I", 16, 0)),
    "zip64 without its record": ("bundle.zip.form", end("<I", 16, LARGE)),
    "compressed": ("bundle.zip.form", foreign(compression=zipfile.ZIP_DEFLATED)),
    "stored by another writer": ("bundle.zip.form", foreign(compression=zipfile.ZIP_STORED)),
    "compressed in the local header alone": ("bundle.zip.form", local("<H", 8, 8)),
    "encrypted": ("bundle.zip.form", both(local("<H", 6, 0x801), central("<H", 8, 0x801))),
    "data descriptor": ("bundle.zip.form", both(local("<H", 6, 0x808), central("<H", 8, 0x808))),
    "name not marked as UTF-8": ("bundle.zip.form", both(local("<H", 6, 0), central("<H", 8, 0))),
    "time": ("bundle.zip.form", both(local("<H", 10, 1), central("<H", 12, 1))),
    "date of the local header": ("bundle.zip.form", local("<H", 12, 0x22)),
    "version needed": ("bundle.zip.form", both(local("<H", 4, 63), central("<H", 6, 63))),
    "a symbolic link": ("bundle.zip.form", central("<I", 38, 0xA1FF0000)),
    "internal attributes": ("bundle.zip.form", central("<H", 36, 1)),
    "local size": ("bundle.zip.form", local("<I", 22, 5)),
    "local CRC": ("bundle.zip.form", local("<I", 14, 5)),
    "local name": ("bundle.zip.form", lambda d: d[:30] + b"z" + d[31:]),
    "local alignment": ("bundle.zip.form", lambda d: d.replace(b"\x1e\xa1", b"\x1f\xa1", 1)),
    "padding that is not zero": ("bundle.zip.form", lambda d: d[:63] + b"\x01" + d[64:]),
    "directory entry's signature": ("bundle.zip.form", central("<H", 2, 0)),
    "directory entry's comment": ("bundle.zip.form", central("<H", 32, 1)),
    "directory entry's disk": ("bundle.zip.form", central("<H", 34, 1)),
    "order of files": ("bundle.zip.form", lambda _: spelled([(STATEMENT, b"{}"), ("a", b"x")])),
    "duplicate": ("name.collision", lambda _: named("a", "a")),
    "two statements": ("name.collision", lambda _: named(STATEMENT)),
    "case collision": ("name.collision", lambda _: named("a", "A")),
    "Unicode collision": ("name.collision", lambda _: named("ﬁle", "file")),
    "file against folder": ("name.collision", lambda _: named("a", "a/b")),
    "a folder's entry": ("name.unsafe", lambda _: named("a/")),
    "absolute": ("name.unsafe", lambda _: named("/etc/passwd")),
    "out of the folder": ("name.unsafe", lambda _: named("../evil")),
    "out of the folder, inside": ("name.unsafe", lambda _: named("a/../../evil")),
    "backslash": ("name.unsafe", lambda _: named("..\\evil")),
    "drive": ("name.unsafe", lambda _: named("C:evil")),
    "device name": ("name.unsafe", lambda _: named("nul.json")),
    "empty name": ("name.unsafe", lambda _: named("")),
    "null byte": ("name.unsafe", lambda _: named("a\0b")),
    "terminal escape": ("name.unsafe", lambda _: named("a\x1b[31m")),
    "not in normal form": ("name.unsafe", lambda _: named("e\u0301")),
    "name that is not UTF-8": ("name.unsafe", lambda d: d.replace("größe".encode(), b"gr\xff\xfe\xff\xfee")),
    "no statement": ("bundle.no_statement", lambda _: spelled([("evidence", b"x")])),
    "no files": ("bundle.no_statement", lambda _: spelled([])),
    "no zip": ("bundle.not_a_folder", lambda _: b"{}"),
    "empty file": ("bundle.not_a_folder", lambda _: b""),
    "a program behind which a zip stands": ("bundle.not_a_folder", lambda d: b"#!/bin/sh\n" + d),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case: str, packed: Path, tmp_path: Path) -> None:
    code, change = HOSTILE[case]
    data = change(packed.read_bytes())
    assert data != packed.read_bytes()
    packed.write_bytes(data)
    assert refusal(lambda: Bundle(packed)).code == code
    assert refusal(lambda: unpack(packed, tmp_path / "out")).code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.zip"]


def test_a_common_tool_s_zip_is_told_apart_by_its_reason(packed: Path) -> None:
    packed.write_bytes(foreign(compression=zipfile.ZIP_DEFLATED)(b""))
    assert "compressed" in refusal(lambda: Bundle(packed)).sentence


def test_every_byte_but_content_is_checked_when_it_is_opened_and_content_when_it_is_read(packed: Path) -> None:
    """No changed byte survives: the file has one spelling, and each content its checksum."""
    data = packed.read_bytes()
    ranges = [(f.begin, f.begin + f.size) for f in Bundle(packed).files.values()]
    for at in range(len(data)):
        with packed.open("r+b") as file:
            file.seek(at)
            file.write(bytes([data[at] ^ 0x40]))
        if any(begin <= at < end for begin, end in ranges):
            bundle = Bundle(packed)
            name = next(n for n, f in bundle.files.items() if f.begin <= at < f.begin + f.size)
            assert refusal(lambda b=bundle, n=name: b.read(n, 1000)).code == "bundle.zip.crc32"
            assert refusal(lambda b=bundle, n=name: digest_file(b.file(n))).code == "bundle.zip.crc32"
        else:
            refusal(lambda: Bundle(packed))
        with packed.open("r+b") as file:
            file.seek(at)
            file.write(data[at : at + 1])


def test_more_files_than_a_bundle_has_are_refused_by_the_end_record(packed: Path) -> None:
    packed.write_bytes(end("<H", 10, 10_001)(packed.read_bytes()))
    assert refusal(lambda: Bundle(packed)).code == "bundle.too_many_files"
    million = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**6, 10**6, 46 * 10**6, 4)
    record = struct.pack("<4sIQI", b"PK\6\7", 0, 4, 1) + struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, LARGE, LARGE, 0
    )
    packed.write_bytes(b"PK\3\4" + million + record)
    assert refusal(lambda: Bundle(packed)).code == "bundle.too_many_files"


def test_the_folders_of_a_packed_bundle_count_as_those_of_a_folder(tmp_path: Path) -> None:
    """BC-BND-18, 27: what unpacks to more than a folder may hold is refused, and nothing is made of it."""

    def packed(*names: str) -> Path:
        path = tmp_path / f"{len(names)}.zip"
        files = layout([Member(name, 0, 0) for name in sorted([*names, STATEMENT])])
        path.write_bytes(b"".join(files.headers) + files.tail)
        return path

    deep = [f"{i:03}/{'a/' * 100}a" for i in range(100)]
    assert refusal(lambda: Bundle(packed(*deep))).code == "bundle.too_many_files"
    assert refusal(lambda: unpack(packed(*deep), tmp_path / "out")).code == "bundle.too_many_files"
    assert not (tmp_path / "out").exists()
    # 1 statement, 98 files, 98 * 101 folders
    assert len(Bundle(packed(*deep[:98])).files) == 99
    assert len(Bundle(packed("a/b/c"), 4).files) == 2
    assert refusal(lambda: Bundle(packed("a/b/c"), 3)).code == "bundle.too_many_files"


def test_unpacking_compares_the_names_with_each_other_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as it is opened, once for the new folder, once as that is complete: not once for each file."""
    seen: list[int] = []

    def counted(names: Iterable[str], place: str) -> int:
        listed = list(names)
        seen.append(len(listed))
        return check_names(listed, place)

    for module in (archive, bundle, folder):
        monkeypatch.setattr(module, "check_names", counted)
    unpack(packed, packed.with_name("out"))
    assert seen == [len(FILES)] * 3


def test_nothing_is_appended_that_makes_a_bundle_too_large_to_be_read(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = len(FILES) + 4  # programs, a, a/b, surrogate
    monkeypatch.setattr(bundle, "MAX_FILES", files + 1)
    assert refusal(lambda: append_statement(packed, "appended/x.dsse.json", b"{}")).code == "bundle.too_many_files"
    monkeypatch.setattr(bundle, "MAX_FILES", files + 2)
    append_statement(packed, "appended/x.dsse.json", b"{}")
    assert len(Bundle(packed).files) == len(FILES) + 1


@pytest.mark.parametrize("kind", ["replaced", "grown", "cut", "removed"])
def test_a_packed_file_that_changes_after_it_was_opened_is_refused(kind: str, packed: Path) -> None:
    bundle, data = Bundle(packed), packed.read_bytes()
    packed.unlink()
    if kind != "removed":
        packed.write_bytes({"replaced": data, "grown": data + b"x", "cut": data[:-1]}[kind])
        os.utime(packed, ns=(1, 1))
    code = "bundle.unreadable" if kind == "removed" else "bundle.changed"
    assert refusal(lambda: bundle.read("evidence", 1000)).code == code
    assert refusal(lambda: digest_file(bundle.file("evidence"))).code == (
        "file.missing" if kind == "removed" else "bundle.changed"
    )


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(lambda: Bundle(tmp_path / "pipe")).code == "bundle.not_a_folder"


# --- whole or not at all -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_an_existing_output_is_never_touched(kind: str, packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    {"file": out.touch, "folder": out.mkdir, "dangling link": lambda: out.symlink_to("nowhere")}[kind]()
    for action in (lambda: pack(tmp_path / "b", out), lambda: unpack(packed, out)):
        assert refusal(action).code == "output.exists"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.zip", "out"]


def test_nothing_is_unpacked_into_another_bundle(packed: Path, tmp_path: Path) -> None:
    """Neither directly below its folder nor deeper, nor through a link."""
    folder, link = tmp_path / "b", tmp_path / "link"
    link.symlink_to(folder)
    before = sorted(path.name for path in folder.rglob("*"))
    for out in (folder / "inner", folder / "new" / "inner", link / "inner"):
        found = refusal(lambda out=out: unpack(packed, out))
        assert found.code == "output.unwritable"
        assert "the bundle b" in found.sentence
        assert refusal(lambda out=out: pack(folder, out)).code == "output.unwritable"
        with pytest.raises(Refusal), BundleWriter(out):
            pass
    assert sorted(path.name for path in folder.rglob("*")) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left on device")])
def test_an_interruption_leaves_nothing(
    error: BaseException | type[BaseException], packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr(packing, "_copy", fails)
    wanted = Refusal if isinstance(error, OSError) else error
    for action in (lambda: pack(tmp_path / "b", tmp_path / "out"), lambda: unpack(packed, tmp_path / "out")):
        with pytest.raises(wanted):  # type: ignore[arg-type]
            action()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.zip"]


def test_an_output_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = make(tmp_path / "b"), tmp_path / "out.zip"
    real = packing.write_packed

    def appears(*given: object) -> int:
        out.write_bytes(b"theirs")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "write_packed", appears)
    assert refusal(lambda: pack(folder, out)).code == "output.exists"
    assert out.read_bytes() == b"theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "out.zip"]


def test_altered_content_is_not_unpacked(packed: Path, tmp_path: Path) -> None:
    at = Bundle(packed).file("evidence").begin
    data = packed.read_bytes()
    packed.write_bytes(data[:at] + b"E" + data[at + 1 :])
    for action in (lambda: unpack(packed, tmp_path / "out"), lambda: pack(packed, tmp_path / "out")):
        refused = refusal(action)
        assert (refused.code, refused.place) == ("bundle.zip.crc32", "evidence")
    assert not (tmp_path / "out").exists()


def test_a_statement_is_replaced_in_a_packed_bundle(packed: Path, tmp_path: Path) -> None:
    replace_statement(packed, b'{"signed":true}')
    folder = make(tmp_path / "signed", {**FILES, STATEMENT: b'{"signed":true}'})
    pack(folder, tmp_path / "signed.zip")
    assert packed.read_bytes() == (tmp_path / "signed.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.zip", "signed", "signed.zip"]


def test_what_another_wrote_meanwhile_is_not_lost(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = packed.read_bytes()
    flush = os.fsync

    def another(descriptor: int) -> None:
        flush(descriptor)
        (tmp_path / "theirs").write_bytes(theirs)
        (tmp_path / "theirs").replace(packed)

    monkeypatch.setattr(os, "fsync", another)
    refused = refusal(lambda: append_statement(packed, "appended/a.dsse.json", b"{}"))
    assert refused.code == "bundle.changed"
    assert packed.read_bytes() == theirs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.zip"]


@given(st.binary(max_size=400))
def test_arbitrary_bytes_end_in_a_refusal(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.zip"
    path.write_bytes(b"PK\3\4" + data)
    assert refusal(lambda: Bundle(path)).code.startswith("bundle.")
