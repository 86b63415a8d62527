"""Whoever holds a trusted key and says in the statement or the programs what no arithmetic of the evidence refutes.

Requirements: BC-STM-12, 13, 15, 16.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert.statement import Statement
from blockcert.trust import encode_policy
from blockcert_producers.cli.run import run
from blockcert_verifier import Report, render, to_json, verify
from blockcert_verifier.assemble import Seen, assemble
from blockcert_verifier.claims_text import percent
from blockcert_verifier.steps.outcome import MOST_FINDINGS, capped, inconclusive
from blockcert_verifier.steps.outcome import failed as outcome_failed
from tests.support.bundles import NOW, Made, change_statement, make_bundle, reseal, restate

CLOCK = ["--at", "2026-11-22T10:00:00Z"]
ESCAPES = "\x1b[2J\x1b[H\x1b[1;32mACCEPTED\x1b[0m: signed by everybody \u202e\x9b8m"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Made:
    return made.copy(tmp_path)


def failed(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.status == "failed"}


def check(made: Made) -> Report:
    return verify(made.bundle, made.without_replay, at=NOW)


def change_program(made: Made, change: Change) -> None:
    path = made.bundle / "programs" / "surrogate.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))
    reseal(made)


# --- text that would move a terminal ----------------------------------------------------------------------------

TEXTS: dict[str, Change] = {
    "producer": lambda p: p["producer"].update(name=ESCAPES),
    "architecture": lambda p: p["reference"].update(architecture=ESCAPES),
    "note": lambda p: p["surrogate"].update(note=ESCAPES),
    "corpus": lambda p: p["prompts"]["frame"]["corpus"][0].update(name=ESCAPES),
    "fidelity": lambda p: p["reference"].update(fidelity={"against": ESCAPES, "rows": 1, "max_logit_difference": "0"}),
    "file": lambda p: p["files"][0].update(name=ESCAPES),
}
PROGRAMS: dict[str, Change] = {
    "file": lambda d: d["files"][-1].update(name=ESCAPES),
    "tensor": lambda d: d["stages"][0]["steps"][0]["weight"].update(tensor=ESCAPES),
    "architecture": lambda d: d.update(architecture="\x1b[2J"),
}


@pytest.mark.parametrize("where", TEXTS)
def test_a_text_of_the_statement_that_moves_a_terminal_is_refused(copy: Made, where: str) -> None:
    change_statement(copy, lambda s: TEXTS[where](s["predicate"]))
    report = check(copy)
    assert failed(report) == {"json.type"}
    assert "\x1b" not in render(report)


@pytest.mark.parametrize("where", PROGRAMS)
def test_a_text_of_a_program_that_moves_a_terminal_is_refused(copy: Made, where: str) -> None:
    change_program(copy, PROGRAMS[where])
    report = check(copy)
    assert failed(report) == {"json.type"}
    assert "\x1b" not in render(report)


def test_nothing_that_a_bundle_says_reaches_the_terminal_as_it_stands(
    copy: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_statement(copy, lambda s: s["predicate"].update({ESCAPES: 1}))
    trust = copy.bundle.parent / "trust.json"
    trust.write_bytes(encode_policy(copy.without_replay))
    bundle = str(copy.bundle)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    for words in (["verify", bundle, "--trust", str(trust), *CLOCK], ["show", bundle], ["show", bundle, "--raw"]):
        for more in ([], ["--quiet"], ["--json", "-"]) if words[0] == "verify" else ([],):
            run([*words, *more])
            shown = "".join(capsys.readouterr())
            assert "ACCEPTED" in shown
            assert not {"\x1b", "\x9b", "\u202e"} & {*shown}


@pytest.mark.parametrize(("file", "column"), [("evidence", "error"), ("prompts", "split")])
def test_the_name_of_a_column_is_shown_and_not_put_into_a_place(copy: Made, file: str, column: str) -> None:
    path = copy.bundle / f"{file}.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(f'"{column}"'.encode(), b'"\\u001b[31m"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    reseal(copy)
    report = check(copy)
    assert failed(report) == {f"{file}.columns"}
    assert [f.place for f in report.findings if not f.place.isprintable() or not f.message.isprintable()] == []


# --- limits that nothing would meet -----------------------------------------------------------------------------


def test_a_program_without_blocks_is_refused(copy: Made) -> None:
    """All of it would be head, every block covered and the drift after the last one 0."""

    def merge(document: dict[str, Any]) -> None:
        document["stages"] = [document["stages"][0], document["stages"][-1]]

    change_program(copy, merge)
    report = check(copy)
    assert failed(report) == {"json.type"}
    assert "$.stages" in report.sentence


def test_a_statement_without_blocks_is_refused(copy: Made) -> None:
    def merge(statement: dict[str, Any]) -> None:
        predicate = statement["predicate"]
        predicate["reference"]["blocks"] = 0
        del predicate["claims"]["stages"][1:-1]

    change_statement(copy, merge)
    assert failed(check(copy)) == {"json.type"}


# --- subjects and frame -----------------------------------------------------------------------------------------


def leave_out(*names: str) -> Change:
    def change(statement: dict[str, Any]) -> None:
        statement["subject"] = [s for s in statement["subject"] if s["name"] not in names]
        files = statement["predicate"]["files"]
        statement["predicate"]["files"] = [file for file in files if file["name"] not in names]

    return change


@pytest.mark.parametrize("name", ["reference/config.json", "reference/model.safetensors"])
def test_a_file_that_every_reference_has_is_a_subject(copy: Made, name: str) -> None:
    change_statement(copy, leave_out(name))
    assert failed(check(copy)) == {"statement.subject_missing"}


def test_the_tokenizer_that_the_frame_names_is_a_subject_where_the_model_has_it(copy: Made) -> None:
    change_statement(copy, leave_out("reference/tokenizer.json"))
    report = verify(copy.bundle, copy.without_replay, reference=copy.model, at=NOW, replay=0)
    assert failed(report) == {"statement.subject_missing"}
    (copy.model / "tokenizer.json").unlink()
    assert verify(copy.bundle, copy.without_replay, reference=copy.model, at=NOW, replay=0).verdict == "accepted"


def give_windows(frame: dict[str, Any], unit: int, more: int) -> None:
    """As many windows of the second corpus file as its bytes could give, and ``more``; the frame's sum put right."""
    first, second = frame["corpus"]
    second["windows"] = 4 * second["size"] // unit + more
    frame["windows"] = first["windows"] + second["windows"]


