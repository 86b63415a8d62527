"""What holds of every report, whatever the bundle: looked at over the cases of the conformance corpus."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from blockcert import strict_json
from blockcert.codes import CODES
from blockcert.errors import Refusal
from blockcert.findings import STEPS, step_status
from blockcert.rotation import successor
from blockcert.statistics import audit_bound, population_bound
from blockcert.times import parse_time
from blockcert.trust import TrustPolicy
from blockcert_producers.conformance import all_cases, build
from blockcert_producers.conformance.draft import NOW
from blockcert_verifier import Report, render, to_json, verify
from blockcert_verifier.conformance.index import Case, Inputs
from blockcert_verifier.verification import read_policy

EVERY = 6
"""Of the cases that give a report, one in so many is looked at."""
SAMPLED = ("replay::some-rows", "limit::audit-enough", "limit::audit-with-a-given-seed", "wellformed::copy")
"""Cases that replay some of their rows, or all of them, looked at too."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Case, Report]]:
    folder = tmp_path_factory.mktemp("reports") / "corpus"
    reporting = [entry for entry in all_cases() if entry.expected.verdict != "refused"]
    chosen = [entry for i, entry in enumerate(reporting) if i % EVERY == 0 or entry.id in SAMPLED]
    index = build(folder, chosen)
    return [*_reports(folder, index.cases)]


def _policy(folder: Path, inputs: Inputs) -> TrustPolicy:
    if inputs.follows is None:
        return read_policy(folder / inputs.policy)
    return successor(
        read_policy(folder / inputs.follows), (folder / inputs.policy).read_bytes(), parse_time(NOW), "policy"
    )


def _reports(folder: Path, cases: tuple[Case, ...]) -> Iterator[tuple[Case, Report]]:
    for case in cases:
        inputs, options = case.inputs, case.options
        try:
            yield (
                case,
                verify(
                    folder / inputs.bundle,
                    _policy(folder, inputs),
                    reference=None if inputs.reference is None else folder / inputs.reference,
                    corpus=[folder / name for name in inputs.corpus],
                    own=[folder / name for name in inputs.own],
                    tokenizer=None if inputs.tokenizer is None else folder / inputs.tokenizer,
                    published=None if inputs.published is None else folder / inputs.published,
                    at=parse_time(options.at, "at"),
                    replay=options.replay,
                    seed=None if options.seed is None else bytes.fromhex(options.seed),
                    fresh=options.fresh,
                    all_digests=options.all_digests,
                ),
            )
        except Refusal as refusal:
            if not refusal.code.startswith("install."):
                raise


def test_every_finding_says_what_it_is_where_and_in_one_sentence(reports: list[tuple[Case, Report]]) -> None:
    """BC-RES-01, BC-RES-02, BC-RES-03."""
    assert len(reports) > 80
    for case, report in reports:
        assert report.findings, case.id
        for finding in report.findings:
            assert finding.step in STEPS
            assert finding.code in CODES, case.id
            assert finding.status in ("passed", "failed", "inconclusive", "skipped")
            assert finding.place, case.id
            assert finding.message, case.id
            assert "\n" not in finding.place + finding.message, case.id


def test_every_step_stands_in_the_report_with_the_worst_of_its_findings(reports: list[tuple[Case, Report]]) -> None:
    """BC-RES-04, BC-VER-16, BC-VER-17."""
    for case, report in reports:
        assert [step.step for step in report.steps] == list(STEPS), case.id
        for step in report.steps:
            assert step.status == (step_status(report.findings, step.step) or "skipped"), (case.id, step.step)
            assert step.reason or step.status != "skipped", (case.id, step.step)


def test_every_report_reads_back_and_fits_a_terminal(reports: list[tuple[Case, Report]]) -> None:
    """BC-VER-16, BC-STM-15."""
    for case, report in reports:
        assert strict_json.decode(to_json(report), Report, case.id) == report
        text = render(report)
        assert max(map(len, text.splitlines())) <= 80, case.id
        assert not {"\x1b", "\x9b", "\u202e", "\u200b"} & {*text}, case.id


def test_every_report_that_shows_claims_says_what_they_are_not_about(reports: list[tuple[Case, Report]]) -> None:
    """BC-CLM-15: two exact programs, no runtime, no cache, no sampler; each claim with its scope and basis."""
    shown = [report for _, report in reports if report.verdict == "accepted"]
    assert len(shown) > 5
    for report in shown:
        assert any("runtime" in item.what and "exact programs" in item.how for item in report.unchecked)
        assert report.certificate is not None
        claims = report.certificate.claims
        parts = (*claims.stages, *claims.composition, claims.end_to_end, claims.population)
        assert all(part.scope and part.basis for part in parts)


def test_what_is_left_if_rows_are_false_follows_from_the_audit_bound(reports: list[tuple[Case, Report]]) -> None:
    """BC-VER-13, BC-VER-14, on every confirmed replay of the cases."""
    seen: set[int] = set()
    for case, report in reports:
        audit = report.audit
        if audit is None or audit.false_rows_below is None or report.certificate is None:
            continue
        q = audit_bound(audit.rows, audit.sampled, Fraction(1, 100))
        assert audit.false_rows_below == q, case.id
        seen.add(q)
        population = report.certificate.claims.population
        for claim in population.claims:
            lowered = max(0, claim.successes - (q - 1))
            level = Fraction(population.alpha) / len(population.claims)
            left = population_bound(population.windows, population.trials, lowered, level)
            assert left <= claim.at_least
            assert any(c.stated == claim.at_least and c.at_least == left for c in audit.consequences), case.id
    assert len(seen) > 1, "samples of more than one size"
