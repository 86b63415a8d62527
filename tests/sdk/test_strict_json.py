"""The strict gate: what it refuses, case by case, and its agreement with a parser written plainly from the rules.

Requirements: BC-NUM-06, 07, 10, 11, 12, 13.
"""

from __future__ import annotations

import json
import tracemalloc
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from blockcert.errors import Refusal
from blockcert.strict_json import DEFAULT, LARGEST_INTEGER, Limits, check, decode, encode

SMALL = Limits(bytes=2000, nesting=4, nodes=20, string=30)

REFUSED: dict[str, tuple[str, bytes]] = {
    "empty": ("json.syntax", b""),
    "only spaces": ("json.syntax", b"  \n"),
    "two documents": ("json.syntax", b"{}{}"),
    "text after the end": ("json.syntax", b"[1]x"),
    "trailing comma": ("json.syntax", b"[1,]"),
    "missing comma": ("json.syntax", b'["a""b"]'),
    "single quotes": ("json.syntax", b"{'a':1}"),
    "unquoted key": ("json.syntax", b"{a:1}"),
    "comment": ("json.syntax", b"[1]//x"),
    "unterminated string": ("json.syntax", b'["abc'),
    "unterminated string that ends in a backslash": ("json.syntax", b'["abc\\'),
    "string closed only by an escaped quote": ("json.syntax", b'["abc\\"'),
    "unclosed array": ("json.syntax", b"[1"),
    "mismatched brackets": ("json.syntax", b"[1}"),
    "closing before opening": ("json.syntax", b"]["),
    "unknown escape": ("json.syntax", b'["\\x41"]'),
    "short escape": ("json.syntax", b'["\\u12"]'),
    "signed escape": ("json.syntax", b'["\\u+123"]'),
    "duplicate key before an error": ("json.syntax", b'{"a":1,"a":1}x'),
    "duplicate key in what is never closed": ("json.syntax", b'[{"a":1,"a":1}'),
    "raw newline in a string": ("json.syntax", b'["a\nb"]'),
    "raw NUL in a string": ("json.syntax", b'["\x00"]'),
    "NUL that looks like UTF-16 beside an escape": ("json.syntax", b'"\x00\\ud800"'),
    "vertical tab as white space": ("json.syntax", b"[1]\x0b"),
    "non-breaking space as white space": ("json.syntax", "[1]\u00a0".encode()),
    "capital True": ("json.syntax", b"True"),
    "leading zero": ("json.syntax", b"[01]"),
    "leading plus": ("json.syntax", b"[+1]"),
    "no digit before the point": ("json.syntax", b"[.5]"),
    "hexadecimal": ("json.syntax", b"[0x10]"),
    "digits of another script": ("json.syntax", "[١]".encode()),
    "fraction": ("json.number", b"[0.5]"),
    "integer spelled with a point": ("json.number", b"[1.0]"),
    "exponent": ("json.number", b"[1e3]"),
    "exponent beyond every number": ("json.number", b"[1e999999999]"),
    "capital exponent": ("json.number", b"[1E3]"),
    "negative fraction": ("json.number", b'{"a":-12.5}'),
    "minus zero": ("json.number", b"[-0]"),
    "minus zero alone": ("json.number", b"-0"),
    "minus zero before a space": ("json.number", b"[1, -0 ]"),
    "minus zero with a fraction": ("json.number", b"[-0.0]"),
    "NaN": ("json.number", b"[NaN]"),
    "Infinity": ("json.number", b"[Infinity]"),
    "minus Infinity": ("json.number", b"[-Infinity]"),
    "2^53": ("json.number", b"[9007199254740992]"),
    "-2^53": ("json.number", b"[-9007199254740992]"),
    "long integer": ("json.number", b"9" * 400),
    "sixteen digits and a fraction": ("json.number", b"[1000000000000000.5]"),
    "number after a string with brackets": ("json.number", b'["[\\"{",1.5]'),
    "byte-order mark": ("json.encoding", b"\xef\xbb\xbf{}"),
    "UTF-16": ("json.encoding", b"\xff\xfe" + "{}".encode("utf-16-le")),
    "not UTF-8": ("json.encoding", b'["\xff"]'),
    "overlong UTF-8": ("json.encoding", b'["\xc0\xaf"]'),
    "surrogate in UTF-8": ("json.encoding", b'["\xed\xa0\x80"]'),
    "lone high surrogate": ("json.encoding", b'["\\ud800"]'),
    "lone low surrogate": ("json.encoding", b'["\\uDC00"]'),
    "surrogates in the wrong order": ("json.encoding", b'["\\udc00\\ud800"]'),
    "lone surrogate in a key": ("json.encoding", b'{"\\ud800":1}'),
    "duplicate key": ("json.duplicate_key", b'{"a":1,"a":1}'),
    "duplicate key by escape": ("json.duplicate_key", b'{"a":1,"\\u0061":2}'),
    "duplicate key far inside": ("json.duplicate_key", b'{"a":[{"b":{"c":1,"d":2,"c":3}}]}'),
    "duplicate empty key": ("json.duplicate_key", b'{"":1,"":2}'),
    "too many bytes": ("json.limit", b"[" + b" " * 2000 + b"]"),
    "too deep, arrays": ("json.limit", b"[" * 5 + b"]" * 5),
    "too deep, objects": ("json.limit", b'{"a":' * 5 + b"1" + b"}" * 5),
    "too deep and unclosed": ("json.limit", b"[" * 1000),
    "too many values": ("json.limit", b"[" + b"1," * 20 + b"1]"),
    "too many empty objects": ("json.limit", b"[" + b"{}," * 10 + b"{}]"),
    "too many strings without commas": ("json.limit", b'""' * 50),
    "string too long": ("json.limit", b'["' + b"a" * 31 + b'"]'),
    "string too long by its escapes": ("json.limit", b'["' + b"\\u0041" * 6 + b'"]'),
    "key too long": ("json.limit", b'{"' + b"a" * 31 + b'":1}'),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    code, data = REFUSED[case]
    with pytest.raises(Refusal) as refused:
        check(data, "statement.json", SMALL)
    assert refused.value.code == code
    assert refused.value.place.startswith("statement.json")
    assert refused.value.sentence.endswith(".")


ACCEPTED: dict[str, bytes] = {
    "scalar": b"0",
    "largest integer": b"[9007199254740991,-9007199254740991]",
    "sixteen digits below the limit": b"1000000000000000",
    "white space": b" \t\r\n[ 1 , {} ]\n",
    "number-like strings": b'["-0","1.0","NaN","1e5",{"-0":1}]',
    "brackets in strings": b'["[[[[[[{{{{"]',
    "escaped quotes and backslashes": b'["\\"[","\\\\"]',
    "surrogate pair": b'["\\ud83d\\ude00"]',
    "escaped backslash before u": b'["\\\\ud800"]',
    "escaped NUL": b'["\\u0000"]',
    "same key in two objects": b'[{"a":1},{"a":1}]',
    "just deep enough": b"[[[[1]]]]",
    "longest string": b'["' + b"a" * 30 + b'"]',
    "twenty values": b"[" + b"1," * 18 + b"1]",
    "as many bytes as may be": b"[1]" + b" " * 1997,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_and_decoded_alike(case: str) -> None:
    data = ACCEPTED[case]
    check(data, "x", SMALL)
    assert msgspec.json.decode(data) == json.loads(data)


def test_hostile_nesting_is_refused_before_anything_recurses() -> None:
    for opening in (b"[", b'{"a":', b'[{"":'):
        with pytest.raises(Refusal, match=r"levels of nesting"):
            check(opening * 100_000, "x")


def test_place_of_a_number_is_its_line_and_column_and_of_a_duplicate_its_path() -> None:
    with pytest.raises(Refusal) as refused:
        check(b'{"1.5": 1,\n "b": [12, -34.5]}', "x")
    assert refused.value.place == "x: line 2, column 12"
    assert "'-34.'" in refused.value.sentence
    with pytest.raises(Refusal) as refused:
        check(b'{"a":[1,{"b":{"c":1,"\\u0063":3}}]}', "x")
    assert refused.value.place == "x: $.a[1].b"
    assert "'c'" in refused.value.sentence


def test_of_two_duplicates_the_first_place_from_the_top_is_named() -> None:
    for text, place in (
        (b'{"a":[1,2],"b":[{"c":1,"c":2}],"d":{"e":1,"e":2}}', "x: $.b[0]"),
        (b'{"a":{"c":1,"c":2},"b":1,"b":2}', "x: $"),
        (b'[[],[[{}],{"a":1,"a":1}]]', "x: $[1][1]"),
    ):
        with pytest.raises(Refusal) as refused:
            check(text, "x")
        assert refused.value.place == place


def test_a_late_duplicate_costs_no_path_for_each_value_beside_it() -> None:
    """58 levels of 80 characters: a path of 5 KB for each of the siblings would be 500 MB."""
    siblings = 100_000
    text = '{"%s":' % ("k" * 80) * 58 + "[" + "1," * siblings + '{"a":1,"a":1}]' + "}" * 58
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) as refused:
            check(text.encode(), "x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.place.endswith(f"[{siblings}]")
    assert peak < 32 << 20


# --- a parser written plainly from the rules -----------------------------------------------------------------------


class No(Exception):  # noqa: N818
    """The oracle refuses."""


class Oracle:
    """Character by character, without caps; returns nothing, raises ``No``."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def run(self) -> None:
        self.value()
        self.space()
        if self.at != len(self.text):
            raise No

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, wanted: str) -> None:
        if not self.text.startswith(wanted, self.at):
            raise No
        self.at += len(wanted)

    def space(self) -> None:
        while self.peek() and self.peek() in " \t\r\n":
            self.at += 1

    def value(self) -> None:
        self.space()
        match self.peek():
            case "{":
                self.members("}", keyed=True)
            case "[":
                self.members("]", keyed=False)
            case '"':
                self.string()
            case "t":
                self.take("true")
            case "f":
                self.take("false")
            case "n":
                self.take("null")
            case _:
                self.integer()

    def members(self, end: str, keyed: bool) -> None:
        self.at += 1
        keys: list[str] = []
        self.space()
        if self.peek() == end:
            self.at += 1
            return
        while True:
            self.space()
            if keyed:
                keys.append(self.string())
                self.space()
                self.take(":")
            self.value()
            self.space()
            if self.peek() != ",":
                break
            self.at += 1
        self.take(end)
        if len(set(keys)) != len(keys):
            raise No

    def string(self) -> str:
        self.take('"')
        units: list[int] = []  # UTF-16, so that a pair of escapes joins
        while (c := self.peek()) != '"':
            if not c or ord(c) < 0x20:
                raise No
            self.at += 1
            if c != "\\":
                raw = c.encode("utf-16-be", "surrogatepass")
                units += [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]
                continue
            escape = self.peek()
            self.at += 1
            if escape == "u":
                digits = self.text[self.at : self.at + 4]
                if len(digits) != 4 or any(d not in "0123456789abcdefABCDEF" for d in digits):
                    raise No
                self.at += 4
                units.append(int(digits, 16))
            elif escape and escape in '"\\/bfnrt':
                units.append(ord(dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))[escape]))
            else:
                raise No
        self.at += 1
        try:
            return b"".join(u.to_bytes(2, "big") for u in units).decode("utf-16-be")
        except UnicodeDecodeError:
            raise No from None

    def integer(self) -> None:
        start = self.at
        if self.peek() == "-":
            self.at += 1
        digits = self.at
        while self.peek() and self.peek() in "0123456789":
            self.at += 1
        spelled = self.text[digits : self.at]
        if not spelled or (spelled[0] == "0" and self.at - start > 1):
            raise No
        if int(spelled) > LARGEST_INTEGER or (self.peek() and self.peek() in ".eE"):
            raise No


def oracle_accepts(data: bytes) -> bool:
    try:
        Oracle(data.decode("utf-8")).run()
    except (No, UnicodeDecodeError):
        return False
    return True


def gate_accepts(data: bytes) -> bool:
    try:
        check(data, "x")
    except Refusal:
        return False
    return True


FRAGMENTS = [
    *'{}[],:" \n\\-.0',
    '"a"',
    '"b"',
    '"\\u0061"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\""',
    '"\\\\"',
    '"[1.5"',
    "1",
    "-0",
    "-7",
    "1.0",
    "2e5",
    "00",
    "9007199254740991",
    "9007199254740992",
    "NaN",
    "-Infinity",
    "true",
    "null",
    "é",
    "\x00",
    "\ufeff",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12))
def test_gate_agrees_with_the_plain_parser_on_token_soup(fragments: list[str]) -> None:
    data = "".join(fragments).encode()
    assert gate_accepts(data) == oracle_accepts(data)


@given(VALUES, st.booleans(), st.data())
def test_gate_agrees_with_the_plain_parser_on_damaged_documents(value: Any, escaped: bool, data: Any) -> None:
    text = json.dumps(value, ensure_ascii=escaped, indent=data.draw(st.sampled_from([None, 1])))
    at = data.draw(st.integers(0, len(text)))
    drop = data.draw(st.integers(0, 2))
    fragment = data.draw(st.sampled_from(["", *FRAGMENTS]))
    damaged = (text[:at] + fragment + text[at + drop :]).encode("utf-8")
    assert gate_accepts(damaged) == oracle_accepts(damaged)
    if gate_accepts(damaged):
        assert msgspec.json.decode(damaged) == json.loads(damaged)


@given(st.binary(max_size=20))
def test_gate_agrees_with_the_plain_parser_on_bytes(data: bytes) -> None:
    assert gate_accepts(data) == oracle_accepts(data)


@given(VALUES)
def test_encode_is_accepted_deterministic_and_round_trips(value: Any) -> None:
    data = encode(value)
    assert decode(data, object, "x") == value
    assert encode(decode(data, object, "x")) == data


def test_encode_sorts_keys_and_is_compact() -> None:
    assert encode({"b": [1, {"d": None, "c": "é"}], "a": True}) == '{"a":true,"b":[1,{"c":"é","d":null}]}'.encode()


@pytest.mark.parametrize("value", [0.5, 1.0, {"a": 1e300}, 1 << 53])
def test_encode_refuses_what_the_gate_would(value: object) -> None:
    with pytest.raises(Refusal) as refused:
        encode(value)
    assert refused.value.code == "json.number"


# --- typed decoding ------------------------------------------------------------------------------------------------


class Leaf(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="leaf"):
    count: Annotated[int, Meta(ge=0, le=9)]
    name: Annotated[str, Meta(max_length=3, pattern=r"^[a-z]*\Z")] = ""
    kind: Literal["a", "b"] = "a"


class Other(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="other"):
    pair: tuple[int, int]


class Root(Struct, frozen=True, forbid_unknown_fields=True):
    leaves: Annotated[tuple[Leaf | Other, ...], Meta(max_length=2)] = ()
    table: dict[str, int] = {}


MISTYPED: dict[str, tuple[bytes, str, str]] = {
    "not an object": (b"[]", "$", "Expected an object, found an array."),
    "string for integer": (
        b'{"leaves":[{"op":"leaf","count":"1"}]}',
        "$.leaves[0].count",
        "Expected an integer, found a string.",
    ),
    "bool for integer": (
        b'{"leaves":[{"op":"leaf","count":true}]}',
        "$.leaves[0].count",
        "Expected an integer, found true or false.",
    ),
    "in a dictionary": (b'{"table":{"k":null}}', "$.table[...]", "Expected an integer, found null."),
    "too large": (
        b'{"leaves":[{"op":"leaf","count":10}]}',
        "$.leaves[0].count",
        "Expected an integer <= 9.",
    ),
    "missing field": (
        b'{"leaves":[{"op":"leaf"}]}',
        "$.leaves[0]",
        "The object lacks the field count.",
    ),
    "missing tag": (b'{"leaves":[{}]}', "$.leaves[0]", "The object lacks the field op."),
    "unknown field": (b'{"x":1}', "$", "The object has the unknown field 'x'."),
    "unknown tag": (
        b'{"leaves":[{"op":"c"}]}',
        "$.leaves[0].op",
        "The value 'c' is not one of those allowed here.",
    ),
    "unknown choice": (
        b'{"leaves":[{"op":"leaf","count":1,"kind":"z"}]}',
        "$.leaves[0].kind",
        "The value 'z' is not one of those allowed here.",
    ),
    "pattern": (
        b'{"leaves":[{"op":"leaf","count":1,"name":"A"}]}',
        "$.leaves[0].name",
        "The string does not match the pattern '^[a-z]*\\\\Z'.",
    ),
    "long string": (
        b'{"leaves":[{"op":"leaf","count":1,"name":"aaaa"}]}',
        "$.leaves[0].name",
        "Expected a string of at most 3 characters.",
    ),
    "long array": (
        b'{"leaves":[{"op":"leaf","count":1},{"op":"leaf","count":1},{"op":"leaf","count":1}]}',
        "$.leaves",
        "Expected an array of at most 2 entries.",
    ),
    "wrong pair": (
        b'{"leaves":[{"op":"other","pair":[1]}]}',
        "$.leaves[0].pair",
        "Expected an array of 2 entries.",
    ),
}


@pytest.mark.parametrize("case", MISTYPED)
def test_mistyped(case: str) -> None:
    data, path, sentence = MISTYPED[case]
    with pytest.raises(Refusal) as refused:
        decode(data, Root, "statement.json")
    assert refused.value.code == "json.type"
    assert refused.value.place == f"statement.json: {path}"
    assert refused.value.sentence == sentence


@given(st.text(max_size=30).filter(lambda name: name not in {"leaves", "table", "leaf", "other"}))
def test_sentences_never_carry_control_characters_of_the_input(name: str) -> None:
    for document in ({name: 1}, {"leaves": [{"op": name}]}, {"leaves": [{"op": "leaf", f"{name}+": 1, "count": 1}]}):
        with pytest.raises(Refusal) as refused:
            decode(json.dumps(document).encode(), Root, "x")
        assert str(refused.value).isprintable()


def test_hostile_field_name_cannot_forge_a_place() -> None:
    with pytest.raises(Refusal) as refused:
        decode(b'{"x - at `evil.json\\u001b[2J`":1}', Root, "x")
    assert refused.value.place == "x: $"
    assert "\x1b" not in refused.value.sentence


def test_default_limits_take_a_large_statement() -> None:
    rows = [{"index": i, "error": "0.000123", "covered": [i, i, i]} for i in range(20_000)]
    check(json.dumps(rows).encode(), "x", DEFAULT)
