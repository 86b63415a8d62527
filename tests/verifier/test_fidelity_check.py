"""``--transformers``: the reference program beside the software that runs the checkpoint, on replayed rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert.bundle import STATEMENT
from blockcert.errors import Refusal
from blockcert.findings import STEPS
from blockcert.keys import NamedKey, generate
from blockcert.numbers import parse_decimal
from blockcert.trust import new_policy
from blockcert_producers.produce import Job, compare_bundle
from blockcert_verifier import Report, render, verify
from blockcert_verifier import fidelity as comparison
from tests.support.bundles import NOW, Made, change_statement, reseal, sign_again
from tests.support.checkpoints import edit_config, make_checkpoint
from tests.support.corpora import save_tokenizer, save_windows

VOCABULARY, LENGTH = 29, 12


def make(folder: Path, kind: str, **options: Any) -> Made:
    """A signed certificate of a checkpoint beside its bfloat16 copy."""
    model = make_checkpoint(folder / "model", kind, **options)
    save_tokenizer(model / "tokenizer.json", VOCABULARY)
    copy = make_checkpoint(folder / "copy", kind, dtype="bfloat16", **options)
    windows = np.random.default_rng(0).integers(0, VOCABULARY, size=(30, LENGTH)).tolist()
    corpus = (save_windows(folder / "text.txt", windows),)
    job = Job(corpus, folder / "bundle", count=8, calibration=0, length=LENGTH, attribution=2)
    compare_bundle(model, copy, job, now=NOW)
    key = generate()
    sign_again(folder / "bundle", key)
    named = [NamedKey("acme", key.public)]
    policies = (new_policy(named, replay=True), new_policy(named, replay=False))
    return Made(folder / "bundle", model, key, *policies, corpus)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"), request.param)


def check(made: Made, **options: Any) -> Report:
    options = {"reference": made.model, "replay": 4, **options}
    return verify(made.bundle, made.policy, at=NOW, transformers=True, **options)


def found(report: Report) -> list[tuple[str, str]]:
    return [(f.code, f.status) for f in report.findings if f.code.startswith("fidelity.")]


def message(report: Report) -> str:
    return next(f.message for f in report.findings if f.code.startswith("fidelity."))


def test_the_checkpoint_and_its_program_agree_within_rounding(made: Made) -> None:
    """BC-VER-27, 28."""
    report = check(made)
    assert report.verdict == "accepted"
    assert found(report) == [("fidelity.measured", "passed")]
    assert report.fidelity is not None
    assert (report.fidelity.rows, report.fidelity.basis) == (4, "estimate")
    assert report.fidelity.against.startswith("transformers ")
    share = parse_decimal(report.fidelity.max_logit_difference) / parse_decimal(report.fidelity.largest_logit)
    assert 0 < share < 1e-5
    assert "an estimate of rounding, not a proof" in message(report)
    assert not any("reference program computes" in item.what for item in report.unchecked)
    assert max(map(len, render(report).splitlines())) <= 80


@pytest.mark.parametrize(
    ("single", "double", "gross"),
    [(1.0, None, False), (np.nextafter(1, 2), 1.0, False), (2.0, 1.0, False), (2.0, np.nextafter(1, 2), True)],
)
def test_more_than_a_hundredth_in_both_precisions_is_gross(
    single: float, double: float | None, gross: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-VER-28: beside logits of 100, a difference of 1 may be rounding."""
    asked: list[str] = []

    def logits(*given: Any) -> tuple[float, float]:
        asked.append(given[-1])
        value = {"float32": single, "float64": double}[given[-1]]
        assert value is not None
        return float(value), 100.0

    monkeypatch.setattr(comparison, "compare_logits", logits)
    any_: Any = None
    assert comparison.compare_program(any_, any_, any_, any_).gross == gross
    assert asked == ["float32", "float64"][: 1 + (double is not None)]


def test_it_is_measured_only_where_it_is_asked_for(made: Made) -> None:
    report = verify(made.bundle, made.policy, reference=made.model, replay=2, at=NOW)
    assert found(report) == []
    assert report.fidelity is None
    assert any("--transformers" in item.how for item in report.unchecked)


