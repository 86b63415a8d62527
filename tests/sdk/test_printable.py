"""What may stand on a terminal: one class of characters for names, texts and the filter of everything printed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.names import check_name
from blockcert.printable import INVISIBLE, PRINTABLE, plain
from blockcert.program import TensorName

ROOT = Path(__file__).parents[2]
EVERY = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def test_the_class_is_that_of_names_and_of_the_schemas() -> None:
    refused = {c for c in EVERY if re.search(f"[{INVISIBLE}]", c)}
    assert len(refused) == 65 + 1 + 3 + 7 + 4 + 1
    for kind in ("program", "statement"):
        schema = json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_bytes())
        pattern = re.compile(schema["$defs"]["printable"]["not"]["pattern"])
        assert {c for c in EVERY if pattern.search(c)} == refused
    for character in refused:
        with pytest.raises(Refusal, match=r"control or invisible"):
            check_name(f"a{character}b", "name")


@given(st.text())
def test_what_is_plain_matches_and_nothing_else_is_changed(text: str) -> None:
    shown = plain(text)
    assert re.match(PRINTABLE, shown)
    assert len(shown) == len(text)
    assert all(a in (b, "\ufffd") for a, b in zip(shown, text, strict=True))
    assert (shown == text) == bool(re.match(PRINTABLE, text))


def test_line_feeds_stay_where_they_are_asked_to() -> None:
    assert plain("a\nb\x1b[2J\r", lines=True) == "a\nb\ufffd[2J\ufffd"
    assert plain("a\nb") == "a\ufffdb"
    assert plain("a\ud800") == "a\ufffd"


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.q_proj.weight", "transformer.h.0/attn c_attn-1_b", "größe"])
def test_names_of_checkpoints_are_admitted(name: str) -> None:
    assert msgspec.convert(name, TensorName) == name


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\n", "\x9b1m", "a\u202eb", "a\u2029"])
def test_names_that_move_a_terminal_are_not(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, TensorName)
