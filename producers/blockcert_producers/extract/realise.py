"""A block at one level of its plan, made real: refitted, rounded, stored, run.

The block is walked step by step. Where the walk meets a linear map it fits a new one to the values that the simplified
steps before it really give; it rounds it to its stored format; and it goes on with the rounded map. So each map makes
up for the errors of those before it, and what is measured is what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
from msgspec import Struct

from blockcert.program import (
    Attention,
    Constant,
    Linear,
    LowRank,
    MeanPattern,
    Stage,
    Step,
    TensorRef,
    attends,
    step_inputs,
    step_references,
)
from blockcert_producers.extract.formats import Format, store
from blockcert_producers.extract.low_rank import factors
from blockcert_producers.extract.moments import Fits, Inputs, Moments, inputs, moments, refit
from blockcert_producers.extract.patterns import mean_outputs
from blockcert_producers.extract.plan import RIDGE, Structure
from blockcert_producers.extract.study import Study, relative_errors
from blockcert_producers.extract.tensors import Host, MemoryStore, Tensor, ref, short, tensor
from blockcert_verifier.evaluate import Array

__all__ = ["Realised", "realise", "reference_inputs"]


class Realised(Struct, frozen=True):
    """A simplified block: its steps, its new tensors, and the relative error of every calibration token."""

    stage: Stage
    tensors: dict[str, Tensor]
    errors: Host


def realise(
    study: Study,
    structure: Structure | None,
    form: Format | Sequence[Format],
    prefix: str,
    tokens: dict[int, Host],
) -> Realised:
    """The block with a structure and a number format.

    Args:
        study: the block on the calibration prompts.
        structure: what is kept; None keeps everything, and then nothing is refitted, only rounded.
        form: the number format of every linear map, or one for each in the order of the steps.
        prefix: of the new tensors' names.
        tokens: token weights of the refit for each linear map, by position.
    """
    walk = _Walk(study, structure, form, prefix, tokens)
    for i in range(len(study.stage.steps)):
        walk.take(i)
    stage = _without_unread(msgspec.structs.replace(study.stage, steps=tuple(walk.steps)))
    read = {reference.tensor for step in stage.steps for reference in step_references(step)}
    tensors = {name: held for name, held in walk.tensors.items() if name in read}
    errors = relative_errors(study.output, study.flat(walk.values[stage.output]))
    return Realised(stage, tensors, errors)


def _without_unread(stage: Stage) -> Stage:
    """The stage without the steps that nothing reads any more."""
    read, kept = {stage.output}, list[Step]()
    for step in reversed(stage.steps):
        if step.out in read:
            kept.append(step)
            read.update(step_inputs(step))
    return msgspec.structs.replace(stage, steps=tuple(reversed(kept)))


def reference_inputs(study: Study, index: int, tokens: Host) -> Inputs:
    """The inputs' side of a fit of a map to what the reference gives it, kept in ``study.fits``."""
    name = study.linear(index).input
    key = (name, id(tokens))
    if key not in study.fits:
        study.fits[key] = (inputs(study.flat(study.values[name]), tokens, RIDGE), tokens)
    return study.fits[key][0]


