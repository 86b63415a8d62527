"""What msgspec says of a value of the wrong type, as a JSON path and a sentence in this project's words.

Apart from the decoder, whose every use would pay for these patterns.
"""

from __future__ import annotations

import re

from blockcert.names import shown
from blockcert.printable import PRINTABLE

__all__ = ["explain"]

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


def explain(message: str) -> tuple[str, str]:
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
