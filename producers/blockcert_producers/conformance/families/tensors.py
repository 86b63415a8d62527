"""Safetensors files of prompts and evidence whose header and data do not fit together."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

from blockcert_producers.conformance.changes import bundle, replayed
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS
from blockcert_producers.conformance.entry import accepted, case, rejected
from blockcert_producers.conformance.models import SURROGATE
from blockcert_producers.conformance.repair import redraw, remeasure, repoint, restate
from blockcert_producers.conformance.tensors import raw, split

__all__ = ["CASES"]


def entry(name: str, **fields: Any) -> Callable[[bytes], bytes]:
    """A file whose header says something else of one tensor."""

    def change(data: bytes) -> bytes:
        header, cells = split(data)
        header[name] = {**header[name], **fields}
        return raw(header, cells)

    return change


def moved(data: bytes) -> bytes:
    """A gap of 8 bytes before the last tensor."""
    header, cells = split(data)
    name = max((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"][1])
    begin, end = header[name]["data_offsets"]
    header[name]["data_offsets"] = [begin + 8, end + 8]
    return raw(header, cells[:begin] + bytes(8) + cells[begin:])


def shared(data: bytes) -> bytes:
    """Two tensors in the same bytes."""
    header, cells = split(data)
    header["split"] = {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}
    return raw(header, cells)


def longer_header(data: bytes) -> bytes:
    """A length of the header beyond the file."""
    return struct.pack("<Q", len(data)) + data[8:]


def header_of_all(data: bytes) -> bytes:
    return b"\xff" * 8 + data[8:]


def blank_first(data: bytes) -> bytes:
    header, cells = split(data)
    return raw(b" " + json.dumps(header).encode(), cells)


def metadata(value: Any) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        header, cells = split(data)
        return raw({**header, "__metadata__": value}, cells)

    return change


def unread(shape: Sequence[int], size: int) -> Callable[[bytes], bytes]:
    """One more tensor of ``size`` bytes, F64, which no program reads."""

    def change(data: bytes) -> bytes:
        header, cells = split(data)
        header["unread"] = {"dtype": "F64", "shape": list(shape), "data_offsets": [len(cells), len(cells) + size]}
        return raw(header, cells + bytes(size))

    return change


def product(data: bytes) -> bytes:
    """Lengths whose product wraps around 2^64 to what the bytes are."""
    header, cells = split(data)
    header["window"] = {**header["window"], "shape": [2**32, 2**32, 9]}
    return raw(header, cells)


HEADER, LAYOUT, SIZE = "tensor.header", "tensor.layout", "tensor.size"

ROWS: tuple[tuple[str, str, str, str, Callable[[bytes], bytes]], ...] = (
    ("empty", "No byte at all", "", HEADER, lambda _: b""),
    ("cut-in-the-length", "Seven bytes", "", HEADER, lambda data: data[:7]),
    ("header-beyond-the-file", "A header longer than the file", "", HEADER, longer_header),
    ("header-of-2-to-the-64", "A header of 2^64 - 1 bytes", " BC-VER-03", HEADER, header_of_all),
    ("blank-before-the-brace", "A blank before the header's brace", "", HEADER, blank_first),
    ("pickle", "A pickle", " BC-BND-15", HEADER, lambda _: b"\x80\x04\x95" + b"\0" * 40 + b"."),
    ("unknown-dtype", "A dtype that is not there", "", "tensor.dtype", entry("window", dtype="C64")),
    ("dtype-in-lower-case", "A dtype in lower case", "", "tensor.dtype", entry("window", dtype="i64")),
    ("shape-too-small", "A shape of fewer elements than bytes", "", SIZE, entry("window", shape=[8])),
    ("shape-that-wraps", "A shape whose product wraps around", " BC-VER-03", SIZE, product),
    ("nine-axes", "A shape of nine axes", "", SIZE, entry("window", shape=[9] + [1] * 8)),
    ("negative-length", "A length below 0", "", SIZE, entry("window", shape=[-9])),
    ("past-the-end", "A range past the end of the file", "", LAYOUT, lambda data: data[:-1]),
    ("trailing-byte", "A byte behind the last tensor", "", LAYOUT, lambda data: data + b"\0"),
    ("gap", "A gap between tensors", "", LAYOUT, moved),
    ("overlap", "Two tensors in the same bytes", "", LAYOUT, shared),
    ("range-backwards", "A range that runs backwards", "", LAYOUT, entry("window", data_offsets=[72, 0])),
    ("metadata-of-numbers", "Metadata that is no object of strings", "", "json.type", metadata({"a": 1})),
)

CASES = (
    *(
        case(
            f"tensor::{name}",
            f"{tests}: the file of prompts",
            f"BC-BND-14{more}",
            rejected(code),
            bundle(PROMPTS, change),
        )
        for name, tests, more, code, change in ROWS
    ),
    *(
        case(
            f"tensor::unread-{name}",
            f"A tensor that no program reads: {tests}",
            "BC-BND-14 BC-VER-04",
            expected,
            bundle(SURROGATE, unread(shape, size)),
            repoint,
            redraw,
            *([remeasure] if expected.verdict == "accepted" else []),
            restate,
            replayed,
        )
        for name, tests, expected, shape, size in (
            ("eight-axes", "a shape of eight axes", accepted("replay.rows"), [1] * 8, 8),
            ("nine-axes", "a shape of nine axes", rejected(SIZE), [1] * 9, 8),
            ("many-elements", "2^49 elements, but for a length of 0", accepted("replay.rows"), [2**49, 0], 0),
            ("too-many-elements", "2^50 elements, but for a length of 0", rejected(SIZE), [0, 2**50], 0),
        )
    ),
    case(
        "tensor::evidence-cut-short",
        "The file of evidence without its last byte",
        "BC-BND-14",
        rejected(LAYOUT),
        bundle(EVIDENCE, lambda data: data[:-1]),
    ),
)
