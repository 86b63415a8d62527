"""Fresh prompts: the verifier's own windows, what it states of them, and what it makes of a difference.

Requirements: BC-VER-20 to 24.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import certificate_digest, parse_envelope
from blockcert.errors import Refusal
from blockcert.findings import Finding
from blockcert.numbers import parse_decimal
from blockcert.program import Program
from blockcert.same_program import same_stages
from blockcert.statement import Statement
from blockcert.statistics.disagreement import fisher_disagreement
from blockcert.trust import TrustPolicy
from blockcert_verifier import Limits, Report, render, to_json, verify
from blockcert_verifier.corpus import Population, read_population
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.fresh_report import Fresh, FreshPredicate
from blockcert_verifier.measure import Cells, Measured, Pair, Settings, Unresolved, measure_resolved
from blockcert_verifier.steps import beside, recompute
from blockcert_verifier.steps.fresh import FreshInputs, Wanted, fresh, fresh_step
from blockcert_verifier.work import Stopped
from tests.support.bundles import CALIBRATION, CERTIFICATION, LENGTH, NOW, WINDOWS, Made, make_bundle
from tests.support.corpora import save_windows

UNUSED = WINDOWS - CALIBRATION - CERTIFICATION
SIZES = (11, 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


def run(made: Made, count: int = 10, policy: TrustPolicy | None = None, **options: Any) -> Report:
    options = {"reference": made.model, "corpus": made.corpus, "replay": 0, "at": NOW, **options}
    return verify(made.bundle, policy or made.without_replay, fresh=count, **options)


def of_step(report: Report) -> list[tuple[str, str]]:
    return [(f.code, f.status) for f in report.findings if f.step == "fresh"]


def asking(policy: TrustPolicy) -> TrustPolicy:
    return replace(policy, require=(*policy.require, "fresh"))


# --- an honest certificate ----------------------------------------------------------------------------------------


def test_an_honest_certificate_agrees_within_chance(made: Made) -> None:
    report = run(made)
    assert report.verdict == "accepted"
    assert of_step(report) == [("fresh.rows", "passed")]
    (one,) = report.fresh
    assert (one.population, one.windows, one.asked, one.rows) == ("frame", UNUSED, 10, 10)
    assert (one.unresolved, one.not_finite, one.repeatable, one.confidence) == (0, 0, False, "0.99")
    assert len(one.predicates) + len(one.maxima) == one.tests
    assert not any(m.differs for m in (*one.predicates, *one.maxima))


def test_windows_that_no_draw_reaches_are_counted(made: Made, tmp_path: Path) -> None:
    """BC-VER-20: hard windows can hide among those of calibration only; own texts that are the corpus draw them too."""
    said = [item for item in run(made).unchecked if "calibrated" in item.what]
    assert [item.what for item in said] == [
        f"the {CALIBRATION} of the corpus' {WINDOWS} windows that the producer calibrated on"
    ]
    assert "--own" in said[0].how
    whole = next(one for one in run(made, own=made.corpus).fresh if one.population == "own")
    assert whole.windows == WINDOWS


def test_all_unused_windows_leave_nothing_to_chance(made: Made) -> None:
    (one,) = run(made, 1000).fresh
    assert (one.asked, one.rows) == (1000, UNUSED)
    assert one.predicates
    for p in one.predicates:
        assert p.at_least == p.successes
        assert p.at_least_all == p.at_most_all == p.stated_successes + p.successes


def test_a_given_seed_gives_the_same_windows_and_is_called_repeatable(made: Made) -> None:
    first, second = (run(made, 3, seed=bytes(32)) for _ in range(2))
    assert first.fresh == second.fresh
    assert first.fresh[0].repeatable
    other = run(made, 3, seed=b"\x01" * 32)
    assert other.fresh[0].kl_mean != first.fresh[0].kl_mean


def test_it_is_asked_for_by_a_policy_or_not_at_all(made: Made) -> None:
    without = run(made, 0)
    assert (without.verdict, of_step(without)) == ("accepted", [("fresh.not_run", "skipped")])
    assert run(made, 0, asking(made.without_replay)).verdict == "indeterminate"
    assert run(made, 2, asking(made.without_replay)).verdict == "accepted"


@pytest.mark.parametrize(
    ("options", "why"),
    [({"corpus": ()}, "which was not given whole"), ({"reference": None}, "the reference model is not at hand")],
)
def test_without_corpus_or_model_nothing_is_measured_and_the_report_says_why(
    options: dict[str, Any], why: str, made: Made
) -> None:
    report = run(made, 4, tokenizer=made.model / "tokenizer.json", **options)
    assert of_step(report) == [("fresh.not_run", "skipped")]
    assert report.fresh == ()
    assert any(why in (step.reason or "") for step in report.steps if step.step == "fresh")


def test_the_report_is_readable_and_reads_back(made: Made, tmp_path: Path) -> None:
    report = run(made, 7, own=own_text(made, tmp_path))
    lines = render(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("Fresh prompts: 7 of the 31 windows") for line in lines)
    assert any(line.startswith("Your own texts: 5 of their 5 windows") for line in lines)
    assert strict_json.decode(to_json(report), Report, "report.json") == report


def test_numbers_are_those_of_the_textbook(made: Made) -> None:
    """Fisher's test and the hypergeometric bounds, by scipy."""
    (one,) = run(made, 12, seed=bytes(32)).fresh
    level = 0.01 / len(one.predicates)
    for p in one.predicates:
        n, s, m, f = p.stated_trials, p.stated_successes, one.rows, p.successes
        expected = stats.fisher_exact([[f, m - f], [s, n - s]], alternative="less").pvalue
        assert float(p.probability) == pytest.approx(expected, rel=1.01e-2)
        possible = range(f, one.windows - (m - f) + 1)
        least = [k for k in possible if stats.hypergeom(one.windows, k, m).sf(f - 1) > level]
        most = [k for k in possible if stats.hypergeom(one.windows, k, m).cdf(f) > level]
        assert p.at_least == min(least)
        assert p.at_most_all == s + max(most)
    for x in one.maxima:
        j, n, m = x.exceedances, CERTIFICATION, one.rows
        assert float(x.probability) == pytest.approx(stats.hypergeom(n + m, j, m).pmf(j), rel=1.01e-2)


