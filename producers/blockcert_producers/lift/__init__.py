"""Lifting: a Hugging Face checkpoint as a reference program whose weights point into the checkpoint.

One adapter per architecture family, chosen by ``model_type``. What a program means is written in
``spec/05-programs.md``; nothing of the checkpoint is executed and no pickle is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from blockcert.digest import FileDigests
from blockcert.errors import Refusal
from blockcert.program import Program
from blockcert_producers.lift import gemma2, gemma3, gpt2, gpt_neox, llama, mistral, phi3, qwen2, qwen3
from blockcert_producers.lift.checkpoint import Checkpoint, open_checkpoint

__all__ = ["ARCHITECTURES", "Checkpoint", "lift", "open_checkpoint"]

ARCHITECTURES: Mapping[str, Callable[[Checkpoint], Program]] = {
    "gemma2": gemma2.build,
    "gemma3_text": gemma3.build,
    "gpt2": gpt2.build,
    "gpt_neox": gpt_neox.build,
    "llama": llama.build,
    "mistral": mistral.build,
    "phi3": phi3.build,
    "qwen2": qwen2.build,
    "qwen3": qwen3.build,
}
"""The families that can be lifted, by the ``model_type`` of their ``config.json``. To add one, see ``README.md``."""


def lift(folder: Path, *, prefix: str = "reference/", digest: Callable[[Path], FileDigests] | None = None) -> Program:
    """The reference program of the checkpoint in ``folder``.

    Its file references are named ``prefix`` + the name of the weight file. ``digest`` replaces the reading of
    a file's size and BLAKE3: a caller that also needs the SHA-256 hashes once and passes what it remembers.

    Raises:
        Refusal: ``path.not_found``, ``lift.no_config``, ``lift.config``, ``lift.architecture``,
            ``lift.option``, ``lift.adapter``, ``lift.pickle``, ``lift.no_weights``, ``lift.index``,
            ``lift.tensor``, ``lift.not_finite``, ``name.unsafe``, and what ``blockcert.safetensors_file``
            refuses of a header.
    """
    checkpoint = open_checkpoint(folder, prefix=prefix, digest=digest)
    build = ARCHITECTURES.get(checkpoint.model_type)
    if build is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise Refusal(
            "lift.architecture",
            f"{checkpoint.config_path}: $.model_type",
            f"the architecture {checkpoint.model_type!r} cannot be lifted; supported are: {known}",
        )
    return build(checkpoint)