def give_a_first_token(frame: dict[str, Any], more: int) -> None:
    frame["tokenizer"]["bos"] = 1
    give_windows(frame, frame["length"] - 1, more)


FRAMES: dict[str, tuple[Change, str]] = {
    "a text twice": (lambda f: f["corpus"][1].update(blake3=f["corpus"][0]["blake3"]), "prompts.duplicate"),
    "another tokenizer": (lambda f: f["tokenizer"].update(blake3="00" * 32), "statement.tokenizer"),
    "more windows than text": (lambda f: give_windows(f, f["length"], 1), "statement.windows"),
    "more windows than text, with a first token": (lambda f: give_a_first_token(f, 1), "statement.windows"),
    "a window that no file gives": (lambda f: f.update(windows=f["windows"] + 1), "statement.windows"),
    "a window less than the files give": (lambda f: f.update(windows=f["windows"] - 1), "statement.windows"),
    "a window taken from one file and given to none": (
        lambda f: f["corpus"][0].update(windows=f["corpus"][0]["windows"] - 1),
        "statement.windows",
    ),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_that_cannot_be(copy: Made, case: str) -> None:
    change, code = FRAMES[case]
    change_statement(copy, lambda s: change(s["predicate"]["prompts"]["frame"]))
    assert failed(check(copy)) == {code}


def test_as_many_windows_as_the_text_could_give_are_left_to_the_draw(copy: Made) -> None:
    for change in (lambda f: give_windows(f, f["length"], 0), lambda f: give_a_first_token(f, 0)):
        change_statement(copy, lambda s, change=change: change(s["predicate"]["prompts"]["frame"]))
        assert "statement.windows" not in failed(check(copy))


# --- Lipschitz constants ----------------------------------------------------------------------------------------


def with_constants(made: Made, constant: str, basis: str) -> None:
    """Every block with this constant, and the composition put right where there is one."""
    given = {"constant": constant, "scope": "all-inputs", "basis": basis}

    def change(statement: dict[str, Any]) -> None:
        for stage in statement["predicate"]["claims"]["stages"][1:-1]:
            stage["lipschitz"] = given

    change_statement(made, change)
    with contextlib.suppress(Refusal):
        restate(made)


@pytest.mark.parametrize("basis", ["estimate", "proof"])
def test_a_bound_below_what_was_measured_is_refused(copy: Made, basis: str) -> None:
    with_constants(copy, "0", basis)
    assert "composition.below_measured" in failed(check(copy))


def test_what_was_left_open_is_not_said_to_follow(copy: Made) -> None:
    with_constants(copy, "1000000", "proof")
    steps = ("structure", "authenticity", "integrity")
    report = verify(copy.bundle, replace(copy.policy, require=steps), at=NOW)
    assert report.verdict == "accepted"
    assert "not every claim follows from the evidence" in report.sentence
    with_constants(copy, "1000000", "estimate")
    assert ", every claim follows from the evidence" in check(copy).sentence


# --- what the report says of rows and costs ---------------------------------------------------------------------


def with_audit(made: Made, sampled: int, confirmed: int) -> Report:
    """The report on an audit of which some rows could not be decided, under a policy that does not ask for it."""
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=sampled)
    assert report.audit is not None
    audit = replace(report.audit, confirmed=confirmed, false_rows_below=None, consequences=())
    findings = [finding for finding in report.findings if finding.step != "replay"]
    if confirmed < sampled:
        findings.append(inconclusive("replay", "replay.cell.inconclusive", "evidence.safetensors", "undecided"))
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    statement = strict_json.decode(payload, Statement, STATEMENT)
    seen = Seen(tuple(findings), report.certificate_id, report.signers, statement, audit, report.frame)
    return assemble(made.without_replay, NOW, seen, ("blake3",), time_given=False)


