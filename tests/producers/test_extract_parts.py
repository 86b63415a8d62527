"""The parts of extraction, each against an independent computation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from blockcert.errors import Refusal
from blockcert.program import (
    Attention,
    Dense,
    DensePattern,
    Integer,
    Linear,
    MeanPattern,
    OffsetPattern,
    RmsNorm,
    Rows,
    SinkPattern,
    Sparse,
    Stage,
)
from blockcert.statement import Cost
from blockcert_producers.extract import choice
from blockcert_producers.extract.budget import parse_budget
from blockcert_producers.extract.candidates import Candidate, Candidates, quantile
from blockcert_producers.extract.formats import feedback, store
from blockcert_producers.extract.moments import inputs, moments, refit
from blockcert_producers.extract.patterns import attended_pairs, single_errors, single_pattern, windows
from blockcert_producers.extract.realise import Realised
from blockcert_producers.extract.tensors import MemoryStore, bfloat16
from blockcert_producers.lift import lift
from blockcert_verifier.anatomy import dissect
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.evaluate.operations import attention_mask
from blockcert_verifier.evaluate.weights import dense_matrix
from tests.support.checkpoints import make_checkpoint


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3"])
def test_the_anatomy_finds_heads_neurons_and_residual_sums(tmp_path: Path, family: str) -> None:
    stage = lift(make_checkpoint(tmp_path, family)).stages[1]
    found = dissect(stage)
    name = {i: step.out for i, step in enumerate(stage.steps)}
    assert found.heads is not None
    assert found.neurons is not None
    heads = (found.heads.query, found.heads.key, found.heads.value, found.heads.output)
    assert [name[i] for i in heads] == ["q", "k", "v", "attention_out"]
    assert {name[i] for i in found.neurons.inputs} == ({"up"} if family == "gpt2" else {"up", "gate"})
    assert name[found.neurons.output] == "mlp_out"
    sums = {name[i]: (name[total], other) for i, (total, other) in found.sums.items()}
    assert sums == {
        "attention_out": ("after_attention", "hidden"),
        "mlp_out": ("after_mlp", "after_attention"),
    }


def test_heads_under_a_norm_of_all_their_channels_are_not_heads(tmp_path: Path) -> None:
    # it would couple them: one head less, and the others' queries change
    stage = lift(make_checkpoint(tmp_path, "qwen3")).stages[1]
    steps = tuple(replace(step, head_size=None) if isinstance(step, RmsNorm) else step for step in stage.steps)
    assert dissect(stage).heads is not None
    assert dissect(replace(stage, steps=steps)).heads is None


def test_a_refit_on_everything_is_ridge_least_squares() -> None:
    x, y, towards = random(0, 200, 6) + 3, random(1, 200, 4), random(2, 4, 6)
    weights = np.random.default_rng(3).random(200)
    fit = moments(inputs(x, weights, 0.1), y, towards)
    found = refit(fit, None, towards)
    share = weights / weights.sum()
    xc, yc = x - share @ x, y - share @ y
    gram = xc.T @ (share[:, None] * xc)
    pull = 0.1 * np.trace(gram) / 6
    expected = np.linalg.solve(gram + pull * np.eye(6), xc.T @ (share[:, None] * yc) + pull * towards.T).T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.bias(found), share @ (y - x @ found.T), atol=1e-6)


@pytest.mark.parametrize("density", [0.9, 0.5, 0.2])
def test_a_refit_on_a_support_is_least_squares_row_by_row(density: float) -> None:
    mixing = random(0, 20, 20)
    x, towards = random(1, 400, 20) @ mixing, random(3, 7, 20)
    y = x @ towards.T + random(2, 400, 7)
    support = np.random.default_rng(4).random((7, 20)) < density
    support[0] = False
    fit = moments(inputs(x, np.ones(400), 0.02), y, towards)
    found = refit(fit, support, towards, iterations=200)
    expected = np.zeros_like(found)
    for row, kept in enumerate(support):
        at = np.flatnonzero(kept)
        if at.size:
            expected[row, at] = np.linalg.solve(fit.inputs.gram[np.ix_(at, at)], fit.cross[row, at])

    def loss(w: np.ndarray) -> float:
        return float(np.sum((w @ fit.inputs.gram) * w) - 2 * np.sum(w * fit.cross))

    assert not found[~support].any()
    gained = loss(towards * support) - loss(expected)
    assert loss(found) - loss(expected) < 1e-3 * gained
    # few steps are nearly there already
    assert loss(refit(fit, support, towards)) - loss(expected) < 1e-2 * gained


def test_bfloat16_rounds_as_torch_does() -> None:
    values = np.concatenate([random(0, 5000), [0.0, 1 + 2**-8, 1 + 3 * 2**-8, 3.3e38, -1e-40]])
    held, stands_for = bfloat16(values)
    expected = torch.tensor(values.astype(np.float32)).to(torch.bfloat16)
    assert held.dtype == "BF16"
    np.testing.assert_array_equal(stands_for, expected.to(torch.float64).numpy())


CASES = {
    "mostly kept, so dense": (0.9, "float16", Dense),
    "few kept, so sparse": (0.2, "float16", Sparse),
    "whole rows gone, so rows": ("rows", "float16", Rows),
    "int8, half kept": (0.5, "int8", Integer),
    "int8, few kept": (0.1, "int8", Sparse),
}


@pytest.mark.parametrize("case", CASES)
def test_a_map_is_stored_in_the_fewest_bits_and_keeps_what_was_planned(tmp_path: Path, case: str) -> None:
    share, form, kind = CASES[case]
    weight = random(0, 48, 40)
    weight[3, 5] = 1e-6  # an int8 step or more from zero only by decree
    support = np.random.default_rng(1).random(weight.shape) < (1 if share == "rows" else share)
    support[3, 5] = True
    if share == "rows":
        support[::3] = False
    fit = inputs(random(2, 300, 40), np.ones(300), 0.02)
    linear, tensors, rounded = store("x", np.where(support, weight, 0), support, form, fit.gram)
    memory = MemoryStore(WeightStore({}), tensors)
    assert isinstance(linear, kind)
    np.testing.assert_array_equal(dense_matrix(memory, linear), rounded)
    np.testing.assert_array_equal(rounded != 0, support)
    step = Stage("block", (Linear("y", "hidden", linear),), "y")
    cost = stage_cost(step, memory, 10)
    assert cost.multiply_adds == 10 * int(support.sum())
    assert cost.bits <= weight.size * (16 if form == "float16" else 8) + 48 * 32
    limit = 2**-11 if form == "float16" else 0.2
    assert np.abs(rounded - weight)[support].max() <= limit * np.abs(weight).max()


def test_values_outside_float16_are_stored_in_float32() -> None:
    weight = np.array([[1e5, 1.0], [2.0, -3.0]])
    _, tensors, rounded = store("x", weight, None, "float16", None)
    assert [held.dtype for held in tensors.values()] == ["F32"]
    np.testing.assert_array_equal(rounded, weight)


def test_error_feedback_beats_rounding_to_the_nearest() -> None:
    x = random(0, 500, 30) @ random(1, 30, 30)
    weight = random(2, 12, 30)
    scale = np.abs(weight).max(axis=1) / 20
    gram = inputs(x, np.ones(500), 1e-3).gram
    nearest, carried = feedback(weight, scale, None, None), feedback(weight, scale, None, gram)
    np.testing.assert_array_equal(nearest, np.rint(weight / scale[:, None]))

    def error(values: np.ndarray) -> float:
        return float(np.linalg.norm(x @ (values * scale[:, None] - weight).T))

    assert error(carried) < 0.7 * error(nearest)


def test_pairs_are_those_of_the_evaluators_mask() -> None:
    for length in (1, 2, 3, 7, 64):
        tried = (DensePattern(), *windows(length), OffsetPattern(1), SinkPattern(), MeanPattern())
        counts = [attended_pairs(pattern, length) for pattern in tried]
        assert counts == sorted(counts, reverse=True)
        assert counts[-3:] == [0, 0, 0]
        for pattern in tried[:-3]:
            step = Attention("o", "q", "k", "v", 1, 1, 2, "2", (pattern,))
            mask = attention_mask(step, length)
            assert mask is not None
            assert attended_pairs(pattern, length) == int(np.isfinite(mask).sum())


def plain_single_errors(weights: np.ndarray, output: np.ndarray, value: np.ndarray) -> list[float]:
    """For every distance the weighted residual of the best fit ``output = a value + b``, one number ``a`` and a vector
    ``b``, by least squares."""
    prompts, length, size = output.shape
    found: list[float] = []
    for back in range(length):
        moved = np.stack([value[:, max(0, t - back)] for t in range(length)], axis=1)
        root = np.sqrt(weights).reshape(-1, 1, 1)
        constant = np.broadcast_to(np.eye(size), (prompts * length, size, size))
        design = np.concatenate([moved.reshape(-1, size, 1), constant], axis=2) * root
        target = (output.reshape(-1, size, 1) * root).reshape(-1)
        best = np.linalg.lstsq(design.reshape(-1, size + 1), target, rcond=None)[0]
        if best[0] < 0:  # attention has no negative weights
            best = np.array([0, *(np.average(output.reshape(-1, size), axis=0, weights=weights.reshape(-1)))])
        found.append(float(((design.reshape(-1, size + 1) @ best - target) ** 2).sum()))
    return found


@pytest.mark.parametrize("length", [1, 2, 9])
def test_every_offset_is_scored_as_a_fit_to_it_would_be(length: int) -> None:
    rng = np.random.default_rng(length)
    weights = rng.random((5, length))
    value = rng.standard_normal((5, length, 3))
    output = 0.5 * np.roll(value, 2, axis=1) + rng.standard_normal((5, length, 3)) / 4 + 7
    found = single_errors(weights, output, value)
    np.testing.assert_allclose(found, plain_single_errors(weights, output, value), rtol=1e-9, atol=1e-9)
    if length == 9:
        assert single_pattern(int(np.argmin(found)), length) == OffsetPattern(2)


def test_a_head_that_looks_at_the_first_token_is_a_sink() -> None:
    rng = np.random.default_rng(0)
    value = rng.standard_normal((6, 8, 4))
    output = np.broadcast_to(value[:, :1], value.shape)
    found = single_errors(np.ones((6, 8)), output, value)
    assert found[-1] < 1e-12 * found[0]
    assert single_pattern(int(np.argmin(found)), 8) == SinkPattern()
    # of one token the first is its own
    assert single_pattern(0, 1) == OffsetPattern(0)


def test_a_head_that_gives_nothing_is_scored_without_dividing_by_nothing() -> None:
    assert single_errors(np.ones((2, 4)), np.zeros((2, 4, 3)), np.zeros((2, 4, 3))).tolist() == [0, 0, 0, 0]


def test_the_quantile_is_the_least_error_that_95_percent_meet() -> None:
    for count in (1, 19, 20, 21, 100, 137):
        errors = np.random.default_rng(count).random(count)
        found = quantile(errors)
        assert (errors <= found).mean() >= 0.95
        smaller = errors[errors < found]
        assert not smaller.size or (errors <= smaller.max()).mean() < 0.95
    assert quantile(np.array([0.1, np.inf])) == np.inf


def test_a_wider_budget_keeps_what_a_narrower_one_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the search of the wider one ends: every choice within a narrower budget is within it too."""

    def candidate(multiply_adds: int) -> Candidate:
        realised = Realised(Stage("block", (), "hidden"), {}, np.zeros(1))
        return Candidate(realised, Cost(1, 1, multiply_adds), None, None, np.zeros((0, 1)))

    dear, cheap, cheaper = map(candidate, (3, 2, 1))
    known: Any = SimpleNamespace(reference=dear)
    for found, least in ((dear, cheap), (cheaper, cheaper)):
        monkeypatch.setattr(choice._Search, "structure", lambda _, found=found: [found])  # pyright: ignore[reportPrivateUsage]
        assert choice.cheapest(known, 0.5, "structure", (cheap,)) is least


