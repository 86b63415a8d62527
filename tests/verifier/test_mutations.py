"""Nothing in a bundle can change unseen: not by anybody, and not by whoever holds the trusted key.

First, one changed byte anywhere. Then changes that are signed again, with every digest put right: only recomputation
and replay stand against those.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockcert import strict_json
from blockcert.bundle import STATEMENT
from blockcert.digest import blake3_bytes, digest_file
from blockcert.draw import draw_windows
from blockcert.dsse import parse_envelope
from blockcert.safetensors_file import read_header_bytes
from blockcert.statement import Statement
from blockcert_verifier import Report, verify
from tests.support.bundles import NOW, Made, change_statement, make_bundle, reseal, restate, rewrite_column

BUNDLE_FILES = (
    "evidence.safetensors",
    "programs/reference.json",
    "programs/surrogate.json",
    "programs/surrogate.safetensors",
    "prompts.safetensors",
)
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
EXAMPLES = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Made:
    return made.copy(tmp_path)


def check(made: Made, replay: int | str = "all") -> Report:
    return verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=replay)  # type: ignore[arg-type]


def failed(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.status == "failed"}


def flip(path: Path, at: int, bits: int) -> Callable[[], None]:
    """Change one byte, and return what puts it back."""
    data = bytearray(path.read_bytes())
    original = bytes(data)
    data[at % len(data)] ^= bits
    path.write_bytes(bytes(data))
    return lambda: path.write_bytes(original) and None


# --- anybody: one byte ------------------------------------------------------------------------------------------


def test_the_lists_of_files_are_complete(made: Made) -> None:
    present = {str(path.relative_to(made.bundle)) for path in made.bundle.rglob("*") if path.is_file()}
    assert present == {*BUNDLE_FILES, STATEMENT}
    assert {path.name for path in made.model.iterdir()} == set(MODEL_FILES)


@pytest.mark.parametrize("name", BUNDLE_FILES)
@EXAMPLES
@given(at=st.integers(0, 1 << 20), bits=st.integers(1, 255))
def test_one_byte_of_a_bundle_file(copy: Made, name: str, at: int, bits: int) -> None:
    restore = flip(copy.bundle / name, at, bits)
    report = check(copy, 1)
    restore()
    assert report.exit_code == 1
    assert failed(report) == {"integrity.digest.mismatch"}
    assert name in report.sentence


@pytest.mark.parametrize("name", MODEL_FILES)
@EXAMPLES
@given(at=st.integers(0, 1 << 20), bits=st.integers(1, 255))
def test_one_byte_of_the_reference_model(copy: Made, name: str, at: int, bits: int) -> None:
    restore = flip(copy.model / name, at, bits)
    report = check(copy, 1)
    restore()
    assert report.exit_code == 1
    assert failed(report) == {"integrity.digest.mismatch"}
    assert f"reference/{name}" in report.sentence


@EXAMPLES
@given(at=st.integers(0, 1 << 20), bits=st.integers(1, 255))
def test_one_byte_of_the_envelope(copy: Made, at: int, bits: int) -> None:
    path = copy.bundle / STATEMENT
    before = parse_envelope(path.read_bytes(), STATEMENT)
    restore = flip(path, at, bits)
    report = check(copy, 1)
    changed = path.read_bytes()
    restore()
    if report.exit_code == 0:
        # the key id is a hint outside the signature; DSSE leaves it, and it decides nothing
        after = parse_envelope(changed, STATEMENT)
        assert (after.payload, after.payload_type) == (before.payload, before.payload_type)
        assert [s.sig for s in after.signatures] == [s.sig for s in before.signatures]
    else:
        assert report.exit_code == 1
        assert STATEMENT in report.sentence


@EXAMPLES
@given(at=st.integers(0, 63), bits=st.integers(1, 255))
def test_one_byte_of_the_signature(copy: Made, at: int, bits: int) -> None:
    path = copy.bundle / STATEMENT
    original = path.read_bytes()
    envelope = json.loads(original)
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[at] ^= bits
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    path.write_text(json.dumps(envelope))
    report = check(copy, 1)
    path.write_bytes(original)
    assert report.exit_code == 1
    assert failed(report) == {"signature.invalid", "signature.threshold_not_met"}
    assert report.certificate is None


@pytest.mark.parametrize("name", [*BUNDLE_FILES, "reference/model.safetensors"])
def test_a_file_cut_short_or_gone(copy: Made, name: str) -> None:
    inside = not name.startswith("reference/")
    path = copy.bundle / name if inside else copy.model / name.removeprefix("reference/")
    path.write_bytes(path.read_bytes()[:-1])
    assert failed(check(copy, 1)) == {"integrity.size.mismatch"}
    path.unlink()
    assert failed(check(copy, 1)) == {"bundle.file.missing" if inside else "file.missing"}


def test_a_file_that_nobody_listed(copy: Made) -> None:
    (copy.bundle / "extra.txt").write_text("x")
    report = check(copy, 1)
    assert failed(report) == {"bundle.file.unlisted"}
    assert "extra.txt" in report.sentence


def test_a_link_in_the_place_of_a_file(copy: Made, tmp_path: Path) -> None:
    path = copy.bundle / "prompts.safetensors"
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert failed(check(copy, 1)) == {"bundle.symlink"}


# --- whoever holds the trusted key: claims ----------------------------------------------------------------------


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of every count and decimal inside a JSON value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _numbers(part, (*path, i))
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int) or (isinstance(value, str) and value[:1].lstrip("-").isdigit()):
        yield path


def _unit(value: Any, sign: int) -> Any:
    """The number one unit in its last digit away; never below zero."""
    if isinstance(value, int):
        return value + sign if value + sign >= 0 else value + 1
    places = len(value.partition(".")[2])
    moved = Decimal(value) + sign * Decimal(1).scaleb(-places)
    moved = moved if moved >= 0 else Decimal(value) + Decimal(1).scaleb(-places)
    text = format(moved, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _payload(made: Made) -> dict[str, Any]:
    envelope = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT)
    return json.loads(envelope.payload)


def _get(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@settings(EXAMPLES, max_examples=150)
@given(data=st.data(), sign=st.sampled_from([1, -1]))
def test_a_claimed_number_one_unit_off_and_signed_again(copy: Made, data: st.DataObject, sign: int) -> None:
    original = (copy.bundle / STATEMENT).read_bytes()
    claims = _payload(copy)["predicate"]["claims"]
    # alpha and the predicates are what the producer chose to claim, not what follows from the evidence
    chosen = {"alpha", "predicate"}
    path = data.draw(st.sampled_from(sorted((p for p in _numbers(claims) if not chosen & {*p}), key=str)))

    def change(statement: dict[str, Any]) -> None:
        parent = _get(statement["predicate"]["claims"], path[:-1])
        parent[path[-1]] = _unit(parent[path[-1]], sign)

    change_statement(copy, change)
    report = verify(copy.bundle, copy.without_replay, at=NOW)
    (copy.bundle / STATEMENT).write_bytes(original)
    assert report.exit_code == 1, path
    assert STATEMENT in report.sentence


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (("stages", 1, "basis"), "proof", "recompute.claim.mismatch"),
        (("stages", 1, "same_program"), True, "recompute.claim.mismatch"),
        (("end_to_end", "scope"), "all-inputs", "recompute.claim.mismatch"),
        (("composition", 0, "vacuous"), False, "recompute.composition.mismatch"),
        (("composition",), [], "recompute.composition.mismatch"),
        (("population", "windows"), 38, "recompute.population.mismatch"),
        (("population", "strata", 0, "windows"), 1, "recompute.population.mismatch"),
        (("population", "strata", 1, "trials"), 6, "recompute.population.mismatch"),
        (("control", "identity", "top1_agree"), 0, "recompute.control.mismatch"),
    ],
)
def test_a_claim_said_otherwise_and_signed_again(copy: Made, path: tuple[Any, ...], value: Any, code: str) -> None:
    def change(statement: dict[str, Any]) -> None:
        _get(statement["predicate"]["claims"], path[:-1])[path[-1]] = value

    change_statement(copy, change)
    report = verify(copy.bundle, copy.without_replay, at=NOW)
    assert failed(report) == {code}


@pytest.mark.parametrize("field", ["successes", "at_least"])
@pytest.mark.parametrize("file", [0, 1])
def test_one_more_for_one_corpus_file(copy: Made, file: int, field: str) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["claims"]["population"]["strata"][file][field][0] += 1

    change_statement(copy, change)
    report = verify(copy.bundle, copy.without_replay, at=NOW)
    assert failed(report) == {"recompute.population.mismatch"}
    assert f"population.strata[{file}].{field}[0]" in report.sentence


def test_the_bounds_of_two_corpus_files_exchanged(copy: Made) -> None:
    change_statement(copy, lambda s: s["predicate"]["claims"]["population"]["strata"].reverse())
    assert failed(verify(copy.bundle, copy.without_replay, at=NOW)) == {"recompute.population.mismatch"}


def test_thresholds_chosen_afterwards_must_be_marked(copy: Made) -> None:
    change_statement(copy, lambda s: s["predicate"]["thresholds"].update(post_hoc=True))
    assert failed(verify(copy.bundle, copy.without_replay, at=NOW)) == {"thresholds.post_hoc"}


@pytest.mark.parametrize("side", ["reference", "surrogate"])
@pytest.mark.parametrize("field", ["parameters", "bits", "multiply_adds"])
def test_a_cost_counted_otherwise_and_signed_again(copy: Made, side: str, field: str) -> None:
    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["surrogate"]["kept"][side][1][field] -= 1

    change_statement(copy, change)
    report = check(copy, 1)
    assert failed(report) == {"replay.kept.mismatch"}
    assert f"kept.{side}[1].{field}" in report.sentence


# --- whoever holds the trusted key: prompts, evidence, programs -------------------------------------------------


def test_another_token_in_a_prompt(copy: Made) -> None:
    def change(tokens: Any) -> None:
        tokens[4, 2] = (tokens[4, 2] + 1) % 11

    rewrite_column(copy.bundle / "prompts.safetensors", "tokens", change)
    reseal(copy)
    assert verify(copy.bundle, copy.without_replay, at=NOW).verdict == "accepted"  # only a replay can tell
    report = check(copy)
    assert failed(report) == {"replay.cell.refuted"}
    assert "row 1 records" in report.sentence


def test_a_token_outside_the_vocabulary(copy: Made) -> None:
    rewrite_column(copy.bundle / "prompts.safetensors", "tokens", lambda tokens: tokens.__setitem__((0, 0), 11))
    reseal(copy)
    assert failed(check(copy)) == {"prompts.token"}


@pytest.mark.parametrize(("column", "value"), [("window", 39), ("split", 1)])
def test_another_window_than_the_draw_gives(copy: Made, column: str, value: int) -> None:
    rewrite_column(copy.bundle / "prompts.safetensors", column, lambda cells: cells.__setitem__(0, value))
    reseal(copy)
    assert failed(check(copy)) == {"recompute.draw.mismatch"}


def test_two_prompts_exchanged(copy: Made) -> None:
    rewrite_column(copy.bundle / "prompts.safetensors", "window", lambda w: w.__setitem__([4, 5], w[[5, 4]]))
    rewrite_column(copy.bundle / "prompts.safetensors", "tokens", lambda t: t.__setitem__([4, 5], t[[5, 4]]))
    reseal(copy)
    assert failed(check(copy)) == {"recompute.draw.mismatch"}


def test_an_evidence_cell_changed_alone(copy: Made) -> None:
    rewrite_column(copy.bundle / "evidence.safetensors", "error", lambda e: e.__setitem__((0, 1), e.max() + 1))
    reseal(copy)
    assert "recompute.claim.mismatch" in failed(check(copy))


@pytest.mark.parametrize(
    ("column", "index"),
    [
        ("error", (3, 1)),
        ("relative_error", (3, 1)),
        ("relative_update_error", (3, 0)),
        ("drift", (3, 2)),
        ("relative_drift", (3, 3)),
        ("final_norm", (3,)),
        ("logit_difference", (3,)),
        ("loss_reference", (3,)),
        ("loss_surrogate", (3,)),
        ("loss_difference", (3,)),
        ("kl_sum", (3,)),
        ("kl_max", (3,)),
        ("identity.error", (3, 1)),
        ("identity.drift", (3, 2)),
        ("identity.logit_difference", (3,)),
        ("attribution.hybrid_step", (1, 1)),
    ],
)
def test_a_measured_cell_made_smaller_with_every_claim_put_right(copy: Made, column: str, index: Any) -> None:
    rewrite_column(copy.bundle / "evidence.safetensors", column, lambda c: c.__setitem__(index, c[index] / 32))
    restate(copy)
    assert verify(copy.bundle, copy.without_replay, at=NOW).verdict == "accepted"
    report = check(copy)
    assert failed(report) == {"replay.cell.refuted"}
    assert f"{column}[{', '.join(map(str, index))}]" in report.sentence
    assert report.audit is not None
    assert report.audit.confirmed == 5
    assert report.audit.false_rows_below is None


@pytest.mark.parametrize(
    ("column", "index"),
    [
        ("covered", (3, 1, 2)),
        ("identity.covered", (3, 1, 2)),
        ("top1_agree", (3,)),
        ("decided", (3,)),
        ("loss_within", (3, 2)),
        ("identity.top1_agree", (3,)),
        ("identity.decided", (3,)),
        ("attribution.loss_within", (1, 1, 2)),
    ],
)
def test_a_count_changed_by_one_with_every_claim_put_right(copy: Made, column: str, index: Any) -> None:
    def change(cells: Any) -> None:
        cells[index] += 1 if cells[index] < 5 else -1

    rewrite_column(copy.bundle / "evidence.safetensors", column, change)
    restate(copy)
    assert verify(copy.bundle, copy.without_replay, at=NOW).verdict == "accepted"
    report = check(copy)
    assert failed(report) == {"replay.cell.refuted"}
    assert f"{column}[{', '.join(map(str, index))}]" in report.sentence


def test_a_float32_floor_that_no_build_would_measure(copy: Made) -> None:
    rewrite_column(
        copy.bundle / "evidence.safetensors", "float32.relative_error", lambda c: c.__setitem__((3, 1), 1e-3)
    )
    restate(copy)
    assert failed(check(copy)) == {"replay.cell.refuted"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_evidence_cell_that_is_no_number(copy: Made, value: float) -> None:
    rewrite_column(copy.bundle / "evidence.safetensors", "drift", lambda c: c.__setitem__((2, 1), value))
    reseal(copy)
    assert failed(check(copy)) == {"evidence.not_finite"}


def test_a_count_of_more_than_there_is(copy: Made) -> None:
    rewrite_column(copy.bundle / "evidence.safetensors", "top1_agree", lambda c: c.__setitem__(0, 9))
    reseal(copy)
    assert "evidence.count" in failed(check(copy))


def test_blocks_in_another_order(copy: Made) -> None:
    path = copy.bundle / "programs" / "surrogate.json"
    program = json.loads(path.read_bytes())
    program["stages"][1:3] = program["stages"][2:0:-1]
    path.write_text(json.dumps(program))
    reseal(copy)
    # the draw of the certification prompts is keyed by the surrogate, so another surrogate needs other prompts
    assert "recompute.draw.mismatch" in failed(check(copy))


def test_another_surrogate_with_prompts_and_claims_put_right(copy: Made) -> None:
    path = copy.bundle / "programs" / "surrogate.json"
    program = json.loads(path.read_bytes())
    program["stages"][1]["steps"][0]["eps"] = "0.00002"
    path.write_text(json.dumps(program))
    reseal(copy)
    _redraw(copy)
    restate(copy)
    assert verify(copy.bundle, copy.without_replay, at=NOW).verdict == "accepted"
    assert failed(check(copy)) == {"replay.cell.refuted"}


def _redraw(made: Made) -> None:
    """Window numbers put right for the surrogate as it stands now, tokens left as they are."""
    statement = strict_json.decode(json.dumps(_payload(made)).encode(), Statement, STATEMENT)
    names = ("programs/reference.json", "programs/surrogate.json")
    digests = [blake3_bytes((made.bundle / name).read_bytes()) for name in names]
    drawn = draw_windows(statement.predicate.prompts.frame, *digests)
    windows = [*drawn.calibration, *drawn.certification]
    rewrite_column(made.bundle / "prompts.safetensors", "window", lambda w: w.__setitem__(slice(None), windows))


def test_other_weights_of_the_surrogate(copy: Made) -> None:
    path = copy.bundle / "programs" / "surrogate.safetensors"
    rewrite_weights(path, "v.left")
    reseal(copy)
    # the program names its weights by digest, so it has to change too
    assert failed(check(copy)) == {"program.file.mismatch"}


def rewrite_weights(path: Path, name: str, first: float | None = None) -> None:
    """Every weight of a float32 tensor 1 % larger, or the first of them `first`."""
    data = bytearray(path.read_bytes())
    info = read_header_bytes(bytes(data), path.name)[name]
    cells = np.frombuffer(bytes(data[info.begin : info.end]), dtype="<f4").copy()
    if first is None:
        cells *= np.float32(1.01)
    else:
        cells[0] = first
    data[info.begin : info.end] = cells.tobytes()
    path.write_bytes(bytes(data))


def test_other_weights_with_programs_and_prompts_put_right(copy: Made) -> None:
    path = copy.bundle / "programs" / "surrogate.safetensors"
    rewrite_weights(path, "v.left")
    _repoint(copy.bundle / "programs" / "surrogate.json", "programs/surrogate.safetensors", path)
    reseal(copy)
    _redraw(copy)
    restate(copy)
    assert verify(copy.bundle, copy.without_replay, at=NOW).verdict == "accepted"
    assert failed(check(copy)) == {"replay.cell.refuted"}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_reference_weights_that_are_no_numbers(copy: Made, value: float) -> None:
    path = copy.model / "model.safetensors"
    rewrite_weights(path, "0.q", value)
    for program in ("reference", "surrogate"):
        _repoint(copy.bundle / "programs" / f"{program}.json", "reference/model.safetensors", path)
    reseal(copy)
    _redraw(copy)
    # other windows are drawn, and with them other numbers of prompts from each corpus file
    restate(copy)
    report = check(copy)
    assert report.exit_code == 1
    assert failed(report) <= {"replay.cell.refuted", "tensor.not_finite", "replay.row.crashed"}


def _repoint(program: Path, name: str, path: Path) -> None:
    document = json.loads(program.read_bytes())
    for file in document["files"]:
        if file["name"] == name:
            file["blake3"] = digest_file(path).blake3
    program.write_text(json.dumps(document))
