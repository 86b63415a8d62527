"""What is published: an sdist, and the wheel that is built from it, which every base install here is made of."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCES = {"__pycache__"}


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder with sdist and wheel; both are built where they are stale."""
    subprocess.run(["make", "--silent", "build/base-env/.ready"], cwd=ROOT, check=True, capture_output=True)
    return ROOT / "build" / "dist"


@pytest.fixture(scope="module")
def unpacked(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's one folder, unpacked."""
    (sdist,) = built.glob("*.tar.gz")
    into = tmp_path_factory.mktemp("sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


def sources(*folders: str) -> set[str]:
    """Every file of these folders here, by its path in the project."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not NOT_SOURCES & {*path.parts} and path.suffix != ".pyc" and ".lake" not in path.parts
    }


def inside(folder: Path, names: Iterable[str]) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for name in names for path in (folder / name).rglob("*") if path.is_file()
    }


def test_the_sdist_holds_the_standard_the_sources_and_the_proofs(unpacked: Path) -> None:
    """Text, schemas and Lean beside the three packages, byte for byte; nothing of a build, and no tests."""
    folders = ("spec", "schemas", "lean", "sdk", "verifier", "producers")
    assert inside(unpacked, folders) == sources(*folders)
    for name in sorted(sources(*folders)):
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes(), name
    beside = {path.name for path in unpacked.iterdir()} - {*folders}
    assert beside == {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO", ".gitignore"}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_sources(built: Path, tmp_path: Path) -> None:
    """Nothing that a wheel needs is left out of the sdist."""
    (ours,) = built.glob("*.whl")
    words = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    (direct,) = tmp_path.glob("*.whl")
    assert ours.name == direct.name
    found, wanted = contents(ours), contents(direct)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []


def test_the_wheel_holds_the_schemas_and_the_lean_sources(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {*contents(wheel)}
    assert {f"blockcert/{name}" for name in sources("schemas")} <= names
    assert {f"blockcert_verifier/lean/library/{name.removeprefix('lean/')}" for name in sources("lean")} <= names
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]
