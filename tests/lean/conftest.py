"""The modules of `lean/checks`, which run without this package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKS = Path(__file__).resolve().parents[2] / "lean" / "checks"


@pytest.fixture(scope="session")
def checks() -> Any:
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the folder goes into the wheel as it is
    sys.path.insert(0, str(CHECKS))
    try:
        names = ("sources", "record", "mutants", "fetch", "side_by_side", "check")
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(CHECKS))
        sys.dont_write_bytecode = before
