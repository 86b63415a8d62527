"""``spec/09-result-codes.md`` lists exactly the registered codes, with their meanings."""

from __future__ import annotations

import re
from pathlib import Path

from blockcert.codes import CODES

SPEC = Path(__file__).parents[2] / "spec" / "09-result-codes.md"
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


if __name__ == "__main__":
    text = SPEC.read_text(encoding="utf-8")
    SPEC.write_text(text[: text.index(HEAD)] + table(), encoding="utf-8")
