"""A model whose frequencies go by the prompt's length, the whole way, on both sides of its original context.

Requirements: BC-PRG-25.
"""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from blockcert.errors import Refusal
from blockcert.program import LongRopeScaling, Program, Rotary
from blockcert_producers.embedded import path as embedded_path
from blockcert_producers.lift import lift
from blockcert_producers.produce import Job, compare_bundle
from blockcert_verifier import verify
from blockcert_verifier.fidelity import measure_fidelity, transformers_logits
from blockcert_verifier.regimes import original_contexts, other_prompts
from tests.support.certificates import NOW, corpus_for, rounded_copy, sign_and_trust
from tests.support.checkpoints import LONGROPE, make_checkpoint
from tests.support.evaluator import evaluate
from tests.support.oracle import reference_files

ORIGINAL = LONGROPE["original_max_position_embeddings"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkpoint(
        tmp_path_factory.mktemp("model"), "llama", vocab_size=425, head_dim=16, rope_parameters=LONGROPE
    )
    shutil.copy(embedded_path("llama") / "tokenizer.json", folder)
    return folder


def with_context(program: Program, original: int) -> Program:
    """The program with another original context in every rotary step."""
    stages = []
    for stage in program.stages:
        steps = [
            replace(step, scaling=replace(step.scaling, original_context=original))
            if isinstance(step, Rotary) and isinstance(step.scaling, LongRopeScaling)
            else step
            for step in stage.steps
        ]
        stages.append(replace(stage, steps=tuple(steps)))
    return replace(program, stages=tuple(stages))


def logits(folder: Path, program: Program, tokens: np.ndarray) -> np.ndarray:
    return evaluate(program, reference_files(folder), tokens)[-1]


@pytest.mark.parametrize(
    ("length", "others"), [(ORIGINAL, f"more than {ORIGINAL} tokens"), (ORIGINAL + 1, f"at most {ORIGINAL} tokens")]
)
def test_a_certificate_verifies_and_is_proven_and_says_which_prompts_it_is_not_about(
    length: int, others: str, model: Path, tmp_path: Path
) -> None:
    copy = rounded_copy(model, tmp_path / "copy", "bfloat16")
    corpus = corpus_for(model, tmp_path / "text", 8_000)
    made = compare_bundle(model, copy, Job((corpus,), tmp_path / "out", 4, 0, attribution=1, length=length), now=NOW)
    trust = sign_and_trust(made.out, tmp_path / "trust.json")
    report = verify(made.out, trust, reference=model, replay="all", prove=1, prove_stages=1, transformers=True, at=NOW)
    assert report.verdict == "accepted", report
    assert report.proof is not None
    assert report.proof.confirmed == 1
    assert report.points is not None
    assert {stage.verdict for stage in report.points.stages} == {"confirmed"}
    (said,) = [one.what for one in report.unchecked if "LongRoPE" in one.what]
    assert others in said


def test_a_shorter_prompts_logits_do_not_begin_a_longer_ones_there_and_in_transformers(model: Path) -> None:
    program, tokens = lift(model), np.random.default_rng(1).integers(0, 425, (2, ORIGINAL + 2))

    def apart(run: list[np.ndarray]) -> list[float]:
        return [float(np.abs(longer[:, : shorter.shape[1]] - shorter).max()) for shorter, longer in pairwise(run)]

    lengths = (ORIGINAL - 1, ORIGINAL, ORIGINAL + 1, ORIGINAL + 2)
    ours = apart([logits(model, program, tokens[:, :length]) for length in lengths])
    theirs = apart([transformers_logits(model, tokens[:, :length], "float32") for length in lengths])
    assert [difference > 0.1 for difference in ours] == [False, True, False]
    assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(("lifted_as", "length"), [(ORIGINAL + 1, ORIGINAL + 1), (ORIGINAL - 1, ORIGINAL)])
def test_a_program_that_counts_the_prompt_otherwise_is_no_rounding_of_the_model(
    lifted_as: int, length: int, model: Path
) -> None:
    tokens = np.random.default_rng(1).integers(0, 425, (2, length))
    found = measure_fidelity(model, lift(model), tokens, lambda program, part: logits(model, program, part))
    assert float(found.max_logit_difference) < 1e-4
    with pytest.raises(Refusal) as caught:
        measure_fidelity(
            model, with_context(lift(model), lifted_as), tokens, lambda program, part: logits(model, program, part)
        )
    assert caught.value.code == "fidelity.mismatch"


def test_which_prompts_are_turned_otherwise(model: Path) -> None:
    program = lift(model)
    assert original_contexts((program, with_context(program, 7))) == (7, ORIGINAL)
    # no prompt is longer than the program's own context
    assert original_contexts((with_context(program, program.context),)) == ()
    assert other_prompts((), 9) is None
    assert other_prompts((7, 12, 20), 7) == "prompts of more than 7 tokens"
    assert other_prompts((7, 12, 20), 9) == "prompts of at most 7 or of more than 12 tokens"
    assert other_prompts((7, 12, 20), 21) == "prompts of at most 20 tokens"
