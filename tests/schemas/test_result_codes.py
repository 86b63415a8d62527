"""``spec/09-result-codes.md`` lists exactly the registered codes, with their meanings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from blockcert.codes import CODES

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "spec" / "09-result-codes.md"
HEAD = "| code | meaning |\n|---|---|\n"


def table() -> str:
    """The table as the registry has it."""
    return HEAD + "".join(f"| `{code}` | {meaning} |\n" for code, meaning in sorted(CODES.items()))


def written() -> dict[str, str]:
    text = SPEC.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z0-9_.]+)` \| (.*) \|$", text[text.index(HEAD) :], re.MULTILINE))


def test_the_spec_lists_the_registered_codes() -> None:
    """After a new code: ``python tests/schemas/test_result_codes.py`` writes the table again."""
    assert written() == CODES


def test_codes_are_dotted_words() -> None:
    assert [code for code in CODES if re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", code) is None] == []


def statuses() -> Iterator[tuple[str, str]]:
    """The status and the code of every finding that the verifier's sources make with a status of their own."""
    for path in (ROOT / "verifier").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) in (3, 4)):
                continue
            first = node.args[0]
            if (
                node.func.id == "Refusal"
                and isinstance(first, ast.Constant)
                and str(first.value).startswith(("limit.", "bundle.changed"))
            ):
                yield "inconclusive", str(first.value)  # as `from_refusal` has it
            if len(node.args) != 4:
                continue
            code = node.args[1]
            if node.func.id in ("passed", "skipped", "inconclusive") and isinstance(code, ast.Constant):
                yield node.func.id, str(code.value)


def test_the_spec_says_which_findings_have_not_failed() -> None:
    text = SPEC.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(passed|skipped|inconclusive)` \| (`.*`.*) \|$", text, re.MULTILINE)
    listed = [(status, pattern) for status, cell in rows for pattern in re.findall(r"`([a-z0-9_.*]+)`", cell)]
    made = set(statuses())
    assert len(made) > 10
    assert [one for one in made if not any(one[0] == s and fnmatch(one[1], pattern) for s, pattern in listed)] == []
    assert [one for one in listed if not any(one[0] == s and fnmatch(code, one[1]) for s, code in made)] == []


if __name__ == "__main__":
    text = SPEC.read_text(encoding="utf-8")
    SPEC.write_text(text[: text.index(HEAD)] + table(), encoding="utf-8")
