"""Low rank: the factors are the best there are for the activations, and the path takes them where they cost less."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from blockcert.program import Linear, LowRank
from blockcert_producers.extract.low_rank import factors, spectrum
from blockcert_producers.extract.moments import inputs
from blockcert_producers.extract.plan import LEVELS, Structure, make_plan
from blockcert_producers.extract.realise import realise
from blockcert_producers.extract.sensitivity import measure_sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import MemoryStore
from blockcert_producers.lift import lift
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.support.checkpoints import edit_tensors, make_checkpoint

LENGTH, RANK = 16, 4


def error(difference: np.ndarray, gram: np.ndarray, rows: np.ndarray) -> float:
    return float(rows @ np.einsum("op,pr,or->o", difference, gram, difference))


def test_factors_are_the_best_of_their_rank_for_the_activations() -> None:
    rng = np.random.default_rng(0)
    weight, rows = rng.standard_normal((9, 14)), rng.random(9) + 0.1
    gram = inputs(rng.standard_normal((200, 14)) @ rng.standard_normal((14, 14)), np.ones(200), 0.02).gram
    adds = spectrum(weight, gram, rows)
    for rank in (1, 4, 9):
        left, right = factors(weight, gram, rows, rank)
        assert (left.shape, right.shape) == ((9, rank), (rank, 14))
        found = error(left @ right - weight, gram, rows)
        np.testing.assert_allclose(found, adds[rank:].sum(), rtol=1e-8, atol=1e-10)
        # no step along either factor makes it better, and plain truncation is worse
        for moved in (left + 1e-3 * rng.standard_normal(left.shape), left - 1e-3 * rng.standard_normal(left.shape)):
            assert error(moved @ right - weight, gram, rows) > found
        u, s, v = np.linalg.svd(weight)
        plain = (u[:, :rank] * s[:rank]) @ v[:rank] if rank < 9 else weight
        assert found <= error(plain - weight, gram, rows) + 1e-10


def study_of(folder: Path) -> Study:
    """A block of which the gate has rank four, but for a little."""

    def shrink(tensors: dict[str, Any]) -> None:
        name = "model.layers.0.mlp.gate_proj.weight"
        generator = torch.Generator().manual_seed(0)
        rows, columns = tensors[name].shape
        left, right = torch.randn(rows, RANK, generator=generator), torch.randn(RANK, columns, generator=generator)
        tensors[name] = 0.2 * left @ right + 0.02 * torch.randn(rows, columns, generator=generator)

    make_checkpoint(folder, "llama", hidden_size=48, intermediate_size=96, num_attention_heads=6, num_key_value_heads=3)
    edit_tensors(folder, shrink)
    program = lift(folder)
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (24, LENGTH))
    store, backend = WeightStore({"reference/model.safetensors": folder / "model.safetensors"}), Backend()
    hidden = LoadedStage(program.stages[0], store, backend, LENGTH)(backend.integers(tokens))
    return Study(program.stages[1], hidden, store, backend)


def test_the_path_takes_low_rank_where_it_costs_less(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    sensitivities, amplification = measure_sensitivity(study)
    plan = make_plan(study, sensitivities, amplification)
    (gate,) = (i for i in study.anatomy.linears if study.linear(i).out == "gate")
    rows, columns = study.matrix(gate).shape
    ranks = plan.ranks[gate].tolist()
    # at first single weights go, then the map is cut to what it is
    assert ranks[0] == 0
    first = next(level for level, rank in enumerate(ranks) if rank)
    assert RANK in ranks[first:]
    kept = [
        rank * (rows + columns) if rank else int((plan.drops[gate] > level).sum()) for level, rank in enumerate(ranks)
    ]
    assert all(a >= b for a, b in pairwise(kept))
    assert first < LEVELS

    level = ranks.index(RANK)
    structure = plan.at(level, study)
    assert structure.ranks[gate] == RANK
    weights = dict.fromkeys(study.anatomy.linears, study.token_weights)
    found = realise(study, structure, "float16", "x", weights)
    step = next(step for step in found.stage.steps if step.out == "gate")
    assert isinstance(step, Linear)
    assert isinstance(step.map, LowRank)
    alive = rows if structure.neurons is None else len(structure.neurons)
    assert found.tensors["x.gate.left"].values.shape == (alive, RANK)
    cost = stage_cost(found.stage, MemoryStore(study.store, found.tensors), LENGTH)
    without = realise(study, msgspec.structs.replace(structure, ranks={}), "float16", "x", weights)
    full = stage_cost(without.stage, MemoryStore(study.store, without.tensors), LENGTH)
    assert full.multiply_adds - cost.multiply_adds == LENGTH * (alive * columns - RANK * (alive + columns))
    # all else whole, as many multiply-adds in single weights cost more
    budget = RANK * (rows + columns)
    drops = plan.drops[gate]
    fewer = next(at for at in range(LEVELS + 1) if int((drops > at).sum()) <= budget)
    whole = {i: np.ones(study.matrix(i).shape, dtype=bool) for i in study.anatomy.linears}
    low = Structure(whole, None, None, {gate: RANK}, plan.rows)
    single = Structure({**whole, gate: drops > fewer}, None, None)
    errors = [float((realise(study, one, "float16", "x", weights).errors ** 2).mean()) for one in (low, single)]
    assert errors[0] < errors[1]
