"""One batch of prompts on its way through both programs: all its trajectories advance together, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blockcert_verifier.evaluate import Array, Backend, LoadedStage, Noise, Traced
from blockcert_verifier.measure.logits import agreement, divergence, loss_difference_counts, token_losses
from blockcert_verifier.measure.tolerance import Cells, Host, floor, norms, ratio_counts, ratios

if TYPE_CHECKING:
    from blockcert_verifier.measure.engine import Pair, Settings

__all__ = ["Batch", "Unresolved", "advance"]

FALL = 1e4
"""How far below its earlier peak a token's norm may fall, and its logits' spread below their size (BC-EVD-08)."""
INSIDE = 1e6
"""How far above the size of its output the values inside a stage may be, and how large attention scores (BC-EVD-08)."""


_MOST_AT_ONCE, _MOST_ON_DEVICE = 1 << 19, 1 << 25
"""Elements of the largest value that a stage makes at once: what stays in a processor's cache, or keeps a GPU busy."""


class Unresolved(NamedTuple):
    """A row that float64 does not resolve: the row, the stage, and why, in words."""

    row: int
    stage: int
    reason: str


class _Sizes(NamedTuple):
    """Of one stage on one trajectory: the output's norm, the largest magnitude inside, the largest score; B x T."""

    output: Host
    magnitude: Host
    score: Host


def _groups(inputs: list[Array], footprint: int, most: int) -> Iterator[list[Array]]:
    """Inputs in runs that a stage takes at once, each run as long as its largest value stays within the budget."""
    group: list[Array] = []
    for array in inputs:
        if group and sum(other.shape[0] for other in (*group, array)) * footprint > most:
            yield group
            group = []
        group.append(array)
    yield group


def _run(stage: LoadedStage, plain: list[Array], noisy: list[Array], noise: Noise | None) -> list[tuple[Array, Traced]]:
    """For each input, the plain ones first, its output and what was traced of it; ``noise`` moves the ``noisy``."""
    found: list[tuple[Array, Traced]] = []
    place = 0
    most = _MOST_ON_DEVICE if stage.backend.device.startswith("cuda") else _MOST_AT_ONCE
    for group in _groups([*plain, *noisy], stage.footprint, most):
        first = sum(array.shape[0] for array in group[: max(0, len(plain) - place)])
        place += len(group)
        whole = group[0] if len(group) == 1 else stage.backend.xp.concat(tuple(group), axis=0)
        traced = stage.traced(whole, noise if first < whole.shape[0] else None, first)
        begin = 0
        for array in group:
            end = begin + array.shape[0]
            found.append((array, Traced(*(part[begin:end] for part in traced))))
            begin = end
    return found


def advance(
    index: int, f: LoadedStage, g: LoadedStage, f32: LoadedStage, batches: Sequence[Batch], noise: Noise | None
) -> None:
    """Take every trajectory of some batches through stage ``index``, together, and measure there.

    ``noise`` moves the last of the batches, of which there are one or two.
    """
    same = f is g
    sides = [(batch.reference_inputs(index), batch.surrogate_inputs(same)) for batch in batches]
    split = len(batches) - (noise is not None)

    def run(stage: LoadedStage, inputs: list[list[Array]]) -> list[list[tuple[Array, Traced]]]:
        plain, noisy = ([array for side in part for array in side] for part in (inputs[:split], inputs[split:]))
        found = iter(_run(stage, plain, noisy, noise))
        return [[next(found) for _ in side] for side in inputs]

    if same:
        both = run(f, [[*mine, *theirs] for mine, theirs in sides])
        done = [(traced[: len(mine)], traced[len(mine) :]) for traced, (mine, _) in zip(both, sides, strict=True)]
    else:
        done = list(zip(run(f, [mine for mine, _ in sides]), run(g, [theirs for _, theirs in sides]), strict=True))
    for number, (batch, (mine, theirs)) in enumerate(zip(batches, done, strict=True)):
        batch.accept(index, mine, theirs, None if number and number >= split else f32)


