"""A program that is not what its checkpoint computes is refused before any work rests on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.program import Program, RmsNorm
from blockcert_producers import bundling, extraction, produce
from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, compare_bundle, extract_bundle
from tests.support.bundles import NOW
from tests.support.checkpoints import edit_config, make_checkpoint
from tests.support.corpora import save_tokenizer, save_windows

VOCABULARY, LENGTH = 29, 12


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = make_checkpoint(tmp_path / "model", "llama")
    save_tokenizer(folder / "tokenizer.json", VOCABULARY)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Job:
    windows = np.random.default_rng(0).integers(0, VOCABULARY, size=(30, LENGTH)).tolist()
    texts = (save_windows(tmp_path / "text.txt", windows),)
    return Job(texts, tmp_path / "out", count=4, calibration=4, length=LENGTH, attribution=0)


def misread(eps: str) -> Callable[..., Program]:
    """A lift that takes the epsilon of every norm for another."""

    def wrong(*args: Any, **options: Any) -> Program:
        program = lift(*args, **options)
        stages = tuple(
            msgspec.structs.replace(
                stage,
                steps=tuple(
                    msgspec.structs.replace(step, eps=eps) if isinstance(step, RmsNorm) else step
                    for step in stage.steps
                ),
            )
            for stage in program.stages
        )
        return msgspec.structs.replace(program, stages=stages)

    return wrong


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("work began")


def check(made: Callable[[], object], tmp_path: Path, code: str, place: Path, *parts: str) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Refusal) as caught:
        made()
    assert (caught.value.code, caught.value.place) == (code, str(place))
    assert all(part in caught.value.sentence for part in parts), caught.value.sentence
    assert sorted(tmp_path.iterdir()) == before


WORDS = ("on 2 prompts its logits and those of transformers", "no rounding does that, and float64 gives it too")


def test_an_extraction_is_refused_before_it_begins(
    model: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "lift", misread("1"))
    monkeypatch.setattr(extraction, "front", forbidden)
    check(lambda: extract_bundle(model, job, budget="0.1", now=NOW), tmp_path, "fidelity.mismatch", model, *WORDS)


def test_a_comparison_is_refused_for_its_reference(
    model: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "lift", misread("1"))
    monkeypatch.setattr(bundling, "certify", forbidden)
    check(lambda: compare_bundle(model, model, job, now=NOW), tmp_path, "fidelity.mismatch", model, *WORDS)


def test_a_comparison_is_refused_for_its_candidate(
    model: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = make_checkpoint(tmp_path / "copy", "llama", dtype="bfloat16")
    monkeypatch.setattr(produce, "lift", misread("1"))
    monkeypatch.setattr(bundling, "certify", forbidden)
    check(lambda: compare_bundle(model, copy, job, now=NOW), tmp_path, "fidelity.mismatch", copy, *WORDS)


def test_the_certification_prompts_are_compared_too(
    model: Path, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what the first windows did not show
    monkeypatch.setattr(bundling, "check_lift", lambda *_: None)
    monkeypatch.setattr(bundling, "lift", misread("1"))
    monkeypatch.setattr(bundling, "certify", forbidden)
    part = "on 4 prompts its logits"
    check(lambda: compare_bundle(model, model, job, now=NOW), tmp_path, "fidelity.mismatch", model, part)


def test_a_difference_that_may_be_rounding_is_stated_and_not_refused(
    model: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "lift", misread("0.00002"))
    fidelity = compare_bundle(model, model, job, now=NOW).statement.predicate.reference.fidelity
    assert fidelity is not None
    assert float(fidelity.max_logit_difference) > 1e-4


def test_a_checkpoint_that_transformers_does_not_run_is_refused(model: Path, job: Job, tmp_path: Path) -> None:
    edit_config(model, {"rope_parameters": {"rope_type": None, "rope_theta": 10000.0}})
    lift(model)
    parts = ("transformers does not run this checkpoint: KeyError",)
    check(lambda: compare_bundle(model, model, job, now=NOW), tmp_path, "fidelity.not_run", model, *parts)
