"""The reference model is found by size and digest: in a folder, in a hub's cache, or by what is published of it.

Requirements: BC-BND-20, 21.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.digest import digest_file, digest_files
from blockcert.errors import Refusal
from blockcert_verifier import Report, render, verify
from blockcert_verifier.published import MOST_LIST_BYTES, Published, pointer, read_published
from tests.support.bundles import NOW, Made, make_bundle

WEIGHTS = "model.safetensors"
FILES = ("config.json", "tokenizer.json", WEIGHTS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def sha256(path: Path) -> str:
    return str(digest_file(path, sha256=True).sha256)


def check(made: Made, reference: Path | None, **options: Any) -> Report:
    return verify(made.bundle, made.policy, reference=reference, replay=2, at=NOW, **options)


def found(report: Report, code: str) -> list[tuple[str, str, str]]:
    return [(f.status, f.place, f.message) for f in report.findings if f.code == code]


def cache(made: Made, hub: Path, name: str = "models--org--name", revision: str = "0123") -> Path:
    """A hub's cache as its client makes it: blobs, and links to them named as the files."""
    model = hub / name
    snapshot = model / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir(exist_ok=True)
    for file in FILES:
        blob = model / "blobs" / sha256(made.model / file)
        shutil.copyfile(made.model / file, blob)
        (snapshot / file).symlink_to(Path("../../blobs") / blob.name)
    return model


# --- a cache ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole_hub", [True, False])
def test_a_cache_gives_the_model(whole_hub: bool, made: Made, tmp_path: Path) -> None:
    model = cache(made, tmp_path)
    report = check(made, tmp_path if whole_hub else model, corpus=made.corpus)
    assert report.verdict == "accepted"
    assert report.audit is not None
    assert report.frame is not None
    assert report.frame.status == "verified"  # the tokenizer was found too


def test_the_right_one_of_many_revisions_and_models_is_found(made: Made, tmp_path: Path) -> None:
    """Earlier snapshots hold weights of the same size and another content, and a config of another size."""
    for name, revision in (("models--a--other", "1"), ("models--org--name", "0000")):
        folder = tmp_path / name / "snapshots" / revision
        folder.mkdir(parents=True)
        data = bytearray((made.model / WEIGHTS).read_bytes())
        data[-1] ^= 1
        (folder / WEIGHTS).write_bytes(data)
        (folder / "config.json").write_text("{}")
    cache(made, tmp_path)
    assert check(made, tmp_path).verdict == "accepted"


def test_a_blob_is_found_by_its_sha256_where_no_link_leads_to_it(made: Made, tmp_path: Path) -> None:
    model = cache(made, tmp_path)
    (model / "snapshots" / "0123" / WEIGHTS).unlink()
    assert check(made, tmp_path).verdict == "accepted"


def test_what_is_in_no_snapshot_is_missing(made: Made, tmp_path: Path) -> None:
    model = cache(made, tmp_path)
    (model / "snapshots" / "0123" / WEIGHTS).unlink()
    (model / "blobs" / sha256(made.model / WEIGHTS)).unlink()
    report = check(made, tmp_path)
    assert report.verdict == "rejected"
    ((status, place, _),) = found(report, "file.missing")
    assert (status, place.split(" ")[0]) == ("failed", f"reference/{WEIGHTS}")


def test_a_link_that_leads_nowhere_or_in_a_circle_is_no_file(made: Made, tmp_path: Path) -> None:
    model = cache(made, tmp_path)
    for number, target in enumerate(("nowhere", WEIGHTS)):
        folder = model / "snapshots" / f"000{number}"
        folder.mkdir()
        (folder / WEIGHTS).symlink_to(target)
    assert check(made, tmp_path).verdict == "accepted"


