"""Fronts: budgets by name, the margin, the aims, and a table and plot that say what the certificates say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from scipy.special import log_softmax

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.digest import blake3_bytes
from blockcert.dsse import encode_envelope, parse_envelope
from blockcert.errors import Refusal
from blockcert.numbers import parse_decimal
from blockcert.program import Linear, Program
from blockcert.statement import Cost, Statement
from blockcert.times import parse_time
from blockcert_producers import embedded
from blockcert_producers.bundling import read_texts
from blockcert_producers.cli.produced import front_summary, summary
from blockcert_producers.cli.run import run
from blockcert_producers.conformance.tensors import read_column
from blockcert_producers.embedded.text import generate
from blockcert_producers.extract import front
from blockcert_producers.extract.budget import (
    AIMS,
    GRADES,
    Aim,
    Budget,
    cheapness,
    covered,
    parse_aim,
    parse_budget,
    parse_budgets,
)
from blockcert_producers.extract.rounding import rounded
from blockcert_producers.fronts.plot import plot
from blockcert_producers.fronts.shift import Shifted, measure_shift
from blockcert_producers.fronts.table import FrontTable, Part, Point, lines
from blockcert_producers.lift import lift
from blockcert_producers.missed import missed
from blockcert_producers.produce import FrontProduced, Job, extract_bundle, extract_front
from blockcert_producers.progress import silent
from blockcert_verifier import verify
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.evaluate.weights import dense_matrix
from blockcert_verifier.steps.prompts import read_prompts
from tests.support.certificates import NOW, sign_and_trust
from tests.support.evaluator import evaluate
from tests.support.oracle import reference_files

MODEL = embedded.path("gpt2")


# --- budgets and aims -------------------------------------------------------------------------------------------


def test_budgets_go_by_name_or_number_from_the_narrowest() -> None:
    found = parse_budgets("approximate, 0.03,lossless,near-lossless")
    assert [(one.name, one.limit) for one in found] == [
        ("lossless", Fraction(1, 100)),
        ("near-lossless", Fraction(1, 50)),
        ("0.03", Fraction(3, 100)),
        ("approximate", Fraction(1, 20)),
    ]
    targets = parse_budgets("logits=0.5,kl=0.01,0.05,kl=0.001")
    assert [(one.name, one.measure, one.text) for one in targets] == [
        ("0.05", "relative", "0.05"),
        ("kl=0.001", "kl", "kl=0.001"),
        ("kl=0.01", "kl", "kl=0.01"),
        ("logits=0.5", "logits", "logits=0.5"),
    ]


BAD = {
    "one twice": ("0.01,0.01", "extract.budgets"),
    "one by name and by number": ("lossless,0.01", "extract.budgets"),
    "one in two spellings": ("0.1,0.10", "extract.budgets"),
    "an unknown name": ("loseless", "extract.budget"),
    "nothing between commas": ("0.01,,0.02", "extract.budget"),
    "a comma at the end": ("0.05,", "extract.budget"),
    "nothing": ("", "extract.budget"),
    "a point alone": (".", "extract.budget"),
    "an exponent": ("1e-2", "extract.budget"),
    "other digits": ("0.٥", "extract.budget"),
    "endless": ("0." + "0" * 60 + "1", "extract.budget"),
    "below 0": ("-0.1", "extract.budget"),
    "too large": ("0.01,1", "extract.budget"),
    "a target of nothing": ("kl=0", "extract.budget"),
    "a target below nothing": ("logits=-1", "extract.budget"),
    "a target that is no number": ("kl=fast", "extract.budget"),
    "a target of what is not measured": ("top1=0.9", "extract.budget"),
    "a target twice": ("kl=0.1,kl=0.1", "extract.budgets"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_list_of_budgets_is_refused(case: str) -> None:
    text, code = BAD[case]
    with pytest.raises(Refusal) as refused:
        parse_budgets(text)
    assert (refused.value.code, refused.value.place) == (code, "--budgets")


SPELT = {"0.10": "0.1", ".05": "0.05", "00.250": "0.25", "0.03": "0.03", "lossless": "lossless"}


@pytest.mark.parametrize("text", SPELT)
def test_a_budget_is_spelt_as_people_spell_numbers(text: str) -> None:
    found = parse_budget(text)
    assert found.name == SPELT[text]
    assert found == parse_budget(SPELT[text])


@pytest.mark.parametrize("text", ["0.0123456789", "0.04999999999", "kl=0.00123456789", "logits=12345678.5"])
def test_a_budget_is_stated_to_its_last_digit(text: str) -> None:
    assert parse_budget(text).text == text
    assert parse_budget(text).number == text.rpartition("=")[2]


def test_a_grade_is_stated_as_its_number_and_a_fraction_as_near_as_it_goes() -> None:
    assert [parse_budget(name).text for name in GRADES] == list(GRADES.values())
    assert parse_budget(Fraction(1, 3)).text == "0.333333"


@pytest.mark.parametrize("text", ["fast", "", "0,1"])
def test_what_is_no_budget_is_told_what_one_is(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_budget(text)
    assert refused.value.place == "--budget"
    assert "a number like 0.03, a grade: lossless (0.01), near-lossless (0.02), approximate (0.05)" in str(
        refused.value
    )


def test_an_aim_is_one_of_two() -> None:
    assert [parse_aim(aim) for aim in ("structure", "bits")] == list(AIMS)
    with pytest.raises(Refusal) as refused:
        parse_aim("speed")
    assert refused.value.code == "extract.aim"


def test_what_is_compared_first_is_the_aim() -> None:
    few, light = Cost(0, 9, 1), Cost(0, 1, 9)
    assert cheapness("structure", few) < cheapness("structure", light)
    assert cheapness("bits", light) < cheapness("bits", few)
    assert cheapness("structure", Cost(0, 1, 1)) < cheapness("structure", Cost(0, 2, 1))
    assert cheapness("bits", Cost(0, 1, 1)) < cheapness("bits", Cost(0, 1, 2))


def test_the_margin_is_two_standard_errors_over_held_out_prompts() -> None:
    def prompts(*missed: int) -> np.ndarray:
        """Prompts of 100 tokens, so many of them outside."""
        return np.array([[1.0] * m + [0.0] * (100 - m) for m in missed])

    assert covered(prompts(5), 0.5)  # one prompt has no spread
    assert not covered(prompts(6), 0.5)
    assert covered(prompts(5, 5, 5), 0.5)
    # shares .98 and .92: mean .95, but with a spread
    assert not covered(prompts(2, 8), 0.5)
    # 16 prompts, half with 0 and half with m missed: m / 200 + 2 * (m / 200) * sqrt(16/15) / 4 must be at most .05
    assert covered(prompts(*[0, 6] * 8), 0.5)
    assert not covered(prompts(*[0, 7] * 8), 0.5)
    assert covered(np.empty((0, 4)), 0.5)


# --- the search -------------------------------------------------------------------------------------------------


def tokens(program_vocabulary: int, count: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, program_vocabulary, (count, 16))


@pytest.mark.slow
@pytest.mark.parametrize("aim", AIMS)
def test_asked_together_a_wider_budget_is_never_dearer(aim: Aim) -> None:
    program = lift(MODEL)
    files = {file.name: MODEL / file.name.removeprefix("reference/") for file in program.files}
    found = front(program, files, tokens(program.vocabulary))
    chosen = found.choose_all(parse_budgets("0.01,0.05,0.2"), aim)
    for blocks in zip(*(one.blocks for one in chosen), strict=True):
        costs = [cheapness(aim, block.kept) for block in blocks]
        assert costs == sorted(costs, reverse=True)
    assert chosen[-1].stages != chosen[0].stages
    # the narrowest is what it is alone
    alone = found.choose("0.01", aim)
    assert (alone.stages, alone.tensors) == (chosen[0].stages, chosen[0].tensors)


def test_fewest_bits_are_fewer_than_with_fewest_multiply_adds() -> None:
    program = lift(MODEL)
    files = {file.name: MODEL / file.name.removeprefix("reference/") for file in program.files}
    found = front(program, files, tokens(program.vocabulary))
    by_aim = {aim: found.choose("0.05", aim).blocks for aim in AIMS}
    for one, other in zip(by_aim["structure"], by_aim["bits"], strict=True):
        assert one.kept.multiply_adds <= other.kept.multiply_adds
        assert other.kept.bits <= one.kept.bits


def test_plain_rounding_is_to_the_nearest() -> None:
    program = lift(MODEL)
    store = WeightStore({file.name: MODEL / file.name.removeprefix("reference/") for file in program.files})
    copy, memory = rounded(program, store, "int8")
    assert (copy.stages[0], copy.stages[-1]) == (program.stages[0], program.stages[-1])
    seen = 0
    for before, after in zip(program.stages[1:-1], copy.stages[1:-1], strict=True):
        for f, g in zip(before.steps, after.steps, strict=True):
            if not isinstance(f, Linear) or not isinstance(g, Linear):
                assert f == g
                continue
            weight, other = dense_matrix(store, f.map), dense_matrix(memory, g.map)
            # the scale is stored in float16, so a step may be so much wider
            scale = np.abs(weight).max(axis=1, keepdims=True) / 127 * (1 + 2**-11)
            assert np.abs(weight - other).max() <= 0.5001 * scale.max()
            assert (np.abs(weight - other) <= 0.5001 * scale).all()
            seen += 1
    assert seen == 4 * 6


# --- a whole front ----------------------------------------------------------------------------------------------


class Made(NamedTuple):
    folder: Path
    front: FrontProduced


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("front")
    (folder / "text.txt").write_text(generate(5, 20_000), encoding="utf-8")
    (folder / "other.txt").write_text(generate(6, 4_000)[::-1], encoding="utf-8")
    job = Job((folder / "text.txt",), folder / "out", count=6, calibration=12, attribution=2, length=32)
    produced = extract_front(MODEL, job, budgets="approximate,lossless", shift=(folder / "other.txt",), now=NOW)
    return Made(folder, produced)


def test_the_table_says_what_the_certificates_say(made: Made) -> None:
    table = msgspec.json.decode((made.folder / "out" / "front.json").read_bytes(), type=FrontTable)
    assert table == made.front.table
    assert [point.name for point in table.points] == ["lossless", "approximate"]
    assert [point.budget for point in table.points] == ["0.01", "0.05"]
    assert [point.name for point in table.controls] == [
        "plain float16",
        "plain bfloat16",
        "plain int8",
        "plain int6",
        "plain int4",
        "plain int4/32",
        "identity",
    ]
    for point in table.points:
        trust = sign_and_trust(made.folder / "out" / point.name, made.folder / "trust.json")
        report = verify(made.folder / "out" / point.name, trust, reference=MODEL, replay="all", at=NOW)
        assert report.verdict == "accepted"
        (statement,) = (one.statement for one in made.front.bundles if one.out.name == point.name)
        claims, kept = statement.predicate.claims, statement.predicate.surrogate.kept
        for r in range(len(table.thresholds)):
            least = min(Fraction(stage.covered[r], stage.tokens) for stage in claims.stages[1:-1])
            assert point.covered[r].share == least
        assert point.top1.part == claims.end_to_end.top1_agree
        assert point.kl_mean == claims.end_to_end.kl_mean
        assert point.bits.part == sum(cost.bits for cost in kept.surrogate[1:-1])
        assert all(parse_decimal(s.relative_error) <= parse_decimal(point.relative_error) for s in claims.stages[1:-1])


def test_a_certificate_holds_for_a_year(made: Made) -> None:
    for one in made.front.bundles:
        stated = one.statement.predicate
        assert parse_time(stated.issued_at) == NOW
        assert parse_time(stated.not_after) - NOW == timedelta(days=365)


def test_a_certificate_that_shows_less_than_was_asked_for_is_warned_of(made: Made) -> None:
    one = made.front.bundles[0]
    predicate = one.statement.predicate
    blocks = predicate.claims.stages[1:-1]

    def with_covered(column: int, share: Fraction) -> Statement:
        covered = list(blocks[1].covered)
        covered[column] = int(share * blocks[1].tokens)
        stages = list(predicate.claims.stages)
        stages[2] = msgspec.structs.replace(blocks[1], covered=tuple(covered))
        claims = msgspec.structs.replace(predicate.claims, stages=tuple(stages))
        return msgspec.structs.replace(one.statement, predicate=msgspec.structs.replace(predicate, claims=claims))

    # 95 % to the token are enough
    exact = [msgspec.structs.replace(s, tokens=200, covered=(190,) * 3) for s in predicate.claims.stages]
    for fewer, said in ((190, False), (189, True)):
        exact[2] = msgspec.structs.replace(exact[2], covered=(fewer,) * 3)
        claims = msgspec.structs.replace(predicate.claims, stages=tuple(exact))
        stated = msgspec.structs.replace(one.statement, predicate=msgspec.structs.replace(predicate, claims=claims))
        assert (missed(parse_budget("0.05"), stated) is not None) == said
    near = Budget("near-lossless", Fraction(1, 50))
    statement = with_covered(1, Fraction(18, 19))  # 94.7 %
    said = missed(near, statement)
    assert said is not None
    assert said.endswith(" % of tokens in the worst block, asked for 95 %: more --calibration, or a smaller budget")
    assert said.startswith("certified 94.")
    # a budget between two columns: what the wider one covers is an upper bound
    between = missed(Budget("0.015", Fraction(15, 1000)), statement)
    assert between is not None
    assert "within 0.02 in the worst block" in between
    assert missed(Budget("0.05", Fraction(1, 20)), with_covered(2, Fraction(95, 100) + Fraction(1, 100))) is None
    assert missed(Budget("0.2", Fraction(1, 5)), with_covered(2, Fraction(0))) is None  # no column tells
    end = predicate.claims.end_to_end
    kl = parse_decimal(end.kl_mean)
    assert missed(Budget("kl", kl, "kl"), one.statement) is None
    assert "certified a mean KL of" in (missed(Budget("kl", kl / 2, "kl"), one.statement) or "")
    logits = parse_decimal(end.logit_difference)
    assert missed(Budget("logits", logits, "logits"), one.statement) is None
    assert "a logit difference of" in (missed(Budget("logits", logits / 2, "logits"), one.statement) or "")
    warned = msgspec.structs.replace(one, missed=said)
    assert f"Warning: {said}" in " ".join(summary(warned))
    assert not any("Warning" in line for line in summary(msgspec.structs.replace(one, missed=None)))
    front_ = msgspec.structs.replace(made.front, bundles=(warned,))
    assert f"Warning: lossless: {said}"[:60] in " ".join(front_summary(front_))


def test_controls_are_measured_on_all_certification_prompts(made: Made) -> None:
    float16, bfloat16, int8, int6, int4, grouped, identity = made.front.table.controls
    windows: set[int] = set()
    for name in ("lossless", "approximate"):
        data = (made.folder / "out" / name / "prompts.safetensors").read_bytes()
        windows |= set(read_column(data, "window")[read_column(data, "split") == 1].tolist())
    assert {point.prompts for point in made.front.table.controls} == {len(windows)}
    assert len(windows) > 6
    assert int8.prompts == identity.prompts == bfloat16.prompts
    assert identity.multiply_adds.part == identity.bits.part == 0
    assert identity.top1.part < bfloat16.top1.part
    # the reference is stored in float32
    assert 0.49 < bfloat16.bits.share < 0.52
    assert float16.bits == bfloat16.bits
    assert 0.24 < int8.bits.share < 0.28
    errors = [parse_decimal(one.relative_error) for one in (float16, bfloat16, int8, int6, grouped, int4)]
    assert errors == sorted(errors)
    assert int4.bits.share < grouped.bits.share < int6.bits.share < int8.bits.share


def test_the_identity_is_measured_to_its_loss_and_its_divergence(made: Made) -> None:
    """By a computation of its own: the head on the embedding, and every block beside its own input."""
    program, files = lift(MODEL), reference_files(MODEL)
    windows: dict[int, list[int]] = {}
    for one in made.front.bundles:
        frame = one.statement.predicate.prompts.frame
        listed = read_prompts((one.out / "prompts.safetensors").read_bytes(), frame, "prompts.safetensors")
        certified = range(frame.calibration, frame.calibration + frame.certification)
        windows |= {int(listed.window[row]): list(listed.row(row)) for row in certified}
    tokens = np.array([windows[number] for number in sorted(windows)])
    outputs = evaluate(program, files, tokens)
    skipped = evaluate(msgspec.structs.replace(program, stages=(program.stages[0], program.stages[-1])), files, tokens)
    theirs, mine = (log_softmax(logits, axis=-1)[:, :-1] for logits in (outputs[-1], skipped[-1]))
    following = tokens[:, 1:, None]
    losses = [-np.take_along_axis(one, following, axis=-1).mean() for one in (theirs, mine)]
    divergence = (np.exp(theirs) * (theirs - mine)).sum(axis=-1)
    identity = made.front.table.controls[-1]
    assert identity.prompts == len(tokens)
    assert identity.loss_difference is not None
    assert identity.kl_mean is not None
    assert float(identity.loss_difference) == pytest.approx(losses[1] - losses[0], rel=1e-6)
    assert float(identity.kl_mean) == pytest.approx(divergence.mean(), rel=1e-6)
    agreed = (outputs[-1].argmax(axis=-1) == skipped[-1].argmax(axis=-1)).sum()
    assert (identity.top1.part, identity.top1.whole) == (agreed, tokens.size)
    # every block alone, at the input of the reference's
    errors = [
        np.linalg.norm(after - before, axis=-1) / np.linalg.norm(after, axis=-1)
        for before, after in pairwise(outputs[:-1])
    ]
    assert float(identity.relative_error) == pytest.approx(max(one.max() for one in errors), rel=1e-5)
    for r, threshold in enumerate(made.front.table.thresholds):
        worst = min((one <= float(threshold)).sum() for one in errors)
        assert (identity.covered[r].part, identity.covered[r].whole) == (worst, tokens.size)


def test_other_texts_stand_beside_unsigned(made: Made) -> None:
    for point in made.front.table.points:
        assert point.shift is not None
        held = json.loads((made.folder / "out" / f"{point.name}.shift.json").read_bytes())
        assert msgspec.convert(held, Shifted) == point.shift
        assert "not signed" in held["about"]
        text = (made.folder / "other.txt").read_bytes()
        assert held["corpus"][0]["blake3"] == blake3_bytes(text)
        measured = point.shift.measured
        assert (measured.population, measured.rows) == ("own", 6)
        (statement,) = (one.statement for one in made.front.bundles if one.out.name == point.name)
        assert measured.stated_kl_mean == statement.predicate.claims.end_to_end.kl_mean
        # text written backwards: the models are lost there, and drift further
        assert measured.kl_mean is not None
        assert parse_decimal(measured.kl_mean) > parse_decimal(measured.stated_kl_mean)
        names = {path.name for path in (made.folder / "out" / point.name).iterdir()}
        assert not any("shift" in name for name in names)


def test_the_verifiers_own_texts_give_the_same_counts(made: Made) -> None:
    point = made.front.table.points[-1]
    assert point.shift is not None
    bundle = made.folder / "out" / point.name
    trust = sign_and_trust(bundle, made.folder / "again.json")
    other = made.folder / "other.txt"
    report = verify(bundle, trust, reference=MODEL, own=(other,), at=NOW)
    (own,) = report.fresh
    # all windows of the text there, six of them here
    assert own.windows == point.shift.measured.windows
    for mine, theirs in zip(point.shift.measured.predicates, own.predicates, strict=True):
        assert mine.claim == theirs.claim
        assert mine.stated_successes == theirs.stated_successes
        assert theirs.successes - (own.rows - 6) <= mine.successes <= theirs.successes


def test_another_seed_draws_other_windows_of_other_texts(made: Made) -> None:
    bundle = made.folder / "out" / "approximate"
    (statement,) = (one.statement for one in made.front.bundles if one.out.name == "approximate")
    data = (bundle / "programs/surrogate.json").read_bytes()
    reference, surrogate = lift(MODEL), strict_json.typed(data, Program, "surrogate")
    named = {**reference_files(MODEL), "programs/surrogate.safetensors": bundle / "programs/surrogate.safetensors"}
    texts = read_texts(MODEL, reference, (made.folder / "other.txt",), 32)
    more: dict[str, Any] = {"count": 2, "device": "cpu", "progress": silent}
    one, same, other = (
        measure_shift(statement, (reference, surrogate), blake3_bytes(data), named, texts, seed=seed, **more).measured
        for seed in (0, 0, 1)
    )
    assert one == same
    assert one.seed != other.seed
    assert one.kl_mean != other.kl_mean


def test_one_budget_alone_gives_what_it_gives_in_a_front(made: Made) -> None:
    job = Job((made.folder / "text.txt",), made.folder / "one", count=6, calibration=12, attribution=2, length=32)
    extract_bundle(MODEL, job, budget="lossless", now=NOW)
    for name in ("programs/surrogate.json", "programs/surrogate.safetensors", "evidence.safetensors"):
        assert (made.folder / "one" / name).read_bytes() == (made.folder / "out" / "lossless" / name).read_bytes()


# --- the plot ---------------------------------------------------------------------------------------------------


def test_the_plot_names_every_point_and_axis(made: Made) -> None:
    text = (made.folder / "out" / "front.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314 - our own
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for point in (*made.front.table.points, *made.front.table.controls):
        assert point.name in shown
    assert shown.count("multiply-adds kept, %") == 4
    assert "prefers-color-scheme: dark" in text
    assert plot(made.front.table) == text
    other = plot(msgspec.structs.replace(made.front.table, aim="bits"))
    assert "bits kept, %" in other


def drawn(table: FrontTable) -> list[float]:
    """Every coordinate of a plot's marks and labels."""
    root = ElementTree.fromstring(plot(table))  # noqa: S314 - our own
    keys = ("x", "y", "cx", "cy", "x1", "y1")
    return [float(v) for e in root.iter() for k in keys if (v := e.get(k)) is not None]


