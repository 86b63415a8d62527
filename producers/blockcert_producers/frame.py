"""From corpus files to windows, and from windows to the prompts drawn (``spec/06-prompts.md``).

The two draws are apart: calibration windows before the surrogate exists, certification windows after, from a key
that contains the finished surrogate's digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.digest import blake3_bytes
from blockcert.draw import calibration_windows, draw_windows, frame_key
from blockcert.errors import Refusal
from blockcert.printable import plain
from blockcert.safetensors_file import write
from blockcert.statement import CorpusFile, Frame, Tokenizer

__all__ = ["Population", "Sample", "read_population", "starting_token", "write_prompts"]

Array: TypeAlias = np.ndarray[Any, Any]


class Population(Struct, frozen=True):
    """The windows of a corpus: ``streams`` are the token ids of its files, int32, in order."""

    corpus: tuple[CorpusFile, ...]
    tokenizer: Tokenizer
    length: int
    streams: tuple[Array, ...]

    @property
    def unit(self) -> int:
        """Tokens of text in one window; a starting token is one more."""
        return self.length - (0 if self.tokenizer.bos is None else 1)

    @property
    def windows(self) -> int:
        """The number ``W`` of windows."""
        return sum(len(stream) // self.unit for stream in self.streams)

    def tokens(self, numbers: Sequence[int]) -> Array:
        """The token ids of the windows ``numbers``, ``len(numbers) x length``, int32."""
        begins = np.cumsum([0, *(len(stream) // self.unit for stream in self.streams)])
        rows = np.empty((len(numbers), self.length), dtype=np.int32)
        if self.tokenizer.bos is not None:
            rows[:, 0] = self.tokenizer.bos
        for row, number in enumerate(numbers):
            file = int(np.searchsorted(begins, number, side="right")) - 1
            at = (number - int(begins[file])) * self.unit
            rows[row, self.length - self.unit :] = self.streams[file][at : at + self.unit]
        return rows


class Sample(Struct, frozen=True):
    """What is drawn from a population: the counts, the seed, and the reference program's BLAKE3 in the key."""

    population: Population
    reference: str
    seed: int
    calibration: int
    certification: int

    def __post_init__(self) -> None:
        needed, found = self.calibration + self.certification, self.population.windows
        if needed > found:
            names = ", ".join(file.name for file in self.population.corpus)
            raise Refusal(
                "prompts.too_few_windows",
                names,
                f"the text gives {found} windows of {self.population.length} tokens, and {needed} are needed "
                f"({self.calibration} for calibration, {self.certification} for certification): give more text, "
                "or a smaller --count, --calibration or --length",
            )

    @property
    def frame(self) -> Frame:
        """The frame as the certificate states it."""
        return Frame(
            corpus=self.population.corpus,
            tokenizer=self.population.tokenizer,
            length=self.population.length,
            windows=self.population.windows,
            seed=self.seed,
            calibration=self.calibration,
            certification=self.certification,
        )

    def draw_calibration(self) -> list[int]:
        """The numbers of the calibration windows, in the order drawn; known before any surrogate is."""
        return calibration_windows(frame_key(self.frame, self.reference), self.calibration)

    def draw_certification(self, surrogate: str) -> list[int]:
        """The numbers of the certification windows, given the BLAKE3 of the finished surrogate's program."""
        return list(draw_windows(self.frame, self.reference, surrogate).certification)


