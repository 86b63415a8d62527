"""A torch model that keeps its weights as they are stored and computes wider: one module's weights are wide at a time.

A checkpoint of 16-bit weights read in float32 takes twice its size, and more while it is read. Widening is exact, and
every operation gets the same operands whether all weights are wide at once or each while its module runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blockcert.errors import Refusal
from blockcert.safetensors_file import read_header

__all__ = ["stored_dtype", "widen_while_used"]

_NARROW = {"BF16": "bfloat16", "F16": "float16"}
_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


def stored_dtype(folder: Path) -> str | None:
    """``bfloat16`` or ``float16`` where every float tensor of the folder's safetensors files is stored so."""
    found: set[str] = set()
    try:
        for path in folder.glob("*.safetensors"):
            found |= {info.dtype for info in read_header(path, path.name).values() if info.dtype in _FLOATS}
    except Refusal:
        return None  # whoever reads the file for its weights says what is wrong with it
    return _NARROW.get(found.pop()) if len(found) == 1 else None


def widen_while_used(model: Any, dtype: Any) -> bool:
    """Have every module of a torch model hold its own parameters in ``dtype`` while it runs, and only then.

    Returns:
        Whether that gives the same as holding them so throughout. Not where a float buffer, which a model computes for
        itself, was made narrower than ``dtype``: then nothing is changed.
    """
    import torch

    if any(buffer.is_floating_point() and buffer.dtype != dtype for buffer in model.buffers()):
        return False

    def attach(module: Any, names: list[str]) -> None:
        narrow: dict[str, Any] = {}

        # both get the module as an argument: held here, it would be a cycle and outlive its last use
        def before(running: Any, *_: Any) -> None:
            for name in names:
                narrow[name] = running._parameters[name]
                running._parameters[name] = torch.nn.Parameter(narrow[name].to(dtype), requires_grad=False)

        def after(running: Any, *_: Any) -> None:
            running._parameters.update(narrow)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after, always_call=True)

    for module in model.modules():
        own = module.named_parameters(recurse=False)
        names = [name for name, value in own if value.is_floating_point() and value.dtype != dtype]
        if names:
            attach(module, names)
    return True