def made_up(name: str, *, share: int = 50, error: str = "0.01", loss: str | None = "0") -> Point:
    part = Part(share, 100)
    return Point(name, "surrogate", "0.01", name, 5, part, part, (part,), error, Part(100, 100), loss, loss)


def test_zeros_and_strange_names_are_drawn() -> None:
    nothing = made_up("<a&b>", share=0, error="0")
    points = (nothing, made_up("b", share=100, error="1000"), made_up("c", loss=None), made_up("d", loss="-0.5"))
    for some in (points, points[:1], points[2:3]):
        table = FrontTable("", "x<y", 1, "structure", ("0.01",), some, ())
        assert np.isfinite(drawn(table)).all()
        assert all(len(line) <= 80 for line in lines(table))
    assert "<a&b>" not in plot(FrontTable("", "x", 1, "structure", ("0.01",), points, ()))


def test_every_label_ends_within_the_picture() -> None:
    points = tuple(made_up(f"a name of some length {share}", share=share) for share in (1, 52, 98, 100))
    root = ElementTree.fromstring(plot(FrontTable("", "x", 1, "bits", ("0.01",), points, ())))  # noqa: S314 - our own
    width, namespace = float(root.attrib["width"]), "{http://www.w3.org/2000/svg}"
    labels = 0
    for panel in root.iter(f"{namespace}g"):
        left = float(panel.attrib["transform"].removeprefix("translate(").split()[0])
        for text in panel.iter(f"{namespace}text"):
            if text.get("text-anchor", "start") == "start":
                labels += 1
                # 6.1 a letter is what the widest of usual fonts takes
                assert left + float(text.attrib["x"]) + 6.1 * len(text.text or "") <= width
    assert labels