def test_a_candidate_is_within_a_budget_by_all_tokens_and_by_the_margin_over_held_out_prompts() -> None:
    good, bad = 0.01, 0.5
    sure = np.full((2, 25), good)
    # 96 % of the tokens, and as likely 92 as 100
    unsure = np.array([[good] * 25, [good] * 23 + [bad] * 2])

    def within(errors: np.ndarray, held_out: np.ndarray) -> bool:
        realised = Realised(Stage("block", (), "hidden"), {}, errors)
        return Candidate(realised, Cost(1, 1, 1), None, None, held_out).within(0.05)

    assert within(np.full(100, good), sure)
    assert not within(np.full(100, good), unsure)
    assert within(np.array([good] * 95 + [bad] * 5), sure)
    assert not within(np.array([good] * 94 + [bad] * 6), sure)


FITTED_AGAIN: dict[str, tuple[Cost, float, bool]] = {
    "as cheap": (Cost(1, 8, 8), 0.01, True),
    "in fewer bits": (Cost(1, 7, 8), 0.01, True),
    "in more bits": (Cost(1, 9, 8), 0.01, False),
    "with more multiply-adds": (Cost(1, 8, 9), 0.01, False),
    "with fewer, which another level has": (Cost(1, 8, 7), 0.01, False),
    "beyond the limit": (Cost(1, 8, 8), 0.06, False),
}


