"""Which stages of two programs are one program (``spec/05-programs.md``, "Same program")."""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from blockcert.program import Program, Stage, TensorRef

__all__ = ["same_stages"]


def _by_digest(value: object, digests: dict[str, str]) -> object:
    """The same fields, defaults filled in, with every weight file named by its digest."""
    if isinstance(value, Struct):
        fields: dict[str, object] = {name: getattr(value, name) for name in value.__struct_fields__}
        if isinstance(value, TensorRef):
            fields["file"] = digests.get(value.file, value.file)
        return type(value).__name__, {name: _by_digest(part, digests) for name, part in fields.items()}
    if isinstance(value, list | tuple):
        return [_by_digest(part, digests) for part in cast(list[object], value)]
    return value


def _stage(stage: Stage, program: Program) -> object:
    digests = {file.name: "blake3:" + file.blake3 for file in program.files}
    return _by_digest(stage, digests)


def same_stages(reference: Program, surrogate: Program) -> tuple[bool, ...]:
    """For each stage, whether both programs have the same steps over the same tensors of the same files.

    Files are compared by digest, not by name. Stages that compute the same function otherwise are not recognised.
    """
    pairs = zip(reference.stages, surrogate.stages, strict=True)
    return tuple(_stage(f, reference) == _stage(g, surrogate) for f, g in pairs)
