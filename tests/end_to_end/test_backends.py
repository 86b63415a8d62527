"""Evidence made by one back end is confirmed by the other, in every cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockcert.same_program import same_stages
from blockcert_producers import embedded
from blockcert_producers.lift import lift
from blockcert_verifier.evaluate import Backend, WeightStore
from blockcert_verifier.measure import Pair, Settings, confirm, measure
from tests.support.certificates import rounded_copy

SETTINGS = Settings((0.01, 0.02, 0.05), (0.001, 0.01, 0.1))


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
@pytest.mark.parametrize("name", embedded.NAMES)
def test_numpy_and_torch_confirm_each_other(name: embedded.Name, form: str, tmp_path: Path) -> None:
    model = embedded.path(name)
    copy = rounded_copy(model, tmp_path / "copy", form)
    reference, surrogate = lift(model), lift(copy, prefix="surrogate/")
    files = {"reference/model.safetensors": model / "model.safetensors"}
    store = WeightStore({**files, "surrogate/model.safetensors": copy / "model.safetensors"})
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), store)
    tokens = np.random.default_rng(3).integers(0, reference.vocabulary, (12, 64))
    measured = {d: measure(pair, tokens, SETTINGS, Backend(d), attribution=6) for d in ("cpu", "torch")}
    for mine, other in (("cpu", "torch"), ("torch", "cpu")):
        found = confirm({column: cells.value for column, cells in measured[mine].items()}, measured[other])
        assert not found.disagreements
        assert 0 < found.largest_fraction < 0.01
        where = f"{found.largest_fraction:.1e} of the tolerance, in {found.column}"
        print(f"{name}, {form}: {mine} confirmed by {other} in {found.cells} cells; largest disagreement {where}")
