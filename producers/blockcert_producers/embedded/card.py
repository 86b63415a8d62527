"""The model cards of the embedded models: the figures and the page that states them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

ROLES = {
    "previous": "previous token",
    "induction": "induction",
    "bracket": "bracket, from the closer",
    "bracket_next": "bracket, from the token before the closer",
}
_ARCHITECTURE = {
    "gpt2": "GPT-2: 4 blocks, width 96, 4 heads, MLP 384 with tanh-approximated GELU, learned positions, "
    "LayerNorm, tied embedding",
    "llama": "Llama: 4 blocks, width 96, 4 query heads on 2 key/value heads, gated MLP 256 with SiLU, rotary "
    "positions, RMSNorm, tied embedding",
}
_START = {
    "gpt2": "queries equal to keys, outputs copying values and positions as sinusoids",
    "llama": "queries close to keys, outputs copying values and one random vector added to all embeddings",
}


class Scores(Protocol):
    """What a card needs of a head's scores."""

    def as_dict(self) -> dict[str, int | float]: ...


def figures(
    *,
    name: str,
    parameters: int,
    vocabulary: int,
    context: int,
    recipe: Mapping[str, int | float],
    seeds: Mapping[str, int],
    held_out: Mapping[str, int | float],
    window_64_loss: float,
    scores: Sequence[Scores],
) -> dict[str, Any]:
    """The content of card.json: losses and entropies in nats per token, head scores as mean weights.

    It holds nothing that differs between two runs of the same training, so no times and no dates.
    """
    rows = [score.as_dict() for score in scores]
    return {
        "name": name,
        "licence": "Apache-2.0",
        "architecture": _ARCHITECTURE[name],
        "parameters": parameters,
        "vocabulary": vocabulary,
        "context": context,
        "seeds": dict(seeds),
        "recipe": dict(recipe),
        "held_out_loss": round(held_out["loss"], 5),
        "generator_entropy": round(held_out["entropy"], 5),
        "held_out_tokens": held_out["tokens"],
        "window_64_loss": round(window_64_loss, 5),
        "uniform_loss": round(math.log(vocabulary), 5),
        "best_heads": {role: max(rows, key=lambda row, role=role: row[role]) for role in ROLES},
        "heads": rows,
    }


def summary(card: Mapping[str, Any]) -> str:
    """The losses of a card and its best heads, a few lines of text."""
    lines = [
        f"{card['name']}: held-out loss {card['held_out_loss']:.4f} nats/token, generator entropy "
        f"{card['generator_entropy']:.4f}, uniform {card['uniform_loss']:.4f} "
        f"({card['held_out_tokens']} tokens; windows of 64: {card['window_64_loss']:.4f})"
    ]
    for role, title in ROLES.items():
        head = card["best_heads"][role]
        lines.append(f"  {title}: block {head['layer']} head {head['head']}, {head[role]:.2f}")
    return "\n".join(lines)


def readme(card: Mapping[str, Any]) -> str:
    """The model card in Markdown."""
    recipe, seeds = card["recipe"], card["seeds"]
    best = "\n".join(
        f"| {title} | block {head['layer']}, head {head['head']} | {head[role]:.2f} |"
        for role, title in ROLES.items()
        for head in [card["best_heads"][role]]
    )
    rows = "\n".join(
        f"| {row['layer']} | {row['head']} | " + " | ".join(f"{row[role]:.2f}" for role in ROLES) + " |"
        for row in card["heads"]
    )
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# BlockCert embedded model: {card["name"]}

A small language model, trained from nothing on synthetic text, that comes with BlockCert so that every part
of it can be tried without a download. It is good for nothing else: it knows seven kinds of lines.

- Architecture: {card["architecture"]}; float32.
- Parameters: {card["parameters"]}. Vocabulary: {card["vocabulary"]}. Context: {card["context"]} tokens.
- Licence: Apache-2.0, weights and text alike.

## Text

The text comes from `blockcert_producers/embedded/text.py`: short stories with recurring names, shopping lists,
countings, nested brackets of four kinds, repeated random sequences, key-value lists and
random cycles, one document a line.
The tokenizer is built from the generator's words; whatever is not one of them is spelled in bytes. The special
token `<|endoftext|>` never stands in the text.

## Training

`python -m blockcert_producers.embedded.train {card["name"]}`: {recipe["early"]} steps on windows of 64 tokens of
those kinds of line that can only be foretold by looking back, then {recipe["steps"]} on windows of
{card["context"]} tokens of all kinds, {recipe["batch"]} windows a step. Matrices within the blocks go by Muon
(rate at most {recipe["matrix_rate"]:g}), embeddings and vectors by AdamW (rate at most {recipe["other_rate"]:g},
betas 0.9 and 0.98), weight decay {recipe["decay"]:g}, gradient norm at most {recipe["clip"]:g}, {recipe["warmup"]}
steps of warmup, and over the last {recipe["cooling"]:.0%} of the steps linearly down to nothing. Text of seed
{seeds["training"]}; initial weights from seed {seeds["initial"]}, with
{_START[card["name"]]}.
No dropout. One thread, deterministic kernels: the same build of torch on the same sort of processor gives the
same bytes.

## Loss

Nats per token, on {card["held_out_tokens"]} tokens of whole documents of text seed {seeds["held_out"]}:

| | nats/token |
|---|---|
| held-out loss, each document wholly in view | {card["held_out_loss"]:.4f} |
| entropy of the generator, on the same documents | {card["generator_entropy"]:.4f} |
| loss in windows of 64 tokens cut anywhere | {card["window_64_loss"]:.4f} |
| uniform guessing | {card["uniform_loss"]:.4f} |

The entropy is the mean of -log(probability) of the generator's own choices on those documents. No model can do
better in the long run, and on this sample only by chance. Windows cut anywhere lose more, since they start
inside a document whose beginning they do not show.

## Heads

Mean attention weights on planted patterns (`blockcert_producers/embedded/heads.py`): to the previous token in
random word sequences; where a piece of such a sequence comes again, to the word that followed the first time
(induction); in nested brackets, to the matching opener at least four tokens back, from the closer and from the
token before it, where the closer is predicted. Blocks and heads count from 0. No head was given its role; the
start described above makes looking back easy, and training did the rest. The best head for each:

| role | head | weight |
|---|---|---|
{best}

All heads:

| block | head | {" | ".join(ROLES.values())} |
|---|---|---|---|---|---|
{rows}
"""
