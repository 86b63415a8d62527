"""What is not lifted, each with its code, its place and a sentence that names the cause."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blockcert.errors import Refusal
from blockcert_producers.lift import ARCHITECTURES, lift
from tests.support.checkpoints import edit_tensors, make_checkpoint


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("gpt2"), "gpt2")


def copy(source: Path, target: Path) -> Path:
    """A copy of a checkpoint, so that one test's damage is not another's."""
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def refusal(folder: Path) -> Refusal:
    with pytest.raises(Refusal) as caught:
        lift(folder)
    return caught.value


# each: what stands in config.json, the code, a part of the sentence
BAD_CONFIGS: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "lift.config", "not JSON"),
    "not JSON": (b"{", "lift.config", "not JSON"),
    "not UTF-8": (b'{"model_type": "\xff"}', "lift.config", "not JSON in UTF-8"),
    "byte order mark": (b'\xef\xbb\xbf{"model_type": "gpt2"}', "lift.config", "not JSON"),
    "a list": (b"[]", "lift.config", "not a JSON object"),
    "duplicate key": (b'{"model_type": "gpt2", "model_type": "llama"}', "lift.config", '"model_type" stands twice'),
    "nested duplicate key": (b'{"a": {"b": 1, "b": 2}}', "lift.config", '"b" stands twice'),
    "NaN": (b'{"model_type": "gpt2", "x": NaN}', "lift.config", "NaN is not a JSON number"),
    "infinity": (b'{"x": -Infinity}', "lift.config", "-Infinity is not"),
    "overflow": (b'{"x": 1e999}', "lift.config", "too large"),
    "endless integer": (b'{"x": ' + b"9" * 9000 + b"}", "lift.config", "not JSON"),
    "deep": (b'{"x": ' + b"[" * 100000 + b"]" * 100000 + b"}", "lift.config", "not JSON"),
    "huge": (b" " * (1 << 20) + b"{}", "lift.config", "at most"),
    "no model_type": (b'{"n_embd": 4}', "lift.architecture", "does not say"),
    "model_type not a string": (b'{"model_type": ["gpt2"]}', "lift.architecture", "does not say"),
    "unsupported": (
        b'{"model_type": "mamba"}',
        "lift.architecture",
        f"'mamba' cannot be lifted; supported are: {', '.join(sorted(ARCHITECTURES))}",
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_a_config_like_this_is_refused(case: str, gpt2: Path, tmp_path: Path) -> None:
    data, code, part = BAD_CONFIGS[case]
    folder = copy(gpt2, tmp_path / "model")
    (folder / "config.json").write_bytes(data)
    found = refusal(folder)
    assert found.code == code
    assert found.place.startswith(str(folder / "config.json"))
    assert part in found.sentence


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise AssertionError('a pickle was opened')",))


def only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


# each: what is done to the folder, the code, the end of the place, a part of the sentence
BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "lift.no_config", "model", "no config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "lift.no_weights", "model", "neither"),
    "only a pickle": (only_pickle, "lift.pickle", "pytorch_model.bin", "nothing was opened"),
    "an adapter": (adapter, "lift.adapter", "adapter_config.json", "merge it"),
    "empty weights": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        "tensor.header",
        "model.safetensors",
        "safetensors",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_folder_like_this_is_refused(case: str, gpt2: Path, tmp_path: Path) -> None:
    damage, code, place, part = BAD_FOLDERS[case]
    folder = copy(gpt2, tmp_path / "model")
    damage(folder)
    found = refusal(folder)
    assert found.code == code
    assert found.place.endswith(place)
    assert part in found.sentence


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    missing = refusal(tmp_path / "nowhere")
    assert (missing.code, missing.place) == ("path.not_found", str(tmp_path / "nowhere"))
    assert "does not exist" in missing.sentence
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file").sentence


def put(name: str, tensor: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.__setitem__(name, tensor)


def cell(name: str, index: tuple[int, ...], value: float) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors[name].__setitem__(index, value)


def cell_in(dtype: torch.dtype, name: str, index: tuple[int, ...], value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        tensors[name] = tensors[name].to(dtype)
        tensors[name][index] = value

    return change


WTE, QKV = "transformer.wte.weight", "transformer.h.1.attn.c_attn.weight"
LN = "transformer.h.0.ln_1.bias"
# each: the change to the tensors, the code, the tensor named, a part of the sentence
BAD_TENSORS: dict[str, tuple[Callable[[dict[str, Any]], object], str, str, str]] = {
    "missing": (lambda t: t.pop(QKV), "lift.tensor", QKV, "no such tensor; the config calls for 12 x 36"),
    "transposed": (put(QKV, torch.zeros(36, 12)), "lift.tensor", QKV, "is 36 x 12; the config calls for 12 x 36"),
    "fewer axes": (put(LN, torch.tensor(1.0)), "lift.tensor", LN, "is a scalar"),
    "integers": (put(LN, torch.zeros(12, dtype=torch.int64)), "lift.tensor", LN, "I64 is not one of"),
    "too many": (put("score.weight", torch.zeros(2)), "lift.tensor", "score.weight", "no such tensor"),
    "one layer more": (
        put("transformer.h.2.ln_1.weight", torch.ones(12)),
        "lift.tensor",
        "transformer.h.2.ln_1.weight",
        "no such tensor",
    ),
    "another tied head": (put("lm_head.weight", torch.ones(29, 12)), "lift.tensor", "lm_head.weight", "other values"),
    "tied head of another type": (
        lambda t: t.__setitem__("lm_head.weight", t[WTE].double()),
        "lift.tensor",
        "lm_head.weight",
        "other values",
    ),
    "NaN": (cell(WTE, (28, 11), float("nan")), "lift.not_finite", WTE, "[28, 11]"),
    "infinity": (cell(QKV, (0, 35), float("inf")), "lift.not_finite", QKV, "[0, 35]"),
    "minus infinity": (cell(LN, (4,), -float("inf")), "lift.not_finite", LN, "[4]"),
    "NaN in bfloat16": (cell_in(torch.bfloat16, QKV, (3, 5), float("nan")), "lift.not_finite", QKV, "[3, 5]"),
    "infinity in float16": (cell_in(torch.float16, QKV, (3, 5), float("inf")), "lift.not_finite", QKV, "[3, 5]"),
    "NaN in float64": (cell_in(torch.float64, QKV, (11, 0), float("nan")), "lift.not_finite", QKV, "[11, 0]"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_like_these_are_refused(case: str, gpt2: Path, tmp_path: Path) -> None:
    change, code, tensor, part = BAD_TENSORS[case]
    found = refusal(edit_tensors(copy(gpt2, tmp_path / "model"), change))
    assert found.code == code
    assert found.place.endswith(f": {tensor}")
    assert part in found.sentence


def test_the_largest_finite_weights_are_not_refused(gpt2: Path, tmp_path: Path) -> None:
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        folder = copy(gpt2, tmp_path / str(dtype))
        lift(edit_tensors(folder, cell_in(dtype, QKV, (0, 0), -torch.finfo(dtype).max)))


def index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


BAD_SHARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not JSON": (lambda f: (f / "model.safetensors.index.json").write_text("{"), "not JSON"),
    "a list": (lambda f: (f / "model.safetensors.index.json").write_text("[]"), "no weight_map"),
    "no map": (lambda f: index(f, lambda v: v.pop("weight_map")), "no weight_map"),
    "shard missing": (lambda f: first_shard(f).unlink(), "is not in the folder"),
    "shard elsewhere": (
        lambda f: index(f, lambda v: v["weight_map"].update({"lm_head.weight": "../model.safetensors"})),
        "must be the name of a safetensors file in this folder",
    ),
    "shard a pickle": (
        lambda f: index(f, lambda v: v["weight_map"].update({"lm_head.weight": "pytorch_model.bin"})),
        "must be the name of a safetensors file in this folder",
    ),
    "tensor in no shard": (
        lambda f: index(f, lambda v: v["weight_map"].update({"ghost": first_shard(f).name})),
        '"ghost" stands in the index but not the shard',
    ),
    "tensor not in the index": (
        lambda f: index(f, lambda v: v["weight_map"].pop("model.norm.weight")),
        '"model.norm.weight" stands in the shard but not the index',
    ),
}


@pytest.mark.parametrize("case", BAD_SHARDS)
def test_an_index_like_this_is_refused(case: str, tmp_path: Path) -> None:
    damage, part = BAD_SHARDS[case]
    folder = make_checkpoint(tmp_path, "llama", shard="3KB")
    damage(folder)
    found = refusal(folder)
    assert found.code == "lift.index"
    assert part in found.sentence
