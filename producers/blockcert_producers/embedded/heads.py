"""Which attention head does what, measured on planted patterns whose right answer is known beforehand."""

# torch and transformers describe their calls too loosely for strict checking.
# pyright: basic

from __future__ import annotations

import itertools
import random
from dataclasses import asdict, dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from blockcert_producers.embedded.text import CLOSERS, COMMON, OPENERS, documents

WORDS, PIECE = 12, 6
"""How many words the planted sequences have, and the piece of each that comes again."""
FAR = 4
"""A closer counts only where its opener is this many tokens back or more, so that attending to a neighbour
earns nothing."""


@dataclass(frozen=True)
class HeadScores:
    """Mean attention weights of one head, each between 0 and 1.

    ``previous``: from every token of a random word sequence to the token before it.
    ``induction``: where a piece of a random word sequence comes again, from each word to the word that
    followed it the first time. The piece starts anywhere, so that a fixed distance earns little.
    ``bracket``: in nested brackets, from a closer to the opener it matches.
    ``bracket_next``: from the token before a closer (where the closer is predicted) to that opener.
    """

    layer: int
    head: int
    previous: float
    induction: float
    bracket: float
    bracket_next: float

    def as_dict(self) -> dict[str, int | float]:
        """The scores for a card, rounded to four decimals."""
        return {key: value if isinstance(value, int) else round(value, 4) for key, value in asdict(self).items()}


def attention(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Attention weights of ids [batch, length]: [layer, head, batch, from, to], each last row summing to 1.

    The model is left with the attention implementation it came with.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            weights = model(ids, output_attentions=True, use_cache=False).attentions
    finally:
        model.set_attn_implementation(before)
    return torch.stack(weights).transpose(1, 2)


def repeated_words(tokenizer: Tokenizer, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random word sequences, a piece of each coming again.

    Returns ids [count, 4 + WORDS + PIECE] (a line end, "Echo", ":", the words, ";", the piece) and, [count],
    the position in the row at which the piece stood the first time.
    """
    source = random.Random(seed)  # noqa: S311 - planted patterns, nothing secret
    rows: list[list[int]] = []
    starts: list[int] = []
    for _ in range(count):
        words = source.sample(COMMON, WORDS)
        start = source.randrange(WORDS - PIECE + 1)
        piece = words[start : start + PIECE]
        rows.append(tokenizer.encode(f"\nEcho: {' '.join(words)}; {' '.join(piece)}").ids)
        starts.append(3 + start)
    return torch.tensor(rows), torch.tensor(starts)


def nested_brackets(tokenizer: Tokenizer, seed: int, count: int) -> tuple[torch.Tensor, list[tuple[int, int, int]]]:
    """Bracket lines with a far pair, and all their far pairs.

    Returns ids [count, longest], filled up with line ends on the right, and (row, opener, closer) positions.
    """
    line_end = tokenizer.token_to_id("Ċ")
    openers = {tokenizer.token_to_id("Ġ" + bracket) for bracket in OPENERS}
    closers = {tokenizer.token_to_id("Ġ" + bracket) for bracket in CLOSERS}
    rows: list[list[int]] = []
    pairs: list[tuple[int, int, int]] = []
    for line, _ in documents(seed):
        if len(rows) == count:
            break
        if not line.startswith("Brackets"):
            continue
        ids = [line_end, *tokenizer.encode(line).ids]
        stack: list[int] = []
        far: list[tuple[int, int, int]] = []
        for position, token in enumerate(ids):
            if token in openers:
                stack.append(position)
            elif token in closers:
                opener = stack.pop()
                if position - opener >= FAR:
                    far.append((len(rows), opener, position))
        if far:
            rows.append(ids)
            pairs.extend(far)
    longest = max(map(len, rows))
    return torch.tensor([row + [line_end] * (longest - len(row)) for row in rows]), pairs


def measure(model: Any, tokenizer: Tokenizer, seed: int = 2024, count: int = 64) -> list[HeadScores]:
    """The scores of every head, layer by layer, on ``count`` planted patterns of each sort."""
    words, starts = repeated_words(tokenizer, seed, count)
    weights = attention(model, words)
    rows = torch.arange(4, words.shape[1])
    previous = weights[..., rows, rows - 1].mean((2, 3))
    # The last word of a piece is left out: in the text a piece may end there.
    steps = torch.arange(PIECE - 1)
    second = words.shape[1] - PIECE + steps
    first = starts[:, None] + steps + 1
    induction = weights[:, :, torch.arange(count)[:, None], second, first].mean((2, 3))

    lines, pairs = nested_brackets(tokenizer, seed, count)
    weights = attention(model, lines)
    row, opener, closer = (torch.tensor(column) for column in zip(*pairs, strict=True))
    bracket = weights[:, :, row, closer, opener].mean(-1)
    bracket_next = weights[:, :, row, closer - 1, opener].mean(-1)
    return [
        HeadScores(
            layer,
            head,
            *(float(scores[layer, head]) for scores in (previous, induction, bracket, bracket_next)),
        )
        for layer, head in itertools.product(*map(range, previous.shape))
    ]


def best(scores: list[HeadScores]) -> dict[str, HeadScores]:
    """The highest-scoring head for each of the four scores, by the score's name."""
    roles = ("previous", "induction", "bracket", "bracket_next")
    return {role: max(scores, key=lambda one, role=role: getattr(one, role)) for role in roles}