# --- what a measurement can be ----------------------------------------------------------------------------------


class Case:
    """One bundle taken apart, so that a measurement can be put in the place of the real one."""

    def __init__(self, made: Made) -> None:
        payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
        self.statement = strict_json.decode(payload, Statement, STATEMENT)
        programs = [
            strict_json.decode((made.bundle / "programs" / f"{side}.json").read_bytes(), Program, side)
            for side in ("reference", "surrogate")
        ]
        same = same_stages(*programs)
        names = {f.name: made.model / f.name.removeprefix("reference/") for f in programs[0].files}
        names |= {f.name: made.bundle / f.name for f in programs[1].files if not f.name.startswith("reference/")}
        pair = Pair(programs[0], programs[1], same, WeightStore(names))
        thresholds = self.statement.predicate.thresholds
        settings = Settings(tuple(map(float, thresholds.relative)), tuple(map(float, thresholds.loss)))
        self.measure: Callable[[Any], Measured] = lambda tokens: measure_resolved(pair, tokens, settings, noise=7)
        self.inputs = FreshInputs(self.statement, same, certificate_digest(payload), bytes(32), True)
        self.windows: Population = read_population(
            made.corpus, made.model / "tokenizer.json", length=LENGTH, bos=None, vocabulary=11, context=32
        )

    def fresh(self, measure: Callable[[Any], Measured], rows: int = 20) -> tuple[Fresh | None, list[Finding]]:
        used = [int(number) for number in range(CALIBRATION + CERTIFICATION)]
        return fresh(self.inputs, self.windows, used, rows, measure)

    def changed(self, change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Any], Measured]:
        """The real measurement with its values changed by `change`."""

        def measure(tokens: Any) -> Measured:
            found = self.measure(tokens)
            values = {name: cells.value.copy() for name, cells in found.items()}
            change(values)
            return Measured({name: Cells.exactly(value) for name, value in values.items()}, found.unresolved)

        return measure


