"""The synthetic corpus the embedded models are trained on: a pure generator that knows its own entropy.

A document is one line. Its first word says which of seven kinds it is:

- ``Story`` two people with first name and surname and one thing, all of them named again and again;
- ``List`` a shopping list, then the same goods in another order;
- ``Count`` a header (how many, which way, from where) and then the numbers it asks for;
- ``Brackets`` nested brackets of four kinds with words between, each closer matching its opener;
- ``Echo`` a random sequence of words, then pieces of it from anywhere within, so that what follows a word has
  to be looked up by that word and not by its distance; or a sequence of made-up codes, then the same again;
- ``Key`` random pairs, then the same pairs asked for in another order;
- ``Loop`` a few words in a random cycle, walked round and round with jumps.

No document is longer than about seventy tokens, so that a context of that length holds all that the rest of
the document depends on.

Nothing but the standard library is needed here, and of ``random.Random`` only ``random()``, the one method
whose sequence Python promises to keep for a given seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


FIRST = _words("Ada Bela Cleo Dov Edda Finn Gita Hugo Ines Jona Kira Lev Mara Nils Olga Pavel Rosa Sven Tove Uma")
LAST = _words(
    "Ash Birch Crane Dale Elm Frost Grove Hale Ivory Judd Knoll Lark Moss North Oakes Pike Reed Stone Thorne Vale"
)
THINGS = _words(
    "lamp drum fox apple ladder kite shell bell ring boat candle mirror basket feather hammer pearl "
    "button spoon clock flute needle pebble ribbon saddle teapot violin wheel anchor barrel carrot dragon "
    "engine falcon garlic helmet island jacket kettle lemon marble nutmeg orange pencil quilt rocket salt "
    "thimble urchin velvet walnut"
)
COMMON = THINGS[:24]
"""The things that repeated sequences, pairs and cycles are made of."""
ADJECTIVES = _words("red blue green tall new small heavy bright quiet broken round golden")
PLACES = _words("market harbour station garden library mill bridge castle school forest bakery tower")
NUMBERS = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
OPENERS = "([{<"
CLOSERS = ")]}>"
KINDS = {"Story": 0.15, "List": 0.1, "Count": 0.08, "Brackets": 0.32, "Echo": 0.15, "Key": 0.1, "Loop": 0.1}
_GLUE = _words("met at the had a gave to went saw said that is bought and home by up down from")

WORDS: tuple[str, ...] = (
    *KINDS,
    *(" " + word for word in (*FIRST, *LAST, *THINGS, *ADJECTIVES, *PLACES, *NUMBERS, *_GLUE)),
    *(" " + bracket for bracket in OPENERS + CLOSERS),
)
"""Every word of the corpus as it stands in a line: with its leading space, unless it opens the line."""

_DEEPEST = 5
_LONGEST = 56
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class _Draw:
    """Random choices, and the sum of -log(probability) of those made so far, in nats."""

    def __init__(self, source: random.Random) -> None:
        self._source = source
        self.nats = 0.0

    def one(self, options: Sequence[T]) -> T:
        """One of the options, all alike."""
        self.nats += math.log(len(options))
        return options[int(self._source.random() * len(options))]

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included, all alike."""
        return self.one(range(low, high + 1))

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """That many different options, in random order."""
        left = list(options)
        chosen: list[T] = []
        for _ in range(count):
            chosen.append(self.one(left))
            left.remove(chosen[-1])
        return chosen

    def weighted(self, options: Mapping[T, float]) -> T:
        """One of the options, by weight."""
        total = sum(options.values())
        point = self._source.random() * total
        last = None
        for option, weight in options.items():
            last = (option, weight)
            point -= weight
            if point < 0:
                break
        if last is None:
            raise ValueError("there is nothing to choose from")
        self.nats -= math.log(last[1] / total)
        return last[0]


def _story(draw: _Draw) -> str:
    people = [f"{first} {last}" for first, last in zip(draw.some(FIRST, 2), draw.some(LAST, 2), strict=True)]
    thing = f"{draw.one(ADJECTIVES)} {draw.one(THINGS)}"
    place = draw.one(PLACES)
    parts = [f"{people[0]} met {people[1]} at the {place}.", f"{people[0]} had a {thing}."]
    holder = 0
    for _ in range(3):
        who = draw.between(0, 1)
        act = draw.one(("gave", "went", "saw", "said") if who == holder else ("went", "saw", "said"))
        name, other = people[who], people[1 - who]
        if act == "gave":
            parts.append(f"{name} gave the {thing} to {other}.")
            holder = 1 - who
        elif act == "went":
            parts.append(f"{name} went to the {draw.one(PLACES)}.")
        elif act == "saw":
            parts.append(f"{name} saw {other}.")
        else:
            parts.append(f"{name} said that {people[holder]} had the {thing}.")
    return " ".join(parts)


