"""Names for the heads of a reference: the kinds of places where most of a head's attention falls.

One forward pass of the reference on some of the calibration prompts; of every head the attention weights are summed
over the pairs of each kind of place (``places``), and divided by the positions that have any. What chance gives is that
sum under weights that know the positions but not the text: the head's mean weights over all prompts. For the token
before, the own and the first token it is the share of even weights, since those are positions.

A head is named for a kind where its share is at least ``LEAST_SHARE``, exceeds chance by ``LEAST_GAIN``, and rests on
``LEAST_POSITIONS`` positions; ``even`` where no kind is found and the mean entropy is at least ``EVEN`` of the greatest
possible. All of it is an estimate on ordinary text: a head that copies has little to copy in some texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from blockcert.program import Attention, Program, attends
from blockcert_producers.extract.study import Steps
from blockcert_producers.heads.places import FIRST, Places, find_places
from blockcert_verifier.evaluate import Array, Backend, LoadedStage, WeightStore
from blockcert_verifier.evaluate.operations import attention_mask
from blockcert_verifier.head_names import HeadName, HeadNames, Kind

__all__ = ["attention_weights", "name_heads", "token_texts"]

Host = np.ndarray[Any, Any]

LEAST_SHARE, LEAST_GAIN, LEAST_POSITIONS = 0.3, 0.2, 24
EVEN = 0.9
_MOST_PROMPTS, _MOST_TOKENS = 128, 1 << 13
_TOKENS_AT_ONCE = 1 << 10
_POSITIONAL: tuple[Kind, ...] = ("previous", "own", "first")


def name_heads(
    program: Program,
    store: WeightStore,
    tokens: Host,
    backend: Backend,
    texts: Mapping[int, str] | None = None,
) -> HeadNames:
    """The names of every head of a lifted program on calibration prompts (``tokens``, prompts x T, at least one).

    ``texts`` are the texts of the tokens, for brackets; see the module for the rest.
    """
    length = int(tokens.shape[1])
    tokens = tokens[: max(1, min(_MOST_PROMPTS, _MOST_TOKENS // length))]
    places = find_places(tokens, texts)
    at_once = max(1, _TOKENS_AT_ONCE // length)
    parts = [slice(begin, begin + at_once) for begin in range(0, len(tokens), at_once)]
    embedding = LoadedStage(program.stages[0], store, backend, length, program, whole=False)
    hidden = [embedding(backend.integers(tokens[part])) for part in parts]
    blocks: list[tuple[tuple[HeadName, ...], ...]] = []
    for stage in program.stages[1:-1]:
        steps = Steps(stage, store, backend, length, program, whole=False)
        read = [(step.query, step.key) for step in stage.steps if isinstance(step, Attention)]
        kept: list[tuple[Host, Host]] = []
        for i, given in enumerate(hidden):
            values: dict[str, Array] = {"hidden": given}
            with np.errstate(all="ignore"):
                for at, step in enumerate(stage.steps):
                    values[step.out] = steps.run(at, values, int(given.shape[0]))
            hidden[i] = values[stage.output]
            if len(read) == 1:
                query, key = (np.asarray(backend.numpy(values[name]), np.float64) for name in read[0])
                kept.append((query, key))
        attention = [step for step in stage.steps if isinstance(step, Attention)]
        blocks.append(_named(attention[0], kept, places) if len(attention) == 1 else ())
    return HeadNames(len(tokens), tuple(blocks))


def _named(
    step: Attention, kept: list[tuple[Host, Host]], places: Mapping[Kind, Places]
) -> tuple[tuple[HeadName, ...], ...]:
    query, key = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return tuple(
        _names(attention_weights(step, head, query, key), places) if attends(pattern) else ()
        for head, pattern in enumerate(step.patterns)
    )


def attention_weights(step: Attention, head: int, query: Host, key: Host) -> Host:
    """The attention weights of one head that weighs positions, B x T x T, from all heads' queries and keys."""
    size, length = step.head_size, int(query.shape[1])
    shared = head * step.key_value_heads // step.heads
    q = query[..., head * size : (head + 1) * size]
    k = key[..., shared * size : (shared + 1) * size]
    scores = q @ k.transpose(0, 2, 1) * float(step.denominator_squared) ** -0.5
    if step.cap is not None:
        scores = float(step.cap) * np.tanh(scores / float(step.cap))
    mask = attention_mask(step, length)
    assert mask is not None  # noqa: S101 - the head weighs positions
    scores += mask[sum(map(attends, step.patterns[:head]))]
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    return weights / weights.sum(axis=2, keepdims=True)


def _names(weights: Host, places: Mapping[Kind, Places]) -> tuple[HeadName, ...]:
    length = int(weights.shape[1])
    if not np.isfinite(weights).all() or length <= FIRST:
        return ()
    mean, reach = weights.mean(axis=0), np.arange(1, length + 1)
    found: list[tuple[float, HeadName]] = []
    for kind, pairs in places.items():
        if pairs.positions < LEAST_POSITIONS:
            continue
        share = float(weights[pairs.prompt, pairs.origin, pairs.target].sum()) / pairs.positions
        by_chance = 1 / reach[pairs.origin] if kind in _POSITIONAL else mean[pairs.origin, pairs.target]
        chance = float(by_chance.sum()) / pairs.positions
        if share >= LEAST_SHARE and share - chance >= LEAST_GAIN:
            found.append((-share, HeadName(kind, _decimal(share), _decimal(chance))))
    if found:
        return tuple(name for _, name in sorted(found, key=lambda one: one[0]))
    entropy = -(weights * np.log(np.maximum(weights, np.finfo(np.float64).tiny))).sum(axis=2)[:, FIRST:]
    evenness = float((entropy / np.log(reach[FIRST:])).mean())
    return (HeadName("even", _decimal(evenness), None),) if evenness >= EVEN else ()


def _decimal(share: float) -> str:
    """To three places, in a decimal's one spelling."""
    return f"{min(max(share, 0.0), 1.0):.3f}".rstrip("0").rstrip(".")


def token_texts(tokenizer: Path, tokens: Host) -> dict[int, str]:
    """The text of every token that stands in ``tokens``, by the model's ``tokenizer.json``."""
    opened: Any = import_module("tokenizers").Tokenizer.from_file(str(tokenizer))
    return {token: opened.decode([token]) for token in np.unique(tokens).tolist()}
