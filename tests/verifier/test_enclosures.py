"""Ball arithmetic holds what each operation exactly is, and verdicts say no more than an enclosure decides."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from blockcert.program import Program, Stage
from blockcert.same_program import same_stages
from blockcert_verifier.enclose.interval import Enclosed, Interval
from blockcert_verifier.enclose.judge import Judgement, judge
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.measure import Pair, Settings, measure
from tests.support.exact_oracle import ExactOracle
from tests.support.tiny import VOCABULARY, tiny_pair
from tests.verifier.test_evaluator import CASES, EMBEDDINGS, LENGTH, WIDTH, table
from tests.verifier.test_resolution import (
    HIDDEN,
    cancelling_block,
    fields,
    honest_program,
    replaced,
    spiked_block,
    spiked_reference,
)

pytest.importorskip("flint", reason="python-flint, blockcert[prove], is not installed")

from blockcert_verifier.enclose.arithmetic import arb, ctx
from blockcert_verifier.enclose.logits import logit_cells
from blockcert_verifier.enclose.maps import Maps
from blockcert_verifier.enclose.memory import row_bytes
from blockcert_verifier.enclose.rational import interval
from blockcert_verifier.enclose.stage import run_stage
from blockcert_verifier.enclose.trajectories import Place, Thresholds, enclose_row, first_bits

RELATIVE, LOSS = ("0.01", "0.05"), ("0.001", "0.1")
THRESHOLDS = Thresholds(tuple(map(Fraction, RELATIVE)), tuple(map(Fraction, LOSS)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("weights") / "surrogate.safetensors"
    save_file(table(), path)
    return {"surrogate.safetensors": path}


INPUTS = {
    "of a usual size": lambda x: 2 * x,
    "huge": lambda x: x * 1e8,
    "tiny": lambda x: x * 1e-200,
    "of all sizes": lambda x: x * np.exp(20 * np.sin(np.arange(x.size))).reshape(x.shape),
    "cancelling": lambda x: x * 1e-9 + np.where(np.arange(x.shape[-1]) % 2, 1e6, -1e6),
}


def enclosed(stage: Stage, weights: dict[str, Path], tokens: list[int], hidden: Any, bits: int) -> list[list[Interval]]:
    store = WeightStore(weights)
    balls = [[arb(v) for v in row] for row in hidden]
    with ctx.workprec(bits):
        (found,) = run_stage(stage, store, Maps(store), tokens, [balls])
        return [[interval(v) for v in row] for row in found]


def outside(found: list[list[Interval]], exact: list[list[Fraction]], narrowed: Fraction = Fraction(1)) -> int:
    """How many exact values lie outside their interval, narrowed around its middle."""
    count = 0
    for intervals, values in zip(found, exact, strict=True):
        for one, value in zip(intervals, values, strict=True):
            assert one.lower is not None
            assert one.upper is not None
            middle, radius = (one.lower + one.upper) / 2, (one.upper - one.lower) / 2 * narrowed
            count += not middle - radius <= value <= middle + radius
    return count


@pytest.mark.parametrize("case", CASES)
def test_balls_hold_what_a_step_exactly_is(case: str, weights: dict[str, Path]) -> None:
    """At few bits, so that radii are far wider than the oracle's own error (BC-ENC-01, 03)."""
    stage, nothing = Stage("block", CASES[case], "out"), None
    oracle = ExactOracle(nothing, weights)  # type: ignore[arg-type]
    plain = np.random.default_rng(13).standard_normal((LENGTH, WIDTH))
    for name, change in INPUTS.items():
        if name in ("huge", "of all sizes") and case in ("capped scores", "capped scores, grouped and mixed"):
            continue  # a saturated tanh needs no exact exponent here
        hidden = change(plain).tolist()
        exact = oracle.run(stage, [0] * LENGTH, hidden)
        for bits in (40, 90):
            found = enclosed(stage, weights, [0] * LENGTH, hidden, bits)
            if all(one.upper is not None for row in found for one in row):
                assert outside(found, exact) == 0, (name, bits)
            else:
                assert bits == 40 or name != "of a usual size", (name, bits)


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_balls_hold_an_embedding(case: str, weights: dict[str, Path]) -> None:
    stage, tokens = Stage("embedding", EMBEDDINGS[case], "out"), [4, 0, 0, 3, 1, 2, 4, 0, 1]
    exact = ExactOracle(None, weights).run(stage, tokens, [])  # type: ignore[arg-type]
    assert outside(enclosed(stage, weights, tokens, [], 40), exact) == 0