@pytest.mark.parametrize("case", FITTED_AGAIN)
def test_a_choice_is_fitted_to_all_prompts_where_that_is_as_cheap_and_within(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost, error, taken = FITTED_AGAIN[case]
    stage, held_out = Stage("block", (), "hidden"), np.full((1, 4), 0.02)
    before = Candidate(Realised(stage, {}, np.full(4, 0.03)), Cost(1, 8, 8), None, None, held_out, 3)
    again = Candidate(Realised(stage, {}, np.full(4, error)), cost, None, None, np.full((1, 4), error), 3)
    candidates: Any = object.__new__(Candidates)
    candidates._final, candidates._tokens = {}, {}
    monkeypatch.setattr(Candidates, "get", lambda *_: before)
    monkeypatch.setattr(Candidates, "_realise", lambda *_: again)
    found = candidates.finished(3, (), 0.05)
    assert found.realised is (again if taken else before).realised
    # what the prompts held out showed is what they showed while they were
    assert found.held_out is held_out
    assert candidates.finished(None, (), 0.05) is before


BAD_BUDGETS = {
    "zero": ("0", "extract.budget"),
    "one": ("1", "extract.budget"),
    "negative": ("-0.05", "extract.budget"),
    "a word": ("small", "extract.budget"),
    "an exponent": ("1e-2", "extract.budget"),
}


@pytest.mark.parametrize("case", BAD_BUDGETS)
def test_a_bad_budget_is_refused(case: str) -> None:
    text, code = BAD_BUDGETS[case]
    with pytest.raises(Refusal) as refused:
        parse_budget(text)
    assert refused.value.code == code
