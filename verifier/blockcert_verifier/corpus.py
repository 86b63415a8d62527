"""From corpus files to token streams to windows (``spec/06-prompts.md``, BC-PRM-02).

Whoever makes prompts and whoever checks them tokenise and cut with this one code. The package ``tokenizers`` is
imported when text is read, and not before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct

from blockcert.digest import blake3_bytes
from blockcert.errors import Refusal
from blockcert.printable import plain
from blockcert.statement import CorpusFile, Tokenizer

__all__ = ["Population", "check_text", "read_population", "starting_token"]

Array: TypeAlias = np.ndarray[Any, Any]
MOST_TOKENIZER_BYTES = 1 << 28
"""Cap on a tokenizer.json: several times the largest in use."""


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
    def counts(self) -> tuple[int, ...]:
        """The number of windows of each file."""
        return tuple(len(stream) // self.unit for stream in self.streams)

    @property
    def windows(self) -> int:
        """The number ``W`` of windows."""
        return sum(self.counts)

    def file_of(self, number: int) -> int:
        """The position in ``corpus`` of the file that the window ``number`` comes from."""
        return bisect_right(list(accumulate(self.counts)), number)

    def tokens(self, numbers: Sequence[int]) -> Array:
        """The token ids of the windows ``numbers``, ``len(numbers) x length``, int32."""
        begins = np.cumsum([0, *self.counts])
        rows = np.empty((len(numbers), self.length), dtype=np.int32)
        if self.tokenizer.bos is not None:
            rows[:, 0] = self.tokenizer.bos
        for row, number in enumerate(numbers):
            file = int(np.searchsorted(begins, number, side="right")) - 1
            at = (number - int(begins[file])) * self.unit
            rows[row, self.length - self.unit :] = self.streams[file][at : at + self.unit]
        return rows


def read_population(
    files: Sequence[Path],
    tokenizer: Path,
    *,
    length: int,
    bos: int | None,
    vocabulary: int,
    context: int,
    look: Callable[[], None] = lambda: None,
    tokenizer_blake3: str | None = None,
    files_blake3: Sequence[str] | None = None,
) -> Population:
    """The windows of ``files`` in the tokens of ``tokenizer`` (a ``tokenizer.json``), ``length`` tokens each.

    Args:
        files: the texts.
        tokenizer: the tokenizer's file.
        length: tokens of a window.
        bos: the token that starts each window, or None.
        vocabulary, context: the model's.
        look: called before each file, and raises where there is no more time.
        tokenizer_blake3, files_blake3: where given, the BLAKE3 of what is to be read, in hexadecimal; the very bytes
            that have it are parsed, whatever becomes of the files meanwhile.

    Raises:
        Refusal: ``prompts.length``, ``prompts.no_tokenizer``, ``prompts.tokenizer``, ``prompts.not_found``,
            ``prompts.empty``, ``prompts.not_utf8``, ``prompts.duplicate``, ``prompts.vocabulary``,
            ``file.unreadable``, ``frame.unread`` where a file is not the one of its BLAKE3, ``install.corpus``.
    """
    if not 2 <= length <= context:
        raise Refusal(
            "prompts.length",
            "--length",
            f"a window of {length} tokens does not fit: the model takes from 2 to {context} tokens",
        )
    if bos is not None and not 0 <= bos < vocabulary:
        raise Refusal("prompts.vocabulary", str(tokenizer), _outside(bos, vocabulary))
    opened, opened_digest = _open_tokenizer(tokenizer, tokenizer_blake3)
    unit = length if bos is None else length - 1
    corpus: list[CorpusFile] = []
    streams: list[Array] = []
    for path, wanted in zip(files, files_blake3 or [None] * len(files), strict=True):
        look()
        data = _read(path)
        digest = _digest(data, wanted, path)
        text = _decoded(data, path)
        if any(digest == other.blake3 for other in corpus):
            raise Refusal(
                "prompts.duplicate", str(path), "this text stands in the corpus twice: its windows would be too"
            )
        try:
            stream = np.array(opened.encode(text, add_special_tokens=False).ids, dtype=np.int32)
        except BaseException as error:
            raise _fault(error, tokenizer, f"it cannot read {plain(path.name)}") from error
        if stream.size and int(stream.max()) >= vocabulary:
            raise Refusal("prompts.vocabulary", str(path), _outside(int(stream.max()), vocabulary))
        windows = len(stream) // unit
        corpus.append(CorpusFile(name=plain(path.name)[:1024], size=len(data), blake3=digest, windows=windows))
        streams.append(stream)
    return Population(tuple(corpus), Tokenizer(blake3=opened_digest, bos=bos), length, tuple(streams))


def starting_token(tokenizer: Path) -> int | None:
    """The token that the tokenizer itself puts before a text, or None where it puts none; refuses a tokenizer as
    :func:`read_population`."""
    opened, _ = _open_tokenizer(tokenizer, None)
    try:
        with_special = opened.encode("a").ids
        without = opened.encode("a", add_special_tokens=False).ids
    except BaseException as error:
        raise _fault(error, tokenizer, "it cannot read a letter") from error
    begins = with_special[1 : 1 + len(without)] == without and with_special[: len(without)] != without
    return int(with_special[0]) if begins else None


def _outside(token: int, vocabulary: int) -> str:
    return f"token {token} is outside the model's vocabulary of {vocabulary}: is this the model's tokenizer?"


def check_text(path: Path) -> None:
    """Returns None where a file holds text in UTF-8.

    Raises:
        Refusal: ``prompts.not_found``, ``prompts.empty``, ``prompts.not_utf8``, ``file.unreadable``.
    """
    _decoded(_read(path), path)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "it is not a file" if path.exists() else "there is no such file"
            raise Refusal("prompts.not_found", str(path), f"{what}; prompts are made from text files")
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    if not data:
        raise Refusal("prompts.empty", str(path), "the file is empty; prompts are drawn from its text")
    return data


def _unreadable(path: Path, error: OSError) -> Refusal:
    return Refusal("file.unreadable", str(path), f"the file cannot be read: {error.strerror}")


def _digest(data: bytes, wanted: str | None, path: Path) -> str:
    """The BLAKE3 of what was read; refused where it is not the one that is wanted, before anything is made of it."""
    found = blake3_bytes(data)
    if wanted is not None and found != wanted:
        sentence = f"the file has the BLAKE3 digest {found}, and {wanted} is wanted: did it change meanwhile?"
        raise Refusal("frame.unread", str(path), sentence)
    return found


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("prompts.not_utf8", str(path), f"the file is not UTF-8 text (at byte {error.start})") from None


def _fault(error: BaseException, path: Path, what: str) -> BaseException:
    """The refusal that a fault of the package `tokenizers` is; an interruption stays what it is.

    The package raises plain Exception, and where its own code panics on a hostile file, a BaseException.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | MemoryError):
        return error
    return Refusal("prompts.tokenizer", str(path), f"{what} ({' '.join(str(error).split())[:120]})")


def _open_tokenizer(path: Path, wanted: str | None) -> tuple[Any, str]:
    """The tokenizer, never cutting nor padding a text, and the BLAKE3 of the bytes that it was made of."""
    try:
        if not path.is_file():
            raise Refusal(
                "prompts.no_tokenizer",
                str(path),
                "there is no tokenizer.json beside the model; prompts cannot be made from text without it",
            )
        with path.open("rb") as file:
            data = file.read(MOST_TOKENIZER_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > MOST_TOKENIZER_BYTES:
        raise Refusal("prompts.tokenizer", str(path), f"the file has more than {MOST_TOKENIZER_BYTES} bytes")
    digest = _digest(data, wanted, path)
    try:
        tokenizers: Any = import_module("tokenizers")
    except ImportError as error:
        raise Refusal(
            "install.corpus",
            "tokenizers",
            "reading text needs an extra package: pip install 'blockcert[corpus]'",
        ) from error
    try:
        opened = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
    except BaseException as error:
        raise _fault(error, path, "this is not a tokenizer that can be read") from error
    if getattr(opened.model, "dropout", None):
        raise Refusal("prompts.tokenizer", str(path), "its BPE dropout makes the tokens random")
    opened.no_truncation()
    opened.no_padding()
    return opened, digest