class _Walk:
    def __init__(
        self,
        study: Study,
        structure: Structure | None,
        form: Format | Sequence[Format],
        prefix: str,
        tokens: dict[int, Host],
    ) -> None:
        self.study, self.structure, self.prefix, self.tokens = study, structure, prefix, tokens
        linears = study.anatomy.linears
        # a format's name is itself a sequence of strings
        forms = cast("Sequence[Format]", (form,) * len(linears) if isinstance(form, str) else form)
        self.forms: dict[int, Format] = dict(zip(linears, forms, strict=True))
        # where nothing was planned to be dropped, a weight may round to zero like any other
        self.whole = structure is not None and all(bool(s.all()) for s in structure.supports.values())
        self.steps: list[Step] = []
        self.tensors: dict[str, Tensor] = {}
        self.store = MemoryStore(study.store, self.tensors)
        self.values: dict[str, Array] = {"hidden": study.values["hidden"]}
        self._fits: Fits = {}

    def take(self, index: int) -> None:
        """Replace step ``index`` and run what replaces it."""
        step = self.study.stage.steps[index]
        match step:
            case Linear():
                step = self._rounded(index) if self.structure is None else self._refitted(index, self.structure)
            case Attention() if self.structure is not None and self.structure.patterns is not None:
                step = self._patterned(step, self.structure)
            case _:
                pass
        self.steps.append(step)
        study = self.study
        if step is study.stage.steps[index] and all(
            self.values[name] is study.values[name] for name in step_inputs(step)
        ):
            self.values[step.out] = study.values[step.out]
        else:
            self.values[step.out] = study.run_step(step, self.values, self.store, study.prompts)

    def _inputs(self, index: int) -> Inputs:
        """The inputs' side of the fit of a map; maps that read one value under the same token weights share it, and
        walks of one study too where the value is the reference's."""
        name, tokens = self.study.linear(index).input, self.tokens[index]
        value = self.values[name]
        if value is self.study.values[name]:
            return reference_inputs(self.study, index, tokens)
        known, key = self._fits, (name, id(tokens))
        if key not in known:
            known[key] = (inputs(self.study.flat(value), tokens, RIDGE), tokens)
        return known[key][0]

    def _rounded(self, index: int) -> Step:
        study = self.study
        step, weight = study.linear(index), study.matrix(index)
        gram = self._inputs(index).gram if self.forms[index].startswith("int") else None
        linear, tensors, _ = store(f"{self.prefix}.{step.out}", weight, None, self.forms[index], gram)
        self.tensors.update(tensors)
        return msgspec.structs.replace(step, map=linear)

    def _target(self, index: int) -> Host:
        """What the map should give: its reference value, or what its residual sum still lacks."""
        study = self.study
        found = study.anatomy.sums.get(index)
        if found is None:
            return study.flat(study.values[study.linear(index).out])
        total, other = study.stage.steps[found[0]].out, found[1]
        return study.flat(study.values[total]) - study.flat(self.values[other])

    def _refitted(self, index: int, structure: Structure) -> Step:
        study, neurons, alive = self.study, self.study.anatomy.neurons, structure.neurons
        step, weight, support = study.linear(index), study.matrix(index), structure.supports[index]
        target = self._target(index)
        if neurons is not None and alive is not None:
            if index in neurons.inputs:
                weight, support, target = weight[alive], support[alive], target[:, alive]
            elif index == neurons.output:
                weight, support = weight[:, alive], support[:, alive]
        if not support.any():
            return self._constant(index, target, structure)
        fit = moments(self._inputs(index), target, weight)
        if index in structure.ranks:
            return self._of_low_rank(index, fit, refit(fit, None, weight) * support, structure)
        fitted = refit(fit, support, weight)
        name = f"{self.prefix}.{step.out}"
        kept = None if self.whole else support
        linear, tensors, rounded = store(name, fitted, kept, self.forms[index], fit.inputs.gram)
        self.tensors.update(tensors)
        self.tensors[f"{name}.bias"] = tensor(short(fit.bias(rounded)))
        return msgspec.structs.replace(step, map=linear, bias=ref(f"{name}.bias"))

    def _of_low_rank(self, index: int, fit: Moments, fitted: Host, structure: Structure) -> Step:
        """A map as two factors; the language has them as real numbers only, so they are stored in float16."""
        neurons, rows, out = self.study.anatomy.neurons, structure.rows[index], self.study.linear(index).out
        if neurons is not None and index in neurons.inputs and structure.neurons is not None:
            rows = rows[structure.neurons]
        left, right = map(short, factors(fitted, fit.inputs.gram, rows, structure.ranks[index]))
        name = f"{self.prefix}.{out}"
        bias = short(fit.bias(left.astype(np.float64) @ right.astype(np.float64)))
        named = {f"{name}.left": left, f"{name}.right": right, f"{name}.bias": bias}
        self.tensors.update({each: tensor(values) for each, values in named.items()})
        linear = LowRank(ref(f"{name}.left"), ref(f"{name}.right"))
        return msgspec.structs.replace(self.study.linear(index), map=linear, bias=ref(f"{name}.bias"))

    def _constant(self, index: int, target: Host, structure: Structure) -> Step:
        """A map of which no weight is kept: its mean, or zeros where no head weighs positions by it."""
        study, tokens = self.study, self.tokens[index]
        out, heads = study.linear(index).out, study.anatomy.heads
        mean = tokens @ target / tokens.sum() if tokens.sum() > 0 else target.mean(axis=0)
        scores = heads is not None and index in (heads.query, heads.key)
        if scores and structure.patterns is not None and not any(map(attends, structure.patterns)):
            mean = np.zeros_like(mean)
        name = f"{self.prefix}.{out}.value"
        self.tensors[name] = tensor(mean.astype(np.float32))
        return Constant(out, ref(name))

    def _patterned(self, step: Attention, structure: Structure) -> Step:
        assert structure.patterns is not None  # noqa: S101 - checked by the caller
        heads = self.study.anatomy.heads
        means: TensorRef | None = None
        silent = np.array([isinstance(pattern, MeanPattern) for pattern in structure.patterns])
        if heads is not None and silent.any():
            name = f"{self.prefix}.means"
            averages = np.where(silent[:, None], mean_outputs(self.study, heads), 0.0)
            self.tensors[name] = tensor(averages.astype(np.float32))
            means = ref(name)
        return msgspec.structs.replace(step, patterns=structure.patterns, means=means)
