"""Draws: worked values, a plain second implementation, and windows far too many to list.

Requirements: BC-PRM-06 to 11, BC-PRM-15, BC-PRM-16.
"""

from __future__ import annotations

import time
from itertools import product

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from blockcert.draw import (
    Draw,
    FrameKey,
    Stream,
    calibration_windows,
    certification_windows,
    corpus_digest,
    draw_windows,
    frame_key,
    fresh_windows,
    own_windows,
    replay_rows,
    sample,
)
from blockcert.errors import Refusal
from blockcert.statement import CorpusFile, Frame, Tokenizer

# --- the same rules written plainly: one long output, the whole list, one exchange after another --------


def plain_draw(message: bytes, items: list[int], count: int) -> list[int]:
    output = blake3(message).digest(length=1 << 16)
    words = [int.from_bytes(output[i : i + 8], "little") for i in range(0, len(output), 8)]
    items = list(items)
    for i in range(count):
        m = len(items) - i
        limit = (2**64 // m) * m
        word = words.pop(0)
        while word >= limit:
            word = words.pop(0)
        r = word % m
        items[i], items[i + r] = items[i + r], items[i]
    return items[:count]


def plain_parts(key: FrameKey) -> bytes:
    numbers = (key.seed, key.length, key.windows)
    return key.reference_program + key.corpus + key.tokenizer + b"".join(n.to_bytes(8, "little") for n in numbers)


def plain_calibration(key: FrameKey, count: int) -> list[int]:
    return plain_draw(b"blockcert:v1:calibration\x00" + plain_parts(key), list(range(key.windows)), count)


def plain_certification(key: FrameKey, surrogate: bytes, calibration: list[int], count: int) -> list[int]:
    rest = [window for window in range(key.windows) if window not in calibration]
    return plain_draw(b"blockcert:v1:certification\x00" + plain_parts(key) + surrogate, rest, count)


digests = st.binary(min_size=32, max_size=32)
keys = st.builds(
    FrameKey,
    digests,
    digests,
    digests,
    seed=st.integers(0, 2**53 - 1),
    length=st.integers(2, 2**20),
    windows=st.integers(1, 300),
)


@given(keys, digests, st.data())
def test_both_draws_agree_with_the_plain_implementation(key: FrameKey, surrogate: bytes, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, key.windows))
    n = data.draw(st.integers(0, key.windows - c))
    calibration = calibration_windows(key, c)
    certification = certification_windows(key, surrogate, calibration, n)
    assert calibration == plain_calibration(key, c)
    assert certification == plain_certification(key, surrogate, calibration, n)
    assert len({*calibration, *certification}) == c + n


@given(digests, digests, st.integers(1, 700), st.data())
def test_replay_rows_agree_with_the_plain_implementation(
    certificate: bytes, seed: bytes, rows: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, rows))
    found = replay_rows(certificate, seed, rows, count)
    assert found == plain_draw(b"blockcert:v1:replay\x00" + certificate + seed, list(range(rows)), count)
    assert found == replay_rows(certificate, seed, rows, rows)[:count]


# --- worked values --------------------------------------------------------------------------------------

KEY = FrameKey(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, seed=7, length=64, windows=1000)
WORKED = {
    "calibration": [964, 672, 714, 586, 527],
    "certification": [799, 180, 15, 265, 58],
    "replay": [111, 105, 50, 69, 38],
    "2^40 windows": [1029480515023, 415167676729, 671195730520, 352148616013, 196638884446],
}


def test_worked_values() -> None:
    calibration = calibration_windows(KEY, 5)
    assert calibration == WORKED["calibration"]
    assert certification_windows(KEY, b"\x04" * 32, calibration, 5) == WORKED["certification"]
    assert replay_rows(b"\x05" * 32, b"\x06" * 32, 200, 5) == WORKED["replay"]
    assert calibration_windows(large_key(), 5) == WORKED["2^40 windows"]


