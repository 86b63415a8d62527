"""What a producer says its reference's heads look at: the extension ``heads`` of a statement (BC-STM-17).

The producer's words, an estimate on its calibration prompts; nothing here is checked. Only the kinds and the shares are
read, so every word that is printed is this package's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from blockcert.numbers import parse_decimal
from blockcert_verifier.layout import wrap

__all__ = ["EXTENSION", "HeadName", "HeadNames", "Kind", "lines", "read"]

EXTENSION = "heads"

Kind: TypeAlias = Literal[
    "previous", "own", "first", "same_token", "induction", "open_bracket", "matched_bracket", "even"
]
Share: TypeAlias = Annotated[str, Meta(pattern=r"^(0|1|0\.[0-9]{0,2}[1-9])\Z")]
"""A decimal between 0 and 1 in its one spelling, to three places."""

_WORDS: dict[Kind, str] = {
    "previous": "on the token before",
    "own": "on its own token",
    "first": "on the first token (sink)",
    "same_token": "on earlier copies of the same token",
    "induction": "on what followed an earlier copy of the last two tokens (induction)",
    "open_bracket": "on the opener of the bracket that is still open (bracket matching)",
    "matched_bracket": "at a closing bracket, on the opener that it closes (bracket matching)",
}
_EVEN = "spread evenly over the tokens so far: {} of the greatest entropy"


class HeadName(Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of place that a head looks at: the share of its attention that falls there, and the share by chance.

    For ``even`` the share is that of the greatest entropy, and there is no chance.
    """

    kind: Kind
    share: Share
    chance: Share | None


class HeadNames(Struct, frozen=True, forbid_unknown_fields=True):
    """The names of all heads: ``blocks[i][h]`` are those of head ``h`` of block ``i + 1``; of a block without heads
    there is none. ``prompts`` is how many calibration prompts were looked at."""

    prompts: Annotated[int, Meta(ge=1, lt=1 << 53)]
    blocks: Annotated[
        tuple[Annotated[tuple[Annotated[tuple[HeadName, ...], Meta(max_length=8)], ...], Meta(max_length=4096)], ...],
        Meta(max_length=4094),
    ]
    basis: Literal["estimate"] = "estimate"


def read(extensions: Mapping[str, Any]) -> HeadNames | None:
    """The names in a statement's extensions; None where there are none that can be read."""
    if EXTENSION not in extensions:
        return None
    try:
        return msgspec.convert(extensions[EXTENSION], HeadNames)
    except msgspec.ValidationError:
        return None


def lines(names: HeadNames) -> Iterator[str]:
    """A paragraph for a terminal, 80 columns: every head that has a name, then how many have none."""
    texts = "one calibration prompt" if names.prompts == 1 else f"{names.prompts} calibration prompts"
    yield from wrap(
        f"Of the reference's own heads the producer says, from {texts} (an estimate, checked by nobody; in brackets "
        "the share by chance):"
    )
    unnamed = 0
    for number, block in enumerate(names.blocks, start=1):
        for head, found in enumerate(block):
            if found:
                said = "; ".join(map(_words, found))
                yield from wrap(f"block {number}, head {head}: {said}", "  ", " " * 6)
            unnamed += not found
    if unnamed:
        yield from wrap(
            f"{unnamed} {'heads look' if unnamed > 1 else 'head looks'} at no single kind of place that is known here",
            "  ",
            " " * 6,
        )


def _words(name: HeadName) -> str:
    if name.kind == "even":
        return _EVEN.format(_percent(name.share))
    by_chance = "" if name.chance is None else f" [{_percent(name.chance)}]"
    return f"{_percent(name.share)}{by_chance} {_WORDS[name.kind]}"


def _percent(share: str) -> str:
    return f"{round(100 * Fraction(parse_decimal(share)))} %"
