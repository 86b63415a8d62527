"""The kinds of places that a head may look at, on given prompts: pairs of a position and a position before it.

Everything is read off the token ids, and for brackets off the tokens' texts; no model is asked. ``B`` prompts of ``T``
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from blockcert_verifier.head_names import Kind

__all__ = ["FIRST", "Places", "bracket_openers", "find_places"]

Host = np.ndarray[Any, Any]

FIRST = 4
"""The first position that counts: those before have next to nothing to choose from."""
FAR = 4
"""A bracket's opener counts from so many tokens on: looking at neighbours earns nothing."""

_BY_TOKENS: tuple[Kind, ...] = ("previous", "own", "first", "same_token", "induction")
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">", "“": "”", "«": "»"}
_CLOSERS = {closer: opener for opener, closer in _PAIRS.items()}
_EITHER = '"'


class Places(Struct, frozen=True):
    """Pairs (prompt, from, to) of one kind, and at how many positions there is any."""

    prompt: Host
    origin: Host
    target: Host
    positions: int


def find_places(tokens: Host, texts: Mapping[int, str] | None = None) -> dict[Kind, Places]:
    """The pairs of every kind of place on ``tokens`` (B x T); brackets where the tokens' ``texts`` are given.

    ``induction`` are the tokens that followed an earlier copy of the last two tokens, ``same_token`` earlier copies of
    the token itself. ``open_bracket`` is the innermost opener that is not closed up to and with the token;
    ``matched_bracket`` that which the token closes.
    """
    prompts, length = tokens.shape
    at = np.arange(length, dtype=np.int64)
    before = at[None, :] < at[:, None]
    parts: dict[Kind, list[Host]] = {kind: [] for kind in _BY_TOKENS}
    for row in tokens:
        same: Host = (row[:, None] == row[None, :]) & before
        pair = np.zeros_like(same)
        pair[1:, 1:] = same[1:, 1:] & same[:-1, :-1]
        followed = np.zeros_like(same)
        # what follows a copy at s - 1 stands at s, and the token's own position is no earlier one
        followed[:, 1:] = pair[:, :-1]
        parts["same_token"].append(same)
        parts["induction"].append(followed & before)
        parts["own"].append(np.eye(length, dtype=bool))
        parts["previous"].append(np.eye(length, k=-1, dtype=bool))
        parts["first"].append(np.tile(at == 0, (length, 1)))
    found: dict[Kind, Places] = {kind: _places(np.stack(masks)) for kind, masks in parts.items() if prompts}
    if texts is not None:
        words = {token: texts.get(token, "") for token in np.unique(tokens).tolist()}
        openers = np.array([bracket_openers([words[t] for t in row]) for row in tokens.tolist()])
        found["open_bracket"], found["matched_bracket"] = _openers(openers[:, 0]), _openers(openers[:, 1])
    return found


def _places(mask: Host) -> Places:
    mask[:, :FIRST] = False
    prompt, origin, target = np.nonzero(mask)
    return Places(prompt, origin, target, int(mask.any(axis=2).sum()))


def _openers(opener: Host) -> Places:
    """Of one opener for each position, B x T, -1 for none."""
    at = np.arange(opener.shape[1], dtype=np.int64)[None, :]
    prompt, origin = np.nonzero((opener >= 0) & (at - opener >= FAR) & (at >= FIRST))
    return Places(prompt, origin, opener[prompt, origin], prompt.size)


def bracket_openers(texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """For each token the position of the innermost opener still open after it, and of the one that it closes last; -1
    for none. A closer without its opener closes nothing; one that skips openers closes them too."""
    stack: list[tuple[str, int]] = []
    still: list[int] = []
    closes: list[int] = []
    for position, text in enumerate(texts):
        closed = -1
        for character in text:
            opener = _CLOSERS.get(character)
            if character == _EITHER:
                opener = _EITHER if any(kind == _EITHER for kind, _ in stack) else None
            if opener is not None:
                closed = next(_closed(stack, opener), closed)
            elif character in _PAIRS or character == _EITHER:
                stack.append((character, position))
        still.append(stack[-1][1] if stack else -1)
        closes.append(closed)
    return still, closes


def _closed(stack: list[tuple[str, int]], opener: str) -> Iterator[int]:
    for depth in range(len(stack) - 1, -1, -1):
        if stack[depth][0] == opener:
            position = stack[depth][1]
            del stack[depth:]
            yield position
            return
