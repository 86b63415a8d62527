"""Every command takes a packed bundle as it takes the folder, and verifying one writes nothing (BC-BND-27)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from blockcert.bundle import Bundle
from blockcert.digest import digest_file
from blockcert.dsse import parse_envelope
from blockcert.keys import generate, save_private
from blockcert.packing import pack
from blockcert_producers.cli.run import run
from blockcert_verifier import Report, verify
from tests.support.bundles import NOW, Made, make_bundle

SEED = bytes(range(32))
_writes: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _writes is None:
        return
    if event == "open":
        path, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            _writes.append(str(path))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp", "tempfile.mkdtemp"):
        _writes.append(f"{event} {arguments[0]}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def packed(made: Made) -> Path:
    file = made.bundle.parent / "bundle.zip"
    pack(made.bundle, file)
    return file


def check(made: Made, path: Path, **more: Any) -> Report:
    options: dict[str, Any] = {"reference": made.model, "replay": 3, "seed": SEED, "at": NOW}
    return verify(path, made.policy, **(options | more))


def told(report: Report) -> list[tuple[str, str, str, str]]:
    return [(f.step, f.code, f.status, f.place) for f in report.findings]


def test_a_packed_bundle_gets_the_verdict_of_its_folder(made: Made, packed: Path) -> None:
    folder, file = check(made, made.bundle), check(made, packed)
    assert folder.verdict == file.verdict == "accepted"
    assert told(file) == told(folder)
    assert file.certificate_id == folder.certificate_id
    assert "packed" in file.findings[0].message


def test_worker_processes_map_it_too(made: Made, packed: Path) -> None:
    assert told(check(made, packed, jobs=2)) == told(check(made, made.bundle))


def test_verifying_writes_nothing(made: Made, packed: Path) -> None:
    """Every opening of a file is looked at, wherever it lies."""
    global _writes  # noqa: PLW0603 - an audit hook cannot be taken away again
    sys.addaudithook(_hook)
    check(made, packed)  # what is imported now may write byte code
    _writes = []
    try:
        report, seen = check(made, packed), _writes
        with (packed.parent / "witness").open("w"):
            pass
    finally:
        _writes = None
    assert report.verdict == "accepted"
    assert seen == [str(packed.parent / "witness")]


@pytest.mark.parametrize("name", ["evidence.safetensors", "programs/surrogate.safetensors", "statement.dsse.json"])
def test_altered_content_is_refused(name: str, made: Made, packed: Path, tmp_path: Path) -> None:
    found = Bundle(packed).file(name)
    data = bytearray(packed.read_bytes())
    data[found.begin + found.size // 2] ^= 1
    (tmp_path / "b.zip").write_bytes(data)
    report = check(made, tmp_path / "b.zip")
    assert report.verdict == "rejected"
    failed = [finding.code for finding in report.findings if finding.status == "failed"]
    assert failed == ["bundle.zip.crc32"]


def test_altered_content_with_its_checksum_put_right_is_refused_by_its_digest(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    path = copy.bundle / "evidence.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    pack(copy.bundle, tmp_path / "b.zip")
    report = check(copy, tmp_path / "b.zip")
    assert [f.code for f in report.findings if f.status == "failed"] == ["integrity.digest.mismatch"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_weights_that_change_after_their_digest_was_checked_are_not_measured(
    kind: str, made: Made, packed: Path, tmp_path: Path
) -> None:
    from blockcert.errors import Refusal
    from blockcert.program import TensorRef
    from blockcert_verifier.evaluate import WeightStore

    name = "programs/surrogate.safetensors"
    path = made.copy(tmp_path).bundle
    if kind == "file":
        path = tmp_path / "b.zip"
        path.write_bytes(packed.read_bytes())
    file = Bundle(path).file(name)
    assert digest_file(file).size == file.size
    changed = Path(file.path)
    data = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(data)
    with pytest.raises(Refusal) as refused:
        WeightStore({name: file}).info(TensorRef(name, "v.left"))
    assert (refused.value.code, refused.value.place) == ("bundle.changed", name)


def test_a_file_that_is_no_packed_bundle_is_wrong_usage(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(made.bundle / "statement.dsse.json")]) == 2
    assert "bundle.not_a_folder" in capsys.readouterr().err


def test_a_zip_of_another_tool_is_rejected_and_says_what_to_use(made: Made, tmp_path: Path) -> None:
    import shutil

    file = shutil.make_archive(str(tmp_path / "b"), "zip", made.bundle)
    report = check(made, Path(file))
    [finding] = [f for f in report.findings if f.status == "failed"]
    assert (finding.step, finding.code) == ("structure", "bundle.zip.form")
    assert "blockcert pack" in finding.message


def test_show_says_the_same(made: Made, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["show"], ["show", "--raw"], ["show", "--mechanisms", "--reference", str(made.model)]):
        texts: list[str] = []
        for path in (made.bundle, packed):
            assert run([*words, str(path)]) == 0
            texts.append(capsys.readouterr().out)
        assert texts[0] == texts[1]
        assert texts[0]
    assert run(["show", "--diff", str(made.bundle), str(packed)]) == 0
    assert str(packed) in capsys.readouterr().out


def test_pack_sign_unpack_at_the_command_line(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "certificate.zip", tmp_path / "folder"
    assert run(["pack", str(made.bundle), "--out", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    key = generate()
    save_private(tmp_path / "second.key", key, b"words")
    (tmp_path / "words").write_text("words\n")
    words = ["--key", str(tmp_path / "second.key"), "--passphrase-file", str(tmp_path / "words")]
    assert run(["sign", str(file), *words]) == 0
    assert run(["sign", str(file), *words]) == 2  # signed already
    assert len(parse_envelope(Bundle(file).read("statement.dsse.json", 1 << 24), "x").signatures) == 2
    assert check(made, file).verdict == "accepted"
    assert run(["unpack", str(file), "--out", str(folder)]) == 0
    assert check(made, folder).verdict == "accepted"
    assert run(["pack", str(folder), "--out", str(tmp_path / "again.zip")]) == 0
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    assert run(["pack", str(folder), "--out", str(file)]) == 2
    assert run(["unpack", str(file), "--out", str(folder)]) == 2
    capsys.readouterr()
