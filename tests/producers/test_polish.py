"""Polish: what torch descends on is what the evaluator measures, nothing gets dearer, and only what helps is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.program import (
    Attention,
    Integer,
    Linear,
    LowRank,
    MeanPattern,
    OffsetPattern,
    Program,
    SinkPattern,
    Sparse,
    WindowPattern,
)
from blockcert_producers.extract import Polish, extract, polish
from blockcert_producers.extract.candidates import Candidate, Candidates, quantile
from blockcert_producers.extract.choice import cheapest, cheapest_polished
from blockcert_producers.extract.differentiable import Differentiable
from blockcert_producers.extract.plan import LEVELS, Plan, Structure, make_plan
from blockcert_producers.extract.polish import Polisher
from blockcert_producers.extract.realise import Realised, realise
from blockcert_producers.extract.sensitivity import measure_sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import MemoryStore, Tensor
from blockcert_producers.extract.tunable import Tunable
from blockcert_producers.lift import lift
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.support.checkpoints import make_checkpoint

torch = pytest.importorskip("torch")

FAMILIES = ["gpt2", "llama", "gemma2"]
SMALL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 24, "n_head": 4},
    "llama": {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 6, "num_key_value_heads": 3},
    "gemma2": {},
}
LENGTH, PROMPTS, STEPS = 16, 24, 60


def model(folder: Path, family: str) -> tuple[Program, dict[str, Path]]:
    make_checkpoint(folder, family, **SMALL[family])
    return lift(folder), {"reference/model.safetensors": folder / "model.safetensors"}


@pytest.fixture(params=FAMILIES)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    """The first block of a small model of random weights."""
    program, files = model(tmp_path, request.param)
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (PROMPTS, LENGTH))
    store, backend = WeightStore(files), Backend()
    hidden = LoadedStage(program.stages[0], store, backend, LENGTH)(backend.integers(tokens))
    return Study(program.stages[1], hidden, store, backend)


def candidates_of(study: Study, widest: float = 1.0) -> Candidates:
    sensitivities, amplification = measure_sensitivity(study)
    plan = make_plan(study, sensitivities, amplification)
    return Candidates(study, plan, sensitivities, "x", widest, lambda _: None)


def structures(study: Study) -> dict[str, Structure | None]:
    """Every kind of structure: patterns of all sorts, single weights, ranks, neurons."""
    step = next(step for step in study.stage.steps if isinstance(step, Attention))
    drops = {i: np.full(study.matrix(i).shape, 255, dtype=np.uint8) for i in study.anatomy.linears}
    some = (WindowPattern(3, 1), OffsetPattern(1), SinkPattern(), MeanPattern(), OffsetPattern(0), *step.patterns)
    whole = Plan(drops, None, (some[: step.heads],)).at(0, study)
    sparse = {i: np.random.default_rng(i).random(drop.shape) < 0.3 for i, drop in drops.items()}
    ranks = {study.anatomy.linears[0]: 3}
    rows = {i: np.ones(study.matrix(i).shape[0]) for i in ranks}
    everything = {i: np.ones(drop.shape, dtype=bool) for i, drop in drops.items()}
    return {
        "only rounded": None,
        "patterns": whole,
        "single weights": Structure(sparse, None, step.patterns),
        "ranks and neurons": Structure(everything, np.array([0, 2, 5]), step.patterns, ranks, rows),
    }


def tunable_of(study: Study, found: Realised, *, pruned: bool = False) -> tuple[Tunable, Differentiable]:
    backend = Backend("torch", "float32")
    store = MemoryStore(study.store, found.tensors)
    tunable = Tunable(found.stage, found.tensors, store, backend, "x", lambda _: 1.0, pruned=pruned)
    return tunable, Differentiable(found.stage, store, backend, study.length)


def numbers(held: Tensor) -> np.ndarray:
    """What a stored tensor stands for; two zeros are one."""
    return (held.values.astype(np.uint32) << 16).view(np.float32) if held.dtype == "BF16" else held.values


def test_torch_runs_what_the_evaluator_runs_and_untouched_nothing_changes(study: Study) -> None:
    tokens = dict.fromkeys(study.anatomy.linears, study.token_weights)
    kinds: set[type] = set()
    for structure in structures(study).values():
        for form in ("float16", "bfloat16", "int8", "int4/16"):
            found = realise(study, structure, form, "x", tokens)  # type: ignore[arg-type]
            tunable, block = tunable_of(study, found)
            weights = tunable.weights([own for _, own in block.loaded])
            output = block.run(block.backend.array(study.values["hidden"]), weights)
            stage, tensors = tunable.stored()
            again = LoadedStage(stage, MemoryStore(study.store, tensors), study.backend, LENGTH)(study.values["hidden"])
            scale = float(np.abs(again).max())
            # float32, and norms in float16 where the reference has float32
            np.testing.assert_allclose(output.detach().numpy(), again, atol=2e-5 * scale)
            for name, held in found.tensors.items():
                np.testing.assert_array_equal(numbers(held), numbers(tensors[name]))
                assert held.dtype == tensors[name].dtype
            kinds |= {type(step.map) for step in stage.steps if isinstance(step, Linear)}
            loss = (output**2).mean()
            loss.backward()
            assert all(one.grad is None or bool(torch.isfinite(one.grad).all()) for one in tunable.parameters)
    assert kinds >= {Integer, LowRank, Sparse}


def test_a_polish_is_nearer_where_no_fit_has_looked_and_costs_no_more(study: Study) -> None:
    candidates = candidates_of(study)
    polisher = Polisher(candidates, Polish(STEPS), "x", lambda: None)
    gained = 0
    for level, form in ((None, "int4"), (LEVELS // 2, "int6"), (LEVELS // 2, "float16")):
        before = candidates.get(level, candidates.all_in(form))  # type: ignore[arg-type]
        after = polisher.polished(before)
        if after is None:
            continue
        gained += 1
        assert after.polished
        assert quantile(after.held_out) < quantile(before.held_out)
        assert after.cost.multiply_adds <= before.cost.multiply_adds
        assert after.cost.bits <= before.cost.bits
        assert after.cost.parameters <= before.cost.parameters
        checked(study, after)
        assert polisher.polished(before) is after
        for name, held in before.realised.tensors.items():
            now = after.realised.tensors[name].values
            assert not now[held.values == 0].any()
            if level is not None and held.dtype == "I8":
                assert now[held.values != 0].all()
    assert gained


def checked(study: Study, found: Candidate) -> None:
    """Errors and cost of a candidate, from its tensors alone."""
    store = MemoryStore(study.store, found.realised.tensors)
    output = study.flat(LoadedStage(found.realised.stage, store, Backend(), LENGTH)(study.values["hidden"]))
    errors = np.linalg.norm(output - study.output, axis=1) / np.linalg.norm(study.output, axis=1)
    np.testing.assert_allclose(errors, found.realised.errors, rtol=1e-9)
    np.testing.assert_array_equal(found.held_out, found.realised.errors.reshape(PROMPTS, LENGTH)[3::4])
    assert found.cost == stage_cost(found.realised.stage, store, LENGTH)


@pytest.fixture
def llama(tmp_path: Path) -> tuple[Program, dict[str, Path], np.ndarray]:
    program, files = model(tmp_path, "llama")
    return program, files, np.random.default_rng(0).integers(0, program.vocabulary, (PROMPTS, LENGTH))


def test_what_makes_it_worse_is_not_taken(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish, "_RATE", 3.0)
    program, files, tokens = llama
    plain = extract(program, files, tokens, "0.05")
    spoiled = extract(program, files, tokens, "0.05", polish=Polish(3))
    assert spoiled == plain


def test_steps_that_overflow_are_not_taken(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polish, "_RATE", 1e30)
    program, files, tokens = llama
    assert extract(program, files, tokens, "0.05", polish=Polish(3)) == extract(program, files, tokens, "0.05")


def test_no_prompt_is_held_out_of_few_so_nothing_is_taken(llama: Any) -> None:
    program, files, tokens = llama
    assert extract(program, files, tokens[:3], "0.05", polish=Polish(3)) == extract(program, files, tokens[:3], "0.05")


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(llama: Any) -> None:
    first, second, other = (extract(*llama, "0.1", polish=Polish(STEPS, seed)) for seed in (1, 1, 2))
    assert first.tensors == second.tensors
    assert first.stages == second.stages
    assert any("polished" in block.words for block in first.blocks)
    assert first.tensors != other.tensors


@pytest.mark.parametrize("aim", ["structure", "bits"])
def test_a_polished_choice_is_within_the_budget_and_no_dearer(study: Study, aim: Any) -> None:
    candidates = candidates_of(study)
    polisher = Polisher(candidates, Polish(STEPS), "x", lambda: None)
    limit = 0.05
    plain, found = cheapest(candidates, limit, aim), cheapest_polished(candidates, polisher, limit, aim)
    assert found.within(limit)
    mine, theirs = ((one.cost.multiply_adds if aim == "structure" else one.cost.bits) for one in (found, plain))
    assert mine <= theirs


def test_progress_of_a_polish_rises_to_its_total(llama: Any) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    extract(*llama, "0.05", polish=Polish(4), progress=lambda task, *steps: seen.setdefault(task, []).append(steps))
    assert set(seen) == {"choosing within the budget", "polishing"}
    for steps in seen.values():
        done, totals = zip(*steps, strict=True)
        assert list(done) == sorted(done)
        assert set(totals) == {done[-1]}


def test_a_gpu_that_is_not_there_is_refused(llama: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(Refusal) as found:
        extract(*llama, "0.05", backend_device="cuda", polish=Polish(1))
    assert found.value.code == "device.unavailable"
