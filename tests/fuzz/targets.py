"""What is fuzzed: each target takes bytes, and returns unless something is wrong.

Right is a value, or a refusal with a registered code and a printable sentence. Whatever else is raised is a bug, and so
is what an assertion here finds: two readers that disagree, or altered content that was accepted.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from blockcert import strict_json
from blockcert.archive import Member, layout
from blockcert.bundle import STATEMENT, Bundle
from blockcert.codes import CODES
from blockcert.dsse import encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.packing import pack
from blockcert.printable import plain
from blockcert.program import Program
from blockcert.safetensors_file import read_header_bytes
from blockcert.trust import encode_policy, parse_policy
from blockcert.wellformed import problems
from blockcert_verifier import to_json, verify
from tests.fuzz.instructions import Instructions, change_bytes, change_cells, change_json, change_tensors
from tests.support.bundles import NOW, Made, make_bundle, reseal

__all__ = ["TARGETS", "Target", "seeds"]

Target = Callable[[bytes], None]


def refused(refusal: Refusal) -> None:
    """A refusal is as the spec has it."""
    assert refusal.code in CODES, refusal.code
    assert str(refusal).isprintable()


# --- readers of bytes ----------------------------------------------------------------------------------------------


def json_gate(data: bytes) -> None:
    """What the gate lets through, both decoders read, and read alike."""
    try:
        strict_json.check(data, "fuzz")
    except Refusal as refusal:
        refused(refusal)
        return
    value = json.loads(data)
    assert value == msgspec.json.decode(data)
    assert json.loads(strict_json.encode(value)) == value


def envelope(data: bytes) -> None:
    """An envelope that is read is written and read again as the same."""
    try:
        found = parse_envelope(data, "fuzz")
    except Refusal as refusal:
        refused(refusal)
        return
    assert parse_envelope(encode_envelope(found), "fuzz") == found


def program(data: bytes) -> None:
    """A program has problems or none; a well-formed one is written and read again as the same."""
    try:
        found = strict_json.decode(data, Program, "fuzz")
    except Refusal as refusal:
        refused(refusal)
        return
    for problem in problems(found, "fuzz", reference=False):
        refused(problem)
    assert strict_json.decode(strict_json.encode(found), Program, "fuzz") == found


def tensors(data: bytes) -> None:
    """Tensors that are read lie in the file, side by side, and fill it."""
    try:
        found = read_header_bytes(data, "fuzz")
    except Refusal as refusal:
        refused(refusal)
        return
    at = 8 + int.from_bytes(data[:8], "little")
    for info in sorted(found.values(), key=lambda info: (info.begin, info.end)):
        assert info.begin == at
        at = info.end
    assert at == len(data)


def policy(data: bytes) -> None:
    """A trust policy that is read is written and read again as the same."""
    try:
        found = parse_policy(data, "fuzz")
    except Refusal as refusal:
        refused(refusal)
        return
    assert parse_policy(encode_policy(found), "fuzz") == found


class Archive:
    """A zip file that is opened is the one that its files have, and Python reads the same in it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "fuzz.zip"

    def __call__(self, data: bytes) -> None:
        self._path.unlink(missing_ok=True)
        self._path.write_bytes(data)
        try:
            bundle = Bundle(self._path)
            contents = {name: bundle.read(name, len(data)) for name in bundle.sizes}
        except Refusal as refusal:
            refused(refusal)
            return
        with zipfile.ZipFile(self._path) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == contents
        found = layout([Member(name, file.size, file.crc32 or 0) for name, file in bundle.files.items()])
        parts = [header + content for header, content in zip(found.headers, contents.values(), strict=True)]
        assert b"".join(parts) + found.tail == data


# --- whole bundles ---------------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Callable[[bytes, Instructions], bytes], ...]] = {
    ".json": (change_json, change_json, change_bytes),
    ".safetensors": (change_tensors, change_cells, change_bytes),
}


