"""Nothing is read, or worked out, without bounds: what is signed may still be far too large.

Requirements: BC-BND-19, BC-VER-03.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockcert.bundle import Bundle
from blockcert.errors import Refusal
from blockcert_verifier import Report, run, verify
from blockcert_verifier.steps import consequences
from tests.support.bundles import NOW, Made, make_bundle, reseal

EXTRA = 1 << 20
LARGEST_PROGRAM = 16 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Made:
    return made.copy(tmp_path)


def check(made: Made) -> Report:
    reseal(made)
    return verify(made.bundle, made.without_replay, at=NOW)


def columns_of(path: Path) -> int:
    data = path.read_bytes()
    return len(data) - 8 - int.from_bytes(data[:8], "little")


def pad_header(path: Path, size: int) -> None:
    """Make a safetensors file `size` bytes larger than its columns, by spaces behind its header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].ljust(size - 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("programs/reference.json", "integrity"),
        ("programs/surrogate.json", "integrity"),
        ("prompts.safetensors", "recompute"),
        ("evidence.safetensors", "recompute"),
    ],
)
def test_a_file_larger_than_the_statement_explains_is_never_read(
    name: str, step: str, copy: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy.bundle / name
    size = LARGEST_PROGRAM + 1 if name.endswith(".json") else columns_of(path) + EXTRA + 1
    os.truncate(path, size)  # the added bytes take no room on the disk
    returned: dict[str, int] = {}
    read = Bundle.read

    def spy(self: Bundle, name: str, cap: int) -> bytes:
        data = read(self, name, cap)
        returned[name] = len(data)
        return data

    monkeypatch.setattr(Bundle, "read", spy)
    report = check(copy)
    [finding] = [finding for finding in report.findings if finding.status == "failed"]
    assert (finding.step, finding.code, finding.place) == (step, "bundle.file_too_large", name)
    assert report.exit_code == 1
    assert name not in returned


@pytest.mark.parametrize("name", ["prompts.safetensors", "evidence.safetensors"])
def test_columns_that_are_more_than_is_held_are_never_read(
    name: str, copy: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-BND-19: also where the room for a header would take them."""
    other = {"prompts.safetensors": "evidence.safetensors", "evidence.safetensors": "prompts.safetensors"}[name]
    size, smaller = columns_of(copy.bundle / name), columns_of(copy.bundle / other)
    monkeypatch.setattr(run, "MOST_COLUMN_BYTES", size)
    found = [(f.code, f.place) for f in check(copy).findings if f.status == "failed"]
    assert found == ([] if smaller <= size else [("bundle.file_too_large", other)])
    monkeypatch.setattr(run, "MOST_COLUMN_BYTES", size - 1)
    found = [(f.code, f.place) for f in check(copy).findings if f.status == "failed"]
    assert found in ([("bundle.file_too_large", name)], [("bundle.file_too_large", "prompts.safetensors")])


@pytest.mark.parametrize("name", ["prompts.safetensors", "evidence.safetensors"])
def test_a_header_may_take_all_of_its_room(name: str, copy: Made) -> None:
    pad_header(copy.bundle / name, EXTRA)
    assert check(copy).exit_code == 0


def test_a_bound_refused_after_the_replay_rejects_with_a_finding(copy: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise Refusal("statistics.work", "population", "A probability lies too close to alpha.")

    monkeypatch.setattr(consequences, "population_bound", refuse)
    report = verify(copy.bundle, copy.policy, reference=copy.model, at=NOW, replay=1)
    [finding] = [finding for finding in report.findings if finding.status == "failed"]
    assert (finding.step, finding.code) == ("replay", "statistics.work")
    assert report.exit_code == 1
