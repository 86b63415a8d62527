"""Parts of tensors, read at their place in the file: the same as a slice of the whole by numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockcert.program import TensorRef
from blockcert.safetensors_file import write
from blockcert_verifier.evaluate import WeightStore, stored, weights

REFERENCES = {
    "whole": {},
    "rows": {"rows": (3, 17)},
    "columns": {"columns": (2, 5)},
    "both": {"rows": (3, 17), "columns": (2, 5)},
    "period": {"rows": (1, 3), "period": 6},
    "period and columns": {"rows": (1, 3), "columns": (2, 5), "period": 6},
}
PARTS = {
    "all": None,
    "a slice": slice(3, 7),
    "nothing": slice(2, 2),
    "numbers": np.array([0, 1, 2, 5]),
    "no number": np.array([], dtype=np.int64),
}


def expected(values: np.ndarray, cuts: dict[str, object], transpose: bool, part: object) -> np.ndarray:
    """What a reference takes of a tensor, by numpy alone."""
    rows, columns, period = (cuts.get(name) for name in ("rows", "columns", "period"))
    numbers = np.arange(len(values))
    if rows is not None:
        at = numbers if period is None else numbers % period  # type: ignore[operator]
        numbers = numbers[(at >= rows[0]) & (at < rows[1])]  # type: ignore[index]
    found = values[numbers]
    found = found if columns is None else found[:, columns[0] : columns[1]]  # type: ignore[index]
    found = found.T if transpose else found
    return found if part is None else found[part]  # type: ignore[index]


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("cuts", REFERENCES)
@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_what_is_read_is_the_part_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: str, part: str, transpose: bool, block: int
) -> None:
    """Whatever the layout, and whether rows are read one by one, in blocks or at once."""
    monkeypatch.setattr(stored, "BLOCK", block)
    monkeypatch.setattr(weights, "BLOCK", block)
    monkeypatch.setattr(weights, "_PIECE", block)
    values = np.random.default_rng(0).integers(-99, 99, (24, 9))
    kinds = {"F64": "<f8", "F32": "<f4", "I8": "<i1"}
    held = {name: values.astype(kind) for name, kind in kinds.items()}
    write(tmp_path / "f", {name: (name, one.shape, one.tobytes()) for name, one in held.items()})
    files = WeightStore({"f": tmp_path / "f"})
    wanted = PARTS[part]
    for name, one in held.items():
        reference = TensorRef("f", name, transpose=transpose, **REFERENCES[cuts])  # type: ignore[arg-type]
        whole = expected(one, REFERENCES[cuts], transpose, None)
        if isinstance(wanted, np.ndarray):
            wanted = wanted[wanted < len(whole)]
        right = expected(one, REFERENCES[cuts], transpose, wanted)
        assert files.shape(reference) == whole.shape
        dtype, found = files.raw(reference, wanted)
        assert dtype == name
        np.testing.assert_array_equal(found, right)
        assert found.dtype == right.dtype
        if name != "I8":
            for precision in (None, np.dtype(np.float32), np.dtype(np.float64)):
                np.testing.assert_array_equal(files.floats(reference, None, wanted, precision), right)
        elif not isinstance(wanted, np.ndarray):
            np.testing.assert_array_equal(files.integers(reference, None, wanted), right)


def test_a_tensor_without_axes_and_empty_ones(tmp_path: Path) -> None:
    write(
        tmp_path / "f",
        {"one": ("F32", (), np.float32(3).tobytes()), "none": ("F32", (0, 5), b""), "thin": ("F32", (3, 0), b"")},
    )
    files = WeightStore({"f": tmp_path / "f"})
    assert files.floats(TensorRef("f", "one")) == 3
    for precision in (None, np.dtype(np.float64)):
        assert files.floats(TensorRef("f", "none"), precision=precision).shape == (0, 5)
        assert files.floats(TensorRef("f", "thin"), precision=precision).shape == (3, 0)
        assert files.floats(TensorRef("f", "thin", transpose=True), precision=precision).shape == (0, 3)


@pytest.mark.parametrize("rows", [[-1], [0, 24]])
def test_a_row_that_is_none(tmp_path: Path, rows: list[int]) -> None:
    write(tmp_path / "f", {"w": ("F32", (24, 2), np.zeros((24, 2), "<f4").tobytes())})
    with pytest.raises(IndexError):
        WeightStore({"f": tmp_path / "f"}).floats(TensorRef("f", "w"), None, np.array(rows))
