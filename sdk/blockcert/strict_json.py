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

__all__ = ["DEFAULT", "LARGEST_INTEGER", "REPORT", "Limits", "check", "decode", "encode", "typed"]

T = TypeVar("T")

LARGEST_INTEGER = (1 << 53) - 1
"""Every integer up to it is a float64 too, so that no reader rounds."""


class Limits(msgspec.Struct, frozen=True):
    """Caps on one document.

    ``nodes`` counts commas and opening brackets outside strings, plus one: at least the number of values.
    ``string`` counts the bytes of a string as written, escapes included. ``nesting`` is at most 500.
    """

    bytes: int = 16 << 20
    nesting: int = 64
    nodes: int = 1 << 18
    string: int = 1 << 16


DEFAULT = Limits()
REPORT = Limits(bytes=64 << 20, nodes=1 << 20)
"""Caps on what a verifier writes: it repeats the claims of the largest statement, and has findings beside them."""

# Possessive, so no input backtracks; an unterminated string runs to the end, where the parser refuses it.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_SPLIT = re.compile(f"({_STRING})".encode(), re.DOTALL)
_PIECE = 1 << 18
"""Bytes that are taken apart at a time."""
# What is no number here, and long integers, on text without strings. The first three are refused at once.
_NUMBER = r"NaN|Infinity|-0(?![0-9])|[0-9]{16,}[.eE]?|[0-9][.eE]"
_SUSPECT = re.compile(_NUMBER.encode())
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

    structure, longest, lone = _structure(data, place, limits)
    _check_caps(structure, longest, place, limits)
    _check_numbers(structure, data, place)
    if lone is not None:
        raise lone
    del structure
    # one after another, since the objects of whatever follows are many times the text
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
        from blockcert.decode_errors import explain

        path, sentence = explain(str(error))
        raise Refusal("json.type", f"{place}: {root}{path[1:]}", sentence) from None


def encode(obj: object, limits: Limits = DEFAULT) -> bytes:
    """The one encoding of ``obj``: keys sorted, compact, UTF-8; what it returns always passes ``check``.

    Raises:
        Refusal: where ``obj`` has no strict JSON form within ``limits``, e.g. ``json.number`` for a float.
    """
    data = msgspec.json.encode(obj, order="sorted")
    check(data, "encoded", limits)
    return data


def _too_much(place: str, what: str, found: int, most: int) -> Refusal:
    return Refusal("json.limit", place, f"The JSON text has {found} {what}; at most {most} are accepted.")


def _structure(data: bytes, place: str, limits: Limits) -> tuple[bytes, int, Refusal | None]:
    """The text with a quote in the place of each string, so that two numbers around one do not become one; with it the
    bytes of the longest string, and the first string with a lone surrogate, refused.

    Taken apart in pieces: every string of a piece is an object, and those of a whole text would be many times its size.
    """
    found, lone = bytearray(), None
    at, size, longest, count = 0, _PIECE, 0, 0
    escaped = b"\\u" in data
    while at < len(data):
        parts = _SPLIT.split(data[at : at + size])
        strings = parts[1::2]
        if at + size < len(data) and strings and not parts[-1]:
            # the last may go on behind the piece: it is the first of the next
            if len(strings) == 1 and not parts[0]:
                size *= 2
                continue
            del parts[-2:], strings[-1]
        at += sum(map(len, parts))
        size = _PIECE
        count += len(strings)
        # a value is at most one string, and its key another
        if count > 2 * limits.nodes:
            raise _too_much(place, "strings or more", count, 2 * limits.nodes)
        longest = max(longest, max(map(len, strings), default=2) - 2)
        if escaped and lone is None:
            lone = _lone_surrogate(strings, place)
        found += b'"'.join(parts[0::2])
    return bytes(found), longest, lone


def _check_caps(structure: bytes, longest: int, place: str, limits: Limits) -> None:
    brackets = structure.translate(None, _NOT_BRACKETS)
    nodes = 1 + structure.count(b",") + brackets.count(b"[") + brackets.count(b"{")
    if nodes > limits.nodes:
        raise _too_much(place, "values", nodes, limits.nodes)
    nesting = max(accumulate(map(_STEP.__getitem__, brackets)), default=0)
    if nesting > limits.nesting:
        raise _too_much(place, "levels of nesting", nesting, limits.nesting)
    if longest > limits.string:
        raise _too_much(place, "bytes in one string", longest, limits.string)


def _is_integer(token: bytes) -> bool:
    """Whether a suspect is nothing worse than an integer of many digits within the limit."""
    return token.isdigit() and len(token) <= 16 and int(token) <= LARGEST_INTEGER


def _check_numbers(structure: bytes, data: bytes, place: str) -> None:
    if all(_is_integer(token) for token in _SUSPECT.findall(structure)):
        return
    # The slow path only finds the place of what is refused already, and only then is its pattern compiled.
    for match in re.finditer(f"{_STRING}|({_NUMBER})".encode(), data, re.DOTALL):
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


def _lone_surrogate(strings: list[bytes], place: str) -> Refusal | None:
    """The refusal of the first string with a lone surrogate."""
    for string in strings:
        if re.search(rb"\\u[dD][89a-fA-F]", string) is None:
            continue
        try:
            json.loads(string.decode()).encode()
        except json.JSONDecodeError:
            continue  # the parser says where
        except UnicodeEncodeError:
            name = shown(string.decode())
            return Refusal("json.encoding", place, f"The string {name} has a lone surrogate.")
    return None


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
