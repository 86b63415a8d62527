"""The loss of an embedded model beside the entropy of the text it is measured on."""

# torch and transformers describe their calls too loosely for strict checking.
# pyright: basic

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer

from blockcert_producers.embedded.text import KINDS, documents


@dataclass(frozen=True)
class HeldOut:
    """Nats per token over the same whole documents: the model's loss and the generator's entropy."""

    loss: float
    entropy: float
    tokens: int


def stream(
    tokenizer: Tokenizer, seed: int, tokens: int, kinds: Mapping[str, float] = KINDS
) -> tuple[torch.Tensor, float]:
    """Ids [at least that many] of whole documents of that seed and mixture, and their total nats."""
    ids: list[int] = []
    nats = 0.0
    source = documents(seed, kinds)
    while len(ids) < tokens:
        some = list(itertools.islice(source, 200))
        ids.extend(tokenizer.encode("".join(text for text, _ in some)).ids)
        nats += sum(cost for _, cost in some)
    return torch.tensor(ids), nats


def held_out(model: Any, tokenizer: Tokenizer, seed: int, tokens: int) -> HeldOut:
    """Loss and entropy over whole documents of that seed, at least that many tokens.

    Every token is scored once, with the 64 to 127 tokens before it as context. No document is that long, so
    each is scored with all of itself in view, as the entropy supposes. What stands before the first scored
    document is the text of another seed.
    """
    context = model.config.max_position_embeddings
    half = context // 2
    before, _ = stream(tokenizer, seed + 1_000_000, half)
    scored, nats = stream(tokenizer, seed, tokens)
    windows = math.ceil(len(scored) / half)
    ids = torch.zeros(half * (windows + 1), dtype=torch.long)
    ids[: half + len(scored)] = torch.cat([before[-half:], scored])
    total = 0.0
    with torch.no_grad():
        for first in range(0, windows, 64):
            rows = ids[half * first : half * (min(first + 64, windows) + 1)].unfold(0, context, half)
            losses = -model(rows).logits[:, half - 1 : -1].log_softmax(-1)
            losses = losses.gather(2, rows[:, half:, None]).flatten()
            total += float(losses[: len(scored) - half * first].double().sum())
    return HeldOut(total / len(scored), nats / len(scored), len(scored))


def windows_loss(model: Any, ids: torch.Tensor, length: int = 64) -> float:
    """Mean loss in nats per predicted token over ids cut into windows of that length, wherever they fall."""
    rows = ids[: len(ids) // length * length].view(-1, length)
    with torch.no_grad():
        logits = torch.cat([model(part).logits[:, :-1] for part in rows.split(64)])
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()))
