"""Bounds for each corpus file in a report: beside the population's, apart in confidence, and readable at 80 columns."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.statement import CorpusFile, Population, Statement, Stratum
from blockcert.statistics import population_bound
from blockcert_verifier import render, verify
from blockcert_verifier.audit_text import audit_lines
from blockcert_verifier.claims_text import claims_lines
from blockcert_verifier.report import describe
from blockcert_verifier.steps.consequences import consequences
from tests.support.bundles import NOW, Made, make_bundle


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("strata"))


def statement_of(made: Made) -> Statement:
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    return strict_json.decode(payload, Statement, STATEMENT)


def with_files(statement: Statement, names: list[str]) -> Statement:
    """The statement about corpus files of these names, ten listed prompts and nine successes in each."""
    p = statement.predicate
    k = len(p.claims.population.claims)
    stratum = Stratum(windows=1000, trials=10, successes=(9,) * k, at_least=(500,) * k)
    population = replace(p.claims.population, strata=(stratum,) * len(names))
    corpus = tuple(CorpusFile(name, 10**6, f"{i:064x}", 1000) for i, name in enumerate(names))
    frame = replace(p.prompts.frame, corpus=corpus, windows=1000 * len(names))
    return replace(
        statement,
        predicate=replace(p, prompts=replace(p.prompts, frame=frame), claims=replace(p.claims, population=population)),
    )


def population_text(statement: Statement) -> str:
    paragraphs = claims_lines(describe(statement, authenticated=True), recounted=False)
    return "\n".join(next(lines for lines in paragraphs if lines and lines[0].startswith("Population of")))


def test_each_corpus_file_has_a_table_of_its_own(made: Made) -> None:
    report = verify(made.bundle, made.without_replay, at=NOW)
    assert report.certificate is not None
    assert report.certificate.corpus == ("first.txt", "second.txt")
    strata = report.certificate.claims.population.strata
    assert strata is not None
    shown = render(report)
    assert "Each corpus file alone, given its number of listed prompts; jointly at 95 %" in shown
    for name, stratum in zip(report.certificate.corpus, strata, strict=True):
        assert f"{name}, {stratum.windows} windows" in shown


def test_a_report_on_one_corpus_file_has_no_such_table(made: Made) -> None:
    statement = statement_of(made)
    p = statement.predicate
    one: Population = replace(p.claims.population, strata=None)
    single = replace(statement, predicate=replace(p, claims=replace(p.claims, population=one)))
    assert "corpus file" not in population_text(single).casefold()


def test_many_files_of_long_and_hostile_names_fit_the_line(made: Made) -> None:
    names = ["a" * 1024, "\x1b[2J\u202e" * 100, *(f"{i}.txt" for i in range(9))]
    shown = population_text(with_files(statement_of(made), names))
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert not {"\x1b", "\u202e"} & {*shown}
    assert f"{'a' * 29}..., 1000 windows" in shown
    assert "5.txt, 1000 windows" in shown
    assert "6.txt" not in shown
    assert "3 more corpus files" in shown


def test_false_rows_may_all_come_from_one_corpus_file(made: Made) -> None:
    """Of nine successes in ten prompts two may be false, in each file; the level stays divided over all files."""
    statement = with_files(statement_of(made), ["a", "b"])
    k, beta = len(statement.predicate.claims.population.claims), Fraction(1, 100)
    found = consequences(statement, 3, attributed=False, beta=beta)
    for file in (0, 1):
        mine = [one for one in found if one.corpus_file == file]
        assert [(one.stated, one.of, one.confidence) for one in mine] == [(500, 1000, "0.94")] * k
        bound = population_bound(1000, 10, 7, Fraction(1, 20) / (2 * k))
        assert [one.at_least for one in mine] == [bound] * k
    assert sum(one.corpus_file is None and one.scope == "population" for one in found) == k


def test_what_an_audit_leaves_of_each_file_is_shown_apart(made: Made, tmp_path: Path) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=5)
    assert report.audit is not None
    audit = replace(report.audit, repeatable=False)
    shown = "\n".join(audit_lines(audit))
    assert "of the windows of corpus file 1, at 94 % confidence" in shown
    assert "of the windows of corpus file 2, at 94 % confidence" in shown
    assert "corpus files after the first" not in shown
    many = with_files(statement_of(made), [f"{i}" for i in range(10)])
    left = consequences(many, 2, attributed=False, beta=Fraction(1, 100))
    shown = "\n".join(audit_lines(replace(audit, consequences=left)))
    assert "corpus file 8," in shown
    assert "corpus file 9," not in shown
    assert "corpus files after the first 8: --json FILE has them all" in shown