def test_a_bounds_least_unit_is_drawn_as_nothing() -> None:
    points = (made_up("a", error="0." + "0" * 29 + "1"), made_up("b", error="0.1"))
    text = plot(FrontTable("", "x", 1, "structure", ("0.01",), points, ()))
    assert "e-1" not in text.replace("1e-1<", "")


def test_the_table_on_a_terminal_is_one_of_80_columns(made: Made) -> None:
    shown = lines(made.front.table)
    assert all(len(line) <= 80 for line in shown)
    names = [point.name.removeprefix("plain ") for point in (*made.front.table.points, *made.front.table.controls)]
    # one line for each, below one head
    assert [line.split()[0] for line in shown[-len(names) :]] == names
    head = shown[-len(names) - 1].split()
    assert head == ["adds", "bits", ".01", ".02", ".05", "error", "top1", "loss", "KL"]
    assert len(shown[-1].split()) == 1 + len(head)


def test_the_table_on_a_terminal_rounds_shares_down() -> None:
    almost = msgspec.structs.replace(made_up("almost"), top1=Part(99_999, 100_000))
    text = "\n".join(lines(FrontTable("", "x", 1, "structure", ("0.01",), (almost,), ())))
    assert "99.9" in text
    assert "100" not in text


def test_the_summary_of_a_bundle_rounds_shares_down_too_and_has_80_columns(made: Made) -> None:
    one = made.front.bundles[0]
    predicate = one.statement.predicate
    almost = [msgspec.structs.replace(s, tokens=2000, covered=(1999,) * 3) for s in predicate.claims.stages]
    end = msgspec.structs.replace(
        predicate.claims.end_to_end, tokens=10_000, top1_agree=9_999, relative_drift="0.212834"
    )
    claims = msgspec.structs.replace(predicate.claims, stages=tuple(almost), end_to_end=end)
    stated = msgspec.structs.replace(predicate, claims=claims)
    statement = msgspec.structs.replace(one.statement, predicate=stated)
    shown = summary(msgspec.structs.replace(one, statement=statement, out=Path("a b"), shift=None))
    assert all(len(line) <= 80 for line in shown)
    # of each of four blocks three shares of 1999 in 2000
    assert sum(line.count("99.9 %") for line in shown if line.startswith("  block ")) >= 12
    assert "top-1 agrees at 99.9 %," in " ".join(shown)
    assert shown[-1] == "Not signed yet: blockcert sign 'a b' --key FILE"


