"""Packed bundles: the one spelling of a zip file, and files that two zip readers could understand differently."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import TypeAlias

from blockcert.archive import LARGE, Member, layout
from blockcert.bundle import STATEMENT
from blockcert_producers.conformance.changes import corpus_given, replayed
from blockcert_producers.conformance.draft import EVIDENCE, Change, Draft
from blockcert_producers.conformance.entry import Entry, accepted, case, refused, rejected

__all__ = ["CASES"]

File: TypeAlias = tuple[str, bytes]
Bytes: TypeAlias = Callable[[bytes], bytes]
LOCAL, ENTRY, END = b"PK\x03\x04", b"PK\x01\x02", 22
"""Signatures of a local header and of an entry of the directory; size of the end record."""


def spelled(files: Iterable[File]) -> bytes:
    """A packed bundle of these files in this order, whether they may stand in one or not."""
    contents = list(files)
    found = layout([Member(name, len(data), zlib.crc32(data)) for name, data in contents])
    return b"".join(header + data for header, (_, data) in zip(found.headers, contents, strict=True)) + found.tail


def packed(change: Bytes = bytes) -> Change:
    """The bundle packed into one file, and its bytes changed."""

    def apply(draft: Draft) -> None:
        draft.packed = lambda files: change(spelled(sorted(files.items())))

    return apply


def listing(change: Callable[[list[File]], list[File]]) -> Change:
    """Other files packed, or in another order, each byte around them as the format has it."""

    def apply(draft: Draft) -> None:
        draft.packed = lambda files: spelled(change(sorted(files.items())))

    return apply


def beside(*names: str) -> Change:
    """Files of these names beside the bundle's own."""
    return listing(lambda files: sorted([*files, *((name, b"x") for name in names)]))


def _set(begin: int, data: bytes, field: str, value: int) -> bytes:
    return data[:begin] + struct.pack(field, value) + data[begin + struct.calcsize(field) :]


def local(field: str, at: int, value: int) -> Bytes:
    """A field of the first local header."""
    return lambda data: _set(at, data, field, value)


def entry(field: str, at: int, value: int) -> Bytes:
    """A field of the first entry of the directory."""
    return lambda data: _set(data.index(ENTRY) + at, data, field, value)


def end(field: str, at: int, value: int) -> Bytes:
    """A field of the end record."""
    return lambda data: _set(len(data) - END + at, data, field, value)


def both(field: str, at: int, value: int) -> Bytes:
    """A field of the first local header, and the same of its entry, which stands two bytes further on."""
    return lambda data: entry(field, at + 2, value)(local(field, at, value)(data))


def count(change: int) -> Bytes:
    """Another number of files in the end record."""
    return lambda data: end("<H", 10, struct.unpack_from("<H", data, len(data) - 12)[0] + change)(data)


def gap(data: bytes) -> bytes:
    """Bytes of no file before the directory, whose offset is put right."""
    at = data.index(ENTRY)
    return end("<I", 16, at + 64)(data[:at] + bytes(64) + data[at:])


def swapped(data: bytes) -> bytes:
    """Two entries that point at each other's content."""
    first = data.index(ENTRY)
    second = data.index(ENTRY, first + 1)
    offsets = data[first + 42 : first + 46], data[second + 42 : second + 46]
    data = data[: first + 42] + offsets[1] + data[first + 46 :]
    return data[: second + 42] + offsets[0] + data[second + 46 :]


def overlapping(data: bytes) -> bytes:
    """Every entry is the first one, the way a bomb is made."""
    at = data.index(ENTRY)
    tail = data[at : data.index(ENTRY, at + 1)] * 5
    return data[:at] + tail + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 5, 5, len(tail), at, 0)


def endless(_: bytes) -> bytes:
    """Two files of 2^64 - 1 bytes each: their sum fits no field."""
    extra = struct.pack("<2H2Q", 1, 16, (1 << 64) - 1, (1 << 64) - 1)
    fields = (45, 45, 0x800, 0, 0, 33, 0, LARGE, LARGE, 1, len(extra), 0, 0, 0, 0, 0)
    head = struct.pack("<4s6H3I5H2I", ENTRY, *fields)
    tail = head + b"a" + extra + head + b"b" + extra
    return LOCAL + tail + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(tail), 4, 0)


