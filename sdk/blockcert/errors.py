"""The one refusal of the library: a stable code, a place, one sentence for a person."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):  # noqa: N818 - the field's word: an input is refused, the program did not err
    """An input that BlockCert will not take.

    Attributes:
        code: a dotted code from ``spec/09-result-codes.md``; stable across versions.
        place: the file, and inside it the JSON path, tensor or cell, e.g. ``evidence.safetensors: error[17, 2]``.
        sentence: one sentence for a person, with the two values that differ where there are two.
    """

    def __init__(self, code: str, place: str, sentence: str) -> None:
        super().__init__(f"{place}: {sentence} [{code}]")
        self.code = code
        self.place = place
        self.sentence = sentence
