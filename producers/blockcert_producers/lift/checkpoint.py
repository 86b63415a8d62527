"""A Hugging Face folder: its config, its safetensors files, and references to the tensors in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from msgspec import Struct

from blockcert.digest import FileDigests, digest_file
from blockcert.errors import Refusal
from blockcert.names import check_name
from blockcert.program import FileRef, TensorRef
from blockcert.safetensors_file import TensorInfo, read_header
from blockcert_producers.lift.finite import first_not_finite, same_bits
from blockcert_producers.lift.options import Options, parse_config
from blockcert_verifier.evaluate import WeightStore

__all__ = ["Checkpoint", "Weights", "open_checkpoint"]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_GREATEST_INDEX = 64 << 20
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_FLOATS = ("F64", "F32", "F16", "BF16")


class Checkpoint(Struct, frozen=True):
    """An opened checkpoint. ``files`` maps the name of each weight file to its tensors."""

    folder: Path
    prefix: str
    config_path: Path
    config: dict[str, object]
    model_type: str
    files: dict[str, dict[str, TensorInfo]]
    digest: Callable[[Path], FileDigests]

    def options(self) -> Options:
        """The config's options, none of them asked for yet."""
        return Options(self.config, str(self.config_path))

    def weights(self) -> Weights:
        """The tensors, none of them asked for yet."""
        return Weights(self)


def open_checkpoint(
    folder: Path, *, prefix: str = "reference/", digest: Callable[[Path], FileDigests] | None = None
) -> Checkpoint:
    """The checkpoint in ``folder``, opened: config parsed, safetensors headers read, no weight read yet.

    Raises:
        Refusal: ``path.not_found``, ``lift.no_config``, ``lift.config``, ``lift.architecture``,
            ``lift.adapter``, ``lift.pickle``, ``lift.no_weights``, ``lift.index``, and what
            ``blockcert.safetensors_file`` refuses of a header.
    """
    if not folder.is_dir():
        what = "is a file, not a folder with a checkpoint" if folder.exists() else "does not exist"
        raise Refusal("path.not_found", str(folder), f"the model folder {what}")
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise Refusal(
            "lift.no_config",
            str(folder),
            "there is no config.json in this folder; a Hugging Face checkpoint has one beside its weights",
        )
    config = parse_config(config_path.read_bytes(), str(config_path))
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise Refusal(
            "lift.architecture",
            f"{config_path}: $.model_type",
            "the config does not say which architecture it is",
        )
    if (folder / "adapter_config.json").exists():
        raise Refusal(
            "lift.adapter",
            str(folder / "adapter_config.json"),
            "the folder holds an adapter beside the model; merge it into the weights first",
        )
    return Checkpoint(
        folder=folder,
        prefix=prefix,
        config_path=config_path,
        config=config,
        model_type=model_type,
        files=_open_files(folder),
        digest=digest or _blake3_only,
    )


def _blake3_only(path: Path) -> FileDigests:
    return digest_file(path, sha256=False)


def _open_files(folder: Path) -> dict[str, dict[str, TensorInfo]]:
    if (folder / _SINGLE).is_file():
        return {_SINGLE: dict(read_header(folder / _SINGLE, str(folder / _SINGLE)))}
    if (folder / _INDEX).is_file():
        return _open_shards(folder)
    pickles = sorted(path.name for path in folder.iterdir() if path.name.endswith(_PICKLES))
    if pickles:
        raise Refusal(
            "lift.pickle",
            str(folder / pickles[0]),
            "the weights are a pickle, not safetensors; nothing was opened, because a pickle can run code: where "
            "you trust it, load it with transformers and convert it with save_pretrained",
        )
    raise Refusal("lift.no_weights", str(folder), f"there is neither {_SINGLE} nor {_INDEX} in this folder")


