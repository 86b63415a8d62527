"""Mechanisms for a terminal: 80 columns, one paragraph a block, heads and blocks that are alike together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from blockcert.program import DensePattern
from blockcert_verifier.head_names import HeadNames, lines
from blockcert_verifier.layout import joined, wrap
from blockcert_verifier.mechanisms import BlockMechanism

__all__ = ["render_mechanisms"]

_INDENT = " " * 6
_PLURAL = {"says": "say", "adds": "add", "drives": "drive"}
_PACKED = ("int4", "int6")


def render_mechanisms(blocks: Sequence[BlockMechanism], names: HeadNames | None = None) -> str:
    """What each block became, in words; the first sentence says that nothing was checked, and after the blocks the
    names of maps are explained. Last, and marked as the producer's words, what the reference's heads look at."""
    paragraphs = [
        wrap(
            "UNVERIFIED: this is what the bundle's programs say; nothing was checked. Blocks are counted from 1, heads "
            "from 0."
        )
    ]
    for same, run in groupby(blocks, key=lambda block: block.same_program):
        found = list(run)
        if same:
            name = _numbers("block", [block.block for block in found])
            paragraphs.append([f"{name.capitalize()}: the reference's own program"])
        else:
            paragraphs += [_block(block) for block in found]
    glossary = _glossary(blocks)
    if glossary:
        paragraphs.append(wrap(glossary))
    if any((linear.format or "").startswith(_PACKED) for block in blocks for linear in block.maps):
        paragraphs.append(wrap("An int4 or int6 is counted as 4 or 6 bits; the file holds each in a byte."))
    if names is not None:
        paragraphs.append(list(lines(names)))
    return joined(paragraphs)


def _glossary(blocks: Sequence[BlockMechanism]) -> str:
    """What the maps are for, each name once; empty where no map's role is known."""
    by_role: dict[str, list[str]] = {}
    for block in blocks:
        for linear in block.maps:
            names = by_role.setdefault(linear.role, [])
            if linear.role and linear.step not in names:
                names.append(linear.step)
    said: list[str] = []
    for role, names in by_role.items():
        verb, _, rest = role.partition(" ")
        if names:
            said.append(f"{_listed(names)} {verb if len(names) == 1 else _PLURAL[verb]} {rest}")
    return f"The maps: {'; '.join(said)}." if said else ""


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _block(block: BlockMechanism) -> list[str]:
    found = [f"Block {block.block}"]
    alike: dict[str, list[int]] = {}
    for head in block.heads:
        # a head that attends everything is that of any model: only what is narrower is worth the words
        own = head.as_in_reference and not isinstance(head.pattern, DensePattern)
        alike.setdefault(head.words + (", as in the reference" if own else ""), []).append(head.head)
    for words, heads in alike.items():
        # the words are those of one head
        verb, _, rest = words.partition(" ")
        found += wrap(f"{_numbers('head', heads)} {verb if len(heads) == 1 else verb[:-1]} {rest}", "  ", _INDENT)
    if not block.attends:
        found += wrap("no head is left: attention gives one constant, whatever the tokens", "  ", _INDENT)
    if block.neurons is not None:
        of, kept = block.reference_neurons, block.neurons
        count = f"{kept}" if of is None else f"all {of}" if kept == of else f"{kept} of {of}"
        found.append(f"  the MLP keeps {count} neurons")
    by_words: dict[str, list[str]] = {}
    for linear in block.maps:
        by_words.setdefault(linear.words, []).append(linear.step)
    for words, names in by_words.items():
        found += wrap(f"{', '.join(names)}: {words}", "  ", _INDENT)
    if block.constants:
        found += wrap(f"{', '.join(block.constants)}: one constant at every position", "  ", _INDENT)
    return found


def _numbers(what: str, numbers: Sequence[int]) -> str:
    """``head 3`` or ``heads 0, 1 and 3 to 5``."""
    text = _listed(list(_runs(numbers)))
    return f"{what} {text}" if len(numbers) == 1 else f"{what}s {text}"


def _runs(numbers: Sequence[int]) -> Iterator[str]:
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        if len(found) > 2:
            yield f"{found[0]} to {found[-1]}"
        else:
            yield from map(str, found)
