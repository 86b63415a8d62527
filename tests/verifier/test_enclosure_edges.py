"""Where an enclosure is wide, not known, or at the very edge of a condition, it says no more than it knows."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from blockcert.program import Dense, Embed, LayerNorm, Linear, Program, Stage, TensorRef
from blockcert_verifier.enclose.interval import Interval
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair
from tests.support.exact_oracle import ExactOracle
from tests.support.tiny import REFERENCE, save
from tests.verifier.test_evaluator import CASES, FILE, LENGTH, WIDTH, table

pytest.importorskip("flint", reason="python-flint, blockcert[prove], is not installed")

from blockcert_verifier.enclose.arithmetic import arb, ctx
from blockcert_verifier.enclose.maps import Maps
from blockcert_verifier.enclose.rational import interval
from blockcert_verifier.enclose.stage import run_stage
from blockcert_verifier.enclose.trajectories import Place, Thresholds, enclose_row

NO_THRESHOLDS = Thresholds((), ())


def holds(found: Interval, value: Fraction) -> bool:
    return (found.lower is None or found.lower <= value) and (found.upper is None or value <= found.upper)


def unknown_norm(folder: Path) -> Pair:
    """One program on both sides, whose block is a norm without eps: few bits do not tell the variance of token 0, which
    is 1e-24, from 0. The norms of the block's output are ordered as token 1, 0, 2."""
    path = folder / "model.safetensors"
    rows = np.array([[1, 1 + 1e-12, 1 - 1e-12, 1], [0, 0, 1, -1], [1, -1, 0, 0]])
    tensors = {"embed": rows, "weight": np.array([8.0, 4.0, 2.0, 1.0]), "head": np.eye(3, 4)}
    files = (save(path, REFERENCE, tensors),)

    def ref(name: str) -> TensorRef:
        return TensorRef(REFERENCE, name)

    stages = (
        Stage("embedding", (Embed("x", ref("embed")),), "x"),
        Stage("block", (LayerNorm("x", "hidden", ref("weight"), "0"),), "x"),
        Stage("head", (Linear("x", "hidden", Dense(ref("head"))),), "x"),
    )
    program = Program("1.0", "tiny", 4, 3, 8, files, stages)
    return Pair(program, program, (True,) * 3, WeightStore({REFERENCE: path}))


@pytest.mark.parametrize("tokens", [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]], ids=str)
def test_a_median_is_not_known_where_one_of_its_norms_is_not(tokens: list[int], tmp_path: Path) -> None:
    pair, place = unknown_norm(tmp_path), Place("final_norm")
    exact = enclose_row(pair, tokens, NO_THRESHOLDS, 300)[place]
    assert exact.value.lower is not None
    assert 5 < exact.value.lower < 7
    rough = enclose_row(pair, tokens, NO_THRESHOLDS, 30)[place]
    assert holds(rough.value, exact.value.lower)
    assert exact.low.lower is not None
    assert holds(rough.low, exact.low.lower)


WIDE = (
    *(f"activation {name}" for name in ("gelu", "gelu_tanh", "silu", "relu")),
    "multiply by itself",
    "soft cap",
    "rms norm in heads with offset",
    "layer norm",
    "int6 in groups with zero points",
    "partial rotary",
    "longrope scaling, long",
    "proportional scaling",
    "capped scores, grouped and mixed",
    "sinks",
)


@pytest.mark.parametrize("case", WIDE)
def test_wide_balls_hold_what_a_step_makes_of_any_numbers_in_them(case: str, tmp_path: Path) -> None:
    save(tmp_path / FILE, FILE, table())
    weights = {FILE: tmp_path / FILE}
    stage, rng, nothing = Stage("block", CASES[case], "out"), np.random.default_rng(3), None
    # multiples of 1/64, so that the ends of the balls are float64 numbers too
    middle = np.round(rng.standard_normal((LENGTH, WIDTH)) * 128) / 64
    for radius in (1 / 64, 1 / 4):
        with ctx.workprec(64):
            balls = [[arb(v, radius) for v in row] for row in middle.tolist()]
            store = WeightStore(weights)
            (rows,) = run_stage(stage, store, Maps(store), [0] * LENGTH, [balls])
            found = [[interval(v) for v in row] for row in rows]
        assert radius > 1 / 64 or all(one.upper is not None for row in found for one in row)
        for sign in (-1, 1):
            hidden = middle + sign * rng.choice([-radius, radius], middle.shape)
            exact = ExactOracle(nothing, weights).run(stage, [0] * LENGTH, hidden.tolist())  # type: ignore[arg-type]
            for intervals, values in zip(found, exact, strict=True):
                assert all(holds(one, value) for one, value in zip(intervals, values, strict=True))