@pytest.fixture(scope="module")
def case(made: Made) -> Case:
    return Case(made)


def codes(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(f.code, f.status) for f in findings}


def with_claims(case: Case, **changes: int) -> Case:
    """The case with every population claim said to have these counts."""
    p = case.statement.predicate
    claims = tuple(replace(claim, **changes) for claim in p.claims.population.claims)
    population = replace(p.claims.population, claims=claims)
    statement = replace(case.statement, predicate=replace(p, claims=replace(p.claims, population=population)))
    changed = object.__new__(Case)
    changed.__dict__ |= case.__dict__
    changed.statement, changed.inputs = statement, replace(case.inputs, statement=statement)
    return changed


def test_a_claim_that_fresh_prompts_contradict_is_refuted(case: Case) -> None:
    """All of 6 listed prompts succeed, all 37 windows are claimed, and none of 20 fresh ones does."""
    worse = with_claims(case, successes=CERTIFICATION, at_least=UNUSED + CERTIFICATION)

    def bad(values: dict[str, np.ndarray]) -> None:
        values["covered"][:] = 0
        values["top1_agree"][:] = 0

    found, findings = worse.fresh(worse.changed(bad))
    assert found is not None
    assert ("fresh.claim.refuted", "failed") in codes(findings)
    assert ("fresh.disagreement", "inconclusive") in codes(findings)
    refuted = [p for p in found.predicates if p.at_most_all is not None and p.at_most_all < p.stated_at_least]
    # without a success in 20 of 31, at most 11 of the others and the 6 listed ones remain possible
    assert {p.at_most_all for p in refuted if p.successes == 0} <= set(range(CERTIFICATION, CERTIFICATION + 12))
    assert "are claimed, and at confidence 0.99 at most" in next(
        f.message for f in findings if f.code == "fresh.claim.refuted"
    )


def test_a_predicate_differs_at_its_level_and_not_below_it(case: Case) -> None:
    """What chance does with exactly a predicate's share of beta is flagged."""
    p = with_claims(case, successes=CERTIFICATION).statement.predicate

    def bad(values: dict[str, np.ndarray]) -> None:
        values["covered"][:] = 0

    tokens = case.windows.tokens(range(CALIBRATION + CERTIFICATION, CALIBRATION + CERTIFICATION + 20))
    own = beside.gather(tokens.astype("int64"), case.changed(bad), recompute.evidence_shape(case.statement))
    terms = recompute.terms(case.statement, case.inputs.same)

    def found(beta: Fraction) -> tuple[FreshPredicate, ...]:
        return beside.predicates(p.claims, terms, own, UNUSED, beta, of_frame=True)

    worst = min(found(Fraction(1, 100)), key=lambda one: one.successes)
    chance = fisher_disagreement(worst.stated_trials, worst.stated_successes, own.rows, worst.successes)
    share = chance * beside.tests(p.claims)
    assert 0 < share < Fraction(1, 1000)
    for beta, differs in ((share, True), (share * (1 - Fraction(1, 10**9)), False)):
        assert next(one.differs for one in found(beta) if one.claim == worst.claim) == differs


def test_maxima_that_many_fresh_rows_exceed_are_a_disagreement_and_no_refutation(case: Case) -> None:
    def more(values: dict[str, np.ndarray]) -> None:
        for name in ("error", "drift", "kl_max"):
            values[name][:] *= 1000

    found, findings = case.fresh(case.changed(more))
    assert found is not None
    assert codes(findings) == {("fresh.disagreement", "inconclusive")}
    differing = {(m.name, m.stage) for m in found.maxima if m.differs}
    assert ("error", 1) in differing
    assert ("drift", None) in differing
    assert all(m.exceedances == 20 for m in found.maxima if m.differs)
    # C(20, 20) / C(26, 20)
    assert {m.probability for m in found.maxima if m.differs} == {"0.00000435"}


def test_a_stage_that_is_one_program_on_both_sides_is_no_test(case: Case) -> None:
    found, _ = case.fresh(case.measure, 3)
    assert found is not None
    same = {i for i, one in enumerate(case.inputs.same) if one}
    assert same
    assert not same & {m.stage for m in found.maxima}