class Whole:
    """A valid bundle of which a part was changed, as a folder or packed, verified.

    As it was signed, it is accepted where nothing was changed and never otherwise. With ``signed``, digests and the
    signature are put right around the change, so that what parses signed content is reached: then every verdict is
    right that is one, and no internal fault. With ``replay``, what is accepted so far is measured again.
    """

    def __init__(self, folder: Path, *, signed: bool, replay: bool = False) -> None:
        self._folder, self._signed, self._replay = folder, signed, replay
        self._made = make_bundle(folder / "made")
        base = self._made.bundle
        self._files = {
            path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*") if path.is_file()
        }
        self._names = sorted(self._files)
        pack(base, folder / "made.zip")
        self._packed = (folder / "made.zip").read_bytes()
        self._policy = self._made.policy if replay else self._made.without_replay
        report = self._verify(base)
        self._id = report.certificate_id
        assert report.verdict == "accepted", report.sentence

    def _verify(self, path: Path) -> Any:
        model = self._made.model if self._replay else None
        report = verify(path, self._policy, reference=model, replay=1, seed=bytes(32), at=NOW)
        for finding in report.findings:
            assert finding.code in CODES, finding.code
            # what the standard lets a name hold, it may hold here; nothing else
            assert plain(finding.place) == finding.place
            assert plain(finding.message) == finding.message
        assert json.loads(to_json(report))["verdict"] == report.verdict
        return report

    def __call__(self, data: bytes) -> None:
        read = Instructions(data)
        try:
            if self._signed:
                self._resealed(read)
            elif read.below(2):
                self._altered_file(read)
            else:
                self._altered_archive(read)
        except Refusal as refusal:
            refused(refusal)
            if refusal.code not in ("bundle.not_a_folder", "bundle.no_statement"):
                raise AssertionError(f"raised, and not a finding: {refusal}") from refusal

    def _changed(self, name: str, read: Instructions) -> bytes:
        data = self._files[name]
        changes = CHANGES["." + name.rpartition(".")[2]]
        for _ in range(1 + read.below(3)):
            try:
                data = changes[read.below(len(changes))](data, read)
            except (ValueError, RecursionError, TypeError):  # no JSON any more after the first change
                data = change_bytes(data, read)
        return data

    def _altered_file(self, read: Instructions) -> None:
        name = self._names[read.below(len(self._names))]
        data = self._changed(name, read)
        path = self._made.bundle / name
        path.write_bytes(data)
        try:
            target = self._made.bundle
            if read.below(2):
                target = self._folder / "altered.zip"
                target.unlink(missing_ok=True)
                pack(self._made.bundle, target)
            report = self._verify(target)
        finally:
            path.write_bytes(self._files[name])
        # another spelling of the same envelope changes nothing that was signed
        same = data == self._files[name] or (name == STATEMENT and report.certificate_id == self._id)
        assert report.verdict != "accepted" or same, name

    def _altered_archive(self, read: Instructions) -> None:
        data = self._packed
        for _ in range(1 + read.below(3)):
            if read.below(2):
                at = data.find(b"PK\1\2")  # the directory, where the format's own fields are
                data = data[:at] + change_bytes(data[at:], read)
            else:
                data = change_bytes(data, read)
        path = self._folder / "archive.zip"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        report = self._verify(path)
        # every content has its checksum in the file, so that even another spelling of the envelope shows
        assert report.verdict != "accepted" or data == self._packed

    def _resealed(self, read: Instructions) -> None:
        made = self._made
        before = (made.bundle / STATEMENT).read_bytes()
        name = self._names[read.below(len(self._names))]
        path = made.bundle / name
        try:
            if name == STATEMENT:
                self._restated(read)
            else:
                path.write_bytes(self._changed(name, read))
                reseal(made)
            self._verify(made.bundle)
        finally:
            path.write_bytes(self._files[name])
            (made.bundle / STATEMENT).write_bytes(before)

    def _restated(self, read: Instructions) -> None:
        from tests.support.bundles import sign_again

        payload = parse_envelope(self._files[STATEMENT], STATEMENT).payload
        for _ in range(1 + read.below(3)):
            try:
                payload = change_json(payload, read) if read.below(4) else change_bytes(payload, read)
            except (ValueError, RecursionError, TypeError):
                payload = change_bytes(payload, read)
        sign_again(self._made.bundle, self._made.key, payload)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "json": lambda _: json_gate,
    "envelope": lambda _: envelope,
    "zip": Archive,
    "program": lambda _: program,
    "tensors": lambda _: tensors,
    "policy": lambda _: policy,
    "altered": lambda folder: Whole(folder, signed=False),
    "signed": lambda folder: Whole(folder, signed=True),
    "replayed": lambda folder: Whole(folder, signed=True, replay=True),
}
"""Makers of the targets, each given an empty folder of its own."""


def seeds(name: str, made: Made, folder: Path) -> list[bytes]:
    """Valid inputs from which the fuzzer of a target starts."""
    bundle = made.bundle
    if name in ("altered", "signed", "replayed"):
        return [bytes([number]) + bytes(range(number, number + 24)) for number in range(0, 200, 8)]
    if name == "policy":
        return [encode_policy(made.policy), encode_policy(made.without_replay)]
    if name == "zip":
        small = folder / "small"
        shutil.rmtree(small, ignore_errors=True)
        small.mkdir(parents=True)
        (small / STATEMENT).write_bytes(b"{}")
        (small / "a").write_bytes(b"x" * 70)
        (folder / "small.zip").unlink(missing_ok=True)
        pack(small, folder / "small.zip")
        return [(folder / "small.zip").read_bytes()]
    pattern = {"json": "*.json", "envelope": STATEMENT, "program": "programs/*.json", "tensors": "*.safetensors"}[name]
    found = [path.read_bytes() for path in bundle.rglob(pattern)]
    if name == "tensors":
        header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        found.append(len(header).to_bytes(8, "little") + header + b"abcd")
    if name == "json":
        found += [b'{"a":[1,-2,"\\ud83d\\ude00",null,true]}', b'"\\u0000"', b"9007199254740991"]
    return found
