"""With the corpus at hand: the listed prompts are the frame's windows, or the report names the one that is not.

Requirements: BC-PRM-02, 13.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.trust import encode_policy
from blockcert_producers.cli.run import run
from blockcert_verifier import Report, render, verify
from blockcert_verifier import corpus as module
from blockcert_verifier.steps.frame import SPAN, match, shared_spans
from blockcert_verifier.steps.prompts import PromptTable
from tests.support.bundles import FIRST, NOW, WINDOWS, Made, change_statement, make_bundle, reseal, rewrite_column

TOKENIZER = "tokenizer.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def check(made: Made, *corpus: Path, tokenizer: Path | None = None) -> Report:
    return verify(
        made.bundle,
        made.without_replay,
        corpus=corpus or made.corpus,
        tokenizer=tokenizer or made.model / TOKENIZER,
        at=NOW,
    )


def found(report: Report, code: str) -> list[tuple[str, str, str]]:
    return [(f.status, f.place, f.message) for f in report.findings if f.code == code]


def test_the_listed_prompts_are_derived_again(made: Made) -> None:
    report = check(made)
    assert report.verdict == "accepted"
    assert report.frame is not None
    assert (report.frame.status, report.frame.windows, report.frame.compared) == ("verified", WINDOWS, 9)
    assert found(report, "frame.verified")[0][0] == "passed"
    assert found(report, "frame.unverified") == []
    assert not any("frame unverified" in item.what for item in report.unchecked)
    text = render(report)
    assert "frame verified" in text
    assert "frame unverified" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_without_the_corpus_the_frame_is_unverified(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, at=NOW)
    assert report.frame is not None
    assert (report.frame.status, report.frame.compared) == ("unverified", 0)
    assert found(report, "frame.unverified")[0][0] == "skipped"
    assert "frame unverified" in render(report)


def test_neither_order_nor_names_of_the_files_matter(made: Made, tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("second.txt", "x")]
    for source, copy in zip(made.corpus, copies, strict=True):
        copy.write_bytes(source.read_bytes())
    report = check(made, copies[1], copies[0])
    assert report.frame is not None
    assert report.frame.status == "verified"


def test_the_reference_folder_gives_the_tokenizer(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, corpus=made.corpus, replay=2, at=NOW)
    assert report.verdict == "accepted"
    assert report.frame is not None
    assert report.frame.status == "verified"


@pytest.mark.parametrize("row", [0, 5])
def test_a_prompt_that_is_not_its_window_is_named(row: int, made: Made, tmp_path: Path) -> None:
    """Calibration rows (the first three) too."""
    changed = made.copy(tmp_path)
    path, before = changed.bundle / "prompts.safetensors", []

    def swap(tokens: object) -> None:
        before.append(int(tokens[row, 4]))  # type: ignore[index]
        tokens[row, 4] = (before[0] + 1) % 11  # type: ignore[index]

    rewrite_column(path, "tokens", swap)
    reseal(changed)
    report = check(changed)
    assert report.verdict == "rejected"
    ((status, place, message),) = found(report, "frame.mismatch")
    assert (status, place) == ("failed", f"prompts.safetensors: tokens[{row}, 4]")
    assert f"the token is {(before[0] + 1) % 11}" in message
    assert f"has {before[0]} there" in message
    assert "first.txt" in message or "second.txt" in message
    assert report.frame is not None
    assert report.frame.status == "mismatch"


def test_another_corpus_is_not_the_frames_whatever_its_name(made: Made, tmp_path: Path) -> None:
    other = tmp_path / "second.txt"
    data = made.corpus[1].read_bytes()
    other.write_bytes(data[:-1] + b"9")
    report = check(made, made.corpus[0], other)
    assert report.verdict == "indeterminate"
    ((status, place, message),) = found(report, "frame.corpus_missing")
    assert status == "inconclusive"
    assert place.endswith("frame.corpus[1]")
    assert message.startswith(f"second.txt was not given ({len(data)} bytes, BLAKE3 ")


def test_a_missing_or_another_tokenizer_is_named(made: Made, tmp_path: Path) -> None:
    report = verify(made.bundle, made.without_replay, corpus=made.corpus, at=NOW)
    ((status, place, message),) = found(report, "frame.corpus_missing")
    assert (status, place[-10:]) == ("inconclusive", ".tokenizer")
    assert message.startswith("tokenizer.json was not given (BLAKE3 ")
    other = tmp_path / TOKENIZER
    other.write_bytes((made.model / TOKENIZER).read_bytes() + b" ")
    ((status, _, message),) = found(check(made, tokenizer=other), "frame.corpus_missing")
    assert status == "inconclusive"
    assert "and the frame's tokenizer has" in message


def test_more_windows_than_the_corpus_gives_are_refused(made: Made, tmp_path: Path) -> None:
    changed = made.copy(tmp_path)
    # the draw depends on the number of windows, and the claims on it: only the comparison is looked at
    from blockcert import strict_json
    from blockcert.bundle import STATEMENT
    from blockcert.dsse import parse_envelope
    from blockcert.statement import Statement
    from blockcert_verifier.steps.frame import Corpus, frame
    from blockcert_verifier.steps.prompts import read_prompts

    payload = parse_envelope((changed.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    stated = strict_json.decode(payload, Statement, STATEMENT).predicate.prompts.frame
    table = read_prompts((changed.bundle / "prompts.safetensors").read_bytes(), stated, "p")
    from msgspec.structs import replace

    more = replace(stated, windows=WINDOWS + 1)
    seen, windows, findings = frame(more, "p", table, Corpus(made.corpus, made.model / TOKENIZER), 11, 32)
    assert windows is None
    assert seen.status == "mismatch"
    assert [(f.code, f.status) for f in findings] == [("frame.mismatch", "failed")]
    assert f"gives {WINDOWS} windows, and the frame states {WINDOWS + 1}" in findings[0].message

    # one window moved from a file to the other: the sum is right, and neither file is
    first, second = stated.corpus
    moved = (replace(first, windows=FIRST + 1), replace(second, windows=WINDOWS - FIRST - 1))
    corpus = Corpus(made.corpus, made.model / TOKENIZER)
    _, windows, findings = frame(replace(stated, corpus=moved), "p", table, corpus, 11, 32)
    assert windows is None
    assert [(f.code, f.place.rpartition("frame.")[2]) for f in findings] == [
        ("frame.mismatch", "corpus[0].windows"),
        ("frame.mismatch", "corpus[1].windows"),
    ]
    assert f"first.txt gives {FIRST} windows, and the frame states {FIRST + 1}" in findings[0].message


def test_text_that_no_tokenizer_of_this_model_gives_refutes_the_frame(made: Made, tmp_path: Path) -> None:
    """The very file that was signed is not UTF-8: no window of it exists."""
    changed = made.copy(tmp_path)
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"\xff" + made.corpus[1].read_bytes())

    def change(statement: dict[str, object]) -> None:
        from blockcert.digest import blake3_bytes

        file = statement["predicate"]["prompts"]["frame"]["corpus"][1]  # type: ignore[index]
        file.update(size=bad.stat().st_size, blake3=blake3_bytes(bad.read_bytes()))

    change_statement(changed, change)
    # another corpus gives another draw, which is refuted first; the frame is looked at by itself
    from blockcert import strict_json
    from blockcert.bundle import STATEMENT
    from blockcert.dsse import parse_envelope
    from blockcert.statement import Statement
    from blockcert_verifier.steps.frame import Corpus, frame
    from blockcert_verifier.steps.prompts import read_prompts

    payload = parse_envelope((changed.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    stated = strict_json.decode(payload, Statement, STATEMENT).predicate.prompts.frame
    table = read_prompts((changed.bundle / "prompts.safetensors").read_bytes(), stated, "p")
    corpus = Corpus((made.corpus[0], bad), made.model / TOKENIZER)
    _, _, findings = frame(stated, "p", table, corpus, 11, 32)
    assert [(f.code, f.status) for f in findings] == [("prompts.not_utf8", "failed")]
    _, _, findings = frame(stated, "p", table, Corpus((made.corpus[0], bad), made.corpus[0]), 11, 32)
    assert [(f.code, f.status) for f in findings] == [("frame.corpus_missing", "inconclusive")]


def swap_behind_their_digests(monkeypatch: pytest.MonkeyPatch, path: Path, content: bytes) -> None:
    """Put other content at a path after it was hashed and before it is read."""
    honest = module.read_population

    def late(*args: Any, **options: Any) -> module.Population:
        path.write_bytes(content)
        return honest(*args, **options)

    monkeypatch.setattr(module, "read_population", late)


def other_tokenizer(model: Path) -> bytes:
    """The same tokenizer with two of its words exchanged."""
    return (
        (model / TOKENIZER)
        .read_bytes()
        .replace(b'"t1":', b'"x":')
        .replace(b'"t2":', b'"t1":')
        .replace(b'"x":', b'"t2":')
    )


@pytest.mark.parametrize("which", ["tokenizer", "no tokenizer", "text", "no text"])
def test_the_very_bytes_that_were_compared_are_read(
    which: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is another when it is read refutes nothing and verifies nothing."""
    changed = made.copy(tmp_path)
    text, tokenizer = tmp_path / "text", tmp_path / TOKENIZER
    text.write_bytes(made.corpus[1].read_bytes())
    tokenizer.write_bytes((made.model / TOKENIZER).read_bytes())
    other = other_tokenizer(made.model)
    assert other != tokenizer.read_bytes()
    path, content = {
        "tokenizer": (tokenizer, other),
        "no tokenizer": (tokenizer, b"{}"),
        "text": (text, text.read_bytes()[::-1]),
        "no text": (text, b"\xff" * text.stat().st_size),
    }[which]
    swap_behind_their_digests(monkeypatch, path, content)
    report = check(changed, made.corpus[0], text, tokenizer=tokenizer)
    assert report.verdict == "indeterminate"
    ((status, place, message),) = found(report, "frame.unread")
    assert (status, place) == ("inconclusive", str(path))
    assert message.endswith("is wanted: did it change meanwhile?")
    assert report.frame is not None
    assert report.frame.status == "unverified"


