"""Float64 balls hold what a stage exactly is at a stated point, on every operation and at adversarial sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mp

from blockcert.errors import Refusal
from blockcert.program import (
    Add,
    Dense,
    Linear,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RmsNorm,
    Rotary,
    Stage,
    TensorRef,
    YarnScaling,
    amplitude,
)
from blockcert_verifier.enclose import point_balls
from blockcert_verifier.enclose.angles import rotary_table
from blockcert_verifier.enclose.point import PointStage, distances
from blockcert_verifier.enclose.point_balls import Ball, BallMath
from blockcert_verifier.evaluate import Backend, LoadedStage, WeightStore
from tests.support.exact_oracle import ExactOracle, fraction
from tests.support.tiny import HEAD, tiny_pair
from tests.verifier.test_evaluator import CASES, EMBEDDINGS, LENGTH, WIDTH, table

NOTHING: Any = None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("weights") / "surrogate.safetensors"
    save_file(table(), path)
    return {"surrogate.safetensors": path}


def _sizes(x: np.ndarray) -> np.ndarray:
    return x * np.exp(20 * np.sin(np.arange(x.size))).reshape(x.shape)


INPUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "of a usual size": lambda x: 2 * x,
    "huge": lambda x: x * 1e12,
    "tiny": lambda x: x * 1e-300,
    "of all sizes": _sizes,
    "cancelling": lambda x: x * 1e-9 + np.where(np.arange(x.shape[-1]) % 2, 1e6, -1e6),
    "zero": lambda x: 0 * x,
}
_EXACT: dict[tuple[str, str], list[list[Fraction]]] = {}


def exact(case: str, name: str, weights: dict[str, Path]) -> list[list[Fraction]]:
    if (case, name) not in _EXACT:
        _EXACT[case, name] = ExactOracle(NOTHING, weights).run(
            Stage("block", CASES[case], "out"), [0] * LENGTH, point(name).tolist()
        )
    return _EXACT[case, name]


def point(name: str) -> np.ndarray:
    return INPUTS[name](np.random.default_rng(13).standard_normal((LENGTH, WIDTH)))


def enclose(stage: Stage, weights: dict[str, Path], source: Any, backend: Backend) -> tuple[np.ndarray, np.ndarray]:
    made = PointStage(LoadedStage(stage, WeightStore(weights), backend, LENGTH))
    ball = made(source)
    return backend.numpy(ball.mid)[0], backend.numpy(made.math.radius(ball))[0]


def outside(mid: np.ndarray, rad: np.ndarray, values: list[list[Fraction]]) -> int:
    """Entries whose exact value is not within the radius; a radius that is not finite holds everything."""
    count = 0
    for m, r, value in zip(mid.flat, rad.flat, (v for row in values for v in row), strict=True):
        assert not math.isfinite(r) or r >= 0
        count += math.isfinite(r) and abs(Fraction(float(m)) - value) > Fraction(float(r))
    return count


@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_balls_hold_what_a_step_exactly_is(case: str, device: str, weights: dict[str, Path]) -> None:
    """BC-ENC-10 and 11."""
    stage, backend = Stage("block", CASES[case], "out"), Backend(device)
    for name in INPUTS:
        if name == "zero" and case == "layer norm without bias":
            continue  # its exact value divides by 0
        mid, rad = enclose(stage, weights, backend.array(point(name)[None]), backend)
        assert outside(mid, rad, exact(case, name, weights)) == 0, name
        # squares of 1e-300 are 0 in float64: without an eps the root of their mean is not known
        if name == "of a usual size" or (name == "tiny" and case != "layer norm without bias"):
            assert np.isfinite(rad).all(), name
        if name == "of a usual size":
            assert (rad <= 1e-10 * np.abs(mid).max()).all(), "too wide to say anything"


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_balls_hold_an_embedding(case: str, weights: dict[str, Path]) -> None:
    stage, tokens = Stage("embedding", EMBEDDINGS[case], "out"), [4, 0, 0, 3, 1, 2, 4, 0, 1]
    mid, rad = enclose(stage, weights, np.array([tokens]), Backend())
    assert outside(mid, rad, ExactOracle(NOTHING, weights).run(stage, tokens, [])) == 0


NARROWER = {
    "no rounding": {"U": 0.0},
    "functions without error": {"ULP16": 0.0},
    "a hundredth of rounding": {"U": point_balls.U / 100},
}


@pytest.mark.parametrize("change", NARROWER)
def test_a_narrowed_radius_is_caught(change: str, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each constant of the rules is needed (BC-ENC-10, 11): without it exact values fall outside."""
    for name, value in NARROWER[change].items():
        monkeypatch.setattr(point_balls, name, value)
    caught = set[str]()
    for case in CASES:
        stage = Stage("block", CASES[case], "out")
        mid, rad = enclose(stage, weights, point("of a usual size")[None], Backend())
        if outside(mid, rad, exact(case, "of a usual size", weights)):
            caught.add(case.split()[0])
    wanted = {"activation"} if change == "functions without error" else {"dense", "rms", "layer", "low", "int8"}
    assert wanted <= caught, caught