def test_what_float64_does_not_tell_from_nothing_is_shown_as_below_it() -> None:
    # a bfloat16 model rounded to bfloat16: other files, the same values
    least = "0." + "0" * 29 + "1"
    row = lines(FrontTable("", "x", 1, "bits", ("0.01",), (made_up("same", error=least, loss=least),), ()))[-1]
    assert row.split()[-4:] == ["<1e-12", "100", "<1e-12", "<1e-12"]
    assert lines(FrontTable("", "x", 1, "bits", ("0.01",), (made_up("same", error="0"),), ()))[-1].split()[-4] == "0"


# --- signing and showing ------------------------------------------------------------------------------------------


def test_a_front_is_shown_as_its_table(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(made.folder / "out")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A front of gpt2, 4 blocks, fewest multiply-adds, then bits.")
    assert "\n".join(lines(made.front.table)) in out
    assert "bundles lossless, approximate: blockcert" in " ".join(out.split())
    assert run(["show", str(made.folder / "out" / "lossless")]) == 0
    assert "A front of" not in capsys.readouterr().out


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    """The front, without a signature of the other tests."""
    shutil.copytree(made.folder / "out", tmp_path / "front")
    for name in ("lossless", "approximate"):
        path = tmp_path / "front" / name / STATEMENT
        envelope = parse_envelope(path.read_bytes(), STATEMENT)
        path.write_bytes(encode_envelope(msgspec.structs.replace(envelope, signatures=())))
    return tmp_path / "front"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BLOCKCERT_PASSPHRASE", "correct horse")
    assert run(["keygen", "acme", "--folder", str(tmp_path)]) == 0
    return str(tmp_path / "acme.key")


def signatures(front: Path) -> list[int]:
    names = ("lossless", "approximate")
    return [len(parse_envelope((front / name / STATEMENT).read_bytes(), STATEMENT).signatures) for name in names]


def test_a_front_is_signed_whole(copy: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["sign", str(copy), "--key", key]) == 0
    assert signatures(copy) == [1, 1]
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in shown[:2]] == [f"Signed {copy / n}" for n in ("lossless", "approximate")]
    assert run(["sign", str(copy / "lossless"), "--key", key]) == 2
    assert "signature.exists" in capsys.readouterr().err