def test_own_texts_are_read_with_the_very_tokenizer_that_was_compared(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tmp_path / TOKENIZER
    tokenizer.write_bytes((made.model / TOKENIZER).read_bytes())
    swap_behind_their_digests(monkeypatch, tokenizer, other_tokenizer(made.model))
    report = verify(made.bundle, made.policy, reference=made.model, own=made.corpus, tokenizer=tokenizer, at=NOW)
    assert report.fresh == ()
    assert any("is wanted: did it change" in message for _, _, message in found(report, "fresh.not_run"))


def test_a_text_or_tokenizer_that_cannot_be_read_is_refused_as_that(tmp_path: Path) -> None:
    """By whoever makes prompts and by whoever gives texts of its own."""
    broken = Path("/proc/self/mem")  # a regular file whose first byte nobody can read
    if not broken.is_file():
        pytest.skip("this system has no such file")
    text = tmp_path / "text"
    text.write_bytes(b"t1 t2")
    for files, tokenizer in (((broken,), text), ((text,), broken), ((text,), tmp_path / ("a" * 300))):
        with pytest.raises(Refusal) as caught:
            module.read_population(files, tokenizer, length=8, bos=None, vocabulary=11, context=32)
        assert caught.value.code in ("file.unreadable", "prompts.tokenizer")
    with pytest.raises(Refusal) as caught:
        module.check_text(broken)
    assert (caught.value.code, caught.value.place) == ("file.unreadable", str(broken))


def test_a_corpus_file_that_is_gone_by_then_is_missing(made: Made, tmp_path: Path) -> None:
    assert match([], [tmp_path / "gone"]) == ([], [tmp_path / "gone"])


@pytest.mark.parametrize("which", ["corpus", "tokenizer"])
def test_a_wrong_path_decides_nothing(which: str, made: Made, tmp_path: Path) -> None:
    paths = {"corpus": made.corpus, "tokenizer": made.model / TOKENIZER}
    paths[which] = (tmp_path / "none",) if which == "corpus" else tmp_path
    with pytest.raises(Refusal) as caught:
        verify(made.bundle, made.policy, corpus=paths["corpus"], tokenizer=paths["tokenizer"], at=NOW)  # type: ignore[arg-type]
    assert caught.value.code == "corpus.not_found"


def test_a_missing_package_is_named_and_decides_nothing(made: Made, tmp_path: Path) -> None:
    trust = tmp_path / "trust.json"
    trust.write_bytes(encode_policy(made.without_replay))
    words = ["verify", str(made.bundle), "--trust", str(trust), "--tokenizer", str(made.model / TOKENIZER)]
    words += ["--at", "2026-11-23T00:00:00Z", "--corpus", *map(str, made.corpus)]
    code = "import sys; sys.modules['tokenizers'] = None; from blockcert_producers.cli.run import run; "
    code += f"sys.exit(run({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'blockcert[corpus]'" in done.stderr


def test_the_command_takes_several_files_after_one_option(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust, out = tmp_path / "trust.json", tmp_path / "report.json"
    trust.write_bytes(encode_policy(made.without_replay))
    words = ["verify", str(made.bundle), "--corpus", *map(str, made.corpus), "--trust", str(trust)]
    words += ["--tokenizer", str(made.model / TOKENIZER), "--at", "2026-11-23T00:00:00Z", "--json", str(out)]
    assert run(words) == 0
    assert "numbered as" in capsys.readouterr().out
    assert json.loads(out.read_bytes())["frame"]["status"] == "verified"


# --- shared spans -----------------------------------------------------------------------------------------------


def table(calibration: list[list[int]], certification: list[list[int]]) -> PromptTable:
    rows = [*calibration, *certification]
    flat = [token for row in rows for token in row]
    return PromptTable(len(rows[0]), len(calibration), flat, list(range(len(rows))), [0] * len(rows))


def brute(calibration: list[list[int]], certification: list[list[int]], skip: int) -> tuple[int, int]:
    def spans(row: list[int]) -> set[tuple[int, ...]]:
        return {tuple(row[at : at + SPAN]) for at in range(skip, len(row) - SPAN + 1)}

    known = set[tuple[int, ...]]().union(*map(spans, calibration))
    shared = [spans(row) & known for row in certification]
    return len(set[tuple[int, ...]]().union(*shared)), sum(map(bool, shared))


ROW = st.lists(st.integers(0, 1), min_size=19, max_size=19)


@given(st.lists(ROW, max_size=4), st.lists(ROW, min_size=1, max_size=4), st.booleans())
def test_shared_spans_are_those_of_plain_counting(
    calibration: list[list[int]], certification: list[list[int]], bos: bool
) -> None:
    """BC-PRM-14."""
    if calibration:  # one row that surely shares something
        certification = [*certification, [*calibration[0][1:], 0]]
    assert shared_spans(table(calibration, certification), bos) == brute(calibration, certification, int(bos))


def test_a_common_starting_token_is_no_part_of_a_span() -> None:
    first, second = [7, *range(15), 99], [7, *range(15), 98]
    assert shared_spans(table([first], [second]), bos=True) == (0, 0)
    assert shared_spans(table([first], [second]), bos=False) == (1, 1)


def test_spans_are_not_counted_without_end() -> None:
    """BC-PRM-14."""

    class Many:
        def __len__(self) -> int:
            return 1 << 20

    assert shared_spans(PromptTable(17, 1 << 18, [], Many(), []), bos=False) is None  # type: ignore[arg-type]


def test_the_first_file_ends_where_the_second_begins(made: Made) -> None:
    from blockcert_verifier.corpus import read_population

    windows = read_population(made.corpus, made.model / TOKENIZER, length=8, bos=None, vocabulary=11, context=32)
    assert windows.counts == (FIRST, WINDOWS - FIRST)
    assert [windows.file_of(number) for number in (0, FIRST - 1, FIRST, WINDOWS - 1)] == [0, 0, 1, 1]
