"""Targets of the stitched model: blocks get limits by what they do to the end, the target is met on held-out prompts by
an independent computation, and one limit for all blocks is never cheaper."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.program import Program
from blockcert_producers.cli.run import run
from blockcert_producers.extract import Extraction, Polish, front
from blockcert_producers.extract.budget import Aim, Budget, cheapness, parse_budget
from blockcert_producers.extract.front import Chosen
from blockcert_producers.extract.stitched import Allocation, with_margin
from blockcert_producers.extract.study import HELD_OUT
from blockcert_producers.extract.target import LADDER, allocate, most_measured
from blockcert_producers.extract.tensors import MemoryStore, held
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.support.checkpoints import edit_tensors, make_checkpoint
from tests.support.corpora import save_tokenizer, save_windows

LENGTH = 16
SMALL = {"n_embd": 24, "n_head": 4, "n_layer": 2}
SHORT = LADDER[4::2]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other limit: half of the work."""
    monkeypatch.setattr(sys.modules["blockcert_producers.extract.front"], "LADDER", SHORT)


# --- the search, on made-up distances -------------------------------------------------------------------------------


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[tuple[int, int]]], list[Allocation], Callable[[Allocation], float]]:
    """Prices and a distance of at most four blocks and as many limits; distances need not grow, nor add up."""
    blocks, limits = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    prices = [
        [(price, price) for price in sorted(draw(st.sets(st.integers(0, 99), min_size=n, max_size=n)), reverse=True)]
        for n in (draw(st.integers(1, limits + 1)) for _ in range(blocks))
    ]
    shared = [tuple(min(place + 1, len(one) - 1) for one in prices) for place in range(limits)]
    seed = draw(st.integers(0, 1 << 16))

    def distance(allocation: Allocation) -> float:
        if not any(allocation):
            return 0.0
        key = sum(option * 7**i for i, option in enumerate(allocation))
        return sum(allocation) * float(np.random.default_rng((seed, key)).uniform(0.2, 1.0))

    return prices, shared, distance


