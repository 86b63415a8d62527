"""Every family the whole way: a tiny checkpoint is extracted from, and the certificate verifies with every row."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from blockcert_producers.embedded import path as embedded_path
from blockcert_producers.lift import ARCHITECTURES
from blockcert_producers.produce import Job, compare_bundle, extract_bundle
from blockcert_verifier import verify
from tests.support.architecture_table import BEGIN, END, README, lines, section
from tests.support.certificates import NOW, corpus_for, rounded_copy, sign_and_trust
from tests.support.checkpoints import LONGROPE, PROPORTIONAL, YARN, make_checkpoint

# gpt2 and plain llama are the embedded models of many other tests
MADE: dict[str, dict[str, Any]] = {
    "gemma2": {},
    "gemma3_text": {},
    "gpt_neox": {},
    "llama": {"head_dim": 16, "rope_parameters": YARN},
    "mistral": {},
    # prompts of 64 tokens, longer than the original context
    "phi3": {
        "hidden_size": 64,
        "original_max_position_embeddings": 12,
        "rope_parameters": {name: LONGROPE[name] for name in ("rope_type", "short_factor", "long_factor")},
        "pad_token_id": 0,
    },
    "qwen2": {"tie_word_embeddings": True, "head_dim": 16, "rope_parameters": PROPORTIONAL},
    "qwen3": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
}


@pytest.mark.parametrize("family", MADE)
def test_a_certificate_on_this_family_verifies(family: str, tmp_path: Path) -> None:
    tokenizer = embedded_path("llama") / "tokenizer.json"
    model = make_checkpoint(tmp_path / "model", family, vocab_size=425, **MADE[family])
    shutil.copy(tokenizer, model)
    corpus = corpus_for(model, tmp_path / "text", 20_000)
    made = extract_bundle(model, Job((corpus,), tmp_path / "out", 6, 8, attribution=2), budget="0.1", now=NOW)
    report = verify(made.out, sign_and_trust(made.out, tmp_path / "trust.json"), reference=model, replay="all", at=NOW)
    assert report.verdict == "accepted", report
    kept = made.statement.predicate.surrogate.kept
    blocks = list(zip(kept.surrogate, kept.reference, strict=True))[1:-1]
    assert sum(one.multiply_adds for one, _ in blocks) < sum(whole.multiply_adds for _, whole in blocks)


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "gpt_neox", "phi3"])
def test_a_rounded_copy_of_this_family_is_compared_and_verifies(family: str, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", family, vocab_size=425)
    shutil.copy(embedded_path("llama") / "tokenizer.json", model)
    copy = rounded_copy(model, tmp_path / "copy", "bfloat16")
    corpus = corpus_for(model, tmp_path / "text", 20_000)
    made = compare_bundle(model, copy, Job((corpus,), tmp_path / "out", 6, 0, attribution=2), now=NOW)
    trust = sign_and_trust(made.out, tmp_path / "trust.json")
    report = verify(made.out, trust, reference=model, replay="all", transformers=True, at=NOW)
    assert report.verdict == "accepted", report
    kept = made.statement.predicate.surrogate.kept
    for copied, whole in zip(kept.surrogate, kept.reference, strict=True):
        assert (copied.multiply_adds, 2 * copied.bits) == (whole.multiply_adds, whole.bits)
    assert 0 < Fraction(made.statement.predicate.claims.end_to_end.relative_drift) < Fraction(1, 10)


def test_the_readmes_table_of_architectures_is_what_is_made() -> None:
    assert len(lines()) == len(ARCHITECTURES)
    text = README.read_text(encoding="utf-8")
    assert f"{BEGIN}\n{section()}\n{END}\n" in text, "run: python -m tests.support.architecture_table"