def test_the_stream_is_the_official_extended_output() -> None:
    """BLAKE3's test_vectors.json, input length 1 (one zero byte), its first 64 bytes of extended output."""
    expected = bytes.fromhex(
        "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"
        "c3a6cb8bf623e20cdb535f8d1a5ffb86342d9c0b64aca3bce1d31f60adfa137b"
    )
    stream = Stream("")
    assert b"".join(stream.word().to_bytes(8, "little") for _ in range(8)) == expected


def test_the_stream_goes_on_past_its_buffer() -> None:
    stream = Stream("label", b"part")
    words = [stream.word() for _ in range(1500)]
    output = blake3(b"label\x00part").digest(length=12000)
    assert words == [int.from_bytes(output[i : i + 8], "little") for i in range(0, 12000, 8)]


# --- no bias --------------------------------------------------------------------------------------------


class Scripted(Stream):
    """A stream of chosen words."""

    def __init__(self, words: list[int]) -> None:
        super().__init__("")
        self.left = list(words)

    def word(self) -> int:
        return self.left.pop(0)


@pytest.mark.parametrize("m", [1, 2, 3, 7, 2**32, 2**63 - 1, 2**63 + 1, 2**64 - 1, 2**64])
def test_words_beyond_the_last_full_round_are_passed_over(m: int) -> None:
    limit = 2**64 - 2**64 % m
    beyond = [w for w in (limit, 2**64 - 1) if limit <= w < 2**64]
    stream = Scripted([*beyond, limit - 1, 0])
    assert stream.uniform(m) == m - 1
    assert stream.left == [0]


def test_a_number_below_one_still_takes_a_word() -> None:
    stream = Scripted([5, 6])
    assert stream.uniform(1) == 0
    assert stream.left == [6]


@pytest.mark.parametrize(("size", "count"), [(1, 1), (4, 4), (5, 3), (6, 2), (5, 0)])
def test_every_ordered_selection_comes_from_exactly_one_sequence_of_numbers(size: int, count: int) -> None:
    choices = list(product(*(range(size - i) for i in range(count))))
    selections = {tuple(sample(Scripted(list(choice)), size, count)) for choice in choices}
    assert len(selections) == len(choices)
    assert all(len(set(selection)) == count for selection in selections)


# --- what a draw depends on -----------------------------------------------------------------------------


def large_key() -> FrameKey:
    return FrameKey(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, seed=0, length=64, windows=2**40)


def test_windows_too_many_to_list() -> None:
    start = time.perf_counter()
    calibration = calibration_windows(large_key(), 2000)
    certification = certification_windows(large_key(), b"\x04" * 32, calibration, 2000)
    assert time.perf_counter() - start < 2
    assert len({*calibration, *certification}) == 4000
    assert max(certification) < 2**40


def test_all_windows_can_be_drawn() -> None:
    calibration = calibration_windows(KEY, 400)
    certification = certification_windows(KEY, b"\x04" * 32, calibration, 600)
    assert sorted([*calibration, *certification]) == list(range(1000))


def hexadecimal(byte: int) -> str:
    return bytes([byte] * 32).hex()


