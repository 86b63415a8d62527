"""What extraction says the reference's heads look at: places from token ids alone, shares by a plain oracle, and on the
embedded models the same heads as attention on planted patterns finds (``embedded.heads``, by transformers).

Requirements: BC-STM-17.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert.program import Attention, DensePattern, WindowPattern
from blockcert_producers import embedded
from blockcert_producers.cli.run import run
from blockcert_producers.embedded.text import generate
from blockcert_producers.heads import naming
from blockcert_producers.heads.naming import EVEN, attention_weights, name_heads, token_texts
from blockcert_producers.heads.places import FAR, FIRST, bracket_openers, find_places
from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, compare_bundle
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.head_names import HeadName, HeadNames, lines, read
from tests.support.certificates import NOW

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

LENGTH = 64


# --- places -----------------------------------------------------------------------------------------------------------


def test_places_are_those_that_loops_find() -> None:
    tokens = np.random.default_rng(3).integers(0, 5, (3, 19))
    found = find_places(tokens)
    want: dict[str, set[tuple[int, int, int]]] = {kind: set() for kind in found}
    for b, row in enumerate(tokens.tolist()):
        for t in range(FIRST, len(row)):
            want["previous"].add((b, t, t - 1))
            want["own"].add((b, t, t))
            want["first"].add((b, t, 0))
            for s in range(t):
                if row[s] == row[t]:
                    want["same_token"].add((b, t, s))
                if s >= 2 and row[s - 2 : s] == row[t - 1 : t + 1]:
                    want["induction"].add((b, t, s))
    for kind, places in found.items():
        pairs = set(zip(places.prompt.tolist(), places.origin.tolist(), places.target.tolist(), strict=True))
        assert pairs == want[kind], kind
        assert places.positions == len({pair[:2] for pair in pairs})


BRACKETS: dict[str, tuple[str, list[int], list[int]]] = {
    "nested": ("( a [ b ] )", [0, 0, 2, 2, 0, -1], [-1, -1, -1, -1, 2, 0]),
    "several in one token": ("(( a )) b", [0, 0, -1, -1], [-1, -1, 0, -1]),
    "an opener that is skipped": ("( [ a ) b", [0, 1, 1, -1, -1], [-1, -1, -1, 0, -1]),
    "a closer alone": (") ( ]", [-1, 1, 1], [-1, -1, -1]),
    "quotes": ('" a " b', [0, 0, -1, -1], [-1, -1, 0, -1]),
    "quotes in brackets": ('( " a " )', [0, 1, 1, 0, -1], [-1, -1, -1, 1, 0]),
}


@pytest.mark.parametrize("case", BRACKETS)
def test_brackets_are_matched(case: str) -> None:
    text, still, closes = BRACKETS[case]
    assert bracket_openers(text.split()) == (still, closes)


def test_an_opener_close_by_does_not_count() -> None:
    texts = dict(enumerate(["x", "(", ")"]))
    places = find_places(np.array([[0, 0, 1, *[0] * 5, 2, 0]]), texts)
    assert places["open_bracket"].origin.tolist() == list(range(2 + FAR, 8))
    assert places["matched_bracket"].origin.tolist() == [8]
    assert set(places["open_bracket"].target.tolist() + places["matched_bracket"].target.tolist()) == {2}


# --- shares -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [None, "1.5"])
def test_weights_are_softmaxes_of_scores_within_the_pattern(cap: str | None) -> None:
    random = np.random.default_rng(0)
    step = Attention("a", "q", "k", "v", 4, 2, 3, "3", (DensePattern(), WindowPattern(2, 1)) * 2, cap=cap)
    query, key = random.standard_normal((2, 6, 12)), random.standard_normal((2, 6, 6))
    for head in range(4):
        got = attention_weights(step, head, query, key)
        for b in range(2):
            for t in range(6):
                seen = [s for s in range(t + 1) if head % 2 == 0 or t - s < 2 or s == 0]
                scores = []
                for s in seen:
                    k = key[b, s, head // 2 * 3 : head // 2 * 3 + 3]
                    score = float(query[b, t, head * 3 : head * 3 + 3] @ k) / 3**0.5
                    scores.append(score if cap is None else 1.5 * np.tanh(score / 1.5))
                weights = np.exp(scores) / np.exp(scores).sum()
                assert got[b, t, seen] == pytest.approx(weights)
                assert got[b, t].sum() == pytest.approx(1)


# --- the embedded models ----------------------------------------------------------------------------------------------

CLEAR = {"previous": ("previous", 0.7), "induction": ("induction", 0.85), "open_bracket": ("bracket_next", 0.35)}
"""By kind the independent score, and from where on a head clearly is one."""
CLEARLY_NOT = 0.2


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(generate(11, 60_000), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", embedded.NAMES)
def test_show_names_the_heads_that_planted_patterns_name(
    name: embedded.Name, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from blockcert_producers.embedded.heads import measure

    folder = embedded.path(name)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    scores: list[Any] = measure(transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer)
    job = Job((text,), tmp_path / "copy", count=4, calibration=100, length=LENGTH, attribution=0)
    compare_bundle(folder, folder, job, now=NOW)
    assert run(["show", str(job.out), "--mechanisms"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    before, _, said = shown.partition("Of the reference's own heads the producer says, from 100 calibration prompts")
    assert before.startswith("UNVERIFIED: ")
    assert said.startswith(" (an estimate, checked by nobody")
    assert run(["show", str(job.out), "--mechanisms", "--json", "-"]) == 0
    stated = json.loads(capsys.readouterr().out)["producer_says"]
    assert stated["basis"] == "estimate"
    named = [{one["kind"]: float(one["share"]) for one in head} for block in stated["blocks"] for head in block]
    assert len(named) == len(scores)
    for kind, (role, least) in CLEAR.items():
        clear = [score for score in scores if getattr(score, role) >= least]
        assert clear, kind
        for score, names in zip(scores, named, strict=True):
            if score in clear:
                assert kind in names, (kind, score)
                assert f"block {score.layer + 1}, head {score.head}: " in said
            elif getattr(score, role) < CLEARLY_NOT:
                assert kind not in names, (kind, score)
    words = {"previous": "on the token before", "induction": "(induction)", "open_bracket": "(bracket matching)"}
    for kind, phrase in words.items():
        assert said.count(phrase) == sum(kind in names for names in named), kind


def test_a_head_of_even_weights_is_named_so_and_few_positions_name_none() -> None:
    folder = embedded.path("gpt2")
    program = lift(folder)
    store = WeightStore({file.name: folder / file.name.removeprefix("reference/") for file in program.files})
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (8, 32))
    names = name_heads(program, store, tokens, Backend(), token_texts(folder / "tokenizer.json", tokens))
    assert (names.prompts, [len(block) for block in names.blocks]) == (8, [4] * 4)
    evens = [one for block in names.blocks for head in block for one in head if one.kind == "even"]
    assert evens
    assert all(float(one.share) >= EVEN and one.chance is None for one in evens)
    one = name_heads(program, store, tokens[:1, :6], Backend())
    assert not [name for block in one.blocks for head in block for name in head if name.kind != "even"]


def test_what_positions_alone_explain_names_no_head() -> None:
    """All tokens are one: whatever looks back looks at the same token, text or no text."""
    tokens = np.zeros((4, 12), dtype=np.int64)
    causal = np.tril(np.ones((12, 12)))
    weights = np.broadcast_to(causal / causal.sum(axis=1, keepdims=True), (4, 12, 12)).copy()
    found = naming._names(weights, find_places(tokens))  # pyright: ignore[reportPrivateUsage]
    assert [one.kind for one in found] == ["even"]


# --- the extension ----------------------------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "prompts": 3,
    "basis": "estimate",
    "blocks": [[[{"kind": "induction", "share": "0.5", "chance": "0.061"}], []]],
}


def test_names_are_read_and_said() -> None:
    names = read({"heads": GOOD})
    assert names == HeadNames(3, (((HeadName("induction", "0.5", "0.061"),), ()),))
    said = list(lines(names))
    assert max(map(len, said)) <= 80
    assert "block 1, head 0: 50 % [6 %] on what followed" in " ".join(" ".join(said).split())
    assert said[-1] == "  1 head looks at no single kind of place that is known here"


BAD: dict[str, Any] = {
    "no object": [],
    "an unknown kind": GOOD | {"blocks": [[[{"kind": "\x1b[31m", "share": "0.5", "chance": None}]]]},
    "a share beyond one": GOOD | {"blocks": [[[{"kind": "own", "share": "1.5", "chance": None}]]]},
    "another basis": GOOD | {"basis": "proof"},
    "words of its own": GOOD | {"words": "certified"},
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_another_form_is_not_shown(case: str) -> None:
    assert read({"heads": BAD[case]}) is None
    assert read({}) is None
