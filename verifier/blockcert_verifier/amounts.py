"""Amounts as a person writes them: bytes and seconds, with a unit or without one."""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["amount_of_bytes", "amount_of_seconds"]

_AMOUNT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?(?:e[0-9]{1,2})?) ?([A-Za-z]*)", re.ASCII)
_BYTES = {"": 1, "b": 1} | {
    f"{letter}{kind}": base ** (i + 1) for kind, base in (("b", 1000), ("ib", 1024)) for i, letter in enumerate("kmgt")
}
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600}
_MOST = 10**18


def amount_of_bytes(text: str) -> int:
    """The number of bytes that is written as `1000`, `1e9`, `500MB` (10^6) or `1.5GiB` (2^30).

    Raises:
        ValueError: with a sentence that says what is wrong; among others where it is no whole number of bytes.
    """
    number, unit = _split(text)
    if number is not None and unit in {"k", "m", "g", "t"}:
        power = 3 * ("kmgt".index(unit) + 1)
        name = unit.upper()
        sentence = f"say which {name} is meant: {name}B is 10^{power} bytes, {name}iB 2^{power // 3 * 10}"
        raise ValueError(sentence)
    if number is None or unit not in _BYTES:
        raise ValueError("this is no number; give a number of bytes from 1 on, such as 1000000, 500MB or 1.5GiB")
    found = number * _BYTES[unit]
    if found.denominator != 1 or found < 1:
        raise ValueError("this is no whole number of bytes from 1 on")
    if found > _MOST:
        raise ValueError("this is too large; give at most 10^18 bytes")
    return int(found)


def amount_of_seconds(text: str) -> float:
    """The seconds that are written as `60`, `0.5`, `90s`, `1.5min` or `2h`.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """
    number, unit = _split(text)
    if number is None or unit not in _SECONDS:
        raise ValueError("this is no number; give a number of seconds above 0, such as 60, 0.5, 10min or 2h")
    found = number * _SECONDS[unit]
    if not 0 < found <= _MOST:
        raise ValueError("give a number of seconds above 0, and at most 10^18")
    return float(found)


def _split(text: str) -> tuple[Fraction | None, str]:
    found = _AMOUNT.fullmatch(text)
    return (None, "") if found is None else (Fraction(found[1]), found[2].lower())