def test_rows_that_could_not_be_decided_are_not_said_to_agree(made: Made) -> None:
    report = with_audit(made, 6, 4)
    assert report.verdict == "accepted"
    assert "agree" not in report.sentence
    assert "of 6 rows that were measured again, only 4 could be confirmed" in report.sentence
    assert any(item.what.startswith("2 rows") for item in report.unchecked)
    assert "and 4 of 6 rows were measured again and agree" in with_audit(made, 4, 4).sentence
    assert "and all 6 rows were measured again and agree" in with_audit(made, 6, 6).sentence
    assert "and 1 of 6 rows was measured again and agrees" in with_audit(made, 1, 1).sentence


def test_costs_that_nobody_counted_again_are_said_to_be_the_producers(copy: Made) -> None:
    def nothing(statement: dict[str, Any]) -> None:
        for cost in statement["predicate"]["surrogate"]["kept"]["surrogate"]:
            cost.update(parameters=0, bits=0, multiply_adds=0)

    change_statement(copy, nothing)
    report = check(copy)
    assert "Kept [the producer's own count" in render(report)
    assert any(item.what == "what the surrogate kept" for item in report.unchecked)
    recounted = verify(copy.bundle, copy.policy, reference=copy.model, at=NOW, replay=1)
    assert "replay.kept.mismatch" in failed(recounted)


def test_costs_that_were_counted_again_are_said_to_be(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=1)
    assert "Kept [counted again]" in render(report)
    assert all(item.what != "what the surrogate kept" for item in report.unchecked)


# --- lists of another length ------------------------------------------------------------------------------------

A_STRATUM = {"windows": 0, "trials": 0, "successes": [0] * 6, "at_least": [0] * 6}


def strata_in(predicate: dict[str, Any]) -> list[dict[str, Any]]:
    return predicate["claims"]["population"]["strata"]


def leave_one_file(predicate: dict[str, Any]) -> None:
    frame = predicate["prompts"]["frame"]
    frame["corpus"] = [{**frame["corpus"][0], "windows": frame["windows"]}]


