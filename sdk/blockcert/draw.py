"""Draws without replacement and without bias, for anyone to repeat (``spec/06-prompts.md``).

A draw reads a stream of 64-bit words, the extended output of BLAKE3 over a label and the key's parts.
Nothing here is random: calibration windows follow from the reference, corpus, tokenizer and seed;
certification windows also from the finished surrogate; the rows of a replay and the fresh windows
from the certificate and the verifier's seed.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence

from blake3 import blake3
from msgspec import Struct

from blockcert.errors import Refusal
from blockcert.statement import Frame

__all__ = [
    "Draw",
    "FrameKey",
    "Stream",
    "calibration_windows",
    "certification_windows",
    "corpus_digest",
    "draw_windows",
    "frame_key",
    "fresh_windows",
    "own_windows",
    "replay_rows",
    "sample",
]

_WORDS = 512
"""Words read from the extended output at a time."""


class Stream:
    """Successive little-endian unsigned 64-bit words of ``BLAKE3(label, 0x00, parts)``, extended."""

    def __init__(self, label: str, *parts: bytes) -> None:
        self._hasher = blake3(b"".join((label.encode("ascii"), b"\x00", *parts)))
        self._offset = 0
        self._words: tuple[int, ...] = ()
        self._next = 0

    def word(self) -> int:
        """The next word."""
        if self._next == len(self._words):
            block = self._hasher.digest(length=8 * _WORDS, seek=self._offset)
            self._words = struct.unpack(f"<{_WORDS}Q", block)
            self._offset += len(block)
            self._next = 0
        self._next += 1
        return self._words[self._next - 1]

    def uniform(self, m: int) -> int:
        """A number of ``0 .. m-1``, each equally likely: words beyond the last full round are passed over."""
        limit = (1 << 64) // m * m
        while (word := self.word()) >= limit:
            pass
        return word % m


def sample(stream: Stream, size: int, count: int, place: str = "draw") -> list[int]:
    """``count`` distinct numbers of ``0 .. size-1``, in the order drawn.

    A Fisher-Yates shuffle of the list ``0 .. size-1``, cut after ``count``; only entries that moved are
    stored.

    Raises:
        Refusal: ``draw.count`` where ``count`` is not in ``0 .. size``.
    """
    if not 0 <= count <= size:
        raise Refusal("draw.count", place, f"{count} cannot be drawn from {size} without replacement.")
    moved: dict[int, int] = {}
    drawn: list[int] = []
    for i in range(count):
        j = i + stream.uniform(size - i)
        drawn.append(moved.get(j, j))
        # place i is never looked at again, so only the entry that leaves it has to be kept
        moved[j] = moved.pop(i, i)
    return drawn


class FrameKey(Struct, frozen=True):
    """What a frame's draws depend on before a surrogate exists; the digests are BLAKE3, 32 bytes each."""

    reference_program: bytes
    corpus: bytes
    tokenizer: bytes
    seed: int
    length: int
    windows: int

    def parts(self) -> bytes:
        """The key's bytes: three digests, then seed, length and number of windows as little-endian u64."""
        digests = (self.reference_program, self.corpus, self.tokenizer)
        if any(len(digest) != 32 for digest in digests):
            raise ValueError("a BLAKE3 digest has 32 bytes")
        return b"".join(digests) + struct.pack("<3Q", self.seed, self.length, self.windows)


class Draw(Struct, frozen=True):
    """The window numbers of a certificate's prompts, each split in the order drawn."""

    calibration: tuple[int, ...]
    certification: tuple[int, ...]


def corpus_digest(files: Sequence[str]) -> bytes:
    """The BLAKE3 digest of the corpus files' digests (hexadecimal, in frame order), concatenated as bytes."""
    return blake3(b"".join(bytes.fromhex(file) for file in files)).digest()


def frame_key(frame: Frame, reference_program: str) -> FrameKey:
    """The key of a stated frame; ``reference_program`` is the hexadecimal BLAKE3 of its program's file."""
    return FrameKey(
        reference_program=bytes.fromhex(reference_program),
        corpus=corpus_digest([file.blake3 for file in frame.corpus]),
        tokenizer=bytes.fromhex(frame.tokenizer.blake3),
        seed=frame.seed,
        length=frame.length,
        windows=frame.windows,
    )


