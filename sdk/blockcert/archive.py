"""Packed bundles: the one zip file that the files of a bundle have (``spec/02-bundle.md``, Packed bundles).

Names, sizes and checksums determine every byte that is not content. So a reader takes these three from the central
directory, works out the file that they have, and compares: what two zip readers could understand differently (a
prefix, a gap, a header that contradicts the directory) is never interpreted.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from blockcert.errors import Refusal
from blockcert.file_range import Span
from blockcert.names import MAX_NAME, check_names, shown

__all__ = ["ALIGNMENT", "LARGE", "SIGNATURES", "Layout", "Member", "layout", "read_archive"]

ALIGNMENT = 64
"""The content of every file begins at a multiple of it, so that its tensors map as those of a file of its own do."""
LARGE = 0xFFFFFFFF
"""From this size or offset on, the zip64 fields hold the value (APPNOTE 4.3.9.2)."""
SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""How a zip file begins: with a local header or, where it has no file, with the end record."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_EXTRA = struct.Struct("<2H")
_STORED, _UTF8, _MIDNIGHT, _DAY = 0, 0x0800, 0, 0x0021  # method; name in UTF-8; 1980-01-01 00:00:00
_PLAIN, _ZIP64 = 20, 45  # version needed: 2.0, or 4.5 for zip64
# made by Unix, a regular file of mode 644: Info-ZIP takes the names of other systems for those of their code page
_UNIX, _ATTRIBUTES = 3 << 8, 0o100644 << 16
_ID64, _ID_ALIGNMENT = 0x0001, 0xA11E
_ENCRYPTED, _DESCRIPTOR = 0x0001, 0x0008


class Member(NamedTuple):
    """A file of a packed bundle."""

    name: str
    size: int
    crc32: int


class Layout(NamedTuple):
    """The bytes of a packed bundle around its contents.

    ``headers`` stand at ``offsets``, each member's content at ``begins`` behind its header; ``tail`` is the rest.
    """

    headers: tuple[bytes, ...]
    offsets: tuple[int, ...]
    begins: tuple[int, ...]
    tail: bytes
    size: int


def layout(members: Sequence[Member], large: int = LARGE) -> Layout:
    """The one zip file that these members have, in this order; they are sorted by name where a bundle is written.

    ``large`` is another value than :data:`LARGE` only in tests, which so reach zip64 without gigabytes.
    """
    headers: list[bytes] = []
    offsets: list[int] = []
    begins: list[int] = []
    directory: list[bytes] = []
    at = 0
    for member in members:
        name = member.name.encode()
        header = _local(member, name, at, large)
        headers.append(header)
        offsets.append(at)
        begins.append(at + len(header))
        directory.append(_central(member, name, at, large))
        at += len(header) + member.size
    tail = b"".join(directory)
    tail += _ends(len(members), len(tail), at, large)
    return Layout(tuple(headers), tuple(offsets), tuple(begins), tail, at + len(tail))


def _local(member: Member, name: bytes, at: int, large: int) -> bytes:
    big = member.size >= large
    extra = _EXTRA.pack(_ID64, 16) + struct.pack("<2Q", member.size, member.size) if big else b""
    padding = -(at + _LOCAL.size + len(name) + len(extra) + _EXTRA.size + 2) % ALIGNMENT
    extra += _EXTRA.pack(_ID_ALIGNMENT, 2 + padding) + struct.pack("<H", ALIGNMENT) + bytes(padding)
    size = LARGE if big else member.size
    fields = (_ZIP64 if big else _PLAIN, _UTF8, _STORED, _MIDNIGHT, _DAY, member.crc32, size, size)
    return _LOCAL.pack(b"PK\x03\x04", *fields, len(name), len(extra)) + name + extra


def _central(member: Member, name: bytes, at: int, large: int) -> bytes:
    big, far = member.size >= large, at >= large
    values = [*([member.size, member.size] if big else []), *([at] if far else [])]
    extra = _EXTRA.pack(_ID64, 8 * len(values)) + struct.pack(f"<{len(values)}Q", *values) if values else b""
    version = _ZIP64 if values else _PLAIN
    size = LARGE if big else member.size
    fields = (
        _UNIX | version,
        version,
        _UTF8,
        _STORED,
        _MIDNIGHT,
        _DAY,
        member.crc32,
        size,
        size,
        len(name),
        len(extra),
    )
    return _CENTRAL.pack(b"PK\x01\x02", *fields, 0, 0, 0, _ATTRIBUTES, LARGE if far else at) + name + extra


def _ends(count: int, size: int, at: int, large: int) -> bytes:
    end64 = b""
    if size >= large or at >= large:
        end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, _ZIP64, _ZIP64, 0, 0, count, count, size, at)
        end64 += _LOCATOR.pack(b"PK\x06\x07", 0, at + size, 1)
    short = (LARGE if size >= large else size, LARGE if at >= large else at)
    return end64 + _END.pack(b"PK\x05\x06", 0, 0, count, count, *short, 0)


def read_archive(span: Span, most: int, place: str, large: int = LARGE) -> list[tuple[Member, int]]:
    """The members of a packed bundle of at most ``most`` files and folders, and where each one's content begins.

    Reads the directory and the headers, no content: that a content has its checksum is for who reads it to see.

    Raises:
        Refusal: ``bundle.zip.form`` where the file is not the one that its files have, ``bundle.too_many_files``,
            ``name.unsafe`` or ``name.collision``.
        OSError: where it cannot be read.
    """
    count, size, at = _directory(span, most, place)
    members = list(_members(_read(span, at, size), count, place))
    folders = check_names((member.name for member in members), place)
    if len(members) + folders > most:
        # a folder of these files would be refused, and whoever unpacks them would make all those folders
        sentence = f"The file holds {len(members)} files in {folders} folders; at most {most} of both are accepted."
        raise Refusal("bundle.too_many_files", place, sentence)
    names = [member.name for member in members]
    if names != sorted(names):
        raise _form(place, "its files are not in the order of their names")
    if sum(member.size for member in members) > span.size:
        raise _form(place, "its files are larger than it is; it was cut off, or they overlap")
    found = layout(members, large)
    if found.size != span.size or at != span.size - len(found.tail):
        raise _form(place, "its parts do not fill it: there are bytes of no file, or files that overlap")
    if _read(span, at, len(found.tail)) != found.tail:
        raise _form(place, "its directory is not spelled as the format spells it")
    for member, header, offset in zip(members, found.headers, found.offsets, strict=True):
        if _read(span, offset, len(header)) != header:
            where = f"{place}: {shown(member.name)[1:-1]}"
            raise _form(where, "its header is not the one that the directory calls for")
    return list(zip(members, found.begins, strict=True))


def _directory(span: Span, most: int, place: str) -> tuple[int, int, int]:
    """Number of files, size of the directory and its offset, all within the file."""
    start = span.size - _END.size
    if start < 0:
        raise _form(place, "it is too short; it was cut off")
    end = _END.unpack(_read(span, start, _END.size))
    if end[0] != b"PK\x05\x06" or end[7]:
        raise _form(place, "it does not end with the end record of a zip file: it was cut off, or something follows")
    count, size, at = end[4:7]
    if LARGE in (size, at):
        start -= _LOCATOR.size + _END64.size
        if start < 0:
            raise _form(place, "it is too short; it was cut off")
        end64 = _END64.unpack(_read(span, start, _END64.size))
        if end64[0] != b"PK\x06\x06":
            raise _form(place, "its zip64 record is not before its end record")
        count, size, at = end64[7:10]
    if count > most:
        raise Refusal("bundle.too_many_files", place, f"The file holds {count} files; at most {most} are accepted.")
    if at + size != start or size > most * (_CENTRAL.size + 4 * MAX_NAME + 28):
        raise _form(place, "its directory does not reach from the last file to the end record")
    return count, size, at


def _members(directory: bytes, count: int, place: str) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if len(directory) < at + _CENTRAL.size:
            raise _form(place, "its directory has fewer entries than the end record says")
        entry = _CENTRAL.unpack_from(directory, at)
        crc32, size = entry[7], entry[9]
        name_size, extra_size, comment_size = entry[10:13]
        at += _CENTRAL.size
        raw, extra = directory[at : at + name_size], directory[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if entry[0] != b"PK\x01\x02" or len(directory) < at:
            raise _form(place, "its directory cannot be read")
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            raise Refusal("name.unsafe", place, "A name in the file is not UTF-8.") from None
        if why := _not_stored(entry[3], entry[4]):
            raise _form(f"{place}: {shown(name)[1:-1]}", why)
        if size == LARGE and len(extra) >= _EXTRA.size + 8:
            size = int.from_bytes(extra[_EXTRA.size : _EXTRA.size + 8], "little")
        yield Member(name, size, crc32)
    if at != len(directory):
        raise _form(place, "its directory has more entries than the end record says")


def _not_stored(flags: int, method: int) -> str | None:
    """Why a file is not stored as it is, in the words of who made it with a common tool; or None."""
    if flags & _ENCRYPTED:
        return "it is encrypted; a packed bundle holds plain files"
    if method != _STORED:
        return "it is compressed; a packed bundle holds files as they are, so that tensors can be mapped"
    if flags & _DESCRIPTOR:
        return "its size stands behind it (a data descriptor)"
    return None


def _read(span: Span, begin: int, size: int) -> bytes:
    os.lseek(span.descriptor, span.begin + begin, os.SEEK_SET)
    parts: list[bytes] = []
    while size > 0 and (part := os.read(span.descriptor, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _form(place: str, why: str) -> Refusal:
    sentence = f"This is not a zip file as `blockcert pack` writes it: {why}."
    return Refusal("bundle.zip.form", place, sentence)
