"""Every requirement of the standard has a case of the corpus or a test; `spec/requirements.md` says which.

``python -m tests.schemas.test_requirements`` writes the table again.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockcert_producers.conformance import all_cases

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "spec" / "requirements.md"
ID = re.compile(r"BC-[A-Z]{3}-[0-9]{2}")
SEVERAL = re.compile(r"(BC-[A-Z]{3})-([0-9]{2})((?:(?:,| and| to) [0-9]{2}\b(?!-))+)")
MOST = 4
"""Entries of a cell that are listed one by one."""

HEAD = """# Requirements

Where each requirement stands in the schemas, which cases of the conformance corpus decide it, and which tests name it.
Generated from all three by `python -m tests.schemas.test_requirements`, and compared by a test, which fails where a
requirement has neither a case nor a test. Places in a schema are those whose comment or description names the
requirement. A cell lists four entries and counts the others; `index.json` of a built corpus has all cases.

| requirement | in | schema | cases | tests |
|---|---|---|---|---|
"""


def named(text: str) -> set[str]:
    """The ids in a text; `BC-TRU-02 to 05` and `BC-CNF-02 and 12` name several."""
    found = set(ID.findall(text))
    for family, first, rest in SEVERAL.findall(text):
        last = int(first)
        for word, number in re.findall(r"(,| and| to) ([0-9]{2})", rest):
            numbers = range(last + 1, int(number) + 1) if word == " to" else (int(number),)
            found |= {f"{family}-{n:02d}" for n in numbers}
            last = int(number)
    return found


def stated() -> dict[str, str]:
    """The id of every requirement and the document that states it, in the order of the documents."""
    return {
        found: path.name
        for path in sorted((ROOT / "spec").glob("[0-9]*.md"))
        for found in re.findall(rf"\*\*({ID.pattern})\*\* ", path.read_text(encoding="utf-8"))
    }


def _schemas() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "schemas").glob("*.schema.json")):
        kind = path.name.removesuffix(".schema.json")
        yield from ((found, f"{kind} `{at}`") for found, at in _in_schema(json.loads(path.read_bytes()), "#"))


def _in_schema(part: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, list):
        for i, entry in enumerate(part):
            yield from _in_schema(entry, f"{at}/{i}")
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        if name in ("$comment", "description") and isinstance(value, str):
            yield from ((found, at) for found in sorted(named(value)))
        elif name != "examples":
            yield from _in_schema(value, f"{at}/{name}")


def _cases() -> Iterator[tuple[str, str]]:
    for entry in all_cases():
        yield from ((found, f"`{entry.id}`") for found in entry.requirements)


def _tests() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path == Path(__file__).resolve():
            continue
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        place = str(path.relative_to(ROOT / "tests"))
        yield from ((found, f"`{place}`") for found in sorted(named(ast.get_docstring(tree) or "")))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_source_segment(source, node) or ""
                yield from ((found, f"`{place}::{node.name}`") for found in sorted(named(text)))


def gathered(pairs: Iterator[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for identity, where in pairs:
        if where not in found.setdefault(identity, []):
            found[identity].append(where)
    return found


def cell(entries: list[str]) -> str:
    more = f" and {len(entries) - MOST} more" if len(entries) > MOST else ""
    return ", ".join(entries[:MOST]) + more


def table() -> str:
    schemas, cases, tests = gathered(_schemas()), gathered(_cases()), gathered(_tests())
    rows = [
        f"| {identity} | [{document[:2]}]({document}) | {cell(schemas.get(identity, []))} "
        f"| {cell(cases.get(identity, []))} | {cell(tests.get(identity, []))} |\n"
        for identity, document in stated().items()
    ]
    return HEAD + "".join(re.sub(r" +", " ", row) for row in rows)


def test_the_table_is_what_schemas_cases_and_tests_say() -> None:
    """After a change: ``python -m tests.schemas.test_requirements`` writes it again."""
    assert TABLE.read_text(encoding="utf-8") == table()


def test_every_requirement_has_a_case_or_a_test() -> None:
    cases, tests = gathered(_cases()), gathered(_tests())
    assert [identity for identity in stated() if identity not in cases and identity not in tests] == []


def test_nothing_names_a_requirement_that_there_is_not() -> None:
    for found in (gathered(_schemas()), gathered(_cases()), gathered(_tests())):
        assert set(found) - set(stated()) == set()


def test_ranges_of_ids_are_read() -> None:
    assert named("BC-TRU-02 to 05") == {"BC-TRU-02", "BC-TRU-03", "BC-TRU-04", "BC-TRU-05"}
    assert named("BC-CNF-02 and 12; BC-NUM-01, 03") == {"BC-CNF-02", "BC-CNF-12", "BC-NUM-01", "BC-NUM-03"}
    assert named("BC-EVD-08 to BC-VER-01") == {"BC-EVD-08", "BC-VER-01"}


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
