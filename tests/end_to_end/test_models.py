"""On real models: rounded copies and three budgets give certificates that verify with every row replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import models
from tests.support.model_table import BUDGETS, HEADER, block_total, certify_model, lines

MODELS = ("embedded gpt2", "embedded llama")
"""Those that are always here; ``python -m tests.support.model_table`` does the same with the others."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_certificates_verify_and_a_wider_budget_never_keeps_more(name: str, tmp_path: Path) -> None:
    """BC-CNF-01."""
    predicates = certify_model(models()[name], tmp_path, (40, 25, 12))
    print("\n" + HEADER + "\n" + "\n".join(lines(name, predicates)))
    kept = [block_total(predicates[f"budget {b}"], "surrogate", "multiply_adds") for b in BUDGETS]
    assert kept == sorted(kept, reverse=True)
    for budget, r in zip(BUDGETS, range(3), strict=True):
        for stage in predicates[f"budget {budget}"].claims.stages[1:-1]:
            # 95 % of calibration tokens were within; fresh prompts may do a little worse, not much
            assert stage.covered[r] >= 0.9 * stage.tokens
    reference = predicates["bfloat16 copy"].surrogate.kept.reference
    assert all(
        cost.bits == 2 * small.bits
        for cost, small in zip(reference, predicates["bfloat16 copy"].surrogate.kept.surrogate, strict=True)
    )
