"""Bytes of a fuzzer read as instructions: which part of a valid input to change, and how."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Instructions", "change_bytes", "change_cells", "change_json", "change_tensors"]

ODD: tuple[Any, ...] = (
    *(0, 1, -1, 2, 7, 64, 255, 1 << 31, (1 << 53) - 1, 1 << 53, 1 << 63, 1 << 64, 10**30),
    *(
        "",
        "0",
        "-0",
        "1",
        "0.5",
        "1e999999999",
        "9" * 40,
        "0." + "0" * 38 + "1",
        "x" * 70_000,
        "..",
        "a/../b",
        "\x1b[31m",
    ),
    *("reference/config.json", "programs/surrogate.safetensors", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    *(None, True, False, 0.5, [], {}, [[]], [0] * 3, {"": ""}),
)
"""Values at which readers have gone wrong."""
CELLS = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e-300, 1e300, 1.7e308, float("inf"), float("-inf"), float("nan"))


class Instructions:
    """Numbers out of bytes, zeros where these have ended."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> bool:
        """Whether any are left."""
        return self._at < len(self._data)

    def below(self, count: int) -> int:
        """A number from 0 to ``count - 1``."""
        size = max(1, (count - 1).bit_length() + 7 >> 3)
        part = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part, "little") % count if count else 0

    def take(self, most: int) -> bytes:
        """At most ``most`` bytes as they are."""
        size = min(most, self.below(most + 1))
        part = self._data[self._at : self._at + size]
        self._at += size
        return part


def change_bytes(data: bytes, read: Instructions) -> bytes:
    """Some bytes replaced, put in, taken out, repeated or cut off."""
    at = read.below(len(data) + 1)
    match read.below(7):
        case 0:
            return data[:at] + bytes([read.below(256)]) + data[at + 1 :]
        case 1:
            return data[:at] + read.take(64) + data[at:]
        case 2:
            return data[:at] + data[at + 1 + read.below(64) :]
        case 3:
            size = 1 + read.below(256)
            return data[:at] + data[at : at + size] * 2 + data[at + size :]
        case 4:
            return data[:at]
        case 5:
            width, value = ((2, "<H"), (4, "<I"), (8, "<Q"))[read.below(3)], read.below(4)
            number = (0, 1, (1 << 8 * width[0]) - 1, 1 << (8 * width[0] - 1))[value]
            return data[:at] + struct.pack(width[1], number) + data[at + width[0] :]
        case _:
            return data + read.take(64)


def _places(value: Any, found: list[tuple[Any, Any]], most: int = 5000) -> None:
    if len(found) >= most:
        return
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        found.append((value, key))
        _places(inner, found, most)


def change_json(data: bytes, read: Instructions) -> bytes:
    """One value of a JSON document replaced, removed, repeated, swapped with another, wrapped or renamed."""
    document = json.loads(data)
    found: list[tuple[Any, Any]] = []
    _places(document, found)
    if not found:
        return data
    holder, key = found[read.below(len(found))]
    match read.below(8):
        case 0 | 1:
            holder[key] = ODD[read.below(len(ODD))]
        case 2:
            if isinstance(holder, dict):
                del holder[key]
            else:
                holder.pop(key)
        case 3:
            if isinstance(holder, list):
                holder.insert(key, holder[key])
            else:
                holder[f"{key}2"] = holder[key]
        case 4:
            other, place = found[read.below(len(found))]
            holder[key], other[place] = other[place], holder[key]
            # a value put inside itself has no end
            try:
                return msgspec.json.encode(document)
            except (RecursionError, OverflowError):
                return data
        case 5:
            for _ in range(1 + read.below(100)):
                holder[key] = [holder[key]]
        case 6:
            if isinstance(holder[key], int):
                holder[key] += read.below(5) - 2
            elif isinstance(holder[key], str):
                text = holder[key].encode("utf-8", "replace")
                holder[key] = change_bytes(text, read).decode("utf-8", "replace")
        case _:
            if isinstance(holder, dict):
                holder[read.take(16).decode("utf-8", "replace")] = holder.pop(key)
    return json.dumps(document).encode("utf-8", "surrogatepass")


def change_tensors(data: bytes, read: Instructions) -> bytes:
    """A safetensors file whose header was changed as JSON or as bytes, or whose stated length was."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    change: Callable[[bytes, Instructions], bytes] = (change_json, change_bytes)[read.below(2)]
    if read.below(8) == 0:
        length = (0, 1, length + 1, 1 << 63, (1 << 64) - 1, 100_000_001)[read.below(6)]
        return length.to_bytes(8, "little") + header + rest
    header = change(header, read)
    return len(header).to_bytes(8, "little") + header + rest


def change_cells(data: bytes, read: Instructions) -> bytes:
    """A safetensors file of which one cell is another number; its header stays."""
    start = 8 + int.from_bytes(data[:8], "little")
    at = start + 8 * read.below(max(1, (len(data) - start) // 8))
    cell = struct.pack("<d", CELLS[read.below(len(CELLS))]) if read.below(2) else read.take(8).ljust(8, b"\0")
    return data[:at] + cell[: len(data) - at] + data[at + 8 :]
