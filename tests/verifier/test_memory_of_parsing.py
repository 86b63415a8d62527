"""What hostile JSON and headers take in memory: in a process of its own, far below 256 MB.

Requirements: BC-NUM-11, BC-VER-03.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert.safetensors_file import MAX_HEADER, read_header

MOST = 200 << 20
"""Bytes of a process, the interpreter's own among them."""
_PROGRAM = """
import resource, sys
from pathlib import Path
from blockcert import strict_json
from blockcert.errors import Refusal
from blockcert.safetensors_file import read_header
path, kind = Path(sys.argv[1]), sys.argv[2]
try:
    if kind == "header":
        read_header(path, "x")
    else:
        strict_json.check(path.read_bytes(), "x")
    code = "passed"
except Refusal as refusal:
    code = refusal.code
unit = 1 if sys.platform == "darwin" else 1024
print(code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
"""


def header(entries: bytes, data: int = 0) -> bytes:
    text = b"{" + entries + b"}"
    return struct.pack("<Q", len(text)) + text + b"\0" * data


def tensors(count: int, name: bytes = b"%x") -> bytes:
    entry = b'"' + name + b'":{"dtype":"U8","shape":[],"data_offsets":[%d,%d]}'
    return b",".join(entry % (i, i, i + 1) for i in range(count))


def experts() -> bytes:
    """The header of a mixture of experts with 100,000 matrices."""
    entry = b'"model.layers.%d.mlp.experts.%d.down_proj.weight":{"dtype":"U8","shape":[1,1],"data_offsets":[%d,%d]}'
    return header(b",".join(entry % (i // 1000, i % 1000, i, i + 1) for i in range(100_000)), 100_000)


WORST = {
    "as many tensors as fit": ("header", lambda: header(tensors(140_000), 140_000), "passed"),
    "the largest real models": ("header", experts, "passed"),
    "more tensors": ("header", lambda: header(tensors(160_000), 160_000), "json.limit"),
    "nothing but strings": ("header", lambda: header(b'"a":[' + b'"",' * 5_000_000 + b'""]'), "json.limit"),
    "one character of four bytes": (
        "header",
        lambda: header(b'"__metadata__":{"a":"' + b"x" * (MAX_HEADER - 64) + "\U0001f600".encode() + b'"}'),
        "passed",
    ),
    "a name twice, at the end": ("header", lambda: header(tensors(140_000) + b',"0":1'), "json.duplicate_key"),
    "long strings": (
        "document",
        lambda: b'["\xf0\x9f\x98\x80",' + b",".join([b'"%s"' % (b"y" * 60)] * 250_000) + b"]",
        "passed",
    ),
    "objects": ("document", lambda: b"[" + b",".join(b'{"%x":0}' % i for i in range(131_000)) + b"]", "passed"),
    "one object": ("document", lambda: b"{" + b",".join(b'"%x":0' % i for i in range(262_000)) + b"}", "passed"),
}


@pytest.mark.parametrize("case", WORST)
def test_no_text_takes_much_memory(tmp_path: Path, case: str) -> None:
    pytest.importorskip("resource")
    kind, make, code = WORST[case]
    (tmp_path / "text").write_bytes(make())
    words = [sys.executable, "-c", _PROGRAM, str(tmp_path / "text"), kind]
    # through a shell: a process that is forked here would count this one's memory as its own peak
    done = subprocess.run(["/bin/sh", "-c", '"$@"', "sh", *words], capture_output=True, check=True, text=True)
    found, peak = done.stdout.split()
    assert found == code
    assert int(peak) < MOST


def test_a_header_that_is_too_long_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(struct.pack("<Q", MAX_HEADER + 1) + b"{")
    with path.open("r+b") as file:
        file.truncate(MAX_HEADER + 9)
    with pytest.raises(Refusal) as refused:
        read_header(path, "f")
    assert refused.value.code == "tensor.header"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_a_text_taken_apart_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Wherever a piece ends: in a string, in an escape, in a number, between two strings."""
    texts = [
        b'{"a\\"b":["\\\\","",12345,{"c":"\\u0041"}],"d":"' + b"x" * 50 + b'"}',
        b'["",""," ","\\\\\\"",-1,"[{,"]',
        b'"\\',
        b'["a',
        b'[1"a"2]',
        b"",
        b"[[[[]]]]",
    ]
    limits = strict_json.Limits(bytes=200, nesting=5, nodes=12, string=60)
    whole = [strict_json._structure(text, "x", limits) for text in texts]
    monkeypatch.setattr(strict_json, "_PIECE", size)
    assert [strict_json._structure(text, "x", limits) for text in texts] == whole
