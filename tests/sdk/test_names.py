"""Names in a bundle: unsafe ones by name, collisions by pair.

Requirements: BC-BND-06 to 09.
"""

from __future__ import annotations

import tracemalloc
import unicodedata

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


def test_the_folders_of_names_are_counted_each_once() -> None:
    assert check_names([], "bundle") == 0
    assert check_names(["a", "b"], "bundle") == 0
    assert check_names(["a/b/c", "a/b/d", "a/e/f", "a/g", "h/b/i", "j"], "bundle") == 5


SEGMENTS = st.sampled_from(["a", "A", "b", "!", "ß", "ss", "SS", "é", "É", "a!", "ba"])


@given(st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), max_size=6))
def test_names_meet_where_a_plain_comparison_of_all_pairs_says_so(names: list[str]) -> None:
    def folded(text: str) -> str:
        return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())

    def folders(name: str) -> list[str]:
        segments = name.split("/")
        return ["/".join(segments[:end]) for end in range(1, len(segments))]

    meet = any(
        folded(first) == folded(second)
        or folded(first) in map(folded, folders(second))
        or folded(second) in map(folded, folders(first))
        or any(folded(x) == folded(y) and x != y for x in folders(first) for y in folders(second))
        for i, first in enumerate(names)
        for second in names[:i]
    )
    if meet:
        with pytest.raises(Refusal, match=r"name\.collision"):
            check_names(names, "bundle")
    else:
        assert check_names(names, "bundle") == len({folder for name in names for folder in folders(name)})


def test_deep_names_take_no_more_memory_than_their_length() -> None:
    """Ten thousand of these stand in a packed bundle of 20 MB that nobody signed."""
    names = [f"{i:03}/{'/'.join(['𐐨'] * 250)}" for i in range(300)]
    tracemalloc.start()
    try:
        assert check_names(names, "bundle") == 300 * 250
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 16 * sum(map(len, names))


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