def calibration_windows(key: FrameKey, count: int) -> list[int]:
    """The ``count`` calibration windows, in the order drawn; refuses ``draw.count``."""
    stream = Stream("blockcert:v1:calibration", key.parts())
    return sample(stream, key.windows, count, "calibration windows")


def certification_windows(key: FrameKey, surrogate_program: bytes, calibration: Sequence[int], count: int) -> list[int]:
    """The ``count`` certification windows, in the order drawn, from those not among ``calibration``.

    ``surrogate_program`` is the BLAKE3 of ``programs/surrogate.json``, 32 bytes. Refuses ``draw.count``.
    """
    if len(surrogate_program) != 32:
        raise ValueError("a BLAKE3 digest has 32 bytes")
    stream = Stream("blockcert:v1:certification", key.parts(), surrogate_program)
    return _sample_others(stream, key.windows, calibration, count, "certification windows")


def _sample_others(stream: Stream, size: int, taken: Sequence[int], count: int, place: str) -> list[int]:
    """``count`` distinct numbers of ``0 .. size-1`` that are not among ``taken``, in the order drawn."""
    # below the j-th taken number lie taken[j] - j others, so a place among the others is found by bisection
    others_below = [number - j for j, number in enumerate(sorted(taken))]
    places = sample(stream, size - len(others_below), count, place)
    return [at + bisect_right(others_below, at) for at in places]


def draw_windows(frame: Frame, reference_program: str, surrogate_program: str) -> Draw:
    """Both draws of a stated frame, from the BLAKE3 digests of the two programs' files, hexadecimal.

    Raises:
        Refusal: ``draw.count`` where the frame lists more prompts than it has windows.
    """
    key = frame_key(frame, reference_program)
    calibration = calibration_windows(key, frame.calibration)
    surrogate = bytes.fromhex(surrogate_program)
    certification = certification_windows(key, surrogate, calibration, frame.certification)
    return Draw(tuple(calibration), tuple(certification))


def replay_rows(certificate_digest: bytes, seed: bytes, rows: int, count: int) -> list[int]:
    """The ``count`` of ``rows`` evidence rows that a replay measures again, in the order drawn.

    ``certificate_digest`` is the BLAKE3 of the payload and ``seed`` the verifier's, 32 bytes each. A
    shorter replay with one seed is a prefix of a longer one. Refuses ``draw.count``.
    """
    _check_32(certificate_digest, seed)
    return sample(Stream("blockcert:v1:replay", certificate_digest, seed), rows, count, "replayed rows")


def fresh_windows(certificate_digest: bytes, seed: bytes, windows: int, used: Sequence[int], count: int) -> list[int]:
    """The ``count`` of ``windows`` that a verifier measures itself, none of them among ``used``, in the order drawn.

    ``used`` are the windows of calibration and certification. The digest is the BLAKE3 of the payload and ``seed`` the
    verifier's, 32 bytes each. Refuses ``draw.count``.
    """
    _check_32(certificate_digest, seed)
    stream = Stream("blockcert:v1:fresh", certificate_digest, seed)
    return _sample_others(stream, windows, used, count, "fresh windows")


def own_windows(certificate_digest: bytes, seed: bytes, corpus: bytes, windows: int, count: int) -> list[int]:
    """The ``count`` of the ``windows`` of the verifier's own texts that it measures, in the order drawn.

    ``corpus`` is the :func:`corpus_digest` of those texts, 32 bytes like the others. Refuses ``draw.count``.
    """
    _check_32(certificate_digest, seed, corpus)
    stream = Stream("blockcert:v1:own", certificate_digest, seed, corpus)
    return sample(stream, windows, count, "own windows")


def _check_32(*parts: bytes) -> None:
    if any(len(part) != 32 for part in parts):
        raise ValueError("digests and the seed have 32 bytes each")
