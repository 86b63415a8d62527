"""The Lean sources as texts: what can be checked of them without Lean."""

import hashlib
import json
import re
from pathlib import Path

CHECKS = Path(__file__).resolve().parent
SOURCES = CHECKS.parent

COMMANDS = ("BlockCert.Main", "BlockCert.CheckMain")
"""Modules that are programs: nothing imports them."""

FORBIDDEN = re.compile(
    r"(?<!json\.)\b(sorry|admit|axiom|native_decide|unsafe|partial|opaque|implemented_by|extern|csimp"
    r"|skipKernelTC|decide\s*\+native|bv_decide|set_option|meta|elab|elab_rules|macro|macro_rules|syntax"
    r"|run_cmd|run_elab|initialize)\b"
)
THEOREM = re.compile(r"(?m)^\s*(?:@\[[^\]]*\]\s*)?(?:public |private |protected )*theorem\s+([^\s({:\[]+)")

UNCHECKED = {"README.md", "CHECKED.json", ".gitignore"}
"""Files of this folder on which nothing rests that is checked."""


class CheckError(Exception):
    """The library, or what checks it, fails."""


class CannotCheck(Exception):  # noqa: N818 - no error of the library
    """It cannot be checked here; one sentence says why, and what to install or do."""


def read_sources():
    """Module name -> (file, text, imports within the library), in an order fit for checking."""
    files = {"BlockCert": SOURCES / "BlockCert.lean"}
    for path in sorted((SOURCES / "BlockCert").rglob("*.lean")):
        files[".".join(path.relative_to(SOURCES).with_suffix("").parts)] = path
    modules = {}
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        imports = re.findall(r"(?m)^(?:public )?import (BlockCert(?:\.\w+)*)$", text)
        for wanted in imports:
            if wanted not in files:
                raise CheckError(f"{name} imports {wanted}, which is not there")
        modules[name] = (path, text, imports)
    order = []

    def visit(name, above):
        if name in above:
            raise CheckError(f"modules import each other: {' -> '.join((*above, name))}")
        if name not in order:
            for wanted in modules[name][2]:
                visit(wanted, (*above, name))
            order.append(name)

    for name in modules:
        visit(name, ())
    absent = set(modules) - {"BlockCert", *COMMANDS} - set(modules["BlockCert"][2])
    if absent:
        raise CheckError(f"BlockCert.lean does not import {', '.join(sorted(absent))}")
    return {name: modules[name] for name in order}


def forbidden_words(text):
    """Number and text of each line with a word that the sources must not have."""
    return [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if FORBIDDEN.search(line)]


def scan_words(modules):
    bad = [
        f"{path.relative_to(SOURCES)}:{number}: {line}"
        for path, text, _ in modules.values()
        for number, line in forbidden_words(text)
    ]
    if bad:
        raise CheckError("forbidden words in the sources:\n" + "\n".join(bad))


def theorems(text):
    """The names of the theorems that a module states."""
    return THEOREM.findall(text)


def without_theorems(text):
    """A module's text without its theorems, which running needs not; a block ends at an empty line."""
    blocks = re.split(r"\n\n+", text)
    return "\n\n".join(x for x in blocks if not re.search(r"(?m)^(@\[[^\]]*\] )?theorem ", x))


def build_folder():
    """The folder in a cache that holds this version's build of Lean; `blockcert lean check` looks for it too."""
    build = json.loads((CHECKS / "build.json").read_bytes())
    recipe = (CHECKS / "patch_lean_js.py").read_bytes() + f"{build['node']} {build['sha256']} 1".encode()
    return f"lean-{hashlib.sha256(recipe).hexdigest()[:16]}"


def checked_files():
    """Every file of this folder on which a check rests, by its path, sorted."""
    found = {}
    for path in SOURCES.rglob("*"):
        parts = path.relative_to(SOURCES).parts
        if path.is_file() and not {".lake", "__pycache__"} & set(parts) and parts[0] not in UNCHECKED:
            found["/".join(parts)] = path
    return dict(sorted(found.items()))


def sources_digest():
    """SHA-256 over a line for each checked file: its SHA-256, two spaces, its path, a line feed."""
    lines = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in checked_files().items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