def test_a_narrowed_radius_is_caught(weights: dict[str, Path]) -> None:
    """The oracle would notice radii that are too small, in most operations that round at all."""
    plain = (2 * np.random.default_rng(13).standard_normal((LENGTH, WIDTH))).tolist()
    caught = set[str]()
    rounding = [case for case in CASES if case.startswith(("rms", "layer", "dense heads", "gelu", "low", "int", "rot"))]
    for case in rounding:
        stage = Stage("block", CASES[case], "out")
        exact = ExactOracle(None, weights).run(stage, [0] * LENGTH, plain)  # type: ignore[arg-type]
        found = enclosed(stage, weights, [0] * LENGTH, plain, 40)
        if outside(found, exact, Fraction(1, 1000)):
            caught.add(case)
    assert len(caught) >= len(rounding) - 2, set(rounding) - caught


# --- rows -------------------------------------------------------------------------------------------------------


def row(pair: Pair, tokens: list[int], bits: int) -> dict[Place, Enclosed]:
    return enclose_row(pair, tokens, THRESHOLDS, bits)


def measured(pair: Pair, tokens: list[int], place: Place, cells: Any) -> Fraction:
    stage = None if place.stage is None else place.stage - (place.column == "relative_update_error")
    index = tuple(i for i in (0, stage, place.threshold) if i is not None)
    return Fraction(float(cells[place.column].value[index]))


@pytest.mark.parametrize("seed", range(4))
def test_every_cell_of_a_measured_row_is_confirmed(seed: int, tmp_path: Path) -> None:
    """The float64 engine, which shares no arithmetic with the balls, lands inside every bracket."""
    reference, surrogate, paths = tiny_pair(tmp_path, seed)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, 9).tolist()
    settings = Settings(tuple(map(float, RELATIVE)), tuple(map(float, LOSS)))
    cells = measure(pair, np.array([tokens]), settings, Backend())
    found = row(pair, tokens, first_bits(3))
    columns = {place.column for place in found}
    assert not any(column.startswith(("identity.", "float32.", "attribution.")) for column in columns)  # BC-ENC-06
    assert {"error", "drift", "covered", "decided", "kl_max", "loss_within", "relative_update_error"} < columns
    for place, cell in found.items():
        verdict = judge(cell, measured(pair, tokens, place, cells), column=place.column, claim=None)
        assert verdict == Judgement("confirmed"), place
        assert cell.value.upper is not None
        assert cell.value.lower is not None
        assert cell.value.upper - cell.value.lower < Fraction(1, 10**20)


def test_what_a_removed_block_leaves_out_is_exactly_its_update(tmp_path: Path) -> None:
    reference, _, paths = tiny_pair(tmp_path)
    stages = list(reference.stages)
    stages[2] = Stage("block", (), "hidden")
    removed = replace(reference, stages=tuple(stages))
    pair = Pair(reference, removed, same_stages(reference, removed), WeightStore(paths))
    tokens = [3, 1, 4, 1, 5]
    cells = measure(pair, np.array([tokens]), Settings((0.01, 0.05), (0.001, 0.1)), Backend())
    place = Place("relative_update_error", 2)
    assert measured(pair, tokens, place, cells) == 1
    found = row(pair, tokens, 64)[place]
    assert found.value == Interval(Fraction(1), Fraction(1))
    assert judge(found, Fraction(1), column=place.column, claim=Fraction(1)) == Judgement("confirmed")