def _open_shards(folder: Path) -> dict[str, dict[str, TensorInfo]]:
    place = folder / _INDEX

    def refuse(sentence: str, at: str = "") -> NoReturn:
        raise Refusal("lift.index", f"{place}{at}", sentence)

    if place.stat().st_size > _GREATEST_INDEX:
        refuse(f"the index is larger than {_GREATEST_INDEX} bytes")
    try:
        index: object = json.loads(place.read_bytes())
    except (ValueError, RecursionError):
        refuse("the index is not JSON")
    mapping = cast(dict[str, object], index).get("weight_map") if isinstance(index, dict) else None
    if not isinstance(mapping, dict) or not mapping:
        refuse("the index has no weight_map")
    listed: dict[str, set[str]] = {}
    for tensor, file in cast(dict[str, object], mapping).items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            refuse("a shard must be the name of a safetensors file in this folder", f": {json.dumps(tensor)}")
        if file not in listed:
            check_name(file, str(place))
        listed.setdefault(file, set()).add(tensor)
    files: dict[str, dict[str, TensorInfo]] = {}
    for name, tensors in sorted(listed.items()):
        if not (folder / name).is_file():
            refuse(f"the shard {json.dumps(name)} is not in the folder")
        files[name] = dict(read_header(folder / name, str(folder / name)))
        differing = sorted(tensors ^ set(files[name]))
        if differing:
            where = "the index but not the shard" if differing[0] in tensors else "the shard but not the index"
            refuse(f"the tensor {json.dumps(differing[0])} stands in {where} {json.dumps(name)}")
    return files


class Weights:
    """Hands out references to tensors by name and expected shape, and refuses what was not asked for."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._home = {tensor: file for file, tensors in checkpoint.files.items() for tensor in tensors}
        self._store = WeightStore({name: checkpoint.folder / name for name in checkpoint.files})
        self._used: set[str] = set()

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._home

    def _refuse(self, code: str, tensor: str, sentence: str) -> NoReturn:
        file = self._home.get(tensor)
        where = self._checkpoint.folder / file if file else self._checkpoint.folder
        raise Refusal(code, f"{where}: {tensor}", sentence)

    def ref(
        self,
        tensor: str,
        shape: tuple[int, ...],
        *,
        rows: tuple[int, int] | None = None,
        columns: tuple[int, int] | None = None,
        transpose: bool = False,
        period: int | None = None,
    ) -> TensorRef:
        """A reference to ``tensor``, whose stored shape must be ``shape`` and whose dtype a floating one.

        ``rows``, ``columns``, ``transpose`` and ``period`` are those of the reference.
        """
        file = self._home.get(tensor)
        if file is None:
            self._refuse(
                "lift.tensor",
                tensor,
                f"the checkpoint has no such tensor; the config calls for {_size(shape)}",
            )
        info = self._checkpoint.files[file][tensor]
        if tuple(info.shape) != shape:
            self._refuse(
                "lift.tensor",
                tensor,
                f"the tensor is {_size(info.shape)}; the config calls for {_size(shape)}",
            )
        if info.dtype not in _FLOATS:
            self._refuse("lift.tensor", tensor, f"its type {info.dtype} is not one of {', '.join(_FLOATS)}")
        self._used.add(tensor)
        return TensorRef(self._checkpoint.prefix + file, tensor, rows, columns, transpose, period)

    def tied(self, head: str, embedding: str) -> None:
        """Accept a stored copy ``head`` of the tied tensor ``embedding`` if it is one, byte for byte."""
        if head not in self._home:
            return
        (dtype, one), (other, two) = self._stored(head), self._stored(embedding)
        if dtype != other or not same_bits(one, two):
            self._refuse(
                "lift.tensor",
                head,
                f"the config ties it to {embedding}, but it holds other values; is tie_word_embeddings wrong?",
            )
        self._used.add(head)

    def _stored(self, tensor: str) -> tuple[str, np.ndarray[Any, Any]]:
        return self._store.raw(TensorRef(self._home[tensor], tensor))

    def finish(self, passed_over: Callable[[str], bool]) -> tuple[FileRef, ...]:
        """References to the files asked for, in the order of their names.

        Refuses tensors that nothing asked for (but ``passed_over``), and NaN or infinity in the others.
        """
        extra = sorted(tensor for tensor in self._home if tensor not in self._used and not passed_over(tensor))
        if extra:
            more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
            self._refuse("lift.tensor", extra[0], f"the model that the config describes has no such tensor{more}")
        for tensor in sorted(self._used):
            at = first_not_finite(*self._stored(tensor))
            if at is not None:
                cell = ", ".join(str(i) for i in at)
                self._refuse("lift.not_finite", tensor, f"the weight at [{cell}] is NaN or infinite")
        found: list[FileRef] = []
        for name in sorted({self._home[tensor] for tensor in self._used}):
            digests = self._checkpoint.digest(self._checkpoint.folder / name)
            found.append(FileRef(self._checkpoint.prefix + name, digests.size, digests.blake3))
        return tuple(found)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape) or "a scalar"