def common(method: int) -> Bytes:
    """The same files as a common tool zips them."""

    def change(data: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
            for name in old.namelist():
                new.writestr(zipfile.ZipInfo(name), old.read(name), compress_type=method)
        return buffer.getvalue()

    return change


def content(*, checksum: bool) -> Change:
    """The last byte of the evidence changed; the checksum that is stated is the new one's, or the old one's."""

    def other(files: list[File]) -> list[File]:
        return [(name, data[:-1] + bytes([data[-1] ^ 1]) if name == EVIDENCE else data) for name, data in files]

    def apply(draft: Draft) -> None:
        def make(files: dict[str, bytes]) -> bytes:
            old = sorted(files.items())
            new, found = spelled(other(old)), spelled(old)
            if checksum:
                return new
            at = next(i for i, (a, b) in enumerate(zip(new[64:], found[64:], strict=True), 64) if a != b)
            return found[:at] + new[at : at + 1] + found[at + 1 :]

        draft.packed = make

    return apply


FORM: tuple[tuple[str, str, str, Bytes], ...] = (
    ("prefix", "Something before the first file", "BC-BND-22", lambda d: d[:4] + bytes(60) + d),
    ("trailing-byte", "A byte behind the end record", "BC-BND-22", lambda d: d + b"\n"),
    ("comment", "A comment", "BC-BND-22 BC-BND-23", lambda d: d[:-2] + b"\x02\x00hi"),
    ("end-in-a-comment", "A second end record in a comment", "BC-BND-22", lambda d: d[:-2] + b"\x16\x00" + d[-END:]),
    ("two-directories", "A second directory behind the first", "BC-BND-22", lambda d: d + d[d.index(ENTRY) :]),
    ("cut-off", "The last byte is gone", "BC-BND-22", lambda d: d[:-1]),
    ("cut-in-the-middle", "The second half is gone", "BC-BND-22", lambda d: d[: len(d) // 2]),
    ("gap", "Bytes of no file before the directory", "BC-BND-22", gap),
    ("swapped", "Two entries point at each other's content", "BC-BND-22", swapped),
    ("endless", "Sizes whose sum fits no field", "BC-BND-22", endless),
    ("one-file-fewer", "The end record counts a file too many", "BC-BND-23", count(1)),
    ("one-file-more", "The end record counts a file too few", "BC-BND-23", count(-1)),
    ("another-disk", "The end record names another disk", "BC-BND-23", end("<H", 4, 1)),
    ("directory-elsewhere", "The directory is said to stand elsewhere", "BC-BND-23", end("<I", 16, 0)),
    ("zip64-missing", "Zip64 is called for, and its record is not there", "BC-BND-24", end("<I", 16, LARGE)),
    ("compressed", "Compressed files", "BC-BND-23", common(zipfile.ZIP_DEFLATED)),
    ("common-tool", "Stored by a common tool", "BC-BND-23 BC-BND-25", common(zipfile.ZIP_STORED)),
    ("compressed-in-the-header", "Compressed, says the header alone", "BC-BND-23", local("<H", 8, 8)),
    ("encrypted", "Marked as encrypted", "BC-BND-23", both("<H", 6, 0x801)),
    ("data-descriptor", "A size behind the file", "BC-BND-23", both("<H", 6, 0x808)),
    ("name-not-utf-8-marked", "A name that is not marked as UTF-8", "BC-BND-23", both("<H", 6, 0)),
    ("time", "Another time", "BC-BND-23", both("<H", 10, 1)),
    ("date-in-the-header", "Another date in the header alone", "BC-BND-23", local("<H", 12, 0x22)),
    ("version-needed", "Another version needed", "BC-BND-23", both("<H", 4, 63)),
    ("link", "A symbolic link, say the attributes", "BC-BND-23", entry("<I", 38, 0xA1FF0000)),
    ("internal-attributes", "Internal attributes", "BC-BND-23", entry("<H", 36, 1)),
    ("size-in-the-header", "Another size in the header alone", "BC-BND-23", local("<I", 22, 5)),
    ("crc-in-the-header", "Another checksum in the header alone", "BC-BND-23", local("<I", 14, 5)),
    ("name-in-the-header", "Another name in the header alone", "BC-BND-23", lambda d: d[:30] + b"z" + d[31:]),
    ("extra-field", "An extra field of another id", "BC-BND-25", lambda d: d.replace(b"\x1e\xa1", b"\x1f\xa1", 1)),
    ("padding", "Padding that is not zero", "BC-BND-25", lambda d: d[:63] + b"\x01" + d[64:]),
    ("entry-comment", "A comment of an entry", "BC-BND-23", entry("<H", 32, 1)),
    ("entry-disk", "An entry on another disk", "BC-BND-23", entry("<H", 34, 1)),
)
NAMES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("duplicate", "name.collision", ("a", "a")),
    ("two-statements", "name.collision", (STATEMENT,)),
    ("case", "name.collision", ("a", "A")),
    ("file-and-folder", "name.collision", ("a", "a/b")),
    ("folder-entry", "name.unsafe", ("a/",)),
    ("absolute", "name.unsafe", ("/etc/passwd",)),
    ("outside", "name.unsafe", ("a/../../evil",)),
    ("backslash", "name.unsafe", ("..\\evil",)),
    ("drive", "name.unsafe", ("C:evil",)),
    ("null", "name.unsafe", ("a\0b",)),
    ("empty", "name.unsafe", ("",)),
)

CASES: tuple[Entry, ...] = (
    case("packed::as-it-is", "A packed bundle", "BC-BND-22 BC-BND-23 BC-BND-25 BC-BND-27", accepted(), packed()),
    case(
        "packed::replayed",
        "A packed bundle whose rows are replayed where they lie",
        "BC-BND-27",
        accepted("replay.rows"),
        corpus_given,
        replayed,
        packed(),
    ),
    *(
        case(f"packed::{name}", tests, requirements, rejected("bundle.zip.form"), packed(change))
        for name, tests, requirements, change in FORM
    ),
    *(
        case(f"packed::name-{name}", f"A name among the files: {name}", "BC-BND-26", rejected(code), beside(*names))
        for name, code, names in NAMES
    ),
    case(
        "packed::name-not-utf-8",
        "A name that is not UTF-8",
        "BC-BND-26",
        rejected("name.unsafe"),
        packed(lambda d: d.replace(EVIDENCE.encode(), b"\xff" + EVIDENCE.encode()[1:])),
    ),
    case(
        "packed::too-many-folders",
        "Few files in more folders than a bundle has",
        "BC-BND-18 BC-BND-26 BC-BND-27",
        rejected("bundle.too_many_files"),
        beside(*(f"{i:03}/{'a/' * 100}a" for i in range(100))),
    ),
    case(
        "packed::overlapping",
        "Five entries for one file",
        "BC-BND-22 BC-BND-26",
        rejected("name.collision"),
        packed(overlapping),
    ),
    case(
        "packed::order",
        "Files in another order than their names'",
        "BC-BND-22",
        rejected("bundle.zip.form"),
        listing(lambda files: files[::-1]),
    ),
    case(
        "packed::unlisted",
        "A file that the statement does not list",
        "BC-BND-02 BC-BND-27",
        rejected("bundle.file.unlisted"),
        beside("extra.txt"),
    ),
    case(
        "packed::wrong-crc",
        "A content that has not the checksum that is stated",
        "BC-BND-26",
        rejected("bundle.zip.crc32"),
        content(checksum=False),
    ),
    case(
        "packed::altered",
        "A content altered with its checksum",
        "BC-BND-12 BC-BND-27",
        rejected("integrity.digest.mismatch"),
        content(checksum=True),
    ),
    case(
        "packed::no-statement",
        "A packed bundle without a statement is none",
        "BC-BND-27 BC-RES-06",
        refused("bundle.no_statement"),
        listing(lambda files: [file for file in files if file[0] != STATEMENT]),
    ),
    case(
        "packed::behind-a-script",
        "A zip file behind a script is no bundle",
        "BC-BND-22 BC-RES-06",
        refused("bundle.not_a_folder"),
        packed(lambda d: b"#!/bin/sh\n" + d),
    ),
)
