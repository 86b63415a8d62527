"""A producer replays its own evidence in another order of summation, and signs nothing near a tolerance (BC-VER-12)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert.errors import Refusal
from blockcert.evidence import EvidenceShape, columns
from blockcert.same_program import same_stages
from blockcert_producers.certify.measuring import evidence_columns, self_check, write_evidence
from blockcert_producers.progress import silent
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.measure import Pair, Settings
from tests.support.tiny import VOCABULARY, tiny_pair

SETTINGS = Settings((0.01, 0.05), (0.01,))
RUN: dict[str, Any] = {"device": "cpu", "attribution": 2, "progress": silent}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Any, dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("pair")
    reference, surrogate, paths = tiny_pair(folder, 0, 2)
    pair = Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths))
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (4, 8))
    return pair, tokens, evidence_columns(pair, tokens, SETTINGS, **RUN)


def test_honest_evidence_stays_a_hundred_times_inside_every_tolerance(
    measured: tuple[Pair, Any, dict[str, Any]],
) -> None:
    pair, tokens, recorded = measured
    assert self_check(pair, tokens, SETTINGS, recorded, **RUN).disagreements == ()


@pytest.mark.parametrize("column", ["error", "drift", "relative_error", "loss_reference", "kl_sum"])
def test_a_value_inside_the_verifiers_tolerance_and_not_inside_the_producers_is_not_signed(
    column: str, measured: tuple[Pair, Any, dict[str, Any]]
) -> None:
    pair, tokens, recorded = measured
    cells = recorded[column].copy()
    cells[1, ...] *= 1 + 2e-7
    with pytest.raises(Refusal) as refused:
        self_check(pair, tokens, SETTINGS, {**recorded, column: cells}, **RUN)
    assert refused.value.code == "measure.self_check"
    assert column in refused.value.place


def test_a_zero_has_one_spelling_in_the_evidence(tmp_path: Path) -> None:
    """One value, one file: machines that round a sum to minus zero write the same bytes."""
    shape = EvidenceShape(1, 2, 1, 1, 1)

    def filled(zero: float) -> dict[str, Any]:
        kinds = {"F64": zero, "I64": 0}
        return {column.name: np.full(column.shape, kinds[column.dtype]) for column in columns(shape)}

    for name, zero in (("plus", 0.0), ("minus", -0.0)):
        write_evidence(tmp_path / name, shape, filled(zero))
    assert (tmp_path / "plus").read_bytes() == (tmp_path / "minus").read_bytes()
