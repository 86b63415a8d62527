"""Safetensors: hostile headers by name, the writer's bytes, and agreement with the `safetensors` library.

Requirements: BC-BND-14, 16.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockcert import safetensors_file
from blockcert.errors import Refusal
from blockcert.safetensors_file import (
    DTYPE_SIZES,
    MAX_HEADER,
    TensorInfo,
    column,
    read_header,
    read_header_bytes,
    write,
)

MODELS = Path(__file__).parents[2].parent / "shared" / "models"


def raw(header: bytes, data: bytes = b"") -> bytes:
    """A file with that header text and that data."""
    return struct.pack("<Q", len(header)) + header + data


def built(entries: dict[str, Any], data: bytes = b"") -> bytes:
    """A file with those header entries and that data."""
    return raw(json.dumps(entries).encode(), data)


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE: dict[str, tuple[str, bytes]] = {
    "empty file": ("tensor.header", b""),
    "seven bytes": ("tensor.header", b"\x02\0\0\0\0\0\0"),
    "header longer than the file": ("tensor.header", struct.pack("<Q", 3) + b"{}"),
    "header of 2^64 - 1 bytes": ("tensor.header", b"\xff" * 8 + b"{}"),
    "header over the cap": ("tensor.header", struct.pack("<Q", MAX_HEADER + 1) + b"{}"),
    "empty header": ("tensor.header", raw(b"")),
    "a pickle": ("tensor.header", b"\x80\x04\x95" + b"a" * 100),
    "space before the brace": ("tensor.header", raw(b" {}")),
    "an array": ("tensor.header", raw(b"[]")),
    "not JSON": ("json.syntax", raw(b'{"a"}')),
    "NUL padding": ("json.syntax", raw(b"{}\0\0")),
    "not UTF-8": ("json.encoding", raw(b'{"\xff":1}')),
    "duplicate tensor": ("json.duplicate_key", raw(b'{"a":{},"a":{}}')),
    "duplicate field": ("json.duplicate_key", raw(b'{"a":{"dtype":"U8","dtype":"F32"}}')),
    "deep nesting": ("json.limit", raw(b'{"a":' + b"[" * 100_000)),
    "entry is no object": ("json.type", built({"a": 1})),
    "missing dtype": ("json.type", built({"a": {"shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)),
    "missing shape": ("json.type", built({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, b"\0" * 4)),
    "missing offsets": ("json.type", built({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4)),
    "unknown field": ("json.type", built({"a": entry() | {"strides": [1]}}, b"\0" * 4)),
    "three offsets": ("json.type", built({"a": entry(offsets=(0, 4, 8))}, b"\0" * 4)),
    "length as a float": ("json.number", built({"a": entry(shape=(1.0,))}, b"\0" * 4)),
    "length as a string": ("json.type", built({"a": entry(shape=("1",))}, b"\0" * 4)),
    "metadata that is no map": ("json.type", built({"__metadata__": []})),
    "metadata with a number": ("json.type", built({"__metadata__": {"a": 1}})),
    "unknown dtype": ("tensor.dtype", built({"a": entry("F33")}, b"\0" * 4)),
    "dtype in lower case": ("tensor.dtype", built({"a": entry("f32")}, b"\0" * 4)),
    "negative length": ("tensor.size", built({"a": entry(shape=(-1,))}, b"\0" * 4)),
    "two negative lengths": ("tensor.size", built({"a": entry(shape=(-1, -1))}, b"\0" * 4)),
    "shape too small": ("tensor.size", built({"a": entry(offsets=(0, 8))}, b"\0" * 8)),
    "shape too large": ("tensor.size", built({"a": entry(shape=(2,))}, b"\0" * 4)),
    "scalar of no bytes": ("tensor.size", built({"a": entry(shape=(), offsets=(0, 0))})),
    "product that wraps to 4 bytes": (
        "tensor.size",
        built({"a": entry(shape=(1 << 32, 1 << 30, 4))}, b"\0" * 4),
    ),
    "product that wraps to zero": (
        "tensor.size",
        built({"a": entry(shape=(1 << 32, 1 << 32), offsets=(0, 0))}),
    ),
    "a huge product": ("tensor.size", built({"a": entry(shape=[1 << 52] * 8)}, b"\0" * 4)),
    "a hundred thousand axes": ("tensor.size", built({"a": entry(shape=[1 << 52] * 100_000)}, b"\0" * 4)),
    "nine axes": ("tensor.size", built({"a": entry(shape=(1,) * 9)}, b"\0" * 4)),
    "more axes than numpy has": ("tensor.size", built({"a": entry(shape=(1,) * 65)}, b"\0" * 4)),
    "empty, of lengths that no array can have": (
        "tensor.size",
        built({"a": entry(shape=[0, *[(1 << 53) - 1] * 3], offsets=(0, 0))}),
    ),
    "empty, the zero last": (
        "tensor.size",
        built({"a": entry(shape=[(1 << 53) - 1, 1 << 20, 0], offsets=(0, 0))}),
    ),
    "negative offset": ("tensor.layout", built({"a": entry(offsets=(-4, 0))}, b"\0" * 4)),
    "reversed offsets": ("tensor.layout", built({"a": entry(offsets=(4, 0))}, b"\0" * 4)),
    "reaches past the end": ("tensor.layout", built({"a": entry()}, b"\0" * 3)),
    "far past the end": ("tensor.layout", built({"a": entry(offsets=(1 << 52, (1 << 52) + 4))}, b"\0" * 4)),
    "trailing byte": ("tensor.layout", built({"a": entry()}, b"\0" * 5)),
    "data without tensors": ("tensor.layout", built({}, b"\0")),
    "gap at the start": ("tensor.layout", built({"a": entry(offsets=(4, 8))}, b"\0" * 8)),
    "gap between": ("tensor.layout", built({"a": entry(), "b": entry(offsets=(8, 12))}, b"\0" * 12)),
    "overlap": ("tensor.layout", built({"a": entry(), "b": entry(offsets=(2, 6))}, b"\0" * 6)),
    "the same bytes twice": ("tensor.layout", built({"a": entry(), "b": entry()}, b"\0" * 4)),
    "one inside another": (
        "tensor.layout",
        built({"a": entry(shape=(3,), offsets=(0, 12)), "b": entry(offsets=(4, 8))}, b"\0" * 12),
    ),
    "empty tensor inside another": (
        "tensor.layout",
        built({"a": entry(), "b": entry(shape=(0,), offsets=(2, 2))}, b"\0" * 4),
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_alike_from_disk_and_memory(case: str, tmp_path: Path) -> None:
    code, data = HOSTILE[case]
    with pytest.raises(Refusal) as refused:
        read_header_bytes(data, "evidence.safetensors")
    assert refused.value.code == code
    assert refused.value.place.startswith("evidence.safetensors")
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(Refusal) as again:
        read_header(path, "evidence.safetensors")
    assert str(again.value) == str(refused.value)


def test_a_header_is_taken_up_to_its_very_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    header = json.dumps({"a": entry()}).encode()
    monkeypatch.setattr(safetensors_file, "MAX_HEADER", len(header))
    assert list(read_header_bytes(raw(header, b"\0" * 4), "x")) == ["a"]
    with pytest.raises(Refusal, match=r"tensor\.header"):
        read_header_bytes(raw(header + b" ", b"\0" * 4), "x")


def test_lengths_multiply_to_less_than_2_to_the_53rd_bytes_also_where_a_0_leaves_nothing() -> None:
    """BC-BND-14: an array library cannot hold a shape of more."""
    most = (1 << 50) - 1
    assert read_header_bytes(built({"a": entry("F64", (0, most), (0, 0))}), "x")["a"].shape == (0, most)
    for shape in ((0, most + 1), (1 << 25, 0, 1 << 25)):
        with pytest.raises(Refusal, match=r"tensor\.size"):
            read_header_bytes(built({"a": entry("F64", shape, (0, 0))}), "x")


UNUSUAL: dict[str, tuple[bytes, dict[str, tuple[str, tuple[int, ...], int, int]]]] = {
    "no tensors": (built({}), {}),
    "padded with spaces": (raw(b"{}" + b" " * 54), {}),
    "metadata alone": (built({"__metadata__": {"format": "pt"}}), {}),
    "data order against header order": (
        built({"b": entry(offsets=(4, 8)), "a": entry()}, b"\0" * 8),
        {"b": ("F32", (1,), 4, 8), "a": ("F32", (1,), 0, 4)},
    ),
    "misaligned after an odd tensor": (
        built({"a": entry("U8", (3,), (0, 3)), "b": entry("F64", (1,), (3, 11))}, b"\0" * 11),
        {"a": ("U8", (3,), 0, 3), "b": ("F64", (1,), 3, 11)},
    ),
    "scalar": (built({"a": entry(shape=())}, b"\0" * 4), {"a": ("F32", (), 0, 4)}),
    "empty tensors at both ends": (
        built(
            {
                "z": entry(shape=(5, 0), offsets=(4, 4)),
                "a": entry(),
                "y": entry(shape=(0,), offsets=(0, 0)),
            },
            b"\0" * 4,
        ),
        {"z": ("F32", (5, 0), 4, 4), "a": ("F32", (1,), 0, 4), "y": ("F32", (0,), 0, 0)},
    ),
    "empty tensor of the longest lengths": (
        built({"a": entry("U8", shape=((1 << 53) - 1, 0, 1), offsets=(0, 0))}),
        {"a": ("U8", ((1 << 53) - 1, 0, 1), 0, 0)},
    ),
    "eight axes": (
        built({"a": entry(shape=(1,) * 8)}, b"\0" * 4),
        {"a": ("F32", (1,) * 8, 0, 4)},
    ),
    "odd names": (
        built({"": entry(), "a/../b\u202e": entry(offsets=(4, 8))}, b"\0" * 8),
        {"": ("F32", (1,), 0, 4), "a/../b\u202e": ("F32", (1,), 4, 8)},
    ),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_files_are_read(case: str) -> None:
    data, tensors = UNUSUAL[case]
    start = 8 + int.from_bytes(data[:8], "little")
    expected = {n: TensorInfo(d, s, start + b, start + e) for n, (d, s, b, e) in tensors.items()}
    found = read_header_bytes(data, "x")
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("dtype", DTYPE_SIZES)
def test_every_dtype_has_the_library_s_size(dtype: str) -> None:
    data = built({"a": entry(dtype, (3,), (0, 3 * DTYPE_SIZES[dtype]))}, bytes(3 * DTYPE_SIZES[dtype]))
    assert read_header_bytes(data, "x")["a"].dtype == dtype
    [(_, theirs)] = safetensors.deserialize(data)
    assert (theirs["dtype"], len(theirs["data"])) == (dtype, 3 * DTYPE_SIZES[dtype])


# --- writer, reader and library ------------------------------------------------------------------------------------

TENSORS = st.dictionaries(
    st.text(max_size=6).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(DTYPE_SIZES)), st.lists(st.integers(0, 3), max_size=3).map(tuple)),
    max_size=5,
)


def with_bytes(shapes: dict[str, Any], seed: int) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for name, (dtype, shape) in shapes.items():
        count = DTYPE_SIZES[dtype]
        for length in shape:
            count *= length
        # one byte value 0 or 1 throughout, so that it is a BOOL too
        tensors[name] = (dtype, shape, bytes([(seed + len(tensors)) % 2]) * count)
    return tensors


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TENSORS, st.integers(0, 1), st.none() | st.dictionaries(st.text(max_size=4), st.text(max_size=4)))
def test_written_files_read_back_here_and_in_the_library(
    tmp_path: Path, shapes: dict[str, Any], seed: int, metadata: dict[str, str] | None
) -> None:
    tensors = with_bytes(shapes, seed)
    path = tmp_path / "a.safetensors"
    write(path, tensors, metadata)
    data = path.read_bytes()
    found = read_header(path, "a.safetensors")
    assert list(found) == list(tensors)
    at = 8 + int.from_bytes(data[:8], "little")
    assert at % 64 == 0
    for name, (dtype, shape, content) in tensors.items():
        assert found[name] == TensorInfo(dtype, shape, at, at + len(content))
        assert data[at : at + len(content)] == content
        at += len(content)
    assert at == len(data)
    theirs = {n: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in safetensors.deserialize(data)}
    assert theirs == tensors
    write(path, tensors, metadata)
    assert path.read_bytes() == data


@given(TENSORS, st.data())
def test_whatever_is_accepted_the_library_reads_alike(shapes: dict[str, Any], data: Any) -> None:
    names = st.sampled_from(["dtype", "shape", "data_offsets"])
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape, content) in with_bytes(shapes, 0).items():
        header[name] = entry(dtype, shape, (at, at + len(content)))
        at += len(content)
    if header:
        damaged = header[data.draw(st.sampled_from(sorted(header)))]
        field = data.draw(names)
        damaged[field] = data.draw(
            st.sampled_from(["F32", "U8"]) if field == "dtype" else st.lists(st.integers(-1, 9), min_size=2, max_size=2)
        )
    content = built(header, bytes(max(0, at + data.draw(st.integers(-1, 1)))))
    try:
        found = read_header_bytes(content, "x")
    except Refusal:
        return
    theirs = {n: (t["dtype"], tuple(t["shape"]), len(t["data"])) for n, t in safetensors.deserialize(content)}
    assert theirs == {n: (i.dtype, i.shape, i.end - i.begin) for n, i in found.items()}


@given(st.binary(max_size=80))
def test_arbitrary_bytes_end_in_a_refusal_or_a_header(data: bytes) -> None:
    for content in (data, raw(data), raw(b"{" + data)):
        try:
            read_header_bytes(content, "x")
        except Refusal as refusal:
            assert str(refusal).isprintable()  # noqa: PT017 - a header is the other outcome


def test_wide_types_first_keeps_every_tensor_aligned(tmp_path: Path) -> None:
    tensors = {"a": ("F64", (3,), bytes(24)), "b": ("I32", (1,), bytes(4)), "c": ("U8", (3,), bytes(3))}
    write(tmp_path / "x", tensors)
    for info in read_header(tmp_path / "x", "x").values():
        assert info.begin % DTYPE_SIZES[info.dtype] == 0


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": ("F32", (2,), bytes(4))},
        {"a": ("F33", (1,), bytes(4))},
        {"a": ("F32", (-1, -1), bytes(4))},
        {"a": ("F32", (1,) * 9, bytes(4))},
        {"__metadata__": ("U8", (1,), bytes(1))},
    ],
    ids=["wrong size", "unknown dtype", "negative lengths", "nine axes", "reserved name"],
)
def test_writer_takes_only_what_it_can_read(
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="a"):
        write(tmp_path / "x", tensors)
    assert not (tmp_path / "x").exists()


# --- columns -------------------------------------------------------------------------------------------------------

COLUMNS: dict[str, tuple[str, list[Any]]] = {
    "F64": ("d", [0.1, -0.0, 5e-324, float("inf")]),
    "I64": ("q", [-(1 << 63), 0, (1 << 63) - 1]),
    "I32": ("i", [-(1 << 31), 7, (1 << 31) - 1]),
    "U8": ("B", [0, 255]),
}


def written(path: Path, odd: int) -> bytes:
    """A file with one odd-sized tensor in front, so that the columns are misaligned where ``odd`` says so."""
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {"odd": ("U8", (odd,), bytes(odd))}
    for dtype, (code, values) in COLUMNS.items():
        tensors[dtype] = (dtype, (len(values),), struct.pack(f"<{len(values)}{code}", *values))
    tensors["none"] = ("F64", (0, 3), b"")
    write(path, tensors)
    return path.read_bytes()


@pytest.mark.parametrize("odd", [0, 3])
@pytest.mark.parametrize("dtype", COLUMNS)
def test_columns_are_typed_views(dtype: str, odd: int, tmp_path: Path) -> None:
    data = written(tmp_path / "x", odd)
    info = read_header_bytes(data, "x")[dtype]
    assert list(column(data, info)) == COLUMNS[dtype][1]
    assert list(column(memoryview(bytearray(data)), info)) == COLUMNS[dtype][1]


def test_columns_of_a_mapped_file(tmp_path: Path) -> None:
    written(tmp_path / "x", 1)
    info = read_header(tmp_path / "x", "x")["I64"]
    with (
        (tmp_path / "x").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        values = column(view, info)
        assert list(values) == COLUMNS["I64"][1]
        assert isinstance(values, memoryview)
        values.release()


def test_a_column_of_nothing_is_empty(tmp_path: Path) -> None:
    data = written(tmp_path / "x", 0)
    assert list(column(data, read_header_bytes(data, "x")["none"])) == []


def test_columns_on_a_big_endian_machine_are_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tmp_path / "x", 0)
    info = read_header_bytes(data, "x")["I32"]
    monkeypatch.setattr("blockcert.safetensors_file.sys", SimpleNamespace(byteorder="big"))
    values = column(data, info)
    assert isinstance(values, array)
    values.byteswap()  # undoes the one swap, since this machine is not what it was told
    assert list(values) == COLUMNS["I32"][1]


def test_columns_of_other_types_or_of_a_shorter_file_are_refused(tmp_path: Path) -> None:
    data = written(tmp_path / "x", 0)
    info = read_header_bytes(data, "x")["F64"]
    with pytest.raises(Refusal) as refused:
        column(data, TensorInfo("F32", (2,), info.begin, info.begin + 8), "x: error")
    assert (refused.value.code, refused.value.place) == ("tensor.dtype", "x: error")
    with pytest.raises(Refusal) as refused:
        column(data[: info.end - 1], info, "x: error")
    assert refused.value.code == "tensor.layout"


# --- files ---------------------------------------------------------------------------------------------------------


def test_only_the_header_of_a_huge_file_is_read(tmp_path: Path) -> None:
    size = 1 << 33
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(built({"w": entry("BF16", (1 << 16, 1 << 16), (0, size))}))
        file.truncate(file.tell() + size)
    info = read_header(path, "x")["w"]
    assert info.end - info.begin == size


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(Refusal) as refused:
        read_header(path, "reference/x")
    assert refused.value.code == "tensor.unreadable"
    assert refused.value.place == "reference/x"


@pytest.mark.skipif(not MODELS.is_dir(), reason="the shared models are not on this machine")
def test_checkpoints_in_the_wild_agree_with_the_library() -> None:
    paths = sorted(MODELS.rglob("*.safetensors"))
    assert paths
    for path in paths:
        found = read_header(path, path.name)
        with safetensors.safe_open(path, framework="np") as file:  # type: ignore[no-untyped-call]
            assert set(file.keys()) == set(found)
            for name in file.keys():  # noqa: SIM118 - not a mapping
                part = file.get_slice(name)
                assert (part.get_dtype(), tuple(part.get_shape())) == (found[name].dtype, found[name].shape)
