"""Every result code in the sources is registered, and every registered code is used.

A code is what the sources pass as the parameter or field named ``code`` (of ``Refusal``, of ``Finding``,
and of every function or class that has one), or assign to a variable of that name. The definitions are
found first, then every call to them from their own module or from one that imports them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockcert.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for part in ("sdk/blockcert", "verifier/blockcert_verifier", "producers/blockcert_producers")
    for path in (ROOT / part).rglob("*.py")
    if path.name != "codes.py"
)
CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def parameters(node: Definition) -> list[str]:
    """The positional parameters of a call to this definition, without ``self``."""
    if isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                return parameters(inner)
        return [
            field.target.id
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        ]
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def makers(tree: ast.AST) -> dict[str, int | None]:
    """Name to position of ``code`` (None: keyword only) for the definitions of one module."""
    found: dict[str, int | None] = {}
    for node in ast.walk(tree):
        if isinstance(node, Definition) and not node.name.startswith("__"):
            names = parameters(node)
            keywords = [] if isinstance(node, ast.ClassDef) else [a.arg for a in node.args.kwonlyargs]
            if "code" in names:
                found[node.name] = names.index("code")
            elif "code" in keywords:
                found[node.name] = None
    return found


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
LOCAL = {path: makers(tree) for path, tree in TREES.items()}
SHARED = {name: position for local in LOCAL.values() for name, position in local.items()}


def literals(node: ast.expr) -> Iterator[str]:
    """The strings that an argument may be; a name or attribute passes on what is checked where it is made."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        yield ast.unparse(node)  # a code put together at run time cannot be looked up, so it is no code


def known_makers(path: Path) -> dict[str, int | None]:
    """The makers that one module can call: its own, and those that it imports by name."""
    imported = {
        alias.asname or alias.name: SHARED[alias.name]
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("blockcert")
        for alias in node.names
        if alias.name in SHARED
    }
    return {**imported, **LOCAL[path]}


def called(node: ast.Call) -> str:
    """The name that is called, also as an attribute of a module."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def codes_passed(path: Path) -> Iterator[tuple[int, str]]:
    known = known_makers(path)
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.Call) or called(node) not in known:
            continue
        position = known[called(node)]
        given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        if position is not None and len(node.args) > position:
            given.append(node.args[position])
        for argument in given:
            for code in literals(argument):
                yield node.lineno, code


def codes_assigned(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and name.id == "code":
                    for code in literals(value):
                        yield node.lineno, code


def codes_in_tables(path: Path) -> Iterator[tuple[int, str]]:
    """The values of every dictionary of codes: one of strings like codes, of which one is registered."""
    for node in ast.walk(TREES[path]):
        if not isinstance(node, ast.Dict):
            continue
        values = [code for value in node.values for code in literals(value)]
        if len(values) == len(node.values) and all(map(CODE.fullmatch, values)) and CODES.keys() & set(values):
            yield from ((node.lineno, code) for code in values)


def codes_given(path: Path) -> list[tuple[int, str]]:
    """The line and the code of every code that a module gives."""
    return [*codes_passed(path), *codes_assigned(path), *codes_in_tables(path)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_code_given_is_registered(path: Path) -> None:
    missing = [f"line {line}: {code}" for line, code in codes_given(path) if code not in CODES]
    assert not missing


def test_every_registered_code_is_used() -> None:
    """BC-RES-07."""
    strings = {
        node.value
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(CODES.keys() - strings) == []


def test_the_scan_sees_refusals_findings_and_helpers() -> None:
    assert SHARED["Refusal"] == 0
    assert SHARED["Finding"] == 1
    found = {code for path in SOURCES for _, code in codes_given(path)}
    assert {"key.exists", "json.type", "signature.key_not_valid_now", "trust.threshold"} <= found


@pytest.mark.parametrize("code", CODES)
def test_codes_are_dotted_and_have_one_line_of_meaning(code: str) -> None:
    assert CODE.fullmatch(code)
    assert re.fullmatch(r"[A-Z].*\.", CODES[code])


def test_codes_are_registered_in_order() -> None:
    assert list(CODES) == sorted(CODES)