@pytest.mark.parametrize("spiked", [False, True])
def test_brackets_are_those_of_a_replay(spiked: bool, tmp_path: Path) -> None:
    """On an even number of tokens too, and where a norm falls far below an earlier one, which later tolerances keep."""
    reference, surrogate, paths = tiny_pair(tmp_path)
    if spiked:
        reference = spiked_reference(reference)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    settings = Settings(tuple(map(float, RELATIVE)), tuple(map(float, LOSS)))
    cells = measure(pair, np.array([tokens]), settings, Backend())
    for place, cell in row(pair, tokens, 300).items():
        ends = [bracket(cells[place.column], place, end) for end in ("low", "high")]
        for end, interval_ in zip(ends, (cell.low, cell.high or Interval(None, None)), strict=True):
            if interval_.lower is None:
                assert end == math.inf, place
            else:
                assert float(interval_.lower) == pytest.approx(end, rel=1e-4, abs=1e-15), place


def bracket(cells: Any, place: Place, end: str) -> float:
    stage = None if place.stage is None else place.stage - (place.column == "relative_update_error")
    return float(getattr(cells, end)[tuple(i for i in (0, stage, place.threshold) if i is not None)])


def test_more_bits_give_narrower_intervals_that_overlap(tmp_path: Path) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    tokens = [1, 5, 9, 2, 2, 7]
    wide, narrow = row(pair, tokens, 53), row(pair, tokens, 200)
    for place, cell in narrow.items():
        first, second = wide[place].value, cell.value
        assert first.lower is not None and first.upper is not None  # noqa: PT018
        assert second.lower is not None and second.upper is not None  # noqa: PT018
        assert first.lower <= second.upper
        assert second.lower <= first.upper
        assert second.upper - second.lower <= first.upper - first.lower


LOST = {"beside 1e30": spiked_block(), "inside one product": cancelling_block(), **HIDDEN}
# what it loses is exactly 1e-11, which a replay tolerates
del LOST["normalised out of a constant"]


@pytest.mark.parametrize("stage", LOST.values(), ids=LOST)
def test_what_float64_loses_is_found(stage: Stage, tmp_path: Path) -> None:
    """A part of the program vanishes in float64: the measured error is far from the exact one, and refuted."""
    honest, store = honest_program(tmp_path)
    surrogate = Program(**{**fields(honest), "stages": replaced(honest, 1, stage)})
    pair, tokens = Pair(honest, surrogate, same_stages(honest, surrogate), store), [3, 1, 4, 1, 5, 9, 2, 6]
    settings = Settings(tuple(map(float, RELATIVE)), tuple(map(float, LOSS)))
    cells = measure(pair, np.array([tokens]), settings, Backend())
    place = Place("error", 1)
    verdict = judge(row(pair, tokens, 500)[place], measured(pair, tokens, place, cells), column="error", claim=None)
    assert verdict.verdict == "refuted"


# --- verdicts ---------------------------------------------------------------------------------------------------


def cell(lower: str, upper: str, slack: str = "0.5") -> Enclosed:
    low, high, wide = Fraction(lower), Fraction(upper), Fraction(slack)
    return Enclosed(Interval(low, high), Interval(low - wide, high - wide), Interval(low + wide, high + wide))


