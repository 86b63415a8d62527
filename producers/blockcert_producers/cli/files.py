"""Reading and writing small files that a person names."""

from __future__ import annotations

import os
from pathlib import Path

from blockcert.errors import Refusal

__all__ = ["read", "replace_file", "write_new"]

MOST_BYTES = 64 << 20


def read(path: Path) -> bytes:
    """The bytes of a file; refuses ``file.missing`` and ``file.unreadable``."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Refusal("file.missing", str(path), "there is no such file") from None
    except OSError as fault:
        raise Refusal("file.unreadable", str(path), f"it cannot be read: {fault.strerror}") from None
    if len(data) > MOST_BYTES:
        raise Refusal("file.unreadable", str(path), f"it has more than {MOST_BYTES} bytes")
    return data


def write_new(path: Path, data: bytes, what: str) -> None:
    """Writes a file that is not there yet, whole or not at all; refuses ``output.exists`` and ``output.unwritable``."""
    if path.is_dir():
        raise Refusal("output.exists", str(path), f"this is a folder; name the file for the {what}")
    try:
        with path.open("xb") as file:
            try:
                file.write(data)
                file.flush()  # a full disk may say so only now
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise Refusal("output.exists", str(path), f"there is a file already, and a {what} is not overwritten") from None
    except OSError as fault:
        raise Refusal("output.unwritable", str(path), f"the {what} cannot be written: {fault.strerror}") from None


def replace_file(path: Path, data: bytes, what: str) -> None:
    """Writes a file in one step, in place of one that may be there; refuses ``output.unwritable``."""
    temporary = path.with_name(f".{path.name}.partial-{os.urandom(4).hex()}")
    try:
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as fault:
        raise Refusal("output.unwritable", str(path), f"the {what} cannot be written: {fault.strerror}") from None