def test_without_replayed_rows_it_is_skipped_and_says_why(made: Made) -> None:
    report = check(made, replay=0)
    assert found(report) == [("fidelity.not_run", "skipped")]
    assert message(report).startswith("no rows were replayed")
    report = check(made, reference=None)
    assert message(report).startswith("no reference model was given")


EPSILON = {"llama": "rms_norm_eps", "gpt2": "layer_norm_epsilon"}


def with_epsilon(made: Made, folder: Path, value: float) -> Made:
    """The same claims signed for a checkpoint whose config the program does not follow."""
    copy = made.copy(folder)
    kind = json.loads((copy.model / "config.json").read_text())["model_type"]
    edit_config(copy.model, {EPSILON[kind]: value})
    reseal(copy)
    return copy


def test_a_program_that_is_not_the_checkpoint_is_refused(made: Made, tmp_path: Path) -> None:
    """Everything is signed by a trusted key and every row replays; only the config disagrees with the program.

    BC-VER-28.
    """
    report = check(with_epsilon(made, tmp_path, 1.0))
    assert report.verdict == "rejected"
    assert found(report) == [("fidelity.mismatch", "failed")]
    assert "float64 gives it too" in message(report)
    assert report.steps[STEPS.index("replay")].status == "failed"


def test_a_difference_above_the_stated_one_waits(made: Made, tmp_path: Path) -> None:
    """BC-VER-28."""
    report = check(with_epsilon(made, tmp_path, 1e-4))
    assert found(report) == [("fidelity.larger", "inconclusive")]
    assert report.verdict == "indeterminate"
    assert report.fidelity is not None
    limit = 4 * parse_decimal(report.fidelity.stated or "0") + parse_decimal(report.fidelity.largest_logit) / 10**5
    assert float(parse_decimal(report.fidelity.limit)) == pytest.approx(float(limit), rel=1e-5)


def test_without_a_stated_figure_more_is_left_to_rounding(made: Made, tmp_path: Path) -> None:
    """BC-VER-28."""
    copy = made.copy(tmp_path)
    change_statement(copy, lambda statement: statement["predicate"]["reference"].update(fidelity=None))
    report = check(copy)
    assert found(report) == [("fidelity.measured", "passed")]
    assert report.fidelity is not None
    assert report.fidelity.stated is None
    share = parse_decimal(report.fidelity.limit) / parse_decimal(report.fidelity.largest_logit)
    assert float(share) == pytest.approx(1e-3, rel=1e-4)


def test_only_files_that_were_signed_are_read(made: Made, tmp_path: Path) -> None:
    """An adapter, a pickle and a second set of weights beside the model are not looked at (BC-VER-27)."""
    copy = made.copy(tmp_path)
    (copy.model / "adapter_config.json").write_text("{")
    (copy.model / "pytorch_model.bin").write_bytes(b"no pickle")
    (copy.model / "generation_config.json").write_text("[]")
    assert found(check(copy)) == [("fidelity.measured", "passed")]


def test_a_checkpoint_that_does_not_run_is_inconclusive(made: Made, tmp_path: Path) -> None:
    """Its config names code of its own, which is never run (BC-VER-28)."""
    copy = made.copy(tmp_path)
    edit_config(copy.model, {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Model"}})
    (copy.model / "mine.py").write_text("raise SystemExit('this code ran')")
    reseal(copy)
    report = check(copy)
    assert found(report) == [("fidelity.not_run", "inconclusive")]
    assert report.verdict == "indeterminate"


def test_a_missing_package_is_said_before_any_work(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Refusal) as caught:
        check(made)
    assert (caught.value.code, "pip install 'blockcert[produce]'" in caught.value.sentence) == ("install.produce", True)
    # extract and compare run the checkpoint too, where nobody asked for a comparison: why is said
    assert "beside the program lifted from it" in caught.value.sentence


def test_verification_without_it_imports_neither_package(made: Made, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from datetime import datetime; from blockcert_verifier import verify; "
        "from blockcert.trust import parse_policy; "
        f"verify({str(made.bundle)!r}, Path({str(tmp_path / 'trust.json')!r}), reference={str(made.model)!r}, "
        f"replay=1, at=datetime.fromisoformat({NOW.isoformat()!r})); "
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    from blockcert.trust import encode_policy

    (tmp_path / "trust.json").write_bytes(encode_policy(made.policy))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert (made.bundle / STATEMENT).is_file()