def test_a_row_within_the_tolerance_of_a_maximum_is_not_above_it(case: Case) -> None:
    stated = float(parse_decimal(case.statement.predicate.claims.end_to_end.drift))

    def measure(tokens: Any) -> Measured:
        found = dict(case.measure(tokens))
        value = np.full_like(found["drift"].value, stated * (1 + 1e-9))
        found["drift"] = Cells(value, value * (1 - 1e-6), value * (1 + 1e-6))
        return Measured(found)

    found, _ = case.fresh(measure)
    assert found is not None
    assert next(m.exceedances for m in found.maxima if m.name == "drift") == 0


def test_rows_that_are_not_resolved_count_as_no_success_and_refute_nothing(case: Case) -> None:
    claimed = with_claims(case, successes=CERTIFICATION, at_least=UNUSED + CERTIFICATION)

    def measure(tokens: Any) -> Measured:
        found = case.measure(tokens)
        return Measured(found, tuple(Unresolved(row, -1, "noise") for row in range(len(tokens))))

    found, findings = claimed.fresh(measure)
    assert found is not None
    assert (found.rows, found.unresolved, found.kl_mean) == (20, 20, None)
    assert all(p.successes == 0 and p.at_least == 0 for p in found.predicates)
    assert all(p.at_most_all == CERTIFICATION + UNUSED for p in found.predicates)
    assert codes(findings) == {("fresh.unresolved", "inconclusive"), ("fresh.disagreement", "inconclusive")}


def test_a_value_that_is_not_finite_is_no_success_and_lies_above_its_maximum(case: Case) -> None:
    def bad(values: dict[str, np.ndarray]) -> None:
        values["kl_max"][:4] = np.nan

    found, _ = case.fresh(case.changed(bad))
    assert found is not None
    assert (found.not_finite, found.unresolved) == (4, 0)
    assert all(p.successes <= 16 for p in found.predicates)
    assert next(m.exceedances for m in found.maxima if m.name == "kl_max") >= 4


def test_a_control_that_overflows_spoils_no_row(case: Case) -> None:
    def bad(values: dict[str, np.ndarray]) -> None:
        values["identity.drift"][:] = np.inf

    found, _ = case.fresh(case.changed(bad))
    assert found is not None
    assert found.not_finite == 0


def test_rows_that_this_machine_cannot_measure_decide_nothing(case: Case) -> None:
    """Together they exhaust memory; alone the first three do too."""
    calls = []

    def measure(tokens: Any) -> Measured:
        calls.append(len(tokens))
        if len(tokens) > 1 or len(calls) <= 4:
            raise MemoryError
        return case.measure(tokens)

    found, findings = case.fresh(measure, 8)
    assert found is not None
    assert calls == [8, *[1] * 8]
    assert (found.rows, found.unresolved) == (8, 3)
    assert not {f.code for f in findings} & {"fresh.claim.refuted"}


def test_one_row_that_can_be_measured_is_one_of_all_that_were_drawn(case: Case) -> None:
    calls = []

    def measure(tokens: Any) -> Measured:
        calls.append(len(tokens))
        if len(calls) != 2:
            raise MemoryError
        return case.measure(tokens)

    found, _ = case.fresh(measure, 4)
    assert found is not None
    assert (found.rows, found.unresolved) == (4, 3)


def test_a_program_that_cannot_be_evaluated_fails(case: Case) -> None:
    def measure(tokens: Any) -> Measured:
        raise Refusal("tensor.missing", "programs/surrogate.safetensors", "There is no tensor of that name.")

    found, findings = case.fresh(measure)
    assert found is None
    assert codes(findings) == {("tensor.missing", "failed")}


def test_where_every_window_was_used_none_is_left(case: Case) -> None:
    found, findings = fresh(case.inputs, case.windows, list(range(WINDOWS)), 5, case.measure)
    assert found is None
    assert codes(findings) == {("fresh.not_run", "skipped")}


