"""All attacks, as lines."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.benchmarks.red_team.grinding import grinding_rates
from tests.benchmarks.red_team.rows import drawn_rates, foreseen_rates, replayed_rates
from tests.benchmarks.red_team.table import HEAD, Rate, lines, summary
from tests.support.attacks import ATTACKS, caught, told

__all__ = ["report"]

TRIALS, DRAWS, MODELS, WHOLE = 200, 5000, 5, 40


def report() -> list[str]:
    """Lines: for each lie how often it was caught, with an exact interval, beside the rate that theory gives."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [
            *replayed_rates(folder / "rows", TRIALS),
            *foreseen_rates(folder / "foreseen", MODELS, TRIALS),
            *drawn_rates(DRAWS),
        ]
        whatever = _whatever(folder / "attacks")
        fresh = grinding_rates(folder / "grinding", TRIALS, WHOLE)
    seconds = time.perf_counter() - begun
    return [
        "Red team: every lie is signed with the trusted key, and digests and claims are put right around it",
        HEAD,
        *lines("False rows, seeds fresh: theory is 1 - C(N-k, m) / C(N, m)", rows),
        *lines(f"Lies that no draw decides, on {MODELS} models each", whatever),
        *lines("Easy prompts: theory is the exact power of the tests on fresh prompts", fresh),
        *summary([*rows, *whatever, *fresh]),
        f"  {seconds:.0f} s",
    ]


def _whatever(folder: Path) -> list[Rate]:
    found: list[Rate] = []
    for number, attack in enumerate(ATTACKS):
        reports = [told(attack, folder / f"{number}-{seed}", seed) for seed in range(MODELS)]
        seen = sum(caught(attack, report) for report in reports)
        theory = attack.theory if attack.code else attack.theory * 0
        found.append(Rate(attack.lie, attack.code, MODELS, seen, theory, attack.note))
    return found
