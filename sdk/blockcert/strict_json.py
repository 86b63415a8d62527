"""JSON as ``spec/03-numbers.md`` has it: a strict gate in front of the typed decoder, and one way of writing.

The gate exists because decoders differ where JSON is loose (duplicate keys, NaN, lone surrogates, 1.0 as an
integer), and what one verifier accepts every other must. One regular expression splits strings from structure;
caps and numbers are then checked on the structure alone, and nesting is known before anything recurses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, TypeVar, cast

import msgspec

from blockcert.errors import Refusal
from blockcert.names import shown
from blockcert.printable import PRINTABLE

__all__ = ["DEFAULT", "LARGEST_INTEGER", "Limits", "check", "decode", "encode", "typed"]

T = TypeVar("T")

LARGEST_INTEGER = (1 << 53) - 1
"""Every integer up to it is a float64 too, so that no reader rounds."""


class Limits(msgspec.Struct, frozen=True):
    """Caps on one document.

    ``nodes`` counts commas and opening brackets outside strings, plus one: at least the number of values.
    ``string`` counts the bytes of a string as written, escapes included. ``nesting`` is at most 500.
    """

    bytes: int = 64 << 20
    nesting: int = 64
    nodes: int = 1_000_000
    string: int = 1 << 16


DEFAULT = Limits()

# Possessive, so no input backtracks; an unterminated string runs to the end, where the parser refuses it.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_SPLIT = re.compile(f"({_STRING})".encode(), re.DOTALL)
# What is no number here, and long integers, on text without strings. The first three are refused at once.
_NUMBER = r"NaN|Infinity|-0(?![0-9])|[0-9]{16,}[.eE]?|[0-9][.eE]"
_SUSPECT = re.compile(_NUMBER.encode())
_LOCATE = re.compile(f"{_STRING}|({_NUMBER})".encode(), re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check(data: bytes, place: str, limits: Limits = DEFAULT) -> None:
    """Returns None where ``data`` is one strict JSON document within ``limits``.

    UTF-8 without a byte-order mark, no duplicate keys (compared after unescaping), no lone surrogates; every
    number an integer of magnitude below 2^53, written without fraction or exponent; ``-0`` is refused.

    Raises:
        Refusal: ``json.encoding``, ``json.limit``, ``json.number``, ``json.duplicate_key``, ``json.syntax``.
    """
    if len(data) > limits.bytes:
        raise _too_much(place, "bytes", len(data), limits.bytes)
    if data.startswith(b"\xef\xbb\xbf"):
        raise Refusal("json.encoding", place, "The text begins with a byte-order mark; write plain UTF-8.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("json.encoding", place, f"The text is not UTF-8 at byte {error.start}.") from None

    # A value is at most one string, and its key another; stopping there bounds what hostile text allocates.
    parts = _SPLIT.split(data, 2 * limits.nodes + 1)
    strings = parts[1::2]
    if len(strings) > 2 * limits.nodes:
        raise _too_much(place, "strings or more", len(strings), 2 * limits.nodes)
    # joined by a quote, so that two numbers around a string do not become one
    structure = b'"'.join(parts[0::2])
    _check_caps(structure, strings, place, limits)
    _check_numbers(structure, data, place)
    if b"\\u" in data:
        _check_surrogates(strings, place)
    try:
        try:
            json.loads(text, object_pairs_hook=_no_duplicates)
        except _DuplicateKeyError:
            # raised where the first such object ends: what follows may be no JSON
            raise _duplicate(text, place) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal("json.syntax", f"{place}: {where}", f"This is not JSON: {error.msg}.") from None


def decode(data: bytes, type: type[T], place: str, limits: Limits = DEFAULT) -> T:  # noqa: A002 - msgspec's name
    """The value of a strict JSON document, as ``type``.

    Raises:
        Refusal: what ``check`` raises, and ``json.type`` with the JSON path as its place.
    """
    check(data, place, limits)
    return typed(data, type, place)


def typed(data: bytes | msgspec.Raw, type: type[T], place: str, root: str = "$") -> T:  # noqa: A002
    """The value of JSON that ``check`` has passed, as ``type``; ``root`` is where it stands in its document.

    Raises:
        Refusal: ``json.type``.
    """
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.ValidationError as error:
        path, sentence = _explain(str(error))
        raise Refusal("json.type", f"{place}: {root}{path[1:]}", sentence) from None


def encode(obj: object) -> bytes:
    """The one encoding of ``obj``: keys sorted, compact, UTF-8; what it returns always passes ``check``.

    Raises:
        Refusal: where ``obj`` has no strict JSON form, e.g. ``json.number`` for a float.
    """
    data = msgspec.json.encode(obj, order="sorted")
    check(data, "encoded")
    return data


def _too_much(place: str, what: str, found: int, most: int) -> Refusal:
    return Refusal("json.limit", place, f"The JSON text has {found} {what}; at most {most} are accepted.")


def _check_caps(structure: bytes, strings: list[bytes], place: str, limits: Limits) -> None:
    brackets = structure.translate(None, _NOT_BRACKETS)
    nodes = 1 + structure.count(b",") + brackets.count(b"[") + brackets.count(b"{")
    if nodes > limits.nodes:
        raise _too_much(place, "values", nodes, limits.nodes)
    nesting = max(accumulate(map(_STEP.__getitem__, brackets)), default=0)
    if nesting > limits.nesting:
        raise _too_much(place, "levels of nesting", nesting, limits.nesting)
    longest = max(map(len, strings), default=2) - 2
    if longest > limits.string:
        raise _too_much(place, "bytes in one string", longest, limits.string)


def _is_integer(token: bytes) -> bool:
    """Whether a suspect is nothing worse than an integer of many digits within the limit."""
    return token.isdigit() and len(token) <= 16 and int(token) <= LARGEST_INTEGER


def _check_numbers(structure: bytes, data: bytes, place: str) -> None:
    if all(_is_integer(token) for token in _SUSPECT.findall(structure)):
        return
    # The slow path only finds the place of what is refused already.
    for match in _LOCATE.finditer(data):
        token: bytes | None = match[1]
        if token is not None and not _is_integer(token):
            # the suspect part may begin inside its number
            start = len(data[: match.start()].rstrip(b"-+.0123456789eE"))
            token = data[start : match.end()]
            line = data.count(b"\n", 0, start) + 1
            column = start - data.rfind(b"\n", 0, start)
            raise Refusal(
                "json.number",
                f"{place}: line {line}, column {column}",
                f"The number that starts with {shown(token.decode(), 40)} is not an integer below 2^53, "
                "without fraction or exponent (nor may it be -0); other numbers are written as decimal strings.",
            )
    raise AssertionError("a number was refused and not found again")


def _check_surrogates(strings: list[bytes], place: str) -> None:
    for string in strings:
        if _SURROGATE.search(string) is None:
            continue
        try:
            json.loads(string.decode()).encode()
        except json.JSONDecodeError:
            continue  # the parser says where
        except UnicodeEncodeError:
            name = shown(string.decode())
            raise Refusal("json.encoding", place, f"The string {name} has a lone surrogate.") from None


class _DuplicateKeyError(Exception):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> None:
    # The value is dropped: the typed decoder reads the bytes again, and half the memory is saved.
    if len(dict(pairs)) != len(pairs):
        raise _DuplicateKeyError


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs, told apart from an array."""


