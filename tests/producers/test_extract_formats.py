"""Number formats: what is stored is what is said, in the bits that are counted, and each map gets its own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from blockcert.program import Dense, Integer, Linear, Program, Sparse, Stage
from blockcert_producers.extract.allocation import assignments
from blockcert_producers.extract.candidates import Candidates
from blockcert_producers.extract.choice import cheapest
from blockcert_producers.extract.formats import (
    FORMATS,
    INTEGERS,
    Format,
    form_words,
    grid,
    scales,
    store,
    stored_bits,
)
from blockcert_producers.extract.moments import inputs
from blockcert_producers.extract.plan import make_plan
from blockcert_producers.extract.realise import reference_inputs
from blockcert_producers.extract.sensitivity import measure_sensitivity
from blockcert_producers.extract.study import Study
from blockcert_producers.extract.tensors import MemoryStore, half
from blockcert_producers.lift import lift
from blockcert_verifier.costs import stage_cost
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from blockcert_verifier.evaluate.weights import dense_matrix
from tests.support.checkpoints import make_checkpoint

WIDTH = 80
"""No multiple of any group."""


def weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((24, WIDTH))


def gram(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return inputs(rng.standard_normal((400, WIDTH)) @ rng.standard_normal((WIDTH, WIDTH)), np.ones(400), 0.02).gram


@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("share", [1.0, 0.9])
def test_integers_are_stored_as_they_are_counted(form: Format, share: float) -> None:
    support = np.random.default_rng(2).random((24, WIDTH)) < share
    kept = None if share == 1 else support
    linear, tensors, rounded = store("x", np.where(support, weights(), 0), kept, form, gram())
    memory = MemoryStore(WeightStore({}), tensors)
    np.testing.assert_array_equal(dense_matrix(memory, linear), rounded)
    if kept is not None:
        np.testing.assert_array_equal(rounded != 0, support)
    bits, group = grid(form) or (0, None)
    assert isinstance(linear, Integer)
    assert (linear.bits, linear.group) == (bits, group)
    groups = -(-WIDTH // (group or WIDTH))
    assert tensors["x.scale"].dtype == "F16"
    assert tensors["x.scale"].values.shape == ((24, groups) if group else (24,))
    # by hand: so many bits for each weight, and sixteen for each scale
    assert stored_bits(linear, tensors) == 24 * WIDTH * bits + 24 * groups * 16
    cost = stage_cost(Stage("block", (Linear("y", "hidden", linear),), "y"), memory, 7)
    assert cost.bits == stored_bits(linear, tensors)
    assert cost.multiply_adds == 7 * np.count_nonzero(rounded)
    # though in the file each is a byte
    assert tensors["x.weight"].values.nbytes == 24 * WIDTH


def test_a_group_as_wide_as_the_row_is_the_row() -> None:
    linear, _, _ = store("x", weights()[:, :16], None, "int4/16", None)
    assert isinstance(linear, Integer)
    assert linear.group is None


def test_groups_serve_weights_of_several_sizes() -> None:
    weight = weights() * np.repeat([1.0, 8.0, 1.0, 0.1, 1.0], 16)
    errors = [
        float(np.linalg.norm(store("x", weight, None, form, None)[2] - weight))
        for form in ("int4", "int4/64", "int4/32", "int4/16")
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


def test_scales_are_chosen_for_the_inputs_that_matter() -> None:
    weight = weights()
    importance = np.ones(WIDTH)
    # one weight far out, behind an input that hardly varies
    weight[:, 3], importance[3] = 9.0, 1e-6
    plain, chosen = scales(weight, 4, None, None), scales(weight, 4, None, importance)

    def error(scale: np.ndarray) -> np.ndarray:
        wide = scale.astype(np.float64)[:, None]
        values = np.clip(np.rint(weight / wide), -8, 7) * wide
        return (importance * (values - weight) ** 2).sum(axis=1)

    assert (error(chosen) <= error(plain) * (1 + 1e-9)).all()
    assert error(chosen).sum() < 0.8 * error(plain).sum()
    np.testing.assert_allclose(plain, np.abs(weight).max(axis=1) / 7, rtol=1e-3)


def test_the_integer_that_only_one_side_has_is_used() -> None:
    # minus eight has no counterpart: a negative scale gives it to a row whose furthest weight is positive
    weight = np.array([[8.0, -7.0, 3.0, 1.0], [-8.0, 7.0, -3.0, 1.0]])
    _, _, rounded = store("x", weight, None, "int4", np.eye(4))
    np.testing.assert_array_equal(rounded, weight)


def test_rows_of_zeros_and_tiny_rows_are_stored() -> None:
    weight = np.array([[0.0, 0.0], [1e-7, -1e-7]])
    linear, tensors, rounded = store("x", weight, None, "int4", np.eye(2))
    assert not rounded[0].any()
    # float16 would lose the scale
    assert tensors["x.scale"].dtype == "F32"
    np.testing.assert_allclose(rounded[1], weight[1], rtol=0.2)
    assert isinstance(linear, Integer)
    assert half(np.array([1e6])).dtype == np.float32


@pytest.mark.parametrize(("width", "dtype"), [(256, "U8"), (257, "U16")])
def test_columns_are_numbered_in_as_few_bits_as_they_need(width: int, dtype: str) -> None:
    weight = np.zeros((4, width))
    weight[:, -1] = 1.0
    linear, tensors, rounded = store("x", weight, weight != 0, "int8", None)
    assert isinstance(linear, Sparse)
    assert tensors["x.columns"].dtype == dtype
    assert tensors["x.starts"].dtype == "U8"
    np.testing.assert_array_equal(dense_matrix(MemoryStore(WeightStore({}), tensors), linear), rounded)


def test_formats_are_ordered_by_their_bits_and_said_in_words() -> None:
    sizes = [store("x", np.ones((8, 128)), None, form, None)[0:2] for form in INTEGERS]
    bits = [stored_bits(*one) for one in sizes]
    assert bits == sorted(bits)
    assert set(INTEGERS) < set(FORMATS)
    assert form_words("int4/32") == "int4 in groups of 32"
    assert form_words("int6") == "int6"
    assert isinstance(store("x", np.ones((2, 2)), None, "bfloat16", None)[0], Dense)


def study_of(folder: Path) -> Study:
    make_checkpoint(folder, "llama", hidden_size=48, intermediate_size=96, num_attention_heads=6, num_key_value_heads=3)
    program: Program = lift(folder)
    files = {"reference/model.safetensors": folder / "model.safetensors"}
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (24, 16))
    store_, backend = WeightStore(files), Backend()
    hidden = LoadedStage(program.stages[0], store_, backend, 16)(backend.integers(tokens))
    return Study(program.stages[1], hidden, store_, backend)


def test_the_chain_saves_bits_for_error_and_predicts_what_is_measured(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    sensitivities, amplification = measure_sensitivity(study)
    plan = make_plan(study, sensitivities, amplification)
    candidates = Candidates(study, plan, sensitivities, "x", 1.0, lambda _: None)
    chain = assignments(
        study, sensitivities, lambda index: reference_inputs(study, index, sensitivities[index].tokens), None
    )
    assert set(chain[0].forms) == {"float16"}
    assert {form.partition("/")[0] for form in chain[-1].forms} == {"int4"}
    for one, following in pairwise(chain):
        # one map at a time
        assert sum(a != b for a, b in zip(one.forms, following.forms, strict=True)) == 1
        assert one.error < following.error
    bits = [candidates.get(None, one.forms).cost.bits for one in chain]
    assert bits == sorted(set(bits), reverse=True)
    for one in (chain[len(chain) // 2], chain[-1]):
        measured = float((candidates.get(None, one.forms).realised.errors ** 2).mean())
        assert measured / 4 < one.error < measured * 4


def test_a_wider_budget_takes_fewer_bits_and_maps_differ(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    sensitivities, amplification = measure_sensitivity(study)
    plan = make_plan(study, sensitivities, amplification)
    candidates = Candidates(study, plan, sensitivities, "x", 0.1, lambda _: None)
    found = [cheapest(candidates, limit, "bits") for limit in (0.003, 0.01, 0.1)]
    assert all(one.within(limit) for one, limit in zip(found, (0.003, 0.01, 0.1), strict=True))
    bits = [one.cost.bits for one in found]
    assert bits == sorted(bits, reverse=True)
    plain = candidates.get(None, candidates.all_in("int8"))
    assert bits[-1] < 0.8 * plain.cost.bits
    assert any(len(set(one.forms or ())) > 1 for one in found)
