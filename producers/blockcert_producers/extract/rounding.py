"""Plain rounding of a whole model: what a front must beat."""

from __future__ import annotations

import msgspec

from blockcert.program import FileRef, Linear, Program, Stage, Step
from blockcert_producers.extract.formats import Format, store
from blockcert_producers.extract.tensors import SURROGATE_FILE, Host, MemoryStore, Tensor
from blockcert_verifier.evaluate import WeightStore
from blockcert_verifier.evaluate.weights import dense_matrix

__all__ = ["rounded"]


def rounded(reference: Program, weights: WeightStore, form: Format) -> tuple[Program, MemoryStore]:
    """A program with every linear map of every block rounded to the nearest value of a format, and its weights.

    Nothing is refitted, and no error is carried on. The embedding and the head stay.
    """
    tensors: dict[str, Tensor] = {}
    stages: list[Stage] = list(reference.stages)
    for index in range(1, len(stages) - 1):
        steps: list[Step] = []
        for step in stages[index].steps:
            if not isinstance(step, Linear):
                steps.append(step)
                continue
            matrix: Host = dense_matrix(weights, step.map)
            linear, made, _ = store(f"block{index}.{step.out}", matrix.astype("float64"), None, form, None)
            tensors.update(made)
            steps.append(msgspec.structs.replace(step, map=linear))
        stages[index] = msgspec.structs.replace(stages[index], steps=tuple(steps))
    # the file is nowhere: only its name is needed, and a digest that no file of the reference has
    file = FileRef(SURROGATE_FILE, 0, "0" * 64)
    program = msgspec.structs.replace(reference, files=(*reference.files, file), stages=tuple(stages))
    return program, MemoryStore(weights, tensors)