def _members(value: object) -> Iterator[tuple[str, object]]:
    """What stands in an object or array, in order, each with the step of a path that leads to it."""
    if isinstance(value, _Pairs):
        return ((f".{shown(key)[1:-1]}", member) for key, member in value)
    members = cast("list[object]", value) if isinstance(value, list) else []
    return ((f"[{i}]", member) for i, member in enumerate(members))


def _repeated(value: object) -> str | None:
    """A key that stands twice in ``value``, where that is an object."""
    if not isinstance(value, _Pairs):
        return None
    seen = set[str]()
    return next((key for key, _ in value if key in seen or seen.add(key)), None)


def _duplicate(text: str, place: str) -> Refusal:
    root: object = json.loads(text, object_pairs_hook=_Pairs)
    # Only the path to where the walk stands is held: a path for each value would multiply what a document costs.
    path = ["$"]
    key = _repeated(root)
    open_ = [_members(root)]
    while key is None:
        step, value = next(open_[-1], ("", None))
        if not step:
            open_.pop()
            path.pop()
        elif isinstance(value, list):
            inner: object = cast("list[object]", value)
            path.append(step)
            open_.append(_members(inner))
            key = _repeated(inner)
    sentence = f"The key {shown(key)} stands twice in one object; readers would differ."
    return Refusal("json.duplicate_key", f"{place}: {''.join(path)}", sentence)


_NOUNS = {
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
    "float": "a number",
}
_GOT = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_BOUND = re.compile(r"Expected `(\w+)` ((?:>=|<=|>|<) -?[0-9]+)")
_LENGTH = re.compile(r"Expected `(\w+)` of length (?:(>=|<=) )?([0-9]+)(?:, got ([0-9]+))?")
_REGEX = re.compile(r"Expected `str` matching regex (.*)", re.DOTALL)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_VALUE = re.compile(r"Invalid (?:enum )?value (.*)", re.DOTALL)


_PATTERNS = {
    repr(PRINTABLE): "has a character that moves a cursor, turns the direction of text or hides; leave it out",
    repr(r"^[0-9a-f]{64}\Z"): "is not 64 lower-case hexadecimal digits",
    repr(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z"): (
        "is not a time as 2026-01-31T23:59:59Z is written"
    ),
}
"""What the patterns that people meet say, in words."""


def _noun(types: str) -> str:
    return " or ".join(_NOUNS.get(name, name) for name in types.split(" | "))


def _explain(message: str) -> tuple[str, str]:
    """The JSON path and a sentence for one message of msgspec's; the message may hold bytes of the input."""
    what, _, path = message.rpartition(" - at `")
    if not what:
        what, path = message, "$`"
    if path.startswith("key` in `"):
        path = path.removeprefix("key` in `")
    path = path.removesuffix("`")
    if not re.fullmatch(r"\$[\w.\[\]]*", path, re.ASCII):  # part of a hostile field name, not a path
        what, path = message, "$"
    if match := _GOT.fullmatch(what):
        return path, f"Expected {_noun(match[1])}, found {_noun(match[2])}."
    if match := _BOUND.fullmatch(what):
        return path, f"Expected {_noun(match[1])} {match[2]}."
    if match := _LENGTH.fullmatch(what):
        how = {">=": "at least ", "<=": "at most ", None: ""}[match[2]]
        found = f", found {match[4]}" if match[4] else ""
        unit = "characters" if match[1] == "str" else "entries"
        return path, f"Expected {_noun(match[1])} of {how}{match[3]} {unit}{found}."
    if match := _REGEX.fullmatch(what):
        what = _PATTERNS.get(match[1])
        return path, f"The string does not match the pattern {match[1]}." if what is None else f"The string {what}."
    if match := _FIELD.fullmatch(what):
        if match[1] == "missing required":
            return path, f"The object lacks the field {match[2]}."
        return path, f"The object has the unknown field {shown(match[2])}."
    if match := _VALUE.fullmatch(what):
        return path, f"The value {shown(match[1].strip(chr(39)))} is not one of those allowed here."
    return path, f"{shown(what, 200)[1:-1]}."
