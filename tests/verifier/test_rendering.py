"""The report a person reads: it fits 80 columns whatever a bundle holds, and shows no claim that does not stand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from blockcert.printable import plain
from blockcert.statement import CompositionClaim, Lipschitz
from blockcert_verifier import Report, render, verify
from blockcert_verifier.layout import WIDTH, bar, columns, joined, lines_of, wrap
from blockcert_verifier.report import Certificate
from blockcert_verifier.rests_text import rests_lines
from blockcert_verifier.text import render_certificate, sections
from tests.support.bundles import NOW, Made, make_bundle, rewrite_column

CLAIMS = ("End to end", "Blocks, at", "Drift through", "Which stage", "Population", "Kept", "Rests on", "at least")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def report(made: Made) -> Report:
    return verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4)


def certificate_of(report: Report) -> Certificate:
    assert report.certificate is not None
    return report.certificate


def with_certificate(report: Report, **changes: Any) -> Report:
    return replace(report, certificate=replace(certificate_of(report), **changes))


def with_claims(report: Report, **changes: Any) -> Report:
    return with_certificate(report, claims=replace(certificate_of(report).claims, **changes))


def fits(text: str) -> bool:
    return max(map(len, text.splitlines())) <= WIDTH


# --- width ------------------------------------------------------------------------------------------------------


def deepened(report: Report, blocks: int) -> Report:
    """The same report on a model of as many blocks, all like the first."""
    claims, depth = certificate_of(report).claims, report.depth
    assert depth is not None

    def spread(cells: tuple[Any, ...]) -> tuple[Any, ...]:
        return (cells[0], *[cells[1]] * blocks, cells[-1])

    identity = claims.control.identity
    names = ("error", "relative_error", "covered")
    control = replace(identity, **{name: spread(getattr(identity, name)) for name in names})
    stages = tuple(replace(stage, index=i) for i, stage in enumerate(spread(claims.stages)))
    deep = with_claims(report, stages=stages, control=replace(claims.control, identity=control))
    rows = tuple(replace(row, index=i) for i, row in enumerate(spread(depth)))
    return replace(deep, depth=rows)


@pytest.mark.parametrize("blocks", [2, 16, 17, 200])
def test_any_depth_fits_and_is_shown_in_few_lines(report: Report, blocks: int) -> None:
    text = render(deepened(report, blocks))
    assert fits(text)
    assert len(text.splitlines()) < 240


HOSTILE = ["\x1b[2J\x1b[31mACCEPTED", "a\nb", "\u202eevil", "x" * 1024, "word " * 200, "-" * 500, ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_fit_and_are_made_plain(report: Report, name: str) -> None:
    text = render(with_certificate(report, producer=name, architecture=name))
    shown = render_certificate(replace(certificate_of(report), producer=name, architecture=name), name, 1)
    for found in (text, shown):
        assert fits(found)
        assert not set("\x1b\u202e\r") & set(found)
    assert text.startswith("ACCEPTED: ")
    assert shown.startswith("UNVERIFIED: ")


@pytest.mark.parametrize("count", [1, 16])
def test_as_many_and_as_long_thresholds_as_there_may_be_fit(report: Report, count: int) -> None:
    thresholds = tuple(f"0.{i + 1:039}1" for i in range(count))
    claims = certificate_of(report).claims
    stages = tuple(
        replace(stage, covered=(stage.covered[0],) * count, loss_covered=(0,) * count) for stage in claims.stages
    )
    assert report.depth is not None
    found = with_certificate(report, relative_thresholds=thresholds, loss_thresholds=thresholds)
    found = with_claims(found, stages=stages)
    found = replace(found, depth=tuple(replace(row, loss_covered=(1,) * count) for row in report.depth))
    assert fits(render(found))


def test_costs_of_any_size_fit(report: Report) -> None:
    kept = certificate_of(report).kept
    most = tuple(
        replace(cost, parameters=2**53 - 1, bits=2**53 - 1, multiply_adds=2**53 - 1) for cost in kept.surrogate
    )
    assert fits(render(with_certificate(report, kept=replace(kept, surrogate=most * 1000))))


@given(st.lists(st.lists(st.text("ab#", max_size=90), min_size=3, max_size=12), min_size=1, max_size=4))
def test_a_table_of_any_size_fits_and_loses_nothing(rows: list[list[str]]) -> None:
    width = min(map(len, rows))
    cut = [row[:width] for row in rows]
    text = joined([columns(cut)])
    assert fits(text) or not text.strip()
    squeezed = "".join(text.split())
    assert all(cell in squeezed for row in cut for cell in row)


def test_a_table_wider_than_a_line_goes_on_below_with_its_first_column() -> None:
    rows = [["name", *(f"column {i}" for i in range(12))], ["x", *("1" for _ in range(12))]]
    lines = columns(rows)
    assert max(map(len, lines)) <= WIDTH
    assert [line.split()[0] for line in lines] == ["name", "x"] * (len(lines) // 2)
    assert sum(line.count("column") for line in lines) == 12


@given(st.text())
def test_wrapped_text_fits(text: str) -> None:
    assert all(len(line) <= WIDTH for line in wrap(text, "  head  ", " " * 8))


@given(st.text(st.sampled_from("ab \u0301\u00ad\u6f22\uff21\U0001f600"), max_size=300))
def test_no_terminal_has_to_break_a_line_of_wide_characters(name: str) -> None:
    """A name of characters of two columns would go on where a line of the report begins."""
    lines = lines_of([name])
    assert all(sum(2 if east_asian_width(c) in "WFA" else 1 for c in line) <= WIDTH for line in lines)
    assert lines[0] + "".join(line[4:] for line in lines[1:]) == plain(name)
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_name_does_not_imitate_a_verdict(report: Report) -> None:
    name = "\u6f22" * 32 + "abc" + "ACCEPTED:"
    text = render(with_certificate(report, architecture=name))
    assert sum("ACCEPTED:" in line for line in text.splitlines()) == 2
    assert [line.find("ACCEPTED:") for line in text.splitlines() if "ACCEPTED:" in line][1] >= 4


def test_a_bar_shows_what_is_not_zero_and_ends_at_its_most() -> None:
    assert bar(Fraction(0)) == ""
    assert bar(Fraction(1, 10**9)) == "#"
    assert bar(Fraction(1, 2), 8) == "####"
    assert bar(Fraction(1), 8) == bar(Fraction(7), 8) == "#" * 8


# --- order ------------------------------------------------------------------------------------------------------


def test_a_small_float32_floor_reads_as_every_other_number(report: Report) -> None:
    certificate = report.certificate
    assert certificate is not None
    floor = replace(certificate.claims.control.float32_floor, relative_error=("0", "0.0000001", "0.00000002"))
    control = replace(certificate.claims.control, float32_floor=floor)
    shown = replace(report, certificate=replace(certificate, claims=replace(certificate.claims, control=control)))
    assert "relative error up to 1e-7 per stage" in render(shown)


def test_the_verdict_comes_first_then_who_then_what_it_rests_on(report: Report) -> None:
    text = render(report)
    marks = ["ACCEPTED", "Signed by", "Rests on", "Steps", "End to end", "Replay", "Trust ladder", "Not checked"]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert places[0] == 0


def test_a_report_is_plain_ascii_where_the_names_are(report: Report) -> None:
    assert render(report).isascii()


# --- what stands behind a claim ---------------------------------------------------------------------------------


def test_a_rejected_certificate_shows_no_claim(made: Made, tmp_path: Path) -> None:
    changed = made.copy(tmp_path)
    rewrite_column(changed.bundle / "evidence.safetensors", "drift", lambda cells: cells.__imul__(2))
    text = render(verify(changed.bundle, made.policy, reference=made.model, at=NOW))
    assert text.startswith("REJECTED: ")
    assert not [claim for claim in CLAIMS if claim in text]
    assert "Trust ladder" not in text


def test_a_certificate_rejected_after_its_replay_shows_no_claim_either(report: Report) -> None:
    rejected = replace(report, verdict="rejected", sentence="REJECTED: by a limit.")
    text = render(rejected)
    assert not [claim for claim in CLAIMS if claim in text]


def test_claims_that_were_not_recomputed_are_not_shown(report: Report) -> None:
    steps = tuple(replace(s, status="inconclusive") if s.step == "recompute" else s for s in report.steps)
    text = render(replace(report, steps=steps, verdict="indeterminate", sentence="INDETERMINATE: open."))
    assert "Rests on" not in text
    assert "End to end" not in text


def rests(report: Report) -> str:
    return " ".join(" ".join(rests_lines(report, certificate_of(report))).split())


def test_what_it_rests_on_says_what_was_re_run_and_at_which_confidence(made: Made, report: Report) -> None:
    assert report.audit is not None
    said = f"4 of 6 rows re-run; 99 % sure: fewer than {report.audit.false_rows_below} false"
    assert f"errors, drift, loss listed-prompts measurement {said}" in rests(report)
    assert "what was kept both programs count counted again" in rests(report)
    without = verify(made.bundle, made.policy, at=NOW)
    assert "errors, drift, loss listed-prompts measurement recorded; nothing re-run" in rests(without)
    assert "what was kept both programs count producer's word" in rests(without)


def test_a_sample_of_a_known_seed_is_no_audit(made: Made) -> None:
    seeded = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4, seed=bytes(32))
    assert "4 of 6 rows re-run, no audit" in rests(seeded)
    whole = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay="all", seed=bytes(32))
    assert "all 6 rows re-run" in rests(whole)


def test_a_vacuous_bound_and_an_estimate_are_marked_wherever_they_are_shown(report: Report) -> None:
    bound = CompositionClaim("lipschitz", "1000", "1", "1000", 6, True, "listed-prompts", "estimate")
    found = with_claims(report, composition=(bound,))
    assert "lipschitz bound listed-prompts estimate VACUOUS; an estimate, no guarantee" in rests(found)
    text = render(found)
    assert "VACUOUS: lipschitz: at most 1000" in text
    assert "an estimate, no guarantee" in text
    stages = certificate_of(report).claims.stages
    given_ = (stages[0], replace(stages[1], lipschitz=Lipschitz("14.2", "listed-prompts", "estimate")), *stages[2:])
    assert "stage 1: Lipschitz constant 14.2" in render(with_claims(report, stages=given_))


def test_words_that_only_the_standard_defines_are_explained_where_they_are_shown(report: Report) -> None:
    titles = {lines[0].partition(" [")[0]: " ".join(map(str.strip, lines[1:])) for lines in sections(report)}
    assert "decided: the reference's first choice leads by more than twice" in titles["End to end"]
    assert "control: block removed" in titles["Blocks, at the reference's own input"]
    assert "telescoping: the largest sum" in titles["Drift after the last block, composed from stages"]