def price(prices: list[list[tuple[int, int]]], allocation: Allocation) -> int:
    return sum(one[option][0] for one, option in zip(prices, allocation, strict=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems(), st.floats(0.1, 8))
def test_it_meets_the_target_and_no_shared_limit_that_does_is_looser_or_cheaper(problem: Any, target: float) -> None:
    prices, shared, distance = problem
    asked: list[Allocation] = []

    def measure(allocation: Allocation) -> float:
        asked.append(allocation)
        return distance(allocation)

    found = allocate(prices, shared, measure, target)
    assert distance(found.allocation) == found.distance <= target
    assert len(asked) == len(set(asked)) == found.measured <= most_measured(len(prices))
    meeting = [place for place, one in enumerate(shared) if any(one) and distance(one) <= target]
    assert found.limit == max(meeting, default=None)
    assert found.common == ((0,) * len(prices) if found.limit is None else shared[found.limit])
    assert all(price(prices, found.allocation) <= price(prices, shared[place]) for place in meeting)
    # where it ends, no block alone can be given an option more
    for block, option in enumerate(found.allocation):
        if option + 1 < len(prices[block]):
            wider = (*found.allocation[:block], option + 1, *found.allocation[block + 1 :])
            assert distance(wider) > target
    assert allocate(prices, shared, distance, target) == found


def test_one_block_more_and_another_less_is_tried() -> None:
    prices = [[(10, 0), (9, 0), (8, 0)], [(10, 0), (6, 0), (1, 0)]]

    def distance(allocation: Allocation) -> float:
        return [0, 3, 6][allocation[0]] + [0, 3, 6][allocation[1]]

    found = allocate(prices, [(1, 1), (2, 2)], distance, 6.5)
    # from (1, 1) neither block can be given more, but the first can make room for the second
    assert (found.common, found.allocation) == ((1, 1), (0, 2))
    best = min(
        (one for one in itertools.product(range(3), repeat=2) if distance(one) <= 6.5),
        key=lambda one: price(prices, one),
    )
    assert found.allocation == best


def test_what_is_not_a_number_meets_nothing() -> None:
    assert with_margin("kl", np.array([0.1, np.nan])) == with_margin("logits", np.array([np.inf])) == float("inf")
    assert with_margin("kl", np.array([0.25])) == 0.25
    assert with_margin("kl", np.array([0.0, 1.0])) == pytest.approx(0.5 + 2 * np.sqrt(0.5) / np.sqrt(2))
    assert with_margin("logits", np.array([0.25, 0.5])) == 0.5


# --- a model whose head does not see one of its blocks ----------------------------------------------------------------


def unseen(tensors: Any) -> None:
    """Block 2 adds to the first half of the channels alone, block 1 to the second, and the head, behind a norm that
    hardly depends on either, reads only the second."""
    half = SMALL["n_embd"] // 2
    for block, mine in ((0, slice(half, None)), (1, slice(0, half))):
        for name in ("attn.c_proj", "mlp.c_proj"):
            for part in ("weight", "bias"):
                key = f"transformer.h.{block}.{name}.{part}"
                kept = tensors[key].clone()
                tensors[key] = kept * 0
                tensors[key][..., mine] = kept[..., mine] * 20
    tensors["transformer.ln_f.weight"][:half] = 0
    tensors["transformer.ln_f.bias"][:half] = 0


def model(folder: Path, change: Callable[[Any], None] | None = None) -> tuple[Program, dict[str, Path]]:
    make_checkpoint(folder, "gpt2", **SMALL)
    if change is not None:
        edit_tensors(folder, change)
    return lift(folder), {"reference/model.safetensors": folder / "model.safetensors"}


def prompts(program: Program, count: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, program.vocabulary, (count, LENGTH))


def plain_distance(found: Extraction, files: dict[str, Path], tokens: np.ndarray, measure: str) -> np.ndarray:
    """For every prompt its mean KL or its largest logit difference: whole programs, one token at a time."""
    store = WeightStore(files)
    memory = MemoryStore(store, {name: held(*stored) for name, stored in found.tensors.items()})
    values: list[np.ndarray] = []
    for stages, weights in ((found.reference.stages, store), (found.stages, memory)):
        hidden: Any = tokens
        for stage in stages:
            hidden = LoadedStage(stage, weights, Backend(), LENGTH)(hidden)
        values.append(hidden)
    if measure == "logits":
        return np.array([np.abs(f - g).max() for f, g in zip(*values, strict=True)])
    found_kl: list[float] = []
    for row_f, row_g in zip(*values, strict=True):
        each: list[float] = []
        for f, g in zip(row_f[:-1], row_g[:-1], strict=True):
            p, q = np.exp(f) / np.exp(f).sum(), np.exp(g) / np.exp(g).sum()
            each.append(float((p * np.log(p / q)).sum()))
        found_kl.append(float(np.mean(each)))
    return np.array(found_kl)


class Shelf:
    """Finished blocks, in memory."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Chosen, ...]] = {}

    def load(self, block: int) -> tuple[Chosen, ...] | None:
        return self.kept.get(block)

    def keep(self, block: int, chosen: Any) -> None:
        self.kept[block] = tuple(chosen)


def test_a_block_that_the_head_does_not_see_is_given_more_than_one_that_it_sees(tmp_path: Path) -> None:
    program, files = model(tmp_path, unseen)
    shelf = Shelf()
    budget = parse_budget("kl=0.0001")
    found = front(program, files, prompts(program)).choose_all((budget,), shelf=shelf)[0]
    assert found.reached is not None
    # at one limit both err alike
    assert found.reached.limit is not None
    common = [shelf.kept[block][SHORT.index(found.reached.limit)].summary.held_out for block in (1, 2)]
    assert max(common) < 1.6 * min(common)
    seen, hidden = (block.held_out for block in found.blocks)
    assert hidden > 4 * seen
    assert found.reached.kept < found.reached.common


@pytest.mark.parametrize(("target", "aim"), [("kl=0.00003", "bits"), ("logits=0.06", "structure")])
def test_a_target_is_met_on_held_out_prompts(tmp_path: Path, target: str, aim: Aim) -> None:
    program, files = model(tmp_path)
    tokens = prompts(program, 8)
    budget, shelf = parse_budget(target), Shelf()
    found = front(program, files, tokens).choose_all((budget,), aim, shelf=shelf)[0]
    values = plain_distance(found, files, tokens[HELD_OUT], budget.measure)
    distance = values.max()
    if budget.measure == "kl":
        distance = values.mean() + 2 * values.std(ddof=1) / np.sqrt(values.size)
    assert found.reached is not None
    assert found.tensors
    assert distance == pytest.approx(found.reached.distance, rel=1e-6)
    assert 0 < distance <= budget.limit
    kept = [sum(part) for part in zip(*(cheapness(aim, block.kept) for block in found.blocks), strict=True)]
    assert tuple(kept) == found.reached.kept <= found.reached.common
    # from the shelf, nothing is searched again, and the same comes out
    again = front(program, files, tokens).choose_all((budget,), aim, shelf=shelf)[0]
    assert (again.stages, again.tensors, again.reached) == (found.stages, found.tensors, found.reached)


def test_beside_a_target_a_relative_budget_gives_what_it_gives_alone(tmp_path: Path) -> None:
    program, files = model(tmp_path)
    tokens = prompts(program, 8)
    both = (Budget("0.05", Fraction(1, 20)), parse_budget("kl=0.001"))
    first, second = front(program, files, tokens).choose_all(both)
    alone = front(program, files, tokens).choose("0.05")
    assert (first.stages, first.tensors, first.reached) == (alone.stages, alone.tensors, None)
    assert second == front(program, files, tokens).choose("kl=0.001")
    assert all("; within 0." in block.words for block in second.blocks)


def test_where_nothing_meets_the_target_the_reference_stays(tmp_path: Path) -> None:
    program, files = model(tmp_path)
    found = front(program, files, prompts(program, 4)).choose(Budget("kl", Fraction(1, 10**30), "kl"))
    assert found.program(None) == program
    assert found.reached is not None
    assert (found.reached.limit, found.reached.distance) == (None, 0)
    assert all(block.kept == block.reference and block.words.startswith("unchanged") for block in found.blocks)


def test_without_a_held_out_prompt_there_is_nothing_to_meet_a_target_on(tmp_path: Path) -> None:
    program, files = model(tmp_path)
    with pytest.raises(Refusal) as refused:
        front(program, files, prompts(program, 3)).choose("kl=0.1")
    assert refused.value.code == "extract.calibration"
    assert "at least 4" in refused.value.sentence


def test_polished_blocks_meet_a_target_and_cost_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["blockcert_producers.extract.front"], "LADDER", LADDER[9:10])
    program, files = model(tmp_path)
    tokens, budget = prompts(program, 16), parse_budget("kl=0.001")
    plain = front(program, files, tokens).choose(budget, "bits")
    found = front(program, files, tokens, polish=Polish(20)).choose(budget, "bits")
    assert any("polished" in block.words for block in found.blocks)
    values = plain_distance(found, files, tokens[HELD_OUT], "kl")
    assert found.reached is not None
    assert plain.reached is not None
    distance = values.mean() + 2 * values.std(ddof=1) / np.sqrt(values.size)
    assert distance == pytest.approx(found.reached.distance, rel=1e-6)
    assert distance <= budget.limit
    assert found.reached.kept <= plain.reached.kept


# --- at the prompt ----------------------------------------------------------------------------------------------------

STATED = {
    "kl=0.0010": ("kl=0.001", "a mean KL of at most 0.001 nats per token (found: ", "two standard errors included"),
    "logits=.25": ("logits=0.25", "no logit off by more than 0.25 (found: ", ")"),
}


@pytest.mark.parametrize("target", STATED)
def test_a_target_is_asked_for_at_the_prompt_and_stated(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, _ = model(tmp_path / "model")
    save_tokenizer(tmp_path / "model" / "tokenizer.json", program.vocabulary)
    windows = np.random.default_rng(1).integers(0, program.vocabulary, (20, LENGTH)).tolist()
    save_windows(tmp_path / "text.txt", windows)
    counts = ("--count", "2", "--calibration", "8", "--length", str(LENGTH), "--attribution", "0")
    words = ["extract", str(tmp_path / "model"), "--prompts", str(tmp_path / "text.txt"), *counts]
    out = tmp_path / "out"
    assert run([*words, "--budget", target, "--out", str(out)]) == 0
    assert "not signed yet" in capsys.readouterr().out.lower()
    name, said, end = STATED[target]
    payload = parse_envelope((out / STATEMENT).read_bytes(), STATEMENT).payload
    note = json.loads(payload)["predicate"]["surrogate"]["note"]
    assert note.startswith("extracted to a target of the stitched model on held-out calibration prompts, ")
    assert said in note
    assert end in note
    # beside a budget of single blocks, in one front
    together = tmp_path / "front"
    assert run([*words, "--budgets", f"{target},0.2", "--out", str(together)]) == 0
    table = json.loads((together / "front.json").read_bytes())
    assert [point["budget"] for point in table["points"]] == ["0.2", name]
    alone, inside = ((folder / "programs/surrogate.json").read_bytes() for folder in (out, together / name))
    assert alone == inside
