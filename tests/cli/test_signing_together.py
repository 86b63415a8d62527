"""Several who sign one file at once: no signature is lost, and a link stays a link."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from blockcert import bundle as bundle_module
from blockcert import keys
from blockcert.bundle import STATEMENT, Bundle, replace_statement
from blockcert.dsse import add_signature, encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.packing import pack
from blockcert.revocation import PAYLOAD_TYPE, parse_list
from blockcert.trust import encode_policy, new_policy
from blockcert_producers import sign as sign_module
from blockcert_producers.cli import files
from blockcert_producers.cli.files import update_file
from blockcert_producers.cli.run import run
from tests.support.bundles import Made, make_bundle

SIGNERS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a key for everybody, in which the commands run."""
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    monkeypatch.chdir(tmp_path)
    for name in ["first", *(f"s{i}" for i in range(SIGNERS))]:
        assert run(["keygen", name]) == 0
    return tmp_path


def together(*commands: list[str]) -> list[int]:
    """The exit codes of the command line run with these words, all at once."""
    start = [sys.executable, "-m", "blockcert_producers.cli"]
    started = [
        subprocess.Popen([*start, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for words in commands
    ]
    return [one.wait(timeout=120) for one in started]


def test_all_who_sign_a_list_at_once_have_signed_it(desk: Path) -> None:
    assert run(["revoke", "--out", "list", "--key", "first.key"]) == 0
    words = [["revoke", "--add-signature", "list", "--key", f"s{i}.key"] for i in range(SIGNERS)]
    assert together(*words) == [0] * SIGNERS
    signed = parse_list((desk / "list").read_bytes(), "list").envelope.signatures
    ids = [keys.keyid(keys.load_public(f"{name}.pub").key) for name in ["first", *(f"s{i}" for i in range(SIGNERS))]]
    assert sorted(one.keyid for one in signed) == sorted(ids)
    assert [path.name for path in desk.iterdir() if "partial" in path.name] == []


def test_owners_who_sign_a_policy_at_once_have_signed_it(desk: Path) -> None:
    owners = [keys.load_public(f"s{i}.pub") for i in range(SIGNERS)]
    old = new_policy([keys.load_public("first.pub")], replay=False, others={"owner": owners}, owners=SIGNERS)
    (desk / "old.json").write_bytes(encode_policy(old))
    assert run(["trust", "set", "old.json", "--greatest-age-days", "365", "--out", "new.json"]) == 0
    words = [["trust", "rotate", "old.json", "new.json", "--out", "s", "--key", f"s{i}.key"] for i in range(SIGNERS)]
    assert together(*words) == [0] * SIGNERS
    assert run(["trust", "accept", "old.json", "s", "--out", "mine.json"]) == 0


@pytest.mark.skipif(os.name != "posix", reason="links are not everybody's elsewhere")
def test_a_new_file_appears_whole_and_never_over_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, seen = os.link, list[bytes]()

    def looked(source: Path, target: Path) -> None:
        assert not target.exists()
        seen.append(source.read_bytes())
        link(source, target)

    monkeypatch.setattr(os, "link", looked)
    files.write_new(tmp_path / "policy", b"all of it", "policy")
    assert seen == [b"all of it"]
    (tmp_path / "nowhere").symlink_to(tmp_path / "not there")
    for name in ("policy", "nowhere"):
        with pytest.raises(Refusal) as refused:
            files.write_new(tmp_path / name, b"other", "policy")
        assert refused.value.code == "output.exists"
    assert (tmp_path / "policy").read_bytes() == b"all of it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nowhere", "policy"]


@pytest.mark.parametrize("packed", [False, True])
def test_of_two_who_sign_a_bundle_at_once_one_is_told(
    packed: bool, desk: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked at the bundle before either writes; the second must not put its envelope over the first's."""
    pytest.importorskip("fcntl")
    shutil.copytree(made.bundle, "bundle")
    path = desk / "bundle"
    if packed:
        path = desk / "bundle.zip"
        pack(desk / "bundle", path)
    write = bundle_module._write  # pyright: ignore[reportPrivateUsage]
    looked = threading.Barrier(2)

    def slow(*words: Any) -> None:
        write(*words)  # and looks once more whether the bundle is as it was
        time.sleep(0.1)

    monkeypatch.setattr(bundle_module, "_write", slow)
    found: list[str] = []

    def sign(name: str) -> None:
        key = keys.load_private(f"{name}.key", b"correct horse")
        bundle = Bundle(path)
        envelope = parse_envelope(bundle.read(STATEMENT, 1 << 22), STATEMENT)
        looked.wait(10)
        try:
            replace_statement(bundle, encode_envelope(add_signature(envelope, key)))
        except Refusal as refusal:
            found.append(refusal.code)
        else:
            found.append(name)

    threads = [threading.Thread(target=sign, args=(name,)) for name in ("s0", "s1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found)[0] == "bundle.changed"
    (winner,) = set(found) & {"s0", "s1"}
    signed = parse_envelope(Bundle(path).read(STATEMENT, 1 << 22), STATEMENT).signatures
    assert keys.keyid(keys.load_public(f"{winner}.pub").key) in [one.keyid for one in signed]


def test_of_several_bundles_none_is_signed_where_one_cannot_be_written(
    desk: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [desk / name for name in ("one", "two", "three")]
    for path in paths:
        shutil.copytree(made.bundle, path)
    before = [(path / STATEMENT).read_bytes() for path in paths]
    replace = sign_module.replace_statement

    def full(bundle: Bundle, data: bytes) -> None:
        if bundle.location.name == "three":
            raise Refusal("output.unwritable", str(bundle.location), "No space left on device.")
        replace(bundle, data)

    monkeypatch.setattr(sign_module, "replace_statement", full)
    assert run(["sign", "one", "two", "three", "--key", "first.key"]) == 2
    assert [(path / STATEMENT).read_bytes() for path in paths] == before
    monkeypatch.undo()
    monkeypatch.chdir(desk)
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    assert run(["sign", "one", "two", "three", "--key", "first.key"]) == 0


def test_what_a_link_names_is_signed(desk: Path) -> None:
    (desk / "published").mkdir()
    assert run(["revoke", "--out", "published/list", "--key", "first.key"]) == 0
    (desk / "list").symlink_to("published/list")
    assert run(["revoke", "--add-signature", "list", "--key", "s0.key"]) == 0
    assert (desk / "list").is_symlink()
    assert len(parse_list((desk / "published" / "list").read_bytes(), "l").envelope.signatures) == 2
    assert [path.name for path in (desk / "published").iterdir()] == ["list"]


def test_a_file_that_somebody_wrote_without_a_lock_is_not_overwritten(desk: Path) -> None:
    """As on a system without locks, or where a person copied another list there."""
    assert run(["revoke", "--out", "list", "--key", "first.key"]) == 0

    def make(before: bytes | None) -> bytes:
        envelope = parse_envelope(before or b"", "list", PAYLOAD_TYPE)
        other = add_signature(envelope, keys.load_private("s0.key", b"correct horse"))
        (desk / "beside").write_bytes(encode_envelope(other))
        (desk / "beside").replace(desk / "list")
        return encode_envelope(add_signature(envelope, keys.load_private("s1.key", b"correct horse")))

    with pytest.raises(Refusal) as refused:
        update_file(desk / "list", make, "list")
    assert refused.value.code == "output.changed"
    signed = parse_list((desk / "list").read_bytes(), "list").envelope.signatures
    assert [one.keyid for one in signed][1:] == [keys.keyid(keys.load_public("s0.pub").key)]
    assert [path.name for path in desk.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("links", [True, False])
def test_two_who_make_a_file_both_see_the_others_words(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def none(*_names: object) -> None:
            raise OSError(1, "no links here")

        monkeypatch.setattr(files.os, "link", none)
    path, seen = tmp_path / "file", threading.Event()

    def slow(before: bytes | None) -> bytes:
        if before is None:
            seen.wait(30)
        return (before or b"") + b"slow"

    first = threading.Thread(target=update_file, args=(path, slow, "file"))
    first.start()
    update_file(path, lambda before: (before or b"") + b"quick", "file")
    seen.set()
    first.join()
    assert path.read_bytes() == b"quickslow"