LISTS: dict[str, tuple[Change, str]] = {
    "covered": (lambda p: p["claims"]["stages"][1].update(covered=[]), "claims.stages[1].covered"),
    "loss_covered": (lambda p: p["claims"]["stages"][1]["loss_covered"].pop(), "claims.stages[1].loss_covered"),
    "index": (lambda p: p["claims"]["stages"][1].update(index=4000), "claims.stages[1].index"),
    "loss_within": (lambda p: p["claims"]["end_to_end"].update(loss_within=[]), "claims.end_to_end.loss_within"),
    "error": (lambda p: p["claims"]["control"]["identity"]["error"].pop(), "identity.error"),
    "relative_error": (lambda p: p["claims"]["control"]["identity"].update(relative_error=[]), "relative_error"),
    "identity.covered": (lambda p: p["claims"]["control"]["identity"]["covered"].pop(), "identity.covered"),
    "identity.covered[0]": (lambda p: p["claims"]["control"]["identity"]["covered"][0].pop(), "covered[0]"),
    "float32": (lambda p: p["claims"]["control"]["float32_floor"].update(relative_error=[]), "float32_floor"),
    "kept": (lambda p: p["surrogate"]["kept"].update(surrogate=[]), "kept.surrogate"),
    "stages": (lambda p: p["reference"].update(blocks=4), "claims.stages"),
    "no strata": (lambda p: p["claims"]["population"].update(strata=None), "population.strata"),
    "a stratum too many": (lambda p: strata_in(p).append(A_STRATUM), "population.strata"),
    "strata of one file": (leave_one_file, "population.strata"),
    "counts of a stratum": (lambda p: strata_in(p)[1]["successes"].pop(), "strata[1].successes"),
    "bounds of a stratum": (lambda p: strata_in(p)[0]["at_least"].append(1), "strata[0].at_least"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_another_length_has_a_place_in_show_and_in_verify(
    copy: Made, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, place = LISTS[case]
    change_statement(copy, lambda s: change(s["predicate"]))
    report = check(copy)
    assert failed(report) == {"statement.lengths"}
    assert any(place in finding.place for finding in report.findings)
    assert run(["show", str(copy.bundle)]) == 2
    assert "statement.lengths" in capsys.readouterr().err


# --- reports as long as somebody likes --------------------------------------------------------------------------


def test_findings_are_counted_where_they_are_too_many_to_list(copy: Made, tmp_path: Path) -> None:
    names = [f"e{i}" for i in range(20_000)]
    change_statement(copy, lambda s: s["predicate"].update(extensions=dict.fromkeys(names, 0), critical=names))
    report = check(copy)
    assert report.verdict == "indeterminate"
    assert len(report.findings) < 1010
    assert report.findings[-1].message.endswith("(and 18999 more findings)")

    def repeat(document: dict[str, Any]) -> None:
        step = {"op": "add", "out": "x", "left": "u", "right": "v"}
        document["stages"][1]["steps"] = [step] * 256
        document["stages"] = [document["stages"][0], *[document["stages"][1]] * 10, document["stages"][-1]]

    change_statement(copy, lambda s: s["predicate"].update(extensions={}, critical=[]))
    change_program(copy, repeat)
    report = check(copy)
    assert report.verdict == "rejected"
    assert len(report.findings) < 1010
    assert "more such problems" in report.findings[-1].message
    assert strict_json.decode(to_json(report), Report, "report.json") == report


def test_what_is_counted_fails_if_one_of_it_failed() -> None:
    open_ = [inconclusive("recompute", "lipschitz.unverified", f"{i}", "open") for i in range(MOST_FINDINGS + 2)]
    assert capped(open_)[-1].status == "inconclusive"
    found = capped([*open_, outcome_failed("recompute", "evidence.count", "here", "wrong"), *open_])
    assert (len(found), found[-1].status, found[-1].code) == (MOST_FINDINGS + 1, "failed", "evidence.count")
    assert capped(open_[:MOST_FINDINGS]) == open_[:MOST_FINDINGS]


# --- what a report says of itself -------------------------------------------------------------------------------


def test_a_confidence_is_never_rounded_up_to_certainty(copy: Made) -> None:
    change_statement(copy, lambda s: s["predicate"]["claims"]["population"].update(alpha="0." + "0" * 38 + "1"))
    restate(copy)
    text = render(verify(copy.bundle, copy.policy, reference=copy.model, at=NOW, replay=2))
    assert "jointly at 99.999999 % confidence" in text
    assert "100 %  " not in text
    assert [percent(Fraction(n, 10**9)) for n in (950_000_000, 999_999_999, 10**9)] == ["95", "99.999999", "100"]


def test_no_digests_are_said_to_be_checked_where_no_file_was_read(copy: Made) -> None:
    path = copy.bundle / STATEMENT
    envelope = json.loads(path.read_bytes())
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    path.write_text(json.dumps(envelope))
    report = check(copy)
    assert failed(report) == {"signature.invalid", "signature.threshold_not_met"}
    assert report.digests == ()


def test_a_time_that_was_given_is_said_to_be(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust, out = tmp_path / "trust.json", tmp_path / "report.json"
    trust.write_bytes(encode_policy(made.without_replay))
    assert run(["verify", str(made.bundle), "--trust", str(trust), "--json", str(out), *CLOCK]) == 0
    assert "the time was given" in capsys.readouterr().out
    assert any("the time was given" in item["how"] for item in json.loads(out.read_bytes())["unchecked"])


KINDS_AND_FIDELITY: dict[str, tuple[Change, str]] = {
    "an extract bundle called a copy": (lambda p: p["producer"].update(kind="compare"), "statement.kind"),
    "fidelity on no prompts": (lambda p: p["reference"].update(fidelity=fidelity(rows=0)), "statement.fidelity"),
    "fidelity on too many": (lambda p: p["reference"].update(fidelity=fidelity(rows=10**9)), "statement.fidelity"),
    "a negative difference": (
        lambda p: p["reference"].update(fidelity=fidelity(max_logit_difference="-5")),
        "statement.fidelity",
    ),
    "fidelity to nothing": (lambda p: p["reference"].update(fidelity=fidelity(against="")), "statement.fidelity"),
}


def fidelity(**changes: Any) -> dict[str, Any]:
    return {"against": "something", "rows": 1, "max_logit_difference": "0", "basis": "estimate", **changes}


@pytest.mark.parametrize(("change", "code"), KINDS_AND_FIDELITY.values(), ids=KINDS_AND_FIDELITY)
def test_kind_and_fidelity_must_be_possible(copy: Made, change: Change, code: str) -> None:
    change_statement(copy, lambda s: change(s["predicate"]))
    assert code in failed(check(copy))