def a_frame(**changes: object) -> Frame:
    fields: dict[str, object] = {
        "corpus": (CorpusFile("a.txt", 10, hexadecimal(8), 400), CorpusFile("b.txt", 20, hexadecimal(9), 600)),
        "tokenizer": Tokenizer(hexadecimal(3), None),
        "length": 64,
        "windows": 1000,
        "seed": 7,
        "calibration": 20,
        "certification": 30,
    }
    return Frame(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_frame_gives_its_key() -> None:
    assert corpus_digest([hexadecimal(8), hexadecimal(9)]) == blake3(b"\x08" * 32 + b"\x09" * 32).digest()
    key = frame_key(a_frame(), hexadecimal(1))
    assert key == FrameKey(b"\x01" * 32, corpus_digest([hexadecimal(8), hexadecimal(9)]), b"\x03" * 32, 7, 64, 1000)
    draw = draw_windows(a_frame(), hexadecimal(1), hexadecimal(4))
    calibration = calibration_windows(key, 20)
    assert draw == Draw(tuple(calibration), tuple(certification_windows(key, b"\x04" * 32, calibration, 30)))


CHANGES = {
    "the order of the corpus files": {"corpus": a_frame().corpus[::-1]},
    "a corpus file": {"corpus": (CorpusFile("a.txt", 10, hexadecimal(7), 400), a_frame().corpus[1])},
    "the tokenizer": {"tokenizer": Tokenizer(hexadecimal(4), None)},
    "the length": {"length": 65},
    "the number of windows": {"windows": 1001},
    "the seed": {"seed": 8},
}


@pytest.mark.parametrize("change", CHANGES)
def test_both_draws_depend_on(change: str) -> None:
    before = draw_windows(a_frame(), hexadecimal(1), hexadecimal(4))
    after = draw_windows(a_frame(**CHANGES[change]), hexadecimal(1), hexadecimal(4))
    assert before.calibration != after.calibration
    assert before.certification != after.certification


def test_only_the_certification_draw_depends_on_the_surrogate() -> None:
    before = draw_windows(a_frame(), hexadecimal(1), hexadecimal(4))
    after = draw_windows(a_frame(), hexadecimal(1), hexadecimal(5))
    assert before.calibration == after.calibration
    assert before.certification != after.certification


def test_names_and_sizes_of_corpus_files_are_for_people() -> None:
    renamed = a_frame(corpus=(CorpusFile("z", 1, hexadecimal(8), 1), CorpusFile("y", 2, hexadecimal(9), 2)))
    assert draw_windows(renamed, hexadecimal(1), hexadecimal(4)) == draw_windows(
        a_frame(), hexadecimal(1), hexadecimal(4)
    )


TOO_MANY = {
    "calibration": lambda: calibration_windows(KEY, 1001),
    "certification": lambda: certification_windows(KEY, b"\x04" * 32, calibration_windows(KEY, 1), 1000),
    "replay": lambda: replay_rows(bytes(32), bytes(32), 10, 11),
    "a negative number": lambda: replay_rows(bytes(32), bytes(32), 10, -1),
    "a frame": lambda: draw_windows(a_frame(windows=49), hexadecimal(1), hexadecimal(4)),
}


@pytest.mark.parametrize("case", TOO_MANY)
def test_more_than_there_are_cannot_be_drawn(case: str) -> None:
    with pytest.raises(Refusal) as refusal:
        TOO_MANY[case]()
    assert refusal.value.code == "draw.count"


def test_a_digest_of_another_length_is_our_fault() -> None:
    for call in (
        lambda: replay_rows(bytes(31), bytes(32), 10, 1),
        lambda: replay_rows(bytes(32), bytes(33), 10, 1),
        lambda: certification_windows(KEY, bytes(31), [], 1),
        lambda: calibration_windows(FrameKey(b"", bytes(32), bytes(32), 0, 2, 10), 1),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            call()


@given(st.integers(1, 60), st.data())
def test_fresh_windows_are_distinct_and_none_that_was_used(windows: int, data: st.DataObject) -> None:
    used = data.draw(st.lists(st.integers(0, windows - 1), unique=True))
    left = windows - len(used)
    count = data.draw(st.integers(0, left))
    drawn = fresh_windows(bytes(32), bytes(32), windows, used, count)
    assert len(set(drawn)) == count
    assert set(drawn) <= set(range(windows)) - set(used)
    assert set(fresh_windows(bytes(32), bytes(32), windows, used, left)) == set(range(windows)) - set(used)
    with pytest.raises(Refusal):
        fresh_windows(bytes(32), bytes(32), windows, used, left + 1)


def test_other_certificates_seeds_and_texts_give_other_windows() -> None:
    one, other = bytes(32), b"\x01" * 32
    fresh = [fresh_windows(a, b, 1000, [], 20) for a in (one, other) for b in (one, other)]
    own = [own_windows(a, b, c, 1000, 20) for a in (one, other) for b in (one, other) for c in (one, other)]
    assert len({tuple(drawn) for drawn in [*fresh, *own]}) == 12


def test_a_digest_or_seed_of_another_length_is_a_fault() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        fresh_windows(bytes(31), bytes(32), 10, [], 1)
    with pytest.raises(ValueError, match="32 bytes"):
        own_windows(bytes(32), bytes(32), bytes(5), 10, 1)
