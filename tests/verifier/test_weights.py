"""Weights from hostile files: what would wrap, overflow or point outside an array is refused before it is used.

Requirements: BC-PRG-12 to 14.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.program import Integer, LinearMap, Rows, Sparse, TensorRef
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.evaluate.weights import dense_matrix, integer_matrix
from tests.support.tiny import save

LARGEST = (1 << 63) - 1


def ref(name: str) -> TensorRef:
    return TensorRef("f", name)


def store(folder: Path, **tensors: np.ndarray) -> WeightStore:
    save(folder / "f", "f", tensors)
    return WeightStore({"f": folder / "f"})


def refused(weights: WeightStore, linear: LinearMap) -> tuple[str, str]:
    with pytest.raises(Refusal) as refusal:
        dense_matrix(weights, linear)
    return refusal.value.code, refusal.value.place


SPARSE = Sparse((3, 8), ref("values"), ref("columns"), ref("starts"))
STARTS = {
    "a difference that wraps": [0, LARGEST, -2, 3],
    "the other way round": [0, -(1 << 63), 2, 3],
    "decreasing": [0, 2, 1, 3],
    "negative": [0, -1, 2, 3],
    "past the end and back": [0, 4, 3, 3],
    "not from 0": [1, 1, 2, 3],
    "short of the values": [0, 1, 2, 2],
}


@pytest.mark.parametrize("case", STARTS)
def test_row_starts_that_do_not_divide_the_values_are_refused(case: str, tmp_path: Path) -> None:
    starts = np.array(STARTS[case], np.int64)
    weights = store(tmp_path, starts=starts, values=np.ones(3, np.float32), columns=np.zeros(3, np.uint16))
    assert refused(weights, SPARSE) == ("tensor.sparse", "f: values")


def test_row_starts_that_do_are_read(tmp_path: Path) -> None:
    values, columns = np.array([1, 2, 3], np.float32), np.array([0, 7, 2], np.uint16)
    weights = store(tmp_path, starts=np.array([0, 2, 2, 3]), values=values, columns=columns)
    expected = np.zeros((3, 8))
    expected[0, 0], expected[0, 7], expected[2, 2] = values
    np.testing.assert_array_equal(dense_matrix(weights, SPARSE), expected)


@pytest.mark.parametrize("value", [1 << 53, -(1 << 53), LARGEST, -LARGEST - 1])
def test_a_scaled_integer_that_float64_would_round_is_refused(value: int, tmp_path: Path) -> None:
    starts, columns = np.array([0, 1, 1, 1]), np.zeros(1, np.uint16)
    weights = store(tmp_path, starts=starts, values=np.array([value]), columns=columns, s=np.ones(3, np.float32))
    linear = Sparse((3, 8), ref("values"), ref("columns"), ref("starts"), ref("s"))
    assert refused(weights, linear) == ("tensor.range", "f: values")


@pytest.mark.parametrize(
    "indices", [[0, LARGEST, -LARGEST], [0, -LARGEST, 2], [2, 1, 3], [1, 1, 2], [-1, 0, 1], [1, 2, 4]]
)
def test_row_numbers_out_of_order_or_bounds_are_refused(indices: list[int], tmp_path: Path) -> None:
    weights = store(tmp_path, indices=np.array(indices), weight=np.ones((3, 2), np.float32))
    assert refused(weights, Rows(4, ref("indices"), ref("weight"))) == ("tensor.rows", "f: indices")


@pytest.mark.parametrize(("bits", "value", "fits"), [(4, 7, True), (4, 8, False), (4, -8, True), (4, -9, False)])
def test_an_integer_fits_the_bits_that_it_is_said_to_have(bits: int, value: int, fits: bool, tmp_path: Path) -> None:
    values = np.array([[0, value]], np.int8)
    weights = store(tmp_path, values=values, scale=np.ones(1, np.float32))
    linear = Integer(bits=bits, values=ref("values"), scale=ref("scale"))
    if fits:
        assert integer_matrix(weights, linear)[0].tolist() == [[0, value]]
    else:
        assert refused(weights, linear) == ("tensor.range", "f: values")


@pytest.mark.parametrize("zero", [1 << 31, -(1 << 31), LARGEST, -LARGEST - 1])
@pytest.mark.parametrize("group", [None, 4])
def test_a_zero_point_that_would_wrap_is_refused(zero: int, group: int | None, tmp_path: Path) -> None:
    shape = (2,) if group is None else (2, 2)
    zeros = np.zeros(shape, np.int64)
    zeros[-1] = zero
    values = np.full((2, 8), -128, np.int8)
    weights = store(tmp_path, values=values, scale=np.ones(shape, np.float32), zeros=zeros)
    linear = Integer(bits=8, values=ref("values"), scale=ref("scale"), group=group, zero_point=ref("zeros"))
    assert refused(weights, linear) == ("tensor.range", "f: zeros")


def test_a_large_zero_point_is_subtracted_exactly(tmp_path: Path) -> None:
    zeros = np.array([(1 << 31) - 1, 1 - (1 << 31)])
    values = np.array([[-128], [127]], np.int8)
    weights = store(tmp_path, values=values, scale=np.ones(2, np.float32), zeros=zeros)
    linear = Integer(bits=8, values=ref("values"), scale=ref("scale"), zero_point=ref("zeros"))
    assert integer_matrix(weights, linear)[0].tolist() == [[-128 - (1 << 31) + 1], [127 + (1 << 31) - 1]]