def _list(draw: _Draw) -> str:
    name = f"{draw.one(FIRST)} {draw.one(LAST)}"
    items = draw.some(THINGS, draw.between(2, 5))
    goods = [f"{draw.one(NUMBERS[:10])} {item}" for item in items]
    line = f"{name} went to the {draw.one(PLACES)} and bought {', '.join(goods)}."
    return f"{line} at home {name} had {', '.join(draw.some(goods, len(goods)))}."


def _count(draw: _Draw) -> str:
    step = draw.between(1, 2)
    length = draw.between(3, 9)
    start = draw.between(1, len(NUMBERS) - step * (length - 1))
    numbers = NUMBERS[start - 1 :: step][:length]
    way = draw.one(("up", "down"))
    if way == "down":
        numbers = numbers[::-1]
    by = "" if step == 1 else " by two"
    return f"{NUMBERS[length - 1]} {way}{by} from {numbers[0]}: {', '.join(numbers)}."


def _brackets(draw: _Draw) -> str:
    parts: list[str] = []
    open_now: list[str] = []
    while True:
        if len(parts) + len(open_now) >= _LONGEST:
            move = "close" if open_now else "end"
        elif not open_now:
            move = "open" if not parts else draw.weighted({"open": 0.5, "end": 0.5})
        elif len(open_now) == _DEEPEST:
            move = draw.weighted({"word": 0.4, "close": 0.6})
        else:
            move = draw.weighted({"open": 0.34, "word": 0.28, "close": 0.38})
        if move == "end":
            return " ".join(parts) + "."
        if move == "open":
            opener = draw.one(OPENERS)
            open_now.append(CLOSERS[OPENERS.index(opener)])
            parts.append(opener)
        elif move == "close":
            parts.append(open_now.pop())
        else:
            parts.append(draw.one(ADJECTIVES))


def _echo(draw: _Draw) -> str:
    if draw.weighted({"things": 0.85, "codes": 0.15}) == "codes":
        codes = ["".join(draw.one(_LETTERS) for _ in range(3)) for _ in range(draw.between(2, 4))]
        return "; ".join([" ".join(codes)] * draw.between(2, 3)) + "."
    sequence = draw.some(COMMON, draw.between(5, 12))
    parts = [sequence]
    for _ in range(draw.between(2, 3)):
        start = draw.between(0, len(sequence) - 3)
        parts.append(sequence[start : draw.between(start + 3, len(sequence))])
    return "; ".join(map(" ".join, parts)) + "."


def _loop(draw: _Draw) -> str:
    things = draw.some(COMMON, draw.between(3, 8))
    at = len(things) - 1
    walk = list(things)
    for _ in range(draw.between(20, 36)):
        ahead = (at + 1) % len(things)
        others = [place for place in range(len(things)) if place not in (at, ahead)]
        at = ahead if draw.weighted({"on": 0.8, "jump": 0.2}) == "on" else draw.one(others)
        walk.append(things[at])
    return " ".join(walk) + "."


def _key(draw: _Draw) -> str:
    things = draw.some(COMMON, 2 * draw.between(3, 6))
    pairs = [f"{key} is {value}" for key, value in zip(things[::2], things[1::2], strict=True)]
    return f"{', '.join(pairs)}. {', '.join(draw.some(pairs, len(pairs)))}."


_WRITERS = {
    "Story": _story,
    "List": _list,
    "Count": _count,
    "Brackets": _brackets,
    "Echo": _echo,
    "Key": _key,
    "Loop": _loop,
}


def documents(seed: int, kinds: Mapping[str, float] = KINDS) -> Iterator[tuple[str, float]]:
    """Endless documents of that seed, in that mixture of kinds: (one line of text with its line end, nats).

    ``nats`` is the sum of -log(probability) of every random choice made for the document, the choice of its
    kind included. It is an upper bound on -log p(text) under this generator, and equal to it where only one
    sequence of choices gives the text. That is so here: choices show in the text in the order in which their
    alternatives would part (or, for a length fixed beforehand, at the place where the sequence ends), and no
    two alternatives go on alike. So the mean of nats per token over held-out documents is the floor, up to
    sampling noise, for the mean next-token loss of any model on those documents.
    """
    source = random.Random(seed)  # noqa: S311 - a reproducible corpus, nothing secret
    while True:
        draw = _Draw(source)
        kind = draw.weighted(kinds)
        yield f"{kind}: {_WRITERS[kind](draw)}\n", draw.nats


def generate(seed: int, characters: int) -> str:
    """Whole documents of that seed, one a line: at least that many characters, and no document more."""
    parts: list[str] = []
    size = 0
    for text, _ in documents(seed):
        if size >= characters:
            break
        parts.append(text)
        size += len(text)
    return "".join(parts)