def test_the_level_is_shared_by_all_tests(case: Case) -> None:
    """One exceedance among 20 is no disagreement at 1/100 over all tests, and is at a level as large as itself."""

    def one(values: dict[str, np.ndarray]) -> None:
        values["drift"][:] = 0
        values["drift"][0] = 1e6

    calm, _ = case.fresh(case.changed(one))
    assert calm is not None
    drift = next(m for m in calm.maxima if m.name == "drift")
    assert (drift.exceedances, drift.differs) == (1, False)
    assert float(drift.probability) == pytest.approx(20 / 26, rel=1.01e-2)
    loud = object.__new__(Case)
    loud.__dict__ |= case.__dict__
    loud.inputs = replace(case.inputs, beta=Fraction(99, 100))
    found, _ = loud.fresh(loud.changed(lambda values: values["drift"].__setitem__(slice(None), 1e6)))
    assert found is not None
    assert next(m for m in found.maxima if m.name == "drift").differs


# --- own texts --------------------------------------------------------------------------------------------------


def own_text(made: Made, folder: Path) -> tuple[Path, ...]:
    rng = np.random.default_rng(3)
    return (save_windows(folder / "mine.txt", rng.integers(0, 11, size=(5, LENGTH)).tolist(), rest=2),)


def test_own_texts_are_a_population_of_their_own(made: Made, tmp_path: Path) -> None:
    report = run(made, 0, own=own_text(made, tmp_path))
    assert of_step(report) == [("fresh.not_run", "skipped")]
    (one,) = report.fresh
    assert (one.population, one.windows, one.rows, one.asked) == ("own", 5, 5, 5)
    assert all(p.at_least == p.successes and p.at_least_all is None for p in one.predicates)
    # own texts are no fresh windows of the frame: a policy that wants those is not satisfied
    assert run(made, 0, asking(made.without_replay), own=own_text(made, tmp_path)).verdict == "indeterminate"


def test_own_texts_need_no_corpus_and_can_be_sampled(made: Made, tmp_path: Path) -> None:
    report = run(made, 2, own=own_text(made, tmp_path), corpus=())
    (one,) = report.fresh
    assert (one.population, one.windows, one.rows, one.asked) == ("own", 5, 2, 2)


def test_own_texts_that_differ_change_no_verdict(case: Case, made: Made, tmp_path: Path) -> None:
    def worse(values: dict[str, np.ndarray]) -> None:
        values["drift"][:] = 1e6

    wanted = Wanted(0, own_text(made, tmp_path), made.model / "tokenizer.json")
    inputs = replace(case.inputs, beta=Fraction(99, 100))
    (one,), findings = fresh_step(inputs, wanted, None, [], SIZES, case.changed(worse))
    assert any(m.differs for m in one.maxima)
    assert codes(findings) == {("fresh.not_run", "skipped")}


@pytest.mark.parametrize("ends", ["before own texts", "at the first of them"])
def test_what_fresh_prompts_showed_is_kept_where_measuring_ends_at_own_texts(
    ends: str, case: Case, made: Made, tmp_path: Path
) -> None:
    """What differs beyond chance stays said, whatever time is left for texts that decide nothing."""
    calls = [0]

    def worse(values: dict[str, np.ndarray]) -> None:
        values["drift"][:] = 1e6

    honest = case.changed(worse)

    def measure(tokens: Any) -> Measured:
        calls[0] += 1
        if calls[0] > 1:
            raise Stopped("time-limit")
        return honest(tokens)

    wanted = Wanted(20, own_text(made, tmp_path), made.model / "tokenizer.json")
    used = list(range(CALIBRATION + CERTIFICATION))
    ended = ends == "before own texts"
    found, findings = fresh_step(case.inputs, wanted, case.windows, used, SIZES, measure, lambda: ended)
    assert [one.population for one in found] == ["frame"]
    assert codes(findings) == {("fresh.disagreement", "inconclusive")}
    assert calls[0] == (1 if ended else 2)


