"""Bad input to the producer's commands: one clear sentence with its code, no traceback, nothing half written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from blockcert.bundle import STATEMENT
from blockcert_producers import embedded
from blockcert_producers.cli.run import run
from blockcert_producers.embedded.text import generate

Case = tuple[str, Callable[[Path], list[str]]]
"""The code that must be named, and the words after ``extract``; the folder holds ``model`` and ``text.txt``."""


def words(folder: Path, *more: str, model: str = "model", prompts: str = "text.txt", out: str = "out") -> list[str]:
    counts = ("--count", "4", "--calibration", "2", "--attribution", "0")
    return [str(folder / model), "--prompts", str(folder / prompts), "--out", str(folder / out), *counts, *more]


def config(folder: Path, **changes: object) -> list[str]:
    path = folder / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return words(folder)


def weights(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> list[str]:
    path = folder / "model" / "model.safetensors"
    tensors = {name: tensor.copy() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    return words(folder)


def poison(tensors: dict[str, np.ndarray]) -> None:
    next(iter(tensors.values())).flat[3] = np.nan


def pickled(folder: Path) -> list[str]:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    return words(folder)


def removed(folder: Path, name: str) -> list[str]:
    (folder / "model" / name).unlink()
    return words(folder)


def text(folder: Path, data: bytes) -> list[str]:
    (folder / "text.txt").write_bytes(data)
    return words(folder)


def existing(folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "precious.txt").write_text("keep me")
    return words(folder)


def certified(folder: Path) -> list[str]:
    (folder / "bundle" / "inside").mkdir(parents=True)
    (folder / "bundle" / STATEMENT).write_text("{}")
    return words(folder, out="bundle/inside/out")


def shifted(folder: Path) -> list[str]:
    (folder / "other.txt").write_text("too short", encoding="utf-8")
    return words(folder, "--shift", str(folder / "other.txt"))


CASES: dict[str, Case] = {
    "a model folder that is not there": ("path.not_found", lambda f: words(f, model="modle")),
    "a file instead of a model folder": ("path.not_found", lambda f: words(f, model="text.txt")),
    "a folder without config.json": ("lift.no_config", lambda f: removed(f, "config.json")),
    "a config that is no JSON": ("lift.config", lambda f: (f / "model/config.json").write_text("{") and words(f)),
    "an architecture nobody lifts": ("lift.architecture", lambda f: config(f, model_type="mamba")),
    "an option nobody knows": ("lift.option", lambda f: config(f, use_flux_capacitor=True)),
    "a value nobody supports": ("lift.option", lambda f: config(f, activation_function="swiglu")),
    "a pickle": ("lift.pickle", pickled),
    "no weights": ("lift.no_weights", lambda f: removed(f, "model.safetensors")),
    "a NaN among the weights": ("lift.not_finite", lambda f: weights(f, poison)),
    "a tensor that is missing": ("lift.tensor", lambda f: weights(f, lambda t: t.pop(sorted(t)[0]))),
    "no tokenizer": ("prompts.no_tokenizer", lambda f: removed(f, "tokenizer.json")),
    "a text that is not there": ("prompts.not_found", lambda f: words(f, prompts="txet.txt")),
    "an empty text": ("prompts.empty", lambda f: text(f, b"")),
    "a text that is no text": ("prompts.not_utf8", lambda f: text(f, b"\xff\xfe\x00")),
    "too few windows": ("prompts.too_few_windows", lambda f: text(f, b"only a few words")),
    "more tokens than the model takes": ("prompts.length", lambda f: words(f, "--length", "100000")),
    "an output folder that exists": ("output.exists", existing),
    "an output in a bundle": ("output.unwritable", certified),
    "a front in a bundle": ("output.unwritable", lambda f: [*certified(f), "--budgets", "0.1,0.2"]),
    "an output that exists, before a text that is not there": (
        "output.exists",
        lambda f: existing(f) and words(f, prompts="txet.txt"),
    ),
    "a device that is not there": ("device.unavailable", lambda f: words(f, "--device", "cuda:99")),
    "a budget of nothing": ("extract.budget", lambda f: words(f, "--budget", "0")),
    "a budget that is no number": ("extract.budget", lambda f: words(f, "--budget", "tiny")),
    "a budget listed twice": ("extract.budgets", lambda f: words(f, "--budgets", "0.05,approximate")),
    "one budget and a list": ("usage.budgets", lambda f: words(f, "--budgets", "0.05", "--budget", "0.05")),
    "an aim nobody knows": ("extract.aim", lambda f: words(f, "--aim", "speed")),
    "nothing to calibrate on": ("extract.calibration", lambda f: words(f, "--calibration", "0")),
    "other texts without a window": ("prompts.too_few_windows", shifted),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(embedded.path("gpt2"), tmp_path / "model")
    (tmp_path / "text.txt").write_text(generate(5, 20_000), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("code", "make"), CASES.values(), ids=CASES)
def test_extract_refuses_in_one_sentence(
    code: str, make: Callable[[Path], list[str]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = make(folder)
    before = sorted(folder.rglob("*"))
    assert run(["extract", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("blockcert: ")
    assert f"[{code}]" in line
    assert sorted(folder.rglob("*")) == before


def test_models_of_two_shapes_cannot_be_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(embedded.path("llama"), folder / "other")
    smaller = json.loads((folder / "other" / "config.json").read_text())
    other = words(folder)
    code = run(["compare", other[0], str(folder / "other"), *other[1:]])
    _, err = capsys.readouterr()
    gpt2 = json.loads((folder / "model" / "config.json").read_text())
    same = (gpt2["n_layer"], gpt2["n_embd"]) == (smaller["num_hidden_layers"], smaller["hidden_size"])
    assert (code, "[compare.shape]" in err) == ((0, False) if same else (2, True))
    assert (folder / "out").exists() == same


def test_a_candidate_that_changes_while_it_is_copied_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copyfile

    def changed(source: Path, target: Path) -> None:
        copy(source, target)
        with target.open("r+b") as file:
            file.seek(-1, 2)
            last = file.read(1)
            file.seek(-1, 2)
            file.write(bytes([last[0] ^ 1]))

    monkeypatch.setattr(shutil, "copyfile", changed)
    assert run(["compare", str(folder / "model"), *words(folder)]) == 2
    assert "[compare.changed]" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["model", "text.txt"]


def test_a_copy_with_a_block_removed_is_told_how_it_can_be_compared(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "model", folder / "shorter")
    config = folder / "shorter" / "config.json"
    config.write_text(json.dumps({**(was := json.loads(config.read_text())), "n_layer": was["n_layer"] - 1}))
    weights = folder / "shorter" / "model.safetensors"
    tensors = load_file(weights)
    last = f"h.{was['n_layer'] - 1}."
    save_file({name: tensor for name, tensor in tensors.items() if last not in name}, weights)
    other = words(folder)
    assert run(["compare", other[0], str(folder / "shorter"), *other[1:]]) == 2
    _, err = capsys.readouterr()
    assert "[compare.shape]" in err
    assert "all their weights zero" in err


def test_an_interruption_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blockcert_producers.bundling.certify", interrupted)
    assert run(["compare", str(folder / "model"), *words(folder)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "blockcert: interrupted"
    assert sorted(path.name for path in folder.iterdir()) == ["model", "text.txt"]