def test_of_several_bundles_all_are_signed_or_none(copy: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    evidence = copy / "approximate" / "evidence.safetensors"
    whole = evidence.read_bytes()
    evidence.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    words = ["sign", str(copy / "lossless"), str(copy / "approximate"), "--key", key]
    assert run(words) == 2
    assert f"{copy / 'approximate'}: " in capsys.readouterr().err
    assert signatures(copy) == [0, 0]
    evidence.write_bytes(whole)
    # one named twice is signed once
    assert run([*words[:2], *words[1:]]) == 0
    assert signatures(copy) == [1, 1]


BAD_FRONTS = {
    "not JSON": (b"{", "no table of a front"),
    "another document": (b"{}", "no table of a front"),
    "a bundle elsewhere": (b"../lossless", "it names the bundle '../lossless'"),
    "a bundle that is not there": (b"nowhere", "it names the bundle 'nowhere'"),
    "no bundle": (b"..", "it names the bundle '..'"),
}


def without_points(table: Any) -> None:
    table["points"].clear()


def without_shares(table: Any) -> None:
    table["points"][1]["covered"].pop()


def with_point(**values: object) -> Callable[[Any], None]:
    return lambda table: table["points"][0].update(values)


BAD_NUMBERS: dict[str, tuple[Callable[[Any], None], str]] = {
    "no bundle at all": (without_points, "names no bundle"),
    "fewer shares than thresholds": (without_shares, "'approximate' has 2 shares of tokens for 3 thresholds"),
    "no number for a loss": (with_point(loss_difference="abc"), "'abc' is no decimal number"),
    "not a number": (with_point(kl_mean="nan"), "'nan' is no decimal number"),
    "an infinity": (with_point(relative_error="1e999"), "'1e999' is no decimal number"),
    "a count below nothing": (with_point(bits={"part": 1, "whole": -1}), "no table of a front"),
    "a count beyond all": (with_point(bits={"part": 10**400, "whole": 1}), "no table of a front"),
    "a threshold that is none": (lambda table: table["thresholds"].__setitem__(0, "\x1b[2J"), "is no decimal number"),
}


@pytest.mark.parametrize("case", BAD_NUMBERS)
def test_numbers_of_a_front_are_looked_at(case: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, part = BAD_NUMBERS[case]
    table = json.loads((copy / "front.json").read_bytes())
    change(table)
    (copy / "front.json").write_text(json.dumps(table))
    assert run(["show", str(copy)]) == 2
    err = capsys.readouterr().err
    assert part in err
    assert "[front.malformed]" in err
    assert "\x1b" not in err


def test_a_name_in_a_front_moves_no_cursor(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = json.loads((copy / "front.json").read_bytes())
    table["points"][0]["name"] = "\x1b[2Jred"
    (copy / "front.json").write_text(json.dumps(table))
    assert run(["show", str(copy)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[2Jred" in out


@pytest.mark.parametrize("case", BAD_FRONTS)
@pytest.mark.parametrize("command", ["show", "sign"])
def test_a_front_like_this_is_refused(
    case: str, command: str, copy: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, part = BAD_FRONTS[case]
    path = copy / "front.json"
    if not data.startswith(b"{"):
        data = path.read_bytes().replace(b'"bundle": "lossless"', b'"bundle": "' + data + b'"')
    path.write_bytes(data)
    capsys.readouterr()
    assert run([command, str(copy), *(["--key", key] if command == "sign" else [])]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"blockcert: {path}: ")
    assert part in err
    assert "[front.malformed]" in err
    assert signatures(copy) == [0, 0]


def test_a_summary_breaks_no_word_at_its_hyphen(made: Made) -> None:
    """The field's word stays one: `multiply-adds` at whatever column a line ends."""
    for width in range(40, 72):
        words = f"{'x' * width} of the multiply-adds"
        said = summary(msgspec.structs.replace(made.front.bundles[0], notes=(words,)))
        assert not any(line.endswith("multiply-") for line in said)
        assert any(line.endswith("multiply-adds") for line in said)