def test_without_the_operands_radii_exact_values_fall_outside(
    weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two maps in a row: the second must carry the first one's radius."""
    steps = (
        Linear("first", "hidden", Dense(TensorRef("surrogate.safetensors", "square"))),
        Add("apart", "first", "first"),
        Linear("second", "apart", Dense(TensorRef("surrogate.safetensors", "square"))),
        Linear("out", "second", Dense(TensorRef("surrogate.safetensors", "square"))),
    )
    stage = Stage("block", steps, "out")
    source = point("of all sizes")
    values = ExactOracle(NOTHING, weights).run(stage, [0] * LENGTH, source.tolist())
    assert outside(*enclose(stage, weights, source[None], Backend()), values) == 0
    weigh = BallMath.weigh
    monkeypatch.setattr(point_balls, "U", point_balls.U / 8)
    monkeypatch.setattr(BallMath, "weigh", lambda self, a, *rest: weigh(self, Ball(a.mid, None), *rest))
    assert outside(*enclose(stage, weights, source[None], Backend()), values) > 0


@pytest.mark.parametrize("seed", range(3))
def test_the_error_of_a_block_lies_between_its_ends(seed: int, tmp_path: Path) -> None:
    reference, surrogate, paths = tiny_pair(tmp_path, seed)
    rng, store = np.random.default_rng(seed), WeightStore(paths)
    source = rng.standard_normal((2, 7, reference.hidden_size)) * 3
    for index in (1, 3):
        sides = [
            PointStage(LoadedStage(program.stages[index], store, Backend(), 7, program))
            for program in (reference, surrogate)
        ]
        found = distances(sides[0].math, *(side(source) for side in sides))
        for prompt in range(2):
            outputs = [
                ExactOracle(program, paths).run(program.stages[index], [0] * 7, source[prompt].tolist())
                for program in (reference, surrogate)
            ]
            for t in range(7):
                square = sum((a - b) ** 2 for a, b in zip(*(out[t] for out in outputs), strict=True))
                low, high = (Fraction(float(end[prompt, t])) for end in found)
                assert low**2 <= square <= high**2
                # where the two agree exactly, as before a window's edge, the error is only known to be small
                assert high - low <= Fraction(1, 10**9)


@pytest.mark.parametrize("case", [case for case in CASES if "rotary" in case or "scaling" in case])
def test_rotary_tables_are_rounded_once(case: str) -> None:
    (step,) = CASES[case]
    assert isinstance(step, Rotary)
    from tests.support.exact_oracle import _frequency

    length = 1000
    cos, sin, radius = rotary_table(step, length)
    with mp.workdps(50):
        for t in (0, 1, 77, 999):
            for j in range(step.size // 2):
                angle = t * _frequency(j, step, length)
                factor = mpmath.mpf(amplitude(step.scaling) or 1)
                assert abs(factor * mpmath.cos(angle) - cos[t, j]) <= radius / 2
                assert abs(factor * mpmath.sin(angle) - sin[t, j]) <= radius / 2


TINY = "0." + "0" * 39 + "1"
EXTREME: dict[str, tuple[Rotary, float]] = {
    # pi is known to a part in 2^180, and these angles have more turns than that tells apart in float64
    "too many turns": (Rotary("out", "hidden", 2, 2, "10000", LinearScaling(TINY)), 2.0**-51),
    "a narrow ramp": (Rotary("out", "hidden", 64, 64, "10000", Llama3Scaling("8", "1", f"1.{TINY[2:]}", 40)), 2.0**-53),
    "divided by next to nothing": (
        Rotary("out", "hidden", 2, 2, "10000", LongRopeScaling(("1",), (TINY,), 1, "1")),
        2.0**-51,
    ),
    "a large factor": (Rotary("out", "hidden", 8, 8, "30", YarnScaling("8", "0", "1.5", "1000")), 2.0**-45),
}


@pytest.mark.parametrize("case", EXTREME)
def test_rotary_tables_that_no_model_has_are_wider(case: str) -> None:
    """The radius holds the error, also where that is far more than rounding once."""
    step, least = EXTREME[case]
    from tests.support.exact_oracle import _frequency

    factor = Fraction(amplitude(step.scaling) or "1")
    times = 3000 if case in ("too many turns", "divided by next to nothing") else 100
    cos, sin, radius = rotary_table(step, times)
    worst = Fraction(0)
    with mp.workdps(150):
        for t in range(1, times, times // 20):
            for j in range(step.size // 2):
                angle = t * _frequency(j, step, times)
                for table, value in ((cos, mpmath.cos(angle)), (sin, mpmath.sin(angle))):
                    worst = max(worst, abs(factor * fraction(value) - Fraction(float(table[t, j]))))
    assert least / 4 < worst <= Fraction(radius)
    # what the ramp's place leaves open shows in no table of a size that a test has time for
    assert radius > (2.0**-40 if case == "a narrow ramp" else least)


def test_the_slopes_that_radii_rest_on() -> None:
    """BC-ENC-11."""
    x = np.linspace(-12, 12, 2_000_001)
    from blockcert_verifier.evaluate.operations import activate

    steepest = {name: np.abs(np.diff(activate(Backend(), x, name)) / np.diff(x)).max() for name in ("gelu", "silu")}
    steepest["gelu_tanh"] = np.abs(np.diff(activate(Backend(), x, "gelu_tanh")) / np.diff(x)).max()
    assert steepest["silu"] < 1.0999
    assert max(steepest["gelu"], steepest["gelu_tanh"]) < 1.1291


def test_what_divides_by_a_ball_around_zero_is_not_known() -> None:
    """BC-ENC-11, 12."""
    m = BallMath(Backend())
    one, around = m.exactly(np.array([1.0])), Ball(np.array([1e-3]), np.array([1e-3]))
    with np.errstate(all="ignore"):
        assert np.isinf(m.divide(one, around).rad).all()  # type: ignore[union-attr]


def test_scores_whose_exponential_no_float_holds(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """BC-ENC-13: the largest of them is taken away first, and nothing is lost by it."""
    seen: list[float] = []
    subtract = BallMath.subtract

    def look(self: BallMath, a: Ball, b: Ball) -> Ball:
        seen.append(float(a.mid.max()))
        return subtract(self, a, b)

    monkeypatch.setattr(BallMath, "subtract", look)
    stage, source = Stage("block", CASES["dense heads"], "out"), 100 * point("of a usual size")
    mid, rad = enclose(stage, weights, source[None], Backend())
    assert max(seen) > 710
    assert np.isfinite(rad).all()
    assert outside(mid, rad, ExactOracle(NOTHING, weights).run(stage, [0] * LENGTH, source.tolist())) == 0


def test_only_float64_has_these_rules(weights: dict[str, Path]) -> None:
    stage = Stage("block", CASES["add"], "out")
    with pytest.raises(ValueError, match="float64"):
        PointStage(LoadedStage(stage, WeightStore(weights), Backend(precision="float32"), LENGTH))


def test_an_offset_that_is_no_float_is_in_the_gains_radius(tmp_path: Path) -> None:
    """The float64 nearest to -0.1, and 0.1: their sum is 0 in float64, and 5.6e-18 less than it exactly."""
    from safetensors.numpy import save_file

    save_file({"weight": np.full(WIDTH, -0.1)}, tmp_path / "surrogate.safetensors")
    weights = {"surrogate.safetensors": tmp_path / "surrogate.safetensors"}
    step = RmsNorm("out", "hidden", TensorRef("surrogate.safetensors", "weight"), "0.01", "0.1")
    stage, source = Stage("block", (step,), "out"), point("of a usual size")
    mid, rad = enclose(stage, weights, source[None], Backend())
    assert not mid.any()
    assert outside(mid, rad, ExactOracle(NOTHING, weights).run(stage, [0] * LENGTH, source.tolist())) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_point(value: float, weights: dict[str, Path]) -> None:
    """A relu would make an exact 0 of a NaN."""
    stage, source = Stage("block", CASES["activation relu"], "out"), point("of a usual size")
    source[3, 2] = value
    with pytest.raises(ValueError, match="no point"):
        enclose(stage, weights, source[None], Backend())


def test_a_width_that_does_not_fit_is_refused(weights: dict[str, Path]) -> None:
    stage = Stage("block", CASES["dense"], "out")
    with pytest.raises(Refusal) as refused:
        enclose(stage, weights, np.zeros((1, LENGTH, HEAD)), Backend())
    assert refused.value.code == "program.shape"
