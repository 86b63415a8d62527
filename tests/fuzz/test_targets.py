"""The targets of ``make fuzz`` hold on their seeds and on some thousand changes of them, without the fuzzer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.instructions import Instructions, change_bytes
from tests.fuzz.targets import TARGETS, seeds
from tests.support.bundles import Made, make_bundle

ROUNDS = {"altered": 60, "signed": 60, "replayed": 12}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds(name: str, made: Made, tmp_path: Path) -> None:
    target = TARGETS[name](tmp_path)
    found = seeds(name, made, tmp_path / "seeds")
    rng = random.Random(name)
    for data in found[: ROUNDS.get(name)]:
        target(data)
    for _ in range(ROUNDS.get(name, 300)):
        data = rng.choice(found)
        for _ in range(rng.randint(1, 3)):
            data = change_bytes(data, Instructions(rng.randbytes(80)))
        target(rng.randbytes(40) if name in ROUNDS else data)
