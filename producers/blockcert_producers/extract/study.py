"""One block on the calibration prompts: every intermediate value at the reference's own input, and how much a block's
output suffers from an error in each of its linear maps.

``B`` prompts of ``T`` tokens, ``n = B T``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from blockcert.program import Linear, Stage, Step, step_inputs
from blockcert_producers.extract.moments import Fits
from blockcert_producers.extract.tensors import Host
from blockcert_verifier.anatomy import Anatomy, dissect
from blockcert_verifier.evaluate import Array, Backend, LoadedStage, WeightStore
from blockcert_verifier.evaluate.weights import dense_matrix

__all__ = ["HELD_OUT", "Steps", "Study", "relative_errors"]


HELD_OUT = slice(3, None, 4)
"""The calibration prompts that no fit sees before a choice is made: every fourth."""


class Steps(LoadedStage):
    """The verifier's evaluator of a stage, one step at a time."""

    def run(self, index: int, values: Mapping[str, Array], prompts: int) -> Array:
        """The value of step ``index``, given the values it reads."""
        return self._run(self._stage.steps[index], self._loaded[index], dict(values), prompts)


def relative_errors(reference: Host, other: Host) -> Host:
    """Per token ``||f - g|| / ||f||``, flat; 0 where both are 0, infinite where the ratio is not a number.

    Both arguments are ``... x d``.
    """
    error = np.linalg.norm(reference - other, axis=-1).reshape(-1)
    norm = np.linalg.norm(reference, axis=-1).reshape(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / norm)
    return np.where(np.isnan(ratio), np.inf, ratio)


class Study:
    """A block's steps run at the reference's own input.

    Attributes:
        values: every intermediate value by name, B x T x width on the back end's device; ``hidden`` is the input.
        output: the block's output, n x d on the host.
        token_weights: ``1 / ||output_t||^2``, n: under them squared errors of the output are squared relative errors.
        fitted: n, 1.0 for the tokens that maps are fitted to and 0.0 for those held out: every fourth prompt.
        fits: what has been computed for fits to the reference's own values.
    """

    def __init__(self, stage: Stage, hidden: Array, store: WeightStore, backend: Backend) -> None:
        self.stage = stage
        self.store = store
        self.backend = backend
        self.anatomy: Anatomy = dissect(stage)
        self.prompts, self.length = int(hidden.shape[0]), int(hidden.shape[1])
        self._steps = Steps(stage, store, backend, self.length)
        self.values: dict[str, Array] = {"hidden": hidden}
        for i, step in enumerate(stage.steps):
            self.values[step.out] = self._steps.run(i, self.values, self.prompts)
        self.output = self.flat(self.values[stage.output])
        self.fitted = np.ones((self.prompts, self.length))
        self.fitted[HELD_OUT] = 0.0
        self.fitted = self.fitted.reshape(-1)
        self.fits: Fits = {}
        norm = np.linalg.norm(self.output, axis=-1)
        floor = float(norm.max()) * 1e-12 or 1.0
        self.token_weights = 1 / np.maximum(norm, floor) ** 2

    def flat(self, value: Array) -> Host:
        """A value as n x width, float64 on the host."""
        held = np.asarray(self.backend.numpy(value), dtype=np.float64)
        return held.reshape(-1, held.shape[-1])

    def held_out(self, errors: Host) -> Host:
        """Of one figure for each token (n) those of the prompts held out, prompts x T."""
        rows = errors.reshape(self.prompts, self.length)
        return rows[self.fitted.reshape(rows.shape)[:, 0] == 0]

    def linear(self, index: int) -> Linear:
        """The linear step at a position."""
        step = self.stage.steps[index]
        assert isinstance(step, Linear)  # noqa: S101 - positions come from the anatomy of this very stage
        return step

    def matrix(self, index: int) -> Host:
        """The matrix of a linear step, out x in, float64."""
        return np.asarray(dense_matrix(self.store, self.linear(index).map), dtype=np.float64)

    def bias(self, index: int) -> Host | None:
        """The bias of a linear step."""
        bias = self.linear(index).bias
        return None if bias is None else np.asarray(self.store.floats(bias, (None,)), dtype=np.float64)

    def propagate(self, changed: Mapping[str, Array], part: slice, until: str) -> Array:
        """The value ``until`` on some prompts when the values ``changed`` are given and all that read them follow.

        ``part`` selects the prompts; ``changed`` holds values of those prompts alone.
        """
        values = {name: value[part] for name, value in self.values.items()}
        prompts = int(values["hidden"].shape[0])
        values.update(changed)
        moved = set(changed)
        for i, step in enumerate(self.stage.steps):
            if step.out not in changed and moved & set(step_inputs(step)):
                values[step.out] = self._steps.run(i, values, prompts)
                moved.add(step.out)
            if step.out == until:
                break
        return values[until]

    def run_step(self, step: Step, values: Mapping[str, Array], store: WeightStore, prompts: int) -> Array:
        """The value of a step that replaces one of the block's, on as many prompts as ``values`` holds."""
        single = Steps(Stage("block", (step,), step.out), store, self.backend, self.length)
        return single.run(0, values, prompts)
