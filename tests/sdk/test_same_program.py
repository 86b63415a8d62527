"""Which stages are one program: fields with their defaults filled in, files by digest (BC-PRG-18, 20)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from blockcert.program import Program
from blockcert.same_program import same_stages
from tests.support.tiny import tiny_pair

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return tiny_pair(tmp_path_factory.mktemp("tiny"))[0]


def norm(document: dict[str, Any]) -> dict[str, Any]:
    return next(step for step in document["stages"][1]["steps"] if step["op"] == "rms_norm")


def linear(document: dict[str, Any]) -> dict[str, Any]:
    return next(step for step in document["stages"][1]["steps"] if step["op"] == "linear")


def renamed(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).replace(b"reference/model.safetensors", b"reference/other.safetensors")
    document.clear()
    document.update(msgspec.json.decode(text))


SAME: dict[str, Change] = {
    "nothing": lambda d: d.update(),
    "an offset of 0 written out": lambda d: norm(d).update(offset="0"),
    "a head size that is null": lambda d: norm(d).update(head_size=None),
    "a bias that is null": lambda d: linear(d).update(bias=None),
    "a tensor's defaults written out": lambda d: norm(d)["weight"].update(
        rows=None, columns=None, transpose=False, period=None
    ),
    "a file of another name and one digest": renamed,
}
OTHER: dict[str, Change] = {
    "an offset of 1": lambda d: norm(d).update(offset="1"),
    "a range of all rows": lambda d: norm(d)["weight"].update(rows=[0, 8]),
    "another epsilon": lambda d: norm(d).update(eps="0.1"),
    "another tensor": lambda d: norm(d)["weight"].update(tensor="another"),
    "a file of another digest": lambda d: d["files"][0].update(blake3="00" * 32),
}


def compared(reference: Program, change: Change) -> bool:
    """Whether block 1 is one program with itself after a change of the document, read again from its bytes."""
    document = msgspec.json.decode(msgspec.json.encode(reference))
    change(document)
    return same_stages(reference, msgspec.json.decode(msgspec.json.encode(document), type=Program))[1]


@pytest.mark.parametrize("name", SAME)
def test_what_is_written_otherwise_and_means_the_same_field(reference: Program, name: str) -> None:
    assert compared(reference, SAME[name])


@pytest.mark.parametrize("name", OTHER)
def test_what_is_another_field(reference: Program, name: str) -> None:
    assert not compared(reference, OTHER[name])