def test_where_not_even_the_first_window_was_measured_nothing_is_said(case: Case, made: Made, tmp_path: Path) -> None:
    def stopped(_: Any) -> Measured:
        raise Stopped("interrupted")

    wanted = Wanted(0, own_text(made, tmp_path), made.model / "tokenizer.json")
    with pytest.raises(Stopped):
        fresh_step(case.inputs, wanted, None, [], SIZES, stopped)


def test_own_texts_that_took_too_long_are_said_as_that(made: Made, tmp_path: Path) -> None:
    """They are no fresh prompts, which nobody asked for; a verdict does not wait for them."""
    options = {"own": own_text(made, tmp_path), "corpus": (), "tokenizer": made.model / "tokenizer.json"}
    report = run(made, 0, time_limit=1e-9, **options)
    assert ("fresh.partial", "inconclusive") in of_step(report)
    assert report.verdict == "accepted"
    assert "not all own texts that were asked for were measured" in report.sentence


def test_own_texts_alone_are_measured_within_the_memory_of_all_processes(made: Made, tmp_path: Path) -> None:
    """Two processes that hold 100 MiB each do not fit 150."""
    options = {"own": own_text(made, tmp_path), "corpus": (), "tokenizer": made.model / "tokenizer.json"}
    report = run(made, 0, jobs=2, limits=Limits(memory=150 << 20), **options)
    assert ("limit.memory", "inconclusive") in of_step(report)
    assert report.fresh == ()


@pytest.mark.parametrize(("content", "code"), [(b"\xff\xfe", "prompts.not_utf8"), (b"", "prompts.empty")])
def test_an_own_text_that_is_none_is_refused_before_any_work(
    content: bytes, code: str, made: Made, tmp_path: Path
) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(Refusal) as refused:
        verify(tmp_path / "no-bundle", made.policy, own=(path,), at=NOW)
    assert (refused.value.code, refused.value.place) == (code, str(path))


def test_an_own_text_that_gives_no_window_is_told_so(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"t1 t2")
    report = run(made, 0, own=(path,))
    assert report.fresh == ()
    assert any("no window of 8 tokens" in f.message for f in report.findings if f.code == "fresh.not_run")


def test_own_texts_need_the_frames_tokenizer(made: Made, tmp_path: Path) -> None:
    report = run(made, 0, own=own_text(made, tmp_path), tokenizer=made.corpus[0])
    assert report.fresh == ()
    assert any("frame's tokenizer.json" in f.message for f in report.findings if f.code == "fresh.not_run")


def test_what_differs_is_marked_and_long_numbers_fit_a_terminal(case: Case) -> None:
    from blockcert_verifier.fresh_text import fresh_lines

    def more(values: dict[str, np.ndarray]) -> None:
        for name in ("error", "drift"):
            values[name][:] *= 1e9

    found, _ = case.fresh(case.changed(more))
    assert found is not None
    many = 10**12
    wide = replace(
        found,
        predicates=tuple(
            replace(p, stated_trials=many, at_least_all=many, at_most_all=many, probability="0.00000000000000000001")
            for p in found.predicates
        ),
    )
    for one in (found, wide, replace(wide, population="own", unresolved=3, not_finite=2)):
        lines = [line for part in fresh_lines([one]) for line in part]
        assert max(map(len, lines)) <= 80
        marked = [line for line in lines if line.rstrip().endswith("*")]
        assert len(marked) == sum(m.differs for m in found.maxima)
    assert not any("*" in line for part in fresh_lines([replace(found, maxima=())]) for line in part)


def test_a_verdict_waits_for_fresh_prompts_that_were_asked_for(made: Made) -> None:
    accepted = run(made, 2, made.without_replay)
    assert accepted.verdict == "accepted"
    assert next(step for step in accepted.steps if step.step == "fresh").required
    without = verify(made.bundle, made.without_replay, reference=made.model, fresh=2, at=NOW)
    assert without.verdict == "indeterminate"
    assert without.sentence == (
        "INDETERMINATE: you asked for fresh, which did not run: "
        "fresh windows are drawn from the frame's corpus, which was not given whole."
    )
    nothing = replace(made.policy, require=())
    assert verify(made.bundle, nothing, reference=made.model, fresh=0, at=NOW).verdict == "indeterminate"
