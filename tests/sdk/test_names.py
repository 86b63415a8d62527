"""Names in a bundle: unsafe ones by name, collisions by pair.

Requirements: BC-BND-06 to 09.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.names import check_name, check_names, shown

UNSAFE: dict[str, str] = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "../x",
    "parent inside": "a/../b",
    "parent at the end": "a/..",
    "current": "./a",
    "current alone": ".",
    "empty segment": "a//b",
    "trailing slash": "a/",
    "backslash": "a\\b",
    "parent by backslash": "..\\x",
    "drive": "C:/x",
    "drive-relative": "c:x",
    "alternate stream": "a.json:stream",
    "NUL": "a\x00b",
    "newline": "a\nb",
    "escape sequence": "a\x1b[2Jb",
    "delete": "a\x7f",
    "C1 control": "a\x9b",
    "right-to-left override": "a\u202egpj.exe",
    "isolate": "a\u2066b",
    "zero-width space": "a\u200bb",
    "line separator": "a\u2028b",
    "byte-order mark": "\ufeffa",
    "lone surrogate (undecodable byte)": "a\udcff",
    "not NFC": "e\u0301.json",
    "wildcard": "a*",
    "question mark": "a?",
    "pipe": "a|b",
    "quote": 'a"b',
    "angle bracket": "a<b",
    "trailing dot": "a.",
    "trailing space": "a /b",
    "device": "con",
    "device in capitals": "NUL",
    "device with extension": "aux.json",
    "device with two extensions": "Prn.tar.gz",
    "device before a space": "con .json",
    "serial port": "x/COM1",
    "serial port, superscript": "com¹",
    "printer port with extension": "lpt9.safetensors",
    "console": "CONIN$",
    "long segment": "a" * 256,
    "long segment in bytes": "é" * 128,
    "long name": "/".join(["a" * 100] * 6),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_names_are_refused(case: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_name(UNSAFE[case], "bundle")
    assert refused.value.code == "name.unsafe"
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "statement.dsse.json",
        "programs/reference.json",
        "surrogate/model-00001-of-00002.safetensors",
        "reference/config.json",
        ".hidden/..a/...b",
        "modèle/数据.json",
        "a b/c d",
        "console.json",
        "com10",
        "lpt",
        "nul-values.safetensors",
        "a" * 255,
    ],
)
def test_safe_names_pass(name: str) -> None:
    check_name(name, "bundle")


COLLISIONS: dict[str, tuple[str, str]] = {
    "the same name": ("a/b", "a/b"),
    "case": ("README", "readme"),
    "case in a folder": ("A/x", "a/x"),
    "two spellings of a folder": ("A/x", "a/y"),
    "a file that is a folder": ("a", "a/b"),
    "a folder that is a file": ("a/b/c", "a/b"),
    "a file that is a folder by case": ("a/B", "A/b/c"),
    "sharp s": ("straße", "STRASSE"),
    "final sigma": ("ς", "Σ"),
    "Kelvin sign's fold": ("k", "K"),
    "ligature": ("ﬁle", "FILE"),
    "accented capitals": ("É", "é"),
    "iota below": ("ᾳ", "ΑΙ"),
}


@pytest.mark.parametrize("case", COLLISIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_colliding_names_are_refused(case: str, order: int) -> None:
    with pytest.raises(Refusal) as refused:
        check_names(["other", *COLLISIONS[case][::order], "last"], "bundle")
    assert refused.value.code == "name.collision"


def test_names_that_share_folders_and_beginnings_pass() -> None:
    check_names(["a/b", "a/c", "ab", "a.b", "x/a/b", "x/a.b"], "bundle")


def test_a_list_with_one_unsafe_name_is_refused() -> None:
    with pytest.raises(Refusal) as refused:
        check_names(["a", "../b"], "bundle")
    assert refused.value.code == "name.unsafe"


@given(st.text(st.characters(exclude_categories=[]), min_size=1, max_size=8))
def test_a_name_that_passes_is_a_relative_path_that_prints(name: str) -> None:
    try:
        check_name(name, "x")
    except Refusal as refusal:
        message = str(refusal)
        assert message.isprintable(), message
        return
    segments = name.split("/")
    assert all(segment not in {"", ".", ".."} for segment in segments)
    assert not set(name) & set('\\:*?"<>|')
    assert all(ord(c) >= 0x20 for c in name)
    check_names([name], "x")


@given(st.text(st.characters(exclude_categories=[])))
def test_shown_is_printable_and_short(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text, 10)) <= 10 * 10 + 5
