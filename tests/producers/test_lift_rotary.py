"""Scalings as read from a config, against the frequencies that ``transformers`` computes itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from blockcert.errors import Refusal
from blockcert.program import LongRopeScaling, ProportionalScaling, Rotary, Scaling, YarnScaling
from blockcert_producers.lift.options import Options
from blockcert_producers.lift.rotary import read_rotary
from blockcert_verifier.fidelity import float64_modules
from tests.support.oracle import frequency_of

CONTEXT = 4096


def theirs(size: int, group: dict[str, Any], length: int | None = None) -> tuple[list[float], float]:
    """Frequencies and amplitude, in float64, in a prompt of so many tokens where that matters."""
    config = transformers.LlamaConfig(
        head_dim=size, max_position_embeddings=CONTEXT, rope_parameters={"rope_theta": 10000.0, **group}
    )
    with float64_modules():
        found, amplitude = ROPE_INIT_FUNCTIONS[group["rope_type"]](config, torch.device("cpu"), seq_len=length)
    assert found.dtype == torch.float64
    return found.tolist(), amplitude


def ours(size: int, group: dict[str, Any]) -> tuple[list[float], float]:
    """The same by the formulas of BC-PRG-09 and BC-PRG-23."""
    theta, scaling = read_rotary(Options({"rope_parameters": group}, "config.json"), size=size, context=CONTEXT)
    plain = [float(theta) ** (-2 * j / size) for j in range(size // 2)]
    if scaling is None:
        return plain, 1.0
    assert isinstance(scaling, YarnScaling)
    first, last, factor = float(scaling.ramp_from), float(scaling.ramp_to), float(scaling.factor)
    slowed = [min(1.0, max(0.0, (j - first) / (last - first))) for j in range(size // 2)]
    frequencies = [(1 - r) * w + r * w / factor for r, w in zip(slowed, plain, strict=True)]
    return frequencies, float(scaling.attention_factor)


def some(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False) | st.integers(math.ceil(low), math.floor(high))


ABSENT = st.none() | st.just(0)
GROUPS = st.fixed_dictionaries(
    {"rope_type": st.just("yarn"), "factor": some(0.5, 64)},
    optional={
        "rope_theta": some(1.5, 1e7),
        "original_max_position_embeddings": st.integers(1, 1 << 17),
        "beta_fast": ABSENT | some(0.01, 100),
        "beta_slow": ABSENT | some(0.01, 4),
        "mscale": ABSENT | some(0.01, 3),
        "mscale_all_dim": ABSENT | some(0.01, 3),
        "attention_factor": st.none() | some(0.1, 4),
        "truncate": st.booleans(),
    },
)


def unless_backwards(size: int, group: dict[str, Any]) -> tuple[list[float], float] | None:
    """What we read; None where a ramp does not rise, the one thing that a program cannot say of these groups."""
    try:
        return ours(size, group)
    except Refusal as refusal:
        if "runs backwards" not in refusal.sentence:
            raise
        return None


@settings(max_examples=100)
@given(half=st.integers(1, 64), group=GROUPS)
def test_yarn_has_the_frequencies_and_the_amplitude_of_transformers(half: int, group: dict[str, Any]) -> None:
    found = unless_backwards(2 * half, group)
    assume(found is not None)
    assert found is not None
    frequencies, amplitude = found
    expected, factor = theirs(2 * half, group)
    assert amplitude == factor
    assert frequencies == pytest.approx(expected, rel=1e-13)


@settings(max_examples=30)
@given(half=st.integers(2, 64), factor=some(1, 64), theta=some(1.5, 1e7))
def test_dynamic_scaling_changes_nothing_within_the_context(half: int, factor: float, theta: float) -> None:
    group = {"rope_type": "dynamic", "factor": factor, "rope_theta": theta}
    frequencies, amplitude = ours(2 * half, group)
    expected, one = theirs(2 * half, group)
    assert amplitude == one == 1.0
    assert frequencies == pytest.approx(expected, rel=1e-12)


def test_the_ends_of_a_ramp_are_the_ones_of_the_paper() -> None:
    # Qwen 2.5 with its context extended four times
    group = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    config = Options({"rope_theta": 1000000.0, "rope_scaling": group}, "config.json")
    found = read_rotary(config, size=128, context=32768)
    assert found == ("1000000", YarnScaling("4", "23", "40", "1.138629436111989"))
    assert float("1.138629436111989") == 0.1 * math.log(4.0) + 1.0


def read(size: int, config: dict[str, Any]) -> tuple[str, Scaling | None]:
    return read_rotary(Options(config, "config.json"), size=size, context=CONTEXT)


FACTORS = some(0.25, 70)


@settings(max_examples=40)
@given(half=st.integers(1, 64), data=st.data())
def test_longrope_has_the_frequencies_and_the_amplitude_of_transformers(half: int, data: st.DataObject) -> None:
    lists = st.lists(FACTORS, min_size=half, max_size=half)
    group = data.draw(
        st.fixed_dictionaries(
            {"rope_type": st.just("longrope"), "short_factor": lists, "long_factor": lists},
            optional={
                "rope_theta": some(1.5, 1e7),
                "original_max_position_embeddings": st.integers(2, 2 * CONTEXT),
                "factor": st.none() | some(0.5, 64),
                "attention_factor": st.none() | some(0.1, 4),
            },
        )
    )
    theta, scaling = read(2 * half, {"rope_parameters": group})
    assert isinstance(scaling, LongRopeScaling)
    for length in (scaling.original_context, scaling.original_context + 1):
        step = Rotary("out", "hidden", 2 * half, 2 * half, theta, scaling)
        expected, factor = theirs(2 * half, group, length)
        assert [frequency_of(j, step, length) for j in range(half)] == pytest.approx(expected, rel=1e-13)
        assert float(scaling.attention_factor) == factor


@settings(max_examples=40)
@given(
    half=st.integers(1, 64),
    share=st.just(0) | st.floats(1e-9, 1),
    factor=st.none() | some(0.1, 64),
    theta=some(1.5, 1e7),
)
def test_proportional_positions_have_the_frequencies_of_transformers(
    half: int, share: float, factor: float | None, theta: float
) -> None:
    group: dict[str, Any] = {"rope_type": "proportional", "rope_theta": theta, "partial_rotary_factor": share}
    group |= {} if factor is None else {"factor": factor}
    found, scaling = read(2 * half, {"rope_parameters": group})
    assert isinstance(scaling, ProportionalScaling)
    step = Rotary("out", "hidden", 2 * half, 2 * half, found, scaling)
    expected, one = theirs(2 * half, group)
    assert [frequency_of(j, step, 1) for j in range(half)] == pytest.approx(expected, rel=1e-13)
    assert one == 1.0


def test_longrope_as_phi_3_spells_it_is_that_of_the_paper() -> None:
    # Phi 3 mini with its context extended 32 times, but for the lists
    group = {"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.02, 64.5]}
    beside = {"rope_theta": 10000.0, "rope_scaling": group, "original_max_position_embeddings": 128}
    assert read(4, beside) == (
        "10000",
        LongRopeScaling(("1", "1"), ("1.02", "64.5"), 128, str(math.sqrt(1 + math.log(32) / math.log(128)))),
    )
