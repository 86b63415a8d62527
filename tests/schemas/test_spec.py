"""The specification is consistent with itself and with the library, down to its worked values."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from blockcert.claims import stratum_bounds
from blockcert.draw import (
    Stream,
    calibration_windows,
    certification_windows,
    corpus_digest,
    frame_key,
    fresh_windows,
    own_windows,
    replay_rows,
)
from blockcert.dsse import pae
from blockcert.evidence import EvidenceShape, columns
from blockcert.numbers import round_bound, round_down_share, round_nearest
from blockcert.statement import CorpusFile, Frame, Tokenizer
from blockcert.statistics import audit_bound, population_bound

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "spec"
DOCUMENTS = sorted(SPEC.rglob("*.md"))
ID = re.compile(r"BC-[A-Z]{3}-[0-9]{2}")


def text(name: str) -> str:
    return (SPEC / name).read_text(encoding="utf-8")


def table(document: str, *head: str) -> list[list[str]]:
    """The body rows of the table whose header cells begin with ``head``, backquotes removed."""
    rows = [[cell.strip(" `") for cell in line.strip().strip("|").split("|")] for line in document.splitlines()]
    start = next(i for i, row in enumerate(rows) if tuple(row[: len(head)]) == head)
    body = rows[start + 2 :]
    return body[: next((i for i, row in enumerate(body) if len(row) < len(head)), len(body))]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_requirement_has_one_id() -> None:
    ids = [found for path in SPEC.glob("*.md") for found in re.findall(rf"\*\*({ID.pattern})\*\* ", text_of(path))]
    assert len(ids) > 100
    assert sorted(ids) == sorted(set(ids))


def test_every_cited_requirement_exists() -> None:
    ids = {found for path in SPEC.glob("*.md") for found in re.findall(rf"\*\*({ID.pattern})\*\* ", text_of(path))}
    sources = [path for folder in ("sdk", "verifier", "producers", "schemas") for path in (ROOT / folder).rglob("*")]
    cited: dict[str, str] = {}
    for path in [*DOCUMENTS, *(path for path in sources if path.suffix in (".py", ".json"))]:
        cited |= dict.fromkeys(ID.findall(text_of(path)), str(path.relative_to(ROOT)))
    assert {found: path for found, path in cited.items() if found not in ids} == {}


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#]+)\)", text_of(path)):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_spec_files_that_sources_name_exist() -> None:
    sources = [path for folder in ("sdk", "verifier", "producers") for path in (ROOT / folder).rglob("*.py")]
    named = {(found, path.name) for path in sources for found in re.findall(r"spec/[0-9a-z-]+\.md", text_of(path))}
    assert named
    assert {pair for pair in named if not (ROOT / pair[0]).is_file()} == set()


NOT_IN_THE_PROCEDURE = {
    "BC-BND-16": "binds writers",
    "BC-BND-17": "binds writers",
    "BC-CLM-15": "is about how claims are shown",
    "BC-STM-17": "claims nothing, and is about how it is shown",
}


def rules(cell: str) -> set[str]:
    """The ids in a cell like ``BC-BND-03, 06 to 08; BC-STM-01``."""
    found: set[str] = set()
    for part in cell.split(";"):
        for family in re.findall(r"BC-[A-Z]{3}-", part):
            for first, last in re.findall(r"\b([0-9]{2})(?: to ([0-9]{2}))?\b", part):
                found |= {f"{family}{number:02d}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_the_procedure_names_every_rule_that_a_verifier_applies() -> None:
    ids = {found for path in SPEC.glob("*.md") for found in re.findall(rf"\*\*({ID.pattern})\*\* ", text_of(path))}
    named = set[str]().union(*(rules(row[3]) for row in table(text("10-verification.md"), "", "step")))
    families = ("BC-BND", "BC-STM", "BC-PRG", "BC-PRM", "BC-EVD", "BC-CLM")
    applied = {found for found in ids if found.startswith(families)}
    assert applied - named == set(NOT_IN_THE_PROCEDURE)
    assert named <= ids


# --- worked values ----------------------------------------------------------------------------------------------


def test_rounding() -> None:
    rows = table(text("03-numbers.md"), "value", "bound", "share", "nearest")
    assert len(rows) == 7
    for value, bound, share, nearest in rows:
        exact = Fraction(1, 10**40) if value == "10^-40" else Fraction(value)
        assert round_bound(exact, same=False) == bound, value
        if share:
            assert (round_down_share(exact), round_nearest(exact)) == (share, nearest), value


def test_zero_is_one_unit_unless_the_sides_are_one_program() -> None:
    unit = "0." + "0" * 29 + "1"
    assert f"`{unit}`" in text("03-numbers.md")
    assert (round_bound(Fraction(0), same=False), round_bound(Fraction(0), same=True)) == (unit, "0")


def test_pre_authentication_encoding() -> None:
    written = re.search(r'`PAE\("([^"]+)", "([^"]+)"\)` is `([^`]+)`', text("04-statement.md"))
    assert written is not None
    assert pae(written[1], written[2].encode()) == written[3].encode()


def worked(document: str, label: str) -> str:
    return next(row[1] for row in table(document, "", "") if row[0].replace("*", "").startswith(label))


def numbers(cell: str) -> list[int]:
    return [int(part) for part in re.findall(r"\b[0-9]+\b", cell)]


def test_draws() -> None:
    document = text("06-prompts.md")
    corpus = CorpusFile(name="c", size=1, blake3="02" * 32, windows=10)
    frame = Frame((corpus,), Tokenizer("03" * 32, None), 64, 10, 7, 3, 4)
    key = frame_key(frame, "01" * 32)
    assert corpus_digest(["02" * 32]).hex() == worked(document, "corpus digest")

    calibration = calibration_windows(key, 3)
    assert calibration == numbers(worked(document, "calibration windows"))
    certification = certification_windows(key, bytes.fromhex("04" * 32), calibration, 4)
    assert certification == numbers(worked(document, "certification windows"))

    stream = Stream("blockcert:v1:calibration", key.parts())
    words = [stream.word() for _ in range(3)]
    assert " ".join(f"0x{word:016x}" for word in words) == worked(document, "words")
    output = b"".join(word.to_bytes(8, "little") for word in words)
    assert output.hex() == worked(document, "its output").replace(" ", "")

    rejecting = Stream("blockcert:v1:certification", key.parts(), bytes.fromhex("04" * 32))
    cell = worked(document, "rejection")
    assert rejecting.uniform(2**63 + 1) == numbers(cell)[-1] == int(re.findall(r"0x[0-9a-f]+", cell)[0], 16)

    rows = replay_rows(bytes.fromhex("05" * 32), bytes.fromhex("06" * 32), 10, 3)
    assert rows == numbers(worked(document, "replay").split("rows")[-1])

    used = [*calibration, 1, 8]
    fresh = fresh_windows(bytes.fromhex("05" * 32), bytes.fromhex("06" * 32), 10, used, 3)
    assert fresh == numbers(worked(document, "fresh").split("windows")[-1])
    own = own_windows(*(bytes.fromhex(f"{part:02x}" * 32) for part in (5, 6, 7)), 10, 3)
    assert own == numbers(worked(document, "own texts").split("windows")[-1])


def test_evidence_columns() -> None:
    """Names, dtypes, shapes and order, with sizes that tell every axis apart."""
    sizes = {"N": 11, "S": 5, "n": 3, "R": 7, "Q": 13, "A": 2, "E": 6, "n+1": 4}
    shape = EvidenceShape(
        blocks=3, rows=11, attribution_rows=2, relative_thresholds=7, loss_thresholds=13, enclosed_rows=6
    )
    rows = table(text("07-evidence.md"), "column", "dtype", "shape", "definition")
    found = [(name, dtype, tuple(sizes[axis.strip()] for axis in axes.split(","))) for name, dtype, axes, *_ in rows]
    assert found == [(column.name, column.dtype, column.shape) for column in columns(shape)]


def test_audit_bounds() -> None:
    line, values = (re.findall(r"[0-9]+(?:, [0-9]+)?", part) for part in audit_rows())
    assert len(line) == 6
    for pair, q in zip(line, values, strict=True):
        rows, sampled = map(int, pair.split(", "))
        assert audit_bound(rows, sampled, Fraction(1, 100)) == int(q)


def audit_rows() -> tuple[str, str]:
    lines = text("10-verification.md").splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("| N, m |"))
    return lines[start], lines[start + 2]


def test_population_bounds() -> None:
    lines = text("08-claims.md").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| M, N, s, alpha / k |"))
    cases = [cell.split(",") for cell in lines[start].strip("| ").split("|")[1:]]
    values = [int(cell) for cell in lines[start + 2].strip("| ").split("|")[1:]]
    assert len(cases) == 5
    for (windows, trials, count, level), at_least in zip(cases, values, strict=True):
        assert population_bound(int(windows), int(trials), int(count), Fraction(level.strip())) == at_least


def test_bounds_of_corpus_files() -> None:
    lines = text("08-claims.md").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  | M_h, N_h, s, alpha / (k H) |"))
    cases = [cell.split(",") for cell in lines[start].strip("| ").split("|")[1:]]
    values = [int(cell) for cell in lines[start + 2].strip("| ").split("|")[1:]]
    assert len(cases) == 4
    for (windows, trials, count, level), at_least in zip(cases, values, strict=True):
        alpha = Fraction(level.strip()) * 6
        assert stratum_bounds(int(windows), int(trials), [int(count)] * 2, 3, alpha) == (at_least, at_least)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_is_short_and_plain(path: Path) -> None:
    lines = text_of(path).splitlines()
    prose = len([line for line in lines if not line.startswith("|")])
    assert prose <= 160, "long documents are not read"
    assert all(len(line) <= 132 for line in lines if not line.startswith(("|", "  |")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_table_row_has_the_cells_of_its_head(path: Path) -> None:
    """A bar inside a cell, as in a norm, would split it when the document is rendered."""
    cells: int | None = None
    for number, line in enumerate(text_of(path).splitlines(), 1):
        row = line.strip()
        cells = (cells or row.count("|")) if row.startswith("|") else None
        assert cells is None or row.count("|") == cells, f"{path.name}:{number}"


def test_versions_are_those_of_the_schemas() -> None:
    """BC-STM-09: each row of the table in 17 is what the schema says of the field `version`."""
    rows = {row[0]: row[2] for row in table(text("17-versions.md"), "document", "field", "value")}
    schemas = {"program": "program", "report": "report", "trust policy": "trust-policy"}
    schemas |= {"revocation list": "revocation-list", "conformance index, score": "conformance-index"}
    for document, name in schemas.items():
        properties = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_bytes())["properties"]
        assert str(properties["version"]["const"]) in rows[document].replace("`", "").split(", "), document
        if "type" in properties:
            assert properties["type"]["const"] in rows[document], document
