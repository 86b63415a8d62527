"""Digests: official vectors, one pass for both, and no way to make it wait or load a whole file."""

from __future__ import annotations

import hashlib
import os
import threading
import tracemalloc
from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest
from blake3 import blake3

from blockcert import digest
from blockcert.digest import CHUNK, LARGE, FileDigests, blake3_bytes, digest_file, digest_files
from blockcert.errors import Refusal

# The official BLAKE3 vectors (test_vectors.json): input byte i is i mod 251.
OFFICIAL = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
}


@pytest.mark.parametrize("length", OFFICIAL)
def test_official_blake3_vectors(length: int, tmp_path: Path) -> None:
    data = bytes(i % 251 for i in range(length))
    (tmp_path / "f").write_bytes(data)
    assert blake3_bytes(data) == OFFICIAL[length]
    assert digest_file(tmp_path / "f").blake3 == OFFICIAL[length]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_chunked_digests_equal_the_digests_of_the_whole(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    found = digest_file(tmp_path / "f", sha256=True)
    assert (found.size, found.blake3, found.sha256) == (
        size,
        blake3(data).hexdigest(),
        hashlib.sha256(data).hexdigest(),
    )


def test_sha256_is_computed_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    assert digest_file(tmp_path / "f").sha256 is None


def test_progress_counts_up_to_the_size(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(2 * CHUNK + 5))
    seen: list[int] = []
    digest_file(tmp_path / "f", progress=seen.append)
    assert seen == [CHUNK, 2 * CHUNK, 2 * CHUNK + 5]


def test_a_file_is_never_loaded_whole(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(16 * CHUNK)
    tracemalloc.start()
    try:
        digest_file(tmp_path / "f", sha256=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * CHUNK + CHUNK // 16, "one piece being hashed, and the next being read"


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="the resident memory is read from /proc")
def test_no_more_of_a_file_is_resident_than_two_chunks(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(8 * CHUNK)

    def resident() -> int:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before, seen = resident(), list[int]()
    digest_file(tmp_path / "f", progress=lambda _: seen.append(resident()))
    assert len(seen) == 8
    assert max(seen) - before < 2 * CHUNK + (1 << 20)  # and what else a process takes


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(3 * CHUNK))

    def shrink(done: int) -> None:
        if done == CHUNK:
            os.truncate(path, CHUNK)

    with pytest.raises(Refusal) as refusal:
        digest_file(path, progress=shrink)
    assert (refusal.value.code, refusal.value.place) == ("file.unreadable", str(path))


def test_refusals(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    codes = {
        "missing": "file.missing",
        "a\0b": "file.missing",
        "pipe": "file.not_regular",
        "folder": "file.not_regular",
    }
    for name, code in codes.items():
        with pytest.raises(Refusal) as refusal:
            digest_file(tmp_path / name)
        assert refusal.value.code == code
        assert refusal.value.place.endswith(name)


def _large(folder: Path, count: int) -> list[Path]:
    """Files that are worth a thread each, all different, and sparse."""
    paths = [folder / f"large-{number}" for number in range(count)]
    for number, path in enumerate(paths):
        with path.open("wb") as file:
            file.write(bytes([number]))
            file.truncate(LARGE + number)
    return paths


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_many_files_have_the_digests_that_each_has_alone(
    cores: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "_cores", lambda: cores)
    paths = _large(tmp_path, count)
    (tmp_path / "small").write_bytes(b"small")
    files = [*paths[:1], tmp_path / "small", tmp_path / "absent", tmp_path, *paths[1:]]
    seen: list[int] = []
    found = list(digest_files(files, sha256=True, progress=seen.append))
    assert [one for one in found if isinstance(one, FileDigests)] == [
        digest_file(path, sha256=True) for path in files if path.is_file()
    ]
    refusals = {number: one.code for number, one in enumerate(found) if isinstance(one, Refusal)}
    first = len(paths[:1])
    assert refusals == {first + 1: "file.missing", first + 2: "file.not_regular"}
    assert seen == sorted(seen)
    assert seen[-1] == sum(path.stat().st_size for path in files if path.is_file())


def test_what_progress_refuses_is_the_refusal_of_every_file_not_done(tmp_path: Path) -> None:
    def late(_done: int) -> None:
        raise Refusal("limit.seconds", "here", "It is late.")

    found = list(digest_files(_large(tmp_path, 3), progress=late))
    assert [one.code for one in found if isinstance(one, Refusal)] == ["limit.seconds"] * 3


def test_an_interrupt_ends_every_file_within_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_cores", lambda: 2)
    paths, before = _large(tmp_path, 6), threading.active_count()
    read = 0

    def interrupted(done: int) -> None:
        nonlocal read
        read = done
        if done > 3 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(digest_files(paths, progress=interrupted))
    assert read <= (3 << 20) + (1 + len(paths)) * digest.CHUNK_OF_MANY, "a piece of each file more"
    assert threading.active_count() == before


def test_files_abandoned_half_way_leave_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_cores", lambda: 2)
    paths, seen, before = _large(tmp_path, 40), list[int](), threading.active_count()
    digests = cast("Generator[object]", digest_files(paths, progress=seen.append))
    next(digests)
    digests.close()
    assert seen[-1] < 20 * LARGE
    assert threading.active_count() == before
