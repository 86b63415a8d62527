"""Safetensors in memory: written by the library's own writer, and changed cell by cell."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from blockcert.safetensors_file import read_header_bytes, write

__all__ = ["change_column", "raw", "read_column", "split", "to_bytes"]

Host: TypeAlias = np.ndarray[Any, Any]
_REALS = {"f8": "F64", "f4": "F32", "f2": "F16"}
_NAMES = _REALS | {"i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u4": "U32", "u2": "U16", "u1": "U8"}
_DTYPES = {name: code if code[1] == "1" else f"<{code}" for code, name in _NAMES.items()}


def to_bytes(tensors: Mapping[str, Host]) -> bytes:
    """The safetensors file of these tensors."""
    entries = {
        name: (_NAMES[value.dtype.str[1:]], value.shape, np.ascontiguousarray(value).tobytes())
        for name, value in tensors.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, entries)
        return path.read_bytes()


def read_column(data: bytes, name: str) -> Host:
    """A copy of one tensor."""
    info = read_header_bytes(data, "file")[name]
    return np.frombuffer(data[info.begin : info.end], dtype=_DTYPES[info.dtype]).reshape(info.shape).copy()


def change_column(data: bytes, name: str, change: Callable[[Host], object]) -> bytes:
    """The file with one tensor changed in place by `change`, every other byte as it was."""
    info = read_header_bytes(data, "file")[name]
    cells = read_column(data, name)
    change(cells)
    return data[: info.begin] + cells.tobytes() + data[info.end :]


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file and its data."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def raw(header: bytes | Mapping[str, Any], data: bytes) -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
