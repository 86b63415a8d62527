"""From text to windows to drawn prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import models, pre_tokenizers, processors

from blockcert.digest import blake3_bytes
from blockcert.draw import draw_windows
from blockcert.errors import Refusal
from blockcert.statement import Tokenizer
from blockcert_producers.frame import Sample, write_prompts
from blockcert_verifier.corpus import Population, read_population, starting_token

WORDS = {word: number for number, word in enumerate(["<s>", "</s>", "<unk>", *"abcdefgh"])}
REFERENCE, SURROGATE, OTHER = (blake3_bytes(name) for name in (b"reference", b"surrogate", b"other"))


def save_tokenizer(path: Path, template: str | None = None, **truncation: Any) -> Path:
    """A tokenizer of single letters; ``template`` is what it puts around a text when asked to."""
    made = tokenizers.Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))  # noqa: S106 - a token, not a secret
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        special = [(name, WORDS[name]) for name in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    if truncation:
        made.enable_truncation(**truncation)
        made.enable_padding(length=50)
    made.save(str(path))
    return path


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "tokenizer.json", "<s> $A")


def texts(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / f"{number}.txt" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content)
    return paths


def read(files: list[Path], tokenizer: Path, **changes: Any) -> Population:
    return read_population(files, tokenizer, **{"length": 3, "bos": None, "vocabulary": 11, "context": 8, **changes})


def letters(rows: np.ndarray) -> list[str]:
    names = {number: word for word, number in WORDS.items()}
    return ["".join(names[int(token)] for token in row) for row in rows]


def test_windows_are_cut_file_by_file_without_overlap_and_the_rest_is_dropped(tokenizer: Path, tmp_path: Path) -> None:
    files = texts(tmp_path, "a b c d e f g", "h", "h g f e")
    found = read(files, tokenizer)
    assert found.windows == 3
    assert letters(found.tokens(range(3))) == ["abc", "def", "hgf"]
    assert letters(found.tokens([2, 0])) == ["hgf", "abc"]
    assert found.tokens([0]).dtype == np.int32


def test_a_starting_token_begins_each_window_and_takes_one_place(tokenizer: Path, tmp_path: Path) -> None:
    found = read(texts(tmp_path, "a b c d e", "h g"), tokenizer, bos=0)
    assert found.windows == 3
    assert letters(found.tokens(range(3))) == ["<s>ab", "<s>cd", "<s>hg"]


def test_the_corpus_and_the_tokenizer_are_named_by_digest(tokenizer: Path, tmp_path: Path) -> None:
    found = read(texts(tmp_path, "a b c", "d e f"), tokenizer, bos=0)
    assert [(f.name, f.size, f.blake3, f.windows) for f in found.corpus] == [
        ("0.txt", 5, blake3_bytes(b"a b c"), 1),
        ("1.txt", 5, blake3_bytes(b"d e f"), 1),
    ]
    assert [f.windows for f in read(texts(tmp_path, "a b c d e", "h"), tokenizer, bos=0).corpus] == [2, 0]
    assert found.tokenizer.blake3 == blake3_bytes(tokenizer.read_bytes())
    assert found.tokenizer.bos == 0


def test_a_tokenizer_that_cuts_and_pads_does_neither_here(tmp_path: Path) -> None:
    path = save_tokenizer(tmp_path / "tokenizer.json", max_length=2)
    assert letters(read(texts(tmp_path, "a b c d e f"), path).tokens([0, 1])) == ["abc", "def"]


STARTS = {None: None, "<s> $A": 0, "<s> $A </s>": 0, "$A </s>": None}


@pytest.mark.parametrize("template", STARTS)
def test_the_starting_token_is_what_the_tokenizer_itself_puts_first(template: str | None, tmp_path: Path) -> None:
    assert starting_token(save_tokenizer(tmp_path / "tokenizer.json", template)) == STARTS[template]


@pytest.fixture
def population(tokenizer: Path, tmp_path: Path) -> Population:
    return read(texts(tmp_path, "a b c d e f g h " * 12, "h g " * 5), tokenizer, bos=0)


def test_the_draws_are_those_of_the_stated_frame(population: Population) -> None:
    sample = Sample(population, REFERENCE, seed=5, calibration=9, certification=30)
    expected = draw_windows(sample.frame, REFERENCE, SURROGATE)
    calibration, certification = sample.draw_calibration(), sample.draw_certification(SURROGATE)
    assert tuple(calibration) == expected.calibration
    assert tuple(certification) == expected.certification
    assert (len(calibration), len(certification)) == (9, 30)
    assert len({*calibration, *certification}) == 39
    assert {*calibration, *certification} <= set(range(population.windows))


def test_another_surrogate_is_tested_on_other_windows_but_calibrated_on_the_same(population: Population) -> None:
    sample = Sample(population, REFERENCE, seed=5, calibration=9, certification=10)
    assert sample.draw_certification(SURROGATE) != sample.draw_certification(OTHER)
    again = Sample(population, REFERENCE, seed=6, calibration=9, certification=10)
    assert again.draw_calibration() != sample.draw_calibration()


@given(calibration=st.integers(0, 53), certification=st.integers(1, 53))
def test_exactly_the_draws_that_the_text_is_long_enough_for_are_taken(calibration: int, certification: int) -> None:
    stream = np.zeros(2 * 53 + 1, dtype=np.int32)
    population = Population((), Tokenizer(blake3=blake3_bytes(b""), bos=0), 3, (stream,))
    if calibration + certification <= 53:
        sample = Sample(population, REFERENCE, 0, calibration, certification)
        drawn = {*sample.draw_calibration(), *sample.draw_certification(SURROGATE)}
        assert len(drawn) == calibration + certification
    else:
        with pytest.raises(Refusal):
            Sample(population, REFERENCE, 0, calibration, certification)


def test_prompts_are_written_calibration_first(population: Population, tmp_path: Path) -> None:
    path = tmp_path / "prompts.safetensors"
    write_prompts(path, population, [7, 3], [0, 50, 4])
    found = load_file(path)
    assert {name: (str(t.dtype), t.shape) for name, t in found.items()} == {
        "tokens": ("int32", (5, 3)),
        "window": ("int64", (5,)),
        "split": ("uint8", (5,)),
    }
    assert found["window"].tolist() == [7, 3, 0, 50, 4]
    assert found["split"].tolist() == [0, 0, 1, 1, 1]
    assert letters(found["tokens"]) == ["<s>gh", "<s>gh", "<s>ab", "<s>hg", "<s>ab"]
    before = path.read_bytes()
    write_prompts(path, population, [7, 3], [0, 50, 4])
    assert path.read_bytes() == before


def test_too_few_windows_says_how_many_there_are_and_what_to_do(population: Population) -> None:
    with pytest.raises(Refusal) as caught:
        Sample(population, REFERENCE, seed=0, calibration=20, certification=34)
    assert caught.value.code == "prompts.too_few_windows"
    assert caught.value.place == "0.txt, 1.txt"
    for part in ("53 windows", "54 are needed", "20 for calibration", "more text", "--count", "--length"):
        assert part in caught.value.sentence


# each: the contents of the files (None: no such file), other arguments, the code, the place's end, a part of it
BAD: dict[str, tuple[list[bytes | None], dict[str, Any], str, str, str]] = {
    "missing file": ([b"a b c", None], {}, "prompts.not_found", "1.txt", "no such file"),
    "empty file": ([b"a b c", b""], {}, "prompts.empty", "1.txt", "empty"),
    "not UTF-8": ([b"a b \xff"], {}, "prompts.not_utf8", "0.txt", "byte 4"),
    "the same text twice": ([b"a b c", b"a b c"], {}, "prompts.duplicate", "1.txt", "twice"),
    "token outside": ([b"a b h"], {"vocabulary": 10}, "prompts.vocabulary", "0.txt", "token 10 is outside"),
    "starting token outside": (
        [b"a b c"],
        {"bos": 11},
        "prompts.vocabulary",
        "tokenizer.json",
        "token 11 is outside the model's vocabulary of 11",
    ),
    "too long": ([b"a b c"], {"length": 9}, "prompts.length", "--length", "from 2 to 8"),
    "too short": ([b"a b c"], {"length": 1}, "prompts.length", "--length", "from 2 to 8"),
}


@pytest.mark.parametrize("case", BAD)
def test_prompts_like_these_are_refused(case: str, tokenizer: Path, tmp_path: Path) -> None:
    contents, changes, code, place, part = BAD[case]
    files = [tmp_path / f"{number}.txt" for number in range(len(contents))]
    for path, content in zip(files, contents, strict=True):
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(Refusal) as caught:
        read(files, tokenizer, **changes)
    assert caught.value.code == code
    assert caught.value.place.endswith(place)
    assert part in caught.value.sentence


def test_a_folder_given_as_text_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as caught:
        read([tmp_path], tokenizer)
    assert (caught.value.code, caught.value.sentence[:15]) == ("prompts.not_found", "it is not a fil")


def dropout(path: Path) -> None:
    tokenizers.Tokenizer(models.BPE({"a": 0}, [], dropout=0.1)).save(str(path))


BAD_TOKENIZERS: dict[str, tuple[Any, str, str]] = {
    "missing": (lambda _: None, "prompts.no_tokenizer", "no tokenizer.json"),
    "not JSON": (lambda path: path.write_bytes(b"{"), "prompts.tokenizer", "not a tokenizer"),
    "not UTF-8": (lambda path: path.write_bytes(b"\xff"), "prompts.tokenizer", "not a tokenizer"),
    "no tokenizer": (lambda path: path.write_bytes(b"{}"), "prompts.tokenizer", "not a tokenizer"),
    "random": (dropout, "prompts.tokenizer", "random"),
}


@pytest.mark.parametrize("case", BAD_TOKENIZERS)
def test_a_tokenizer_like_this_is_refused(case: str, tmp_path: Path) -> None:
    make, code, part = BAD_TOKENIZERS[case]
    path = tmp_path / "tokenizer.json"
    make(path)
    with pytest.raises(Refusal) as caught:
        read(texts(tmp_path, "a b c"), path)
    assert (caught.value.code, caught.value.place) == (code, str(path))
    assert part in caught.value.sentence
