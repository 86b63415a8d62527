"""A bundle from a folder into one file and back (``spec/02-bundle.md``, Packed bundles); both appear whole or not."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from blockcert.archive import LARGE, Member, layout
from blockcert.bundle import Bundle, BundleWriter, check_new, check_outside, flush, read_pieces, writing

__all__ = ["pack", "unpack", "write_packed"]


def pack(source: Path, output: Path) -> int:
    """Packs the bundle at ``source`` into the new file ``output``; returns its size in bytes.

    The same files give the same bytes.

    Raises:
        Refusal: ``output.exists``, ``output.unwritable``, or what a bundle is refused for.
    """
    bundle = Bundle(source)
    check_new(output)
    check_outside(output, source)
    temporary = output.parent / f".{output.name}.partial-{os.urandom(4).hex()}"
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                size = write_packed(bundle, file, {})
                file.flush()
                os.fsync(file.fileno())
            _rename(temporary, output)
        finally:
            temporary.unlink(missing_ok=True)
        flush(output.parent)
    return size


def _rename(temporary: Path, output: Path) -> None:
    try:
        output.hardlink_to(temporary)  # unlike a rename, it never replaces what came to be there meanwhile
    except FileExistsError:
        check_new(output)
        raise
    except OSError:  # not every file system has hard links
        check_new(output)
        temporary.rename(output)


def write_packed(bundle: Bundle, file: BinaryIO, replaced: Mapping[str, bytes], large: int = LARGE) -> int:
    """Writes the files of ``bundle`` packed into the empty ``file``, with those in ``replaced`` in place of or beside
    its own; returns the size.

    ``large`` is as for ``archive.layout``.

    Raises:
        Refusal: what a file of a bundle is refused for when it is read.
    """
    sizes = {**bundle.sizes, **{name: len(data) for name, data in replaced.items()}}
    names = sorted(sizes)
    # where everything stands depends on names and sizes alone, so that the contents are read once
    begins = layout([Member(name, sizes[name], 0) for name in names], large).begins
    members: list[Member] = []
    for name, begin in zip(names, begins, strict=True):
        pieces = [replaced[name]] if name in replaced else read_pieces(bundle.file(name), name)
        file.seek(begin)
        members.append(Member(name, sizes[name], _copy(pieces, file)))
    final = layout(members, large)
    for offset, header in zip(final.offsets, final.headers, strict=True):
        file.seek(offset)
        file.write(header)
    file.seek(final.size - len(final.tail))
    file.write(final.tail)
    return final.size


def unpack(source: Path, output: Path) -> int:
    """Writes the files of the packed bundle ``source`` into the new folder ``output``; returns how many there are.

    Raises:
        Refusal: ``output.exists``, ``output.unwritable``, or what a bundle is refused for.
    """
    bundle = Bundle(source)
    check_outside(output, source)
    with BundleWriter(output) as writer:
        writer.expect(bundle.files)
        for name, found in bundle.files.items():
            with writing(output), writer.path(name).open("xb") as file:
                _copy(read_pieces(found, name), file)
        writer.commit()
    return len(bundle.files)


def _copy(pieces: Iterable[bytes], file: BinaryIO) -> int:
    """The CRC-32 of what was written."""
    crc32 = 0
    for piece in pieces:
        file.write(piece)
        crc32 = zlib.crc32(piece, crc32)
    return crc32