def read_population(
    files: Sequence[Path],
    tokenizer: Path,
    *,
    length: int,
    bos: int | None,
    vocabulary: int,
    context: int,
) -> Population:
    """The windows of ``files`` in the tokens of ``tokenizer`` (a ``tokenizer.json``), ``length`` tokens each.

    ``bos`` is the token that starts each window, or None; ``vocabulary`` and ``context`` are the model's.

    Raises:
        Refusal: ``prompts.length``, ``prompts.no_tokenizer``, ``prompts.tokenizer``, ``prompts.not_found``,
            ``prompts.empty``, ``prompts.not_utf8``, ``prompts.duplicate``, ``prompts.vocabulary``,
            ``install.produce``.
    """
    if not 2 <= length <= context:
        raise Refusal(
            "prompts.length",
            "--length",
            f"a window of {length} tokens does not fit: the model takes from 2 to {context} tokens",
        )
    if bos is not None and not 0 <= bos < vocabulary:
        raise Refusal("prompts.vocabulary", str(tokenizer), _outside(bos, vocabulary))
    opened, digest = _open_tokenizer(tokenizer)
    corpus: list[CorpusFile] = []
    streams: list[Array] = []
    for path in files:
        data = _read(path)
        file = CorpusFile(name=plain(path.name)[:1024], size=len(data), blake3=blake3_bytes(data))
        if any(file.blake3 == other.blake3 for other in corpus):
            raise Refusal(
                "prompts.duplicate", str(path), "this text stands in the corpus twice: its windows would be too"
            )
        ids = opened.encode(_text(data, path), add_special_tokens=False).ids
        stream = np.array(ids, dtype=np.int32)
        if stream.size and int(stream.max()) >= vocabulary:
            raise Refusal("prompts.vocabulary", str(path), _outside(int(stream.max()), vocabulary))
        corpus.append(file)
        streams.append(stream)
    return Population(tuple(corpus), Tokenizer(blake3=digest, bos=bos), length, tuple(streams))


def starting_token(tokenizer: Path) -> int | None:
    """The token that the tokenizer itself puts before a text, or None where it puts none."""
    opened, _ = _open_tokenizer(tokenizer)
    with_special = opened.encode("a").ids
    without = opened.encode("a", add_special_tokens=False).ids
    begins = with_special[1 : 1 + len(without)] == without and with_special[: len(without)] != without
    return int(with_special[0]) if begins else None


def write_prompts(path: Path, population: Population, calibration: Sequence[int], certification: Sequence[int]) -> None:
    """Write ``prompts.safetensors``: token ids, window numbers and splits, calibration rows first."""
    numbers = [*calibration, *certification]
    tokens = population.tokens(numbers)
    split = bytes(len(calibration)) + b"\x01" * len(certification)
    write(
        path,
        {
            # the widest type first: then every tensor is aligned
            "window": ("I64", (len(numbers),), np.array(numbers, dtype="<i8").tobytes()),
            "tokens": ("I32", tokens.shape, tokens.astype("<i4").tobytes()),
            "split": ("U8", (len(numbers),), split),
        },
    )


def _outside(token: int, vocabulary: int) -> str:
    return f"token {token} is outside the model's vocabulary of {vocabulary}: is this the model's tokenizer?"


def _read(path: Path) -> bytes:
    if not path.is_file():
        what = "it is not a file" if path.exists() else "there is no such file"
        raise Refusal("prompts.not_found", str(path), f"{what}; --prompts takes text files")
    data = path.read_bytes()
    if not data:
        raise Refusal("prompts.empty", str(path), "the file is empty; prompts are drawn from its text")
    return data


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("prompts.not_utf8", str(path), f"the file is not UTF-8 text (at byte {error.start})") from None


def _open_tokenizer(path: Path) -> tuple[Any, str]:
    """The tokenizer, never cutting nor padding a text, and the BLAKE3 of its file."""
    if not path.is_file():
        raise Refusal(
            "prompts.no_tokenizer",
            str(path),
            "there is no tokenizer.json beside the model; prompts cannot be made from text without it",
        )
    data = path.read_bytes()
    try:
        tokenizers: Any = import_module("tokenizers")
    except ImportError as error:
        raise Refusal(
            "install.produce",
            "tokenizers",
            "reading prompts needs the extra packages: pip install 'blockcert[produce]'",
        ) from error
    try:
        opened = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # tokenizers raises plain Exception
        raise Refusal(
            "prompts.tokenizer", str(path), f"this is not a tokenizer that can be read ({str(error)[:120]})"
        ) from error
    if getattr(opened.model, "dropout", None):
        raise Refusal("prompts.tokenizer", str(path), "its BPE dropout makes the tokens random")
    opened.no_truncation()
    opened.no_padding()
    return opened, blake3_bytes(data)