VERDICTS: dict[str, tuple[Enclosed, str, str, str | None, Judgement]] = {
    "at most the bound": (cell("1", "1.1"), "1", "error", "1.1", Judgement("confirmed")),
    "astride the bound": (cell("1", "1.1"), "1", "error", "1.05", Judgement("inconclusive")),
    "at the bound, perhaps": (cell("1", "1.1"), "1.2", "error", "1", Judgement("inconclusive")),
    "beyond the bound, within tolerance": (cell("1", "1.1"), "0.9", "error", "0.9", Judgement("inconclusive", True)),
    "recorded far too small": (cell("1", "1.1"), "0.4", "error", "2", Judgement("refuted")),
    "recorded far too large": (cell("1", "1.1"), "1.7", "error", "2", Judgement("refuted")),
    "at the bracket's end": (cell("1", "1.1"), "0.55", "error", "2", Judgement("inconclusive")),
    "no claim": (cell("1", "1.1"), "1.2", "final_norm", None, Judgement("confirmed")),
    "a count that holds": (cell("5", "5", "1"), "5", "covered", None, Judgement("confirmed")),
    "a count that more satisfy": (cell("5", "6", "1"), "5", "covered", None, Judgement("confirmed")),
    "a count that is open": (cell("4", "5", "1"), "5", "covered", None, Judgement("inconclusive")),
    "a count that fewer satisfy": (cell("4", "4", "1"), "5", "covered", None, Judgement("inconclusive", True)),
    "a count that far fewer satisfy": (cell("3", "3", "1"), "5", "covered", None, Judgement("refuted")),
    "a value that is not bounded": (
        Enclosed(Interval(None, None), Interval(None, None), None),
        "5",
        "error",
        "9",
        Judgement("inconclusive"),
    ),
    "no upper end": (
        Enclosed(Interval(Fraction(1), Fraction(2)), Interval(Fraction(0), Fraction(0)), None),
        "77",
        "relative_error",
        "77",
        Judgement("confirmed"),
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_a_verdict_says_what_the_enclosure_decides(case: str) -> None:
    """BC-ENC-05."""
    known, recorded, column, claim, expected = VERDICTS[case]
    found = judge(known, Fraction(recorded), column=column, claim=None if claim is None else Fraction(claim))
    assert found == expected


@given(st.fractions(), st.integers(-30, 30), st.integers(30, 200))
def test_an_interval_has_the_balls_very_ends(value: Fraction, power: int, bits: int) -> None:
    with ctx.workprec(bits):
        from blockcert_verifier.enclose.balls import ball

        scaled = value * Fraction(10) ** power
        found = interval(ball(scaled))
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= scaled <= found.upper
    assert found.upper - found.lower <= abs(scaled) * Fraction(1, 1 << (bits - 4))


def test_ends_out_of_all_proportion_move_outward() -> None:
    with ctx.workprec(64):
        tiny, huge = interval(arb(-(10**6)).exp()), interval(arb(10**6).exp())
    assert tiny.lower is not None
    assert tiny.upper is not None
    assert tiny.lower <= 0 < tiny.upper < Fraction(1, 1 << 4000)
    assert (huge.lower, huge.upper) == (None, None)


def test_a_vocabulary_of_one_token_is_enclosed() -> None:
    logits, theirs = ([[arb(value)] for value in values] for values in ((1, 2, 3), (4, 5, 7)))
    for surrogate in (theirs, None):
        cells = logit_cells(logits, surrogate, (0, 0, 0), THRESHOLDS.loss)
        assert cells["decided"][0].value == Interval.exactly(3)
        assert cells["top1_agree"][0].value == Interval.exactly(3)
        assert cells["loss_within"][0].value == Interval.exactly(2)


def test_maps_in_slices_give_the_same_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    whole = row(pair, [1, 5, 9], 100)
    monkeypatch.setattr("blockcert_verifier.enclose.maps.MOST_ENTRIES", 20)
    assert row(pair, [1, 5, 9], 100) == whole


def test_memory_is_estimated_from_every_value_that_is_kept(tmp_path: Path) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    few = row_bytes(pair, 6, 64)
    assert few >= 2 * 100 * 6 * VOCABULARY
    assert row_bytes(pair, 60, 64) > 5 * few > row_bytes(pair, 6, 4096) > few
