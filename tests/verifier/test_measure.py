"""The measuring engine against the definitions, other summation orders, other precisions and other back ends.

Requirements: BC-EVD-01 to 07, BC-VER-09.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape, columns
from blockcert.program import Stage
from blockcert.same_program import same_stages
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore, extended_is_wider
from blockcert_verifier.measure import Cells, Measured, Pair, Settings, Tolerance, confirm, measure
from blockcert_verifier.work.estimate import evaluations
from tests.support.plain_measure import plain_row
from tests.support.tiny import VOCABULARY, tiny_pair

RELATIVE, LOSS = (0.01, 0.1, 0.5), (0.001, 0.05, 0.5)
SETTINGS = Settings(RELATIVE, LOSS)


def pair_of(folder: Path, seed: int = 0) -> tuple[Pair, np.ndarray]:
    reference, surrogate, paths = tiny_pair(folder, seed)
    tokens = np.random.default_rng(seed + 1).integers(0, VOCABULARY, (5, 16))
    return Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths)), tokens


def values(measured: dict) -> dict:
    return {name: cells.value for name, cells in measured.items()}


@pytest.mark.parametrize("seed", range(4))
def test_every_column_is_what_its_definition_says(tmp_path: Path, seed: int) -> None:
    pair, tokens = pair_of(tmp_path, seed)
    _, _, paths = tiny_pair(tmp_path, seed)
    measured = measure(pair, tokens, SETTINGS, Backend(), attribution=3)
    shape = EvidenceShape(3, 5, 3, len(RELATIVE), len(LOSS))
    assert {(c.name, c.shape) for c in columns(shape)} == {(n, c.value.shape) for n, c in measured.items()}
    for index in range(5):
        row = plain_row(pair.reference, pair.surrogate, paths, tokens[index].tolist(), RELATIVE, LOSS)
        for name, expected in row.items():
            if name.startswith("attribution.") and index >= 3:
                continue
            cells = measured[name].value[index]
            np.testing.assert_allclose(cells, expected, rtol=1e-9, atol=1e-12, err_msg=f"{name}[{index}]")


def test_stages_that_are_one_program_have_exactly_no_error(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path)
    assert pair.same == (True, False, True, False, True)
    measured = measure(pair, tokens, SETTINGS, Backend(), attribution=5)
    for stage in (0, 2, 4):
        assert (measured["error"].high[:, stage] == 0).all()
        assert (measured["covered"].low[:, stage] == 16).all()
        assert (measured["attribution.loss_within"].value[:, stage] == 15).all()
    assert (measured["attribution.hybrid_step"].value[:, [0, 2]] == 0).all()
    assert (measured["error"].value[:, [1, 3]] > 0).all()


def test_a_pair_of_one_program_measures_nothing(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path)
    twin = Pair(pair.reference, pair.reference, same_stages(pair.reference, pair.reference), pair.store)
    measured = measure(twin, tokens, SETTINGS, Backend(), attribution=2)
    for name in ("error", "drift", "relative_drift", "logit_difference", "kl_sum", "loss_difference"):
        assert not measured[name].value.any(), name
    assert (measured["top1_agree"].value == 16).all()


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_another_summation_order_stays_far_inside_every_tolerance(tmp_path: Path, device: str) -> None:
    """BC-VER-12."""
    pair, tokens = pair_of(tmp_path)
    recorded = values(measure(pair, tokens, SETTINGS, Backend(), attribution=2))
    narrow = Settings(RELATIVE, LOSS, Tolerance().divided_by(100))
    found = confirm(recorded, measure(pair, tokens, narrow, Backend(device, reverse=True), attribution=2))
    assert not found.disagreements
    assert found.largest_fraction < 1


@pytest.mark.skipif(not extended_is_wider(), reason="long double is no wider than float64 on this machine")
def test_extended_precision_confirms_float64(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path)
    recorded = values(measure(pair, tokens, SETTINGS, Backend(), attribution=2))
    found = confirm(recorded, measure(pair, tokens, SETTINGS, Backend(precision="extended"), attribution=2))
    assert not found.disagreements


def test_one_prompt_measures_as_it_does_among_others(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path)
    together = values(measure(pair, tokens, SETTINGS, Backend()))
    for index in range(len(tokens)):
        alone = measure(pair, tokens[index : index + 1], SETTINGS, Backend())
        assert not confirm({n: v[index : index + 1] for n, v in together.items()}, alone).disagreements


def test_every_cell_that_is_moved_out_of_its_bracket_is_refuted(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path)
    measured = measure(pair, tokens, SETTINGS, Backend(), attribution=5)
    recorded = values(measured)
    for name, cells in measured.items():
        for index in np.ndindex(cells.value.shape):
            moved = {key: value.copy() for key, value in recorded.items()}
            outside = (
                cells.high[index] + abs(cells.high[index]) * 1e-9 + 1e-12
                if cells.value.dtype.kind == "f"
                else cells.high[index] + 1
            )
            moved[name][index] = outside
            found = confirm(moved, measured)
            assert [(d.column, d.index) for d in found.disagreements] == [(name, index)]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_cell_that_is_not_finite_is_refuted_whatever_the_bracket(tmp_path: Path, wrong: float) -> None:
    pair, tokens = pair_of(tmp_path)
    measured = measure(pair, tokens, SETTINGS, Backend())
    recorded = {key: value.copy() for key, value in values(measured).items()}
    recorded["kl_sum"][2] = wrong
    assert confirm(recorded, measured).disagreements[0].column == "kl_sum"


def test_computed_values_lie_in_their_own_brackets(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path, 7)
    for name, cells in measure(pair, tokens, SETTINGS, Backend(), attribution=5).items():
        assert (cells.low <= cells.value).all(), name
        assert (cells.value <= cells.high).all(), name


def test_infinite_measurements_are_refuted_quietly() -> None:
    infinite = Cells.exactly(np.array([np.inf, 1.0]))
    found = confirm({"error": np.array([np.inf, 1.0])}, Measured({"error": infinite}))
    assert [d.index for d in found.disagreements] == [(0,)]


def test_the_host_waits_for_a_device_as_often_whatever_the_number_of_prompts(tmp_path: Path) -> None:
    class Counting(Backend):
        fetched = 0

        def numpy(self, values: object) -> np.ndarray:
            self.fetched += 1
            return super().numpy(values)

    pair, tokens = pair_of(tmp_path)
    counts: list[int] = []
    for rows in (1, 5):
        backend = Counting("torch")
        measure(pair, tokens[:rows], SETTINGS, backend, attribution=rows)
        counts.append(backend.fetched)
    # one for each of five stages, one for the hybrid steps, five at the logits
    assert counts[0] == counts[1] <= 11


def test_a_stage_runs_as_often_as_is_needed_and_no_hybrid_goes_through_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, tokens = pair_of(tmp_path)
    ran: dict[Stage, int] = {}
    traced = LoadedStage.traced

    def counting(stage: LoadedStage, source: np.ndarray, *rest: object) -> object:
        if stage.backend.precision == "float64":  # the floor's float32 is beside them
            ran[stage._stage] = ran.get(stage._stage, 0) + source.shape[0]
        return traced(stage, source, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(LoadedStage, "traced", counting)
    measure(pair, tokens, SETTINGS, Backend(), attribution=5)
    found = [
        ran[f] + (0 if same else ran[g])
        for f, g, same in zip(pair.reference.stages, pair.surrogate.stages, pair.same, strict=True)
    ]
    # of the head: the reference, the stitched model, two single replacements, the control
    assert [count // 5 for count in found] == [1, 2, 4, 5, 5]
    assert [sum(counts) for counts in evaluations(pair.same, True)] == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_values_come_to_the_host_as_they_are_and_in_their_shapes(device: str) -> None:
    backend = Backend(device)
    reals = np.array([[1.0, -0.5, np.inf], [np.pi, 1e-300, -2.0]])
    found = backend.on_host(
        {"reals": backend.array(reals), "truth": backend.array(reals) > 0, "one": backend.array(reals)[0, 1]}
    )
    assert list(found) == ["reals", "truth", "one"]
    assert np.array_equal(found["reals"], reals)
    assert np.array_equal(found["truth"], (reals > 0).astype(np.float64))
    assert found["one"].shape == ()
    assert {values.dtype for values in found.values()} == {np.dtype(np.float64)}


HERE = ("cuda", "cuda:0", "cuda:1")


@pytest.mark.parametrize(
    "device", [*HERE, "cuda:2", "cuda:-1", "cuda:", "cuda:0x1", "cuda:¹", "cudax", "cuda0", "mps", ""]
)
def test_a_gpu_that_is_not_there_is_refused_before_any_row(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a row it would be a fault of the row's, which refutes it."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if device in HERE:
        assert Backend(device).device == device
        return
    with pytest.raises(Refusal) as refused:
        Backend(device)
    assert refused.value.code == "device.unavailable"