def test_a_folder_with_a_file_of_the_model_is_no_cache(made: Made, tmp_path: Path) -> None:
    cache(made, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert check(made, tmp_path).verdict == "rejected"


# --- sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_file_of_another_size_is_not_read(
    name: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = made.copy(tmp_path)
    with (copy.model / name).open("ab") as file:
        file.write(b" ")
    hashed: list[str] = []

    def digests(sources: list[Any], sha256: bool = False, progress: Any = None) -> Any:
        hashed.extend(Path(getattr(source, "path", source)).name for source in sources)
        return digest_files(sources, sha256, progress)

    monkeypatch.setattr("blockcert_verifier.verification.digest_files", digests)
    report = check(copy, copy.model)
    assert found(report, "integrity.size.mismatch")[0][1] == f"reference/{name}"
    assert name not in hashed
    assert set(FILES) - {name} <= set(hashed)


# --- pointers and published lists -------------------------------------------------------------------------------


def write_pointer(path: Path, digest: str, size: int) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n")


def test_a_pointer_in_place_of_the_weights_is_compared_and_nothing_is_measured(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    weights = copy.model / WEIGHTS
    write_pointer(weights, sha256(made.model / WEIGHTS), (made.model / WEIGHTS).stat().st_size)
    report = check(copy, copy.model, fresh=2, corpus=made.corpus)
    assert report.verdict == "indeterminate"
    ((status, _, message),) = found(report, "integrity.published")
    assert status == "passed"
    assert "only names were compared, no weight was read" in message
    assert "for 1 of 3 reference files" in message
    assert [status for status, _, _ in found(report, "integrity.reference")] == ["skipped"]
    ((status, _, message),) = found(report, "replay.not_run")
    assert (status, message.split(";")[0]) == ("skipped", "the reference model's weights are not at hand")
    assert report.audit is None
    assert report.fresh == ()
    assert max(map(len, render(report).splitlines())) <= 80


@pytest.mark.parametrize("what", ["digest", "size"])
def test_a_pointer_to_other_weights_is_refused(what: str, made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    size = (made.model / WEIGHTS).stat().st_size
    digest = sha256(made.model / WEIGHTS)
    write_pointer(copy.model / WEIGHTS, "0" * 64 if what == "digest" else digest, size + (what == "size"))
    report = check(copy, copy.model)
    assert report.verdict == "rejected"
    ((status, place, message),) = found(report, "integrity.published")
    assert (status, place) == ("failed", f"reference/{WEIGHTS}")
    assert "and the one that was signed is" in message


def test_other_files_beside_a_pointer_are_still_compared(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    write_pointer(copy.model / WEIGHTS, sha256(made.model / WEIGHTS), (made.model / WEIGHTS).stat().st_size)
    config = copy.model / "config.json"
    config.write_bytes(config.read_bytes().replace(b"llama", b"lhama"))
    assert found(check(copy, copy.model), "integrity.digest.mismatch")


POINTERS: dict[str, bytes] = {
    "another version": b"version https://git-lfs.github.com/spec/v2\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
    "another hash": b"version https://git-lfs.github.com/spec/v1\noid md5:" + b"0" * 32 + b"\nsize 1\n",
    "upper case": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"A" * 64 + b"\nsize 1\n",
    "no size": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n",
    "a negative size": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize -1\n",
    "an endless size": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize " + b"9" * 500,
    "something behind it": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\nx\n",
    "too long": b"version https://git-lfs.github.com/spec/v1\n" + b"ext-0-x y\n" * 200,
    "empty": b"",
}


@pytest.mark.parametrize("case", POINTERS)
def test_what_is_no_pointer(case: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(POINTERS[case])
    assert pointer(path) is None


def test_an_extended_pointer_is_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(
        b"version https://git-lfs.github.com/spec/v1\next-0-foo sha256:"
        + b"1" * 64
        + b"\noid sha256:"
        + b"2" * 64
        + b"\nsize 12345\n"
    )
    assert pointer(path) == Published("2" * 64, 12345)


def lines(made: Made) -> str:
    return "".join(f"{sha256(made.model / name)}  {name}\n" for name in FILES)


def listing(made: Made) -> str:
    """A hub's answer for a tree: a digest for what is in LFS, a Git object's for the rest."""
    plain = [{"type": "file", "oid": "a" * 40, "size": (made.model / n).stat().st_size, "path": n} for n in FILES[:2]]
    weights = made.model / WEIGHTS
    lfs = {"oid": sha256(weights), "size": weights.stat().st_size, "pointerSize": 134}
    big = {"type": "file", "oid": "b" * 40, "size": weights.stat().st_size, "lfs": lfs, "path": WEIGHTS}
    return json.dumps([*plain, big, {"type": "directory", "oid": "c" * 40, "path": "extra"}])


@pytest.mark.parametrize(("write", "count"), [(lines, 3), (listing, 1)])
def test_a_published_list_is_compared_without_any_file(
    write: Callable[[Made], str], count: int, made: Made, tmp_path: Path
) -> None:
    path = tmp_path / "published"
    path.write_text(write(made))
    report = check(made, None, published=path)
    assert report.verdict == "indeterminate"
    ((status, _, message),) = found(report, "integrity.published")
    assert status == "passed"
    assert f"for {count} of 3 reference files" in message
    assert check(made, made.model, published=path).verdict == "accepted"


@pytest.mark.parametrize("write", [lines, listing])
def test_a_published_list_of_another_model_rejects(write: Callable[[Made], str], made: Made, tmp_path: Path) -> None:
    path = tmp_path / "published"
    path.write_text(write(made).replace(sha256(made.model / WEIGHTS), "0" * 64))
    report = check(made, None, published=path)
    assert report.verdict == "rejected"
    ((status, place, _),) = found(report, "integrity.published")
    assert (status, place) == ("failed", f"reference/{WEIGHTS}")


def test_a_list_without_the_models_files_says_nothing(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "published"
    path.write_text(f"{'0' * 64}  other.safetensors\n")
    ((status, _, _),) = found(check(made, made.model, published=path), "integrity.published")
    assert status == "skipped"


LISTS: dict[str, bytes] = {
    "empty": b"",
    "words": b"these are not digests\n",
    "a digest without a name": b"0" * 64 + b"\n",
    "not UTF-8": b"\xff" * 70,
    "cut JSON": b'[{"path": "x"',
    "JSON of another kind": b'["x"]',
    "a size that is none": b'[{"path": "x", "size": "1"}]',
    "deep JSON": b"[" * 100_000,
    "one name twice": f"{'0' * 64}  x\n{'1' * 64}  ./x\n".encode(),
    "too long": b" " * (MOST_LIST_BYTES + 1),
}


@pytest.mark.parametrize("case", LISTS)
def test_what_is_no_published_list(case: str, made: Made, tmp_path: Path) -> None:
    path = tmp_path / "published"
    path.write_bytes(LISTS[case])
    with pytest.raises(Refusal) as caught:
        check(made, None, published=path)
    assert caught.value.code == "published.unreadable"


def test_a_published_list_that_is_not_there(made: Made, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as caught:
        check(made, None, published=tmp_path / "none")
    assert caught.value.code == "published.unreadable"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_or_refused(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published"
        path.write_bytes(data)
        assert pointer(path) is None or b"git-lfs" in data
        with suppress(Refusal):
            assert read_published(path)
