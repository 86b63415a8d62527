"""The embedded models: their text, their tokenizer, their losses and their heads are what their cards say."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from typing import Any

import pytest

from blockcert_producers import embedded
from blockcert_producers.embedded import card, text

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

MARGIN = 0.05  # nats per token: the spread between fresh samples of 10000 tokens and the card's 100000


@pytest.fixture(params=embedded.NAMES)
def name(request: pytest.FixtureRequest) -> embedded.Name:
    return request.param


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from blockcert_producers.embedded.tokenizer import build

    return build()


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {
        name: transformers.AutoModelForCausalLM.from_pretrained(embedded.path(name)).eval() for name in embedded.NAMES
    }


def _card(name: embedded.Name) -> dict[str, Any]:
    return json.loads((embedded.path(name) / "card.json").read_text(encoding="utf-8"))


def test_importing_needs_neither_torch_nor_transformers() -> None:
    program = (
        "import sys, blockcert_producers.embedded, blockcert_producers.embedded.text;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no embedded model"):
        embedded.path("bert")  # type: ignore[arg-type]


def test_text_is_deterministic_whole_and_as_long_as_asked() -> None:
    once = text.generate(7, 5000)
    assert once == text.generate(7, 5000)
    assert once != text.generate(8, 5000)
    assert 5000 <= len(once) < 5600
    assert once.endswith("\n")
    assert text.generate(7, 9000).startswith(once)


def test_every_kind_occurs_and_brackets_match() -> None:
    lines = [line for line, _ in itertools.islice(text.documents(5), 500)]
    assert {line.split(":")[0] for line in lines} == set(text.KINDS)
    for line in lines:
        if not line.startswith("Brackets"):
            continue
        stack: list[str] = []
        for sign in line:
            if sign in text.OPENERS:
                stack.append(text.CLOSERS[text.OPENERS.index(sign)])
            elif sign in text.CLOSERS:
                assert stack.pop() == sign
        assert not stack


def test_nats_are_those_of_the_frequencies() -> None:
    """The countings are few enough to count: exp(-nats) is how often each comes, and they sum to one."""
    seen: dict[str, int] = {}
    nats: dict[str, float] = {}
    total = 40_000
    for line, cost in itertools.islice(text.documents(11, {"Count": 1.0}), total):
        seen[line] = seen.get(line, 0) + 1
        assert nats.setdefault(line, cost) == cost
    assert math.fsum(math.exp(-cost) for cost in nats.values()) == pytest.approx(1.0)
    for line, count in seen.items():
        expected = total * math.exp(-nats[line])
        assert abs(count - expected) < 6 * math.sqrt(expected)


def test_tokenization_is_lossless_and_words_are_single_tokens(tokenizer: Any) -> None:
    corpus = text.generate(9, 100_000)
    encoded = tokenizer.encode(corpus)
    assert tokenizer.decode(encoded.ids) == corpus
    assert len(encoded.ids) < len(corpus) / 3
    for other in ("Hello, wörld 1234\t 日本\r\n  x", "<>", " a\x00b", ""):
        assert tokenizer.decode(tokenizer.encode(other).ids) == other
    assert all(len(tokenizer.encode(word).ids) == 1 for word in text.WORDS)
    rows = torch.tensor(encoded.ids[: len(encoded.ids) // 64 * 64]).view(-1, 64)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)


def test_the_folder_loads_without_a_warning(
    name: embedded.Name, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = embedded.path(name)
    transformers.logging.enable_propagation()
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        loaded = transformers.AutoTokenizer.from_pretrained(folder)
    finally:
        transformers.logging.disable_propagation()
    assert not caplog.records
    assert not any(report.values())
    assert model.config.model_type == name
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert sum(weight.numel() for weight in model.parameters()) == _card(name)["parameters"]
    sample = text.generate(13, 2000) + "élan 42"
    ids = tokenizer.encode(sample).ids
    assert loaded(sample)["input_ids"] == ids
    assert tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(sample).ids == ids


def test_the_folder_is_small(name: embedded.Name) -> None:
    assert sum(file.stat().st_size for file in embedded.path(name).rglob("*")) < 4_000_000


def test_fresh_loss_is_that_of_the_card(name: embedded.Name, models: dict[str, Any], tokenizer: Any) -> None:
    from blockcert_producers.embedded import losses

    stated = _card(name)
    fresh = losses.held_out(models[name], tokenizer, seed=4321, tokens=10_000)
    # The excess over the entropy varies far less between samples than the loss or the entropy does.
    excess = stated["held_out_loss"] - stated["generator_entropy"]
    assert fresh.loss - fresh.entropy == pytest.approx(excess, abs=MARGIN)
    assert fresh.loss > fresh.entropy - MARGIN / 2
    assert fresh.loss < stated["uniform_loss"] / 3
    ids = torch.tensor(tokenizer.encode(text.generate(4321, 40_000)).ids)
    assert losses.windows_loss(models[name], ids) == pytest.approx(stated["window_64_loss"], abs=2 * MARGIN)


def test_heads_have_the_roles_of_the_card(name: embedded.Name, models: dict[str, Any], tokenizer: Any) -> None:
    from blockcert_producers.embedded import heads

    stated = _card(name)
    found = heads.best(heads.measure(models[name], tokenizer, seed=77))
    for role, least in (("previous", 0.5), ("induction", 0.4), ("bracket_next", 0.3)):
        assert getattr(found[role], role) > least
        listed = stated["best_heads"][role]
        assert getattr(found[role], role) == pytest.approx(listed[role], abs=0.1)


def test_the_page_states_the_figures_of_the_card(name: embedded.Name) -> None:
    assert (embedded.path(name) / "README.md").read_text(encoding="utf-8") == card.readme(_card(name))


def test_no_two_heads_are_the_same(name: embedded.Name) -> None:
    scores = [tuple(row[role] for role in ("previous", "induction", "bracket_next")) for row in _card(name)["heads"]]
    assert len(set(scores)) == len(scores) == 16


def test_training_twice_gives_the_same_bytes(tmp_path: Any) -> None:
    from blockcert_producers.embedded import train

    recipe = train.Recipe(early=2, steps=3, batch=2, early_tokens=2000, tokens=2000, held_out_tokens=500, warmup=2)
    folders = [tmp_path / str(run) for run in range(2)]
    cards = [train.train("llama", folder, recipe) for folder in folders]
    assert cards[0] == cards[1]
    files = sorted(file.name for file in folders[0].iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "card.json", "README.md"} <= set(files)
    for file in files:
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