class Batch:
    """The trajectories of some prompts and the cells measured so far.

    After stage ``i``: ``x`` is ``X_i`` (B x T x d), ``y`` is ``Y_i`` (the same object while every stage so far is
    one program), ``singles[j]`` the trajectory with only stage ``j`` replaced and ``hybrids[j]`` is ``H_j`` so
    far, both for the first ``attributed`` rows.
    """

    def __init__(self, tokens: Host, attributed: int, pair: Pair, settings: Settings, backend: Backend) -> None:
        self.rows = int(tokens.shape[0])
        self.attributed = attributed
        self.cells: dict[tuple[str, int], Cells] = {}
        self.row_cells: dict[str, Cells] = {}
        self._pair = pair
        self._settings = settings
        self._backend = backend
        self._tokens = backend.integers(tokens)
        self._last = len(pair.same) - 1
        self._x: Array = self._tokens
        self._y: Array = self._tokens
        self._embedded: Array = None
        self._singles: dict[int, Array] = {}
        self._hybrids: dict[int, Array] = {}
        self._scale: Host = np.zeros(tokens.shape)  # S_t: the largest norm of token t so far
        self.unresolved: dict[int, Unresolved] = {}

    def reference_inputs(self, index: int) -> list[Array]:
        """What the reference's stage takes: the reference trajectory first, and the control at the head."""
        control = [self._embedded] if index == self._last else []  # every block replaced by the identity
        return [self._x, *self._singles.values(), *control]

    def surrogate_inputs(self, same: bool) -> list[Array]:
        """What the surrogate's stage takes; the reference's own input first where its output is not the reference's."""
        stitched = [self._y] if self._y is not self._x else []
        return [*([] if same else [self._x]), *stitched, *self._hybrids.values()]

    def accept(
        self, index: int, mine: list[tuple[Array, Traced]], theirs: list[tuple[Array, Traced]], f32: LoadedStage | None
    ) -> None:
        """Take what both stages made of this batch's inputs, and measure; the float32 floor where ``f32`` is given."""
        same, head, a = self._pair.same[index], index == self._last, self.attributed
        before, stitched = self._x, self._y is not self._x
        f_outputs = [traced.output for _, traced in mine]
        g_outputs = [traced.output for _, traced in theirs]
        from_x = f_outputs[0] if same else g_outputs.pop(0)
        if f32 is None:
            sized = []  # of the second measurement, with noise, only the cells are compared
        else:
            sized = [traced for array, traced in (*mine, *theirs) if array is before or array is self._y]

        self._x = f_outputs[0]
        self._y = g_outputs[0] if stitched else from_x
        self._singles = dict(zip(self._singles, f_outputs[1:], strict=False))
        self._hybrids = dict(zip(self._hybrids, g_outputs[1 if stitched else 0 :], strict=True))
        if a and not same:
            self._singles[index] = from_x[:a]
            if 1 <= index < self._last:
                self._hybrids[index - 1] = from_x[:a]

        norm, sizes = self._measure_stage(index, before, from_x, f_outputs[-1] if head else None, f32, sized)
        self._check_resolution(index, norm, sizes)
        if index == 0:
            self._embedded = self._x
        if index == self._last - 1:
            self._measure_hidden_state_rows(norm)
            self._hybrids = {}  # they end at the last hidden state; the head adds nothing to what is measured of them
        if head:
            self._measure_logits(f_outputs[-1])
            self._x = self._y = self._embedded = None  # the trajectories end here; the cells remain
            self._singles = {}

    def _measure_stage(
        self,
        index: int,
        before: Array,
        from_x: Array,
        identity_logits: Array | None,
        f32: LoadedStage | None,
        sized: list[Traced],
    ) -> tuple[Host, list[_Sizes]]:
        """Measure what the stage did; the norms of its output, and the sizes of what was ``sized``.

        Everything is reduced on the device to B x T first and fetched at once.
        """
        same, inner = self._pair.same[index], 1 <= index < self._last
        wanted = {"norm": self._norm(self._x)}
        if not same:
            wanted["error"] = self._norm(self._x - from_x)
        if self._y is not self._x:
            wanted["drift"] = self._norm(self._x - self._y)
        if inner:
            wanted["update"] = self._norm(self._x - before)
            wanted["identity drift"] = self._norm(self._x - self._embedded)
        if identity_logits is not None:
            wanted["identity drift"] = self._norm(self._x - identity_logits)
        if f32 is not None and f32.backend is self._backend:
            wanted["float32"] = self._backend.xp.zeros_like(wanted["norm"])
        elif f32 is not None:
            low = before if index == 0 else f32.backend.cast(before)
            wanted["float32"] = self._norm(self._x - self._backend.cast(f32(low)))
        for number, traced in enumerate(sized):
            if traced.output is not self._x:
                wanted[f"output {number}"] = self._norm(traced.output)
            wanted[f"magnitude {number}"], wanted[f"score {number}"] = traced.magnitude, traced.score
        found = self._backend.on_host(wanted)

        norm, error = found["norm"], found.get("error")
        self._scale = np.maximum(self._scale, norm)
        self._error_columns("", index, error, norm)
        self._drift_columns("", index, found.get("drift"), norm)
        self._error_columns("identity.", index, found.get("update"), norm)
        self._drift_columns("identity.", index, found.get("identity drift"), norm)
        if inner:
            tau, tolerance = self._tau(), self._settings.tolerance
            self.cells["relative_update_error", index] = (
                self._zeros() if error is None else ratios(error, found["update"], tau, tolerance)
            )
        if "float32" in found:
            difference = found["float32"]
            # a token whose norm is 0 has nothing to be relative to
            ratio = np.where(difference == 0, 0.0, difference / np.where(norm == 0, np.finfo(np.float64).tiny, norm))
            self.cells["float32.relative_error", index] = floor(ratio.max(axis=-1))
        return norm, [
            _Sizes(found.get(f"output {number}", norm), found[f"magnitude {number}"], found[f"score {number}"])
            for number in range(len(sized))
        ]

    def _check_resolution(self, index: int, norm: Host, sizes: list[_Sizes]) -> None:
        """Note the rows in which tolerances or rounding could hide something (BC-EVD-08)."""
        fallen = self._scale > FALL * norm
        self._note(fallen, index, f"a token's norm is more than {FALL:g} times below its largest so far")
        for size in sizes:
            # written so that a NaN counts as too large
            within = (size.magnitude <= INSIDE * np.maximum(self._scale, size.output)) & (size.score <= INSIDE)
            self._note(~within, index, f"values inside the stage are more than {INSIDE:g} times its output")

    def _note(self, tokens: Host, stage: int, reason: str) -> None:
        for row in np.flatnonzero(tokens.any(axis=-1)):
            self.unresolved.setdefault(int(row), Unresolved(int(row), stage, reason))

    def _norm(self, values: Array) -> Array:
        """Norms over channels, B x T, on the device."""
        xp = self._backend.xp
        return xp.sqrt(xp.vecdot(values, values, axis=-1))

    def _tau(self) -> Host:
        return self._settings.tolerance.absolute * self._scale

    def _zeros(self) -> Cells:
        return Cells.exactly(np.zeros(self.rows))

    def _everywhere(self) -> Cells:
        length = self._scale.shape[1]
        return Cells.exactly(np.full((self.rows, len(self._settings.relative)), length, dtype=np.int64))

    def _error_columns(self, prefix: str, index: int, error: Host | None, norm: Host) -> None:
        """The error, relative error and covered columns; ``None`` where the two sides are one program."""
        tolerance, tau = self._settings.tolerance, self._tau()
        if error is None:
            self.cells[prefix + "error", index] = self._zeros()
            self.cells[prefix + "relative_error", index] = self._zeros()
            self.cells[prefix + "covered", index] = self._everywhere()
            return
        self.cells[prefix + "error", index] = norms(error, tau, tolerance)
        self.cells[prefix + "relative_error", index] = ratios(error, norm, tau, tolerance)
        self.cells[prefix + "covered", index] = ratio_counts(error, norm, tau, self._settings.relative, tolerance)

    def _drift_columns(self, prefix: str, index: int, drift: Host | None, norm: Host) -> None:
        tolerance, tau = self._settings.tolerance, self._tau()
        self.cells[prefix + "drift", index] = self._zeros() if drift is None else norms(drift, tau, tolerance)
        self.cells[prefix + "relative_drift", index] = (
            self._zeros() if drift is None else ratios(drift, norm, tau, tolerance)
        )

    def _measure_hidden_state_rows(self, norm: Host) -> None:
        """At the last block: the median norm, and the hybrid steps ``D_i = d(H_i, H_{i-1})``."""
        tolerance, tau, a = self._settings.tolerance, self._tau(), self.attributed
        middle = np.sort(norm, axis=-1)[:, (norm.shape[1] - 1) // 2]
        self.row_cells["final_norm"] = norms(middle[:, None], tau, tolerance)
        if not a:
            return
        # H_{i-1} and H_i are one trajectory where stage i is one program, so only the first of each run is held
        held = {**self._hybrids, -1: self._y[:a], self._last - 1: self._x[:a]}
        steps = [index for index in range(self._last) if not self._pair.same[index]]
        found = self._backend.on_host(
            {str(i): self._norm(held[min(j for j in held if j >= i)] - held[i - 1]) for i in steps}
        )
        for index in range(self._last):
            self.cells["attribution.hybrid_step", index] = (
                norms(found[str(index)], tau[:a], tolerance) if index in steps else Cells.exactly(np.zeros(a))
            )

    def _measure_logits(self, identity_logits: Array) -> None:
        backend, settings, tolerance = self._backend, self._settings, self._settings.tolerance
        agreed = agreement(backend, self._x, self._y, tolerance)
        control = agreement(backend, self._x, identity_logits, tolerance)
        xp = backend.xp
        spread = backend.on_host({"spread": xp.max(self._x, axis=-1) - xp.min(self._x, axis=-1)})["spread"]
        crowded = ~(agreed.scale <= FALL * spread)
        self._note(crowded, self._last, f"logits are more than {FALL:g} times larger than they differ")
        for prefix, found in (("", agreed), ("identity.", control)):
            self.row_cells[prefix + "logit_difference"] = found.logit_difference
            self.row_cells[prefix + "top1_agree"] = found.top1_agree
            self.row_cells[prefix + "decided"] = found.decided

        reference = token_losses(backend, self._x, self._tokens)
        stitched = reference if self._y is self._x else token_losses(backend, self._y, self._tokens)
        losses = divergence(backend, reference, stitched, agreed.scale, settings.loss, tolerance)
        for name in losses.__struct_fields__:
            self.row_cells[name] = getattr(losses, name)

        a = self.attributed
        if not a:
            return
        tokens, length = self._tokens[:a], self._scale.shape[1]
        untouched = Cells.exactly(np.full((a, len(settings.loss)), length - 1, dtype=np.int64))
        wanted = {"reference": reference[1][:a]}
        for index, logits in self._singles.items():
            wanted[f"loss {index}"] = token_losses(backend, logits, tokens)[1]
            wanted[f"size {index}"] = xp.max(xp.abs(logits), axis=-1)
        found = backend.on_host(wanted)
        for index in range(self._last + 1):
            name = ("attribution.loss_within", index)
            if index not in self._singles:
                self.cells[name] = untouched
                continue
            size = found[f"size {index}"]
            crowded = ~(size <= FALL * spread[:a])
            self._note(crowded, index, f"with only this stage replaced, logits are {FALL:g} times what they differ")
            scale = np.maximum(agreed.scale[:a], size)[:, :-1]
            difference = found[f"loss {index}"] - found["reference"]
            self.cells[name] = loss_difference_counts(difference, scale, settings.loss, tolerance)
