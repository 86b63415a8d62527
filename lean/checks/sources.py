"""The Lean sources as texts: what can be checked of them without Lean."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path

CHECKS = Path(__file__).resolve().parent
SOURCES = CHECKS.parent

COMMANDS = ("BlockCert.Main", "BlockCert.CheckMain")
"""Modules that are programs: nothing imports them."""

UNPROVED = (
    "sorry|sorryAx|admit|axiom|native_decide|native|bv_decide|ofReduceBool|ofReduceNat|trustCompiler|skipKernelTC"
)
OTHERWISE_COMPILED = "unsafe|partial|opaque|implemented_by|extern|csimp|set_option"
RUNS = (
    "meta|run_cmd|run_elab|run_meta|run_tac|by_elab|elab|elab_rules|eval|initialize|builtin_initialize|simproc|simprocs"
    "|dsimproc|dsimprocs|builtin_simproc|builtin_dsimproc|include_str"
)
READS_OTHERWISE = (
    "macro|macro_rules|syntax|declare_syntax_cat|notation|notation3|infix|infixl|infixr|binder_predicate|unif_hint"
    "|instance|default_instance|attribute"
)
FORBIDDEN = re.compile(
    rf"(?<!json\.)\b({UNPROVED}|{OTHERWISE_COMPILED}|{RUNS}|{READS_OTHERWISE})\b"
    # commands such as #eval; what Lean starts with; what stands before or after its operand
    r"|#[A-Za-z_]|@\[[^\]]*\binit\b|\b(prefix|postfix)\s*[:\"]"
)
"""Of a proof that is none; of code that does not mean what it says; of what runs while a file is checked; of what gives
a symbol another meaning than the library that all can read. Anywhere in a line, in comments too."""
COMMENT_OR_WORD = re.compile(r"\s*(/-|-/|--[^\n]*|\S+?(?=\s|--|/-|-/|\Z))")
HEADER = ("module", "public", "private", "meta", "import", "all")
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


def header_words(text):
    """The words with which a module begins, without comments: `module`, imports, and the first that is neither."""
    words, at, depth = [], 0, 0
    while found := COMMENT_OR_WORD.match(text, at):
        word, at = found[1], found.end()
        if word in ("/-", "-/"):
            depth += 1 if word == "/-" else -1
        elif depth and word[:2] == "--":
            at = found.start(1) + 2  # within a block it is no comment of its own, and the block may end in this line
        elif depth == 0 and word[:2] != "--":
            words.append(word)
            if word not in HEADER and words[-2:-1] not in (["import"], ["all"]):
                break
    return words


def forbidden_form(text):
    """What is wrong with how a module begins: it must be one in Lean's sense, and import this library only."""
    words = header_words(text)
    if words[:1] != ["module"]:
        return ["the first word is not `module`: what it imports and states would be everybody's"]
    names = [name for before, name in pairwise(words) if before in ("import", "all") and name != "all"]
    return [f"imports {name}" for name in names if not re.fullmatch(r"BlockCert(\.\w+)*|Init", name)]


def scan_words(modules):
    bad = [
        f"{path.relative_to(SOURCES)}:{number}: {line}"
        for path, text, _ in modules.values()
        for number, line in forbidden_words(text)
    ]
    bad += [
        f"{path.relative_to(SOURCES)}: {what}" for path, text, _ in modules.values() for what in forbidden_form(text)
    ]
    if bad:
        raise CheckError("forbidden in the sources:\n" + "\n".join(bad))


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
