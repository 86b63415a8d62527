"""One batch of prompts on its way through both programs: all its trajectories advance together, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from blockcert_verifier.evaluate import Array, Backend, LoadedStage, Noise, Traced
from blockcert_verifier.evaluate.together import Part, by_tokens, run_together, tokens_as_rows
from blockcert_verifier.measure.logits import (
    agreement,
    compared_logits,
    divergence,
    loss_difference_counts,
    token_losses,
)
from blockcert_verifier.measure.stages import StageColumns, StageNorms
from blockcert_verifier.measure.tolerance import Cells, Host, norms

if TYPE_CHECKING:
    from blockcert_verifier.measure.engine import Pair, Settings

__all__ = ["Batch", "Unresolved", "advance"]

FALL = 1e4
"""How far below its earlier peak a token's norm may fall, and its logits' spread below their size (BC-EVD-08)."""
INSIDE = 1e6
"""How far above the size of its output the values inside a stage may be, and how large attention scores (BC-EVD-08)."""


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


def advance(
    index: int, f: LoadedStage, g: LoadedStage, f32: LoadedStage, batches: Sequence[Batch], noise: Noise | None
) -> None:
    """Take every trajectory of some batches through stage ``index``, together, and measure there.

    ``noise`` moves the last of the batches, of which there are one or two; the second has no float32 floor.
    """
    same = f is g
    low = None if f32.backend is f.backend else f32
    moved = [noise is not None and batch is batches[-1] for batch in batches]
    mine = [batch.reference_inputs(index, noisy) for batch, noisy in zip(batches, moved, strict=True)]
    theirs = [batch.surrogate_inputs(same, noisy) for batch, noisy in zip(batches, moved, strict=True)]

    jobs = [(f, [part for side in mine for part in side])]
    jobs[0][1].extend([part for side in theirs for part in side] if same else [])
    if not same:
        jobs.append((g, [part for side in theirs for part in side]))
    if low is not None:
        jobs.append((low, [batches[0].low_input(index, low)]))
    done = run_together(jobs, noise)
    outputs = iter(done[0])
    f_done = [[next(outputs) for _ in side] for side in mine]
    outputs = outputs if same else iter(done[1])
    g_done = [[next(outputs) for _ in side] for side in theirs]
    for batch, ours, others in zip(batches, f_done, g_done, strict=True):
        batch.accept(index, ours, others, done[-1][0] if batch.measured and low is not None else None)


class Batch:
    """The trajectories of some prompts and the cells measured so far.

    After stage ``i``: ``x`` is ``X_i`` (B x T x d), ``y`` is ``Y_i`` (the same object while every stage so far is
    one program), ``singles[j]`` the trajectory with only stage ``j`` replaced and ``hybrids[j]`` is ``H_j`` so
    far, both for the first ``attributed`` rows. Of a second measurement, with noise, only the cells are compared:
    neither the float32 floor nor how large values become inside is ``measured``.
    """

    def __init__(
        self, tokens: Host, attributed: int, pair: Pair, settings: Settings, backend: Backend, *, measured: bool = True
    ) -> None:
        self.rows = int(tokens.shape[0])
        self.attributed = attributed
        self.measured = measured
        self.cells: dict[str, Cells] = {}
        self._pair = pair
        self._settings = settings
        self._backend = backend
        self._tokens = backend.integers(tokens)
        self._last = len(pair.same) - 1
        self._x: Array = self._tokens
        self._y: Array = self._tokens
        self._embedded: Array = None
        self._columns = StageColumns(settings, floor=measured)
        self._singles: dict[int, Array] = {}
        self._hybrids: dict[int, Array] = {}
        self._scale: Host = np.zeros(tokens.shape)  # S_t: the largest norm of token t so far
        self.unresolved: dict[int, Unresolved] = {}

    def reference_inputs(self, index: int, noisy: bool) -> list[Part]:
        """What the reference's stage takes: the reference trajectory first, and the control at the head."""
        control = [self._embedded] if index == self._last else []  # every block replaced by the identity
        return self._parts([self._x], [*self._singles.values(), *control], noisy)

    def surrogate_inputs(self, same: bool, noisy: bool) -> list[Part]:
        """What the surrogate's stage takes; the reference's own input first where its output is not the reference's."""
        stitched = [self._y] if self._y is not self._x else []
        return self._parts([*([] if same else [self._x]), *stitched], list(self._hybrids.values()), noisy)

    def low_input(self, index: int, low: LoadedStage) -> Part:
        """The reference's own input, rounded to float32."""
        return Part(self._x if index == 0 else low.backend.cast(self._x))

    def _parts(self, judged: list[Array], others: list[Array], noisy: bool) -> list[Part]:
        # resolution is judged where the programs meet the reference's own and the stitched input (BC-EVD-08)
        return [
            *(Part(value, self.measured, noisy) for value in judged),
            *(Part(value, False, noisy) for value in others),
        ]

    def accept(self, index: int, mine: list[Traced], theirs: list[Traced], low: Traced | None) -> None:
        """Take what both stages made of this batch's inputs, and measure.

        ``low`` is what the reference's stage makes in float32, ``None`` where it is the stage itself.
        """
        same, head, a = self._pair.same[index], index == self._last, self.attributed
        before, stitched = self._x, self._y is not self._x
        f_outputs = [traced.output for traced in mine]
        g_outputs = [traced.output for traced in theirs]
        sized = [mine[0], *theirs[: (not same) + stitched]] if self.measured else []
        from_x = f_outputs[0] if same else g_outputs.pop(0)

        self._x = f_outputs[0]
        self._y = g_outputs[0] if stitched else from_x
        self._singles = dict(zip(self._singles, f_outputs[1:], strict=False))
        self._hybrids = dict(zip(self._hybrids, g_outputs[1 if stitched else 0 :], strict=True))
        if a and not same:
            self._singles[index] = from_x[:a]
            if 1 <= index < self._last:
                self._hybrids[index - 1] = from_x[:a]

        floor = None if low is None else low.output
        norm, sizes = self._measure_stage(index, before, from_x, f_outputs[-1] if head else None, floor, sized)
        self._check_resolution(index, norm, sizes)
        if index == 0:
            self._embedded = self._x
        if index == self._last - 1:
            self._measure_hidden_state_rows(norm)
            self._hybrids = {}  # they end at the last hidden state; the head adds nothing to what is measured of them
        if head:
            self._measure_logits(f_outputs[-1])
            self.cells |= self._columns.cells()
            self._x = self._y = self._embedded = None  # the trajectories end here; the cells remain
            self._singles = {}

    def _measure_stage(
        self,
        index: int,
        before: Array,
        from_x: Array,
        identity_logits: Array | None,
        low: Array | None,
        sized: list[Traced],
    ) -> tuple[Host, list[_Sizes]]:
        """Measure what the stage did; the norms of its output, and the sizes of what was ``sized``.

        Everything is reduced on the device to B x T first and fetched at once.
        """
        same, inner = self._pair.same[index], 1 <= index < self._last
        # by name, each value of this stage whose distance from the reference's output is measured
        others: dict[str, Array] = {} if same else {"error": from_x}
        if self._y is not self._x:
            others["drift"] = self._y
        if inner:
            others |= {"update": before, "identity drift": self._embedded}
        if identity_logits is not None:
            others["identity drift"] = identity_logits
        if low is not None:
            others["float32"] = low
        x = tokens_as_rows(self._x)
        others = {name: tokens_as_rows(value) for name, value in others.items()}
        outputs = {
            f"output {n}": tokens_as_rows(one.output) for n, one in enumerate(sized) if one.output is not self._x
        }
        sizes = {f"magnitude {n}": tokens_as_rows(one.magnitude) for n, one in enumerate(sized)}
        sizes |= {f"score {n}": tokens_as_rows(one.score) for n, one in enumerate(sized)}

        def reduced(part: slice) -> dict[str, Array]:
            mine = x[part]
            wanted = {"norm": self._norm(mine)}
            for name, value in others.items():
                theirs = value[part]
                wanted[name] = self._norm(mine - (self._backend.cast(theirs) if name == "float32" else theirs))
            wanted |= {name: self._norm(value[part]) for name, value in outputs.items()}
            return wanted | {name: value[part] for name, value in sizes.items()}

        found = by_tokens(self._backend, reduced, self.rows, self._x)
        norm = found["norm"]
        self._scale = np.maximum(self._scale, norm)
        names = ("error", "update", "drift", "identity drift", "float32")
        self._columns.add(StageNorms(norm, self._scale, *map(found.get, names)))
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
        """Norms over channels, on the device."""
        xp = self._backend.xp
        return xp.sqrt(xp.vecdot(values, values, axis=-1))

    def _tau(self) -> Host:
        return self._settings.tolerance.absolute * self._scale

    def _measure_hidden_state_rows(self, norm: Host) -> None:
        """At the last block: the median norm, and the hybrid steps ``D_i = d(H_i, H_{i-1})``."""
        tolerance, tau, a = self._settings.tolerance, self._tau(), self.attributed
        middle = np.sort(norm, axis=-1)[:, (norm.shape[1] - 1) // 2]
        self.cells["final_norm"] = norms(middle[:, None], tau, tolerance)
        if not a:
            return
        # H_{i-1} and H_i are one trajectory where stage i is one program, so only the first of each run is held
        held = {**self._hybrids, -1: self._y[:a], self._last - 1: self._x[:a]}
        steps = [index for index in range(self._last) if not self._pair.same[index]]
        sides = {i: (tokens_as_rows(held[min(j for j in held if j >= i)]), tokens_as_rows(held[i - 1])) for i in steps}

        def reduced(part: slice) -> dict[str, Array]:
            return {str(i): self._norm(after[part] - first[part]) for i, (after, first) in sides.items()}

        found = by_tokens(self._backend, reduced, a, self._x)
        distance = np.stack([found.get(str(i), np.zeros_like(tau[:a])) for i in range(self._last)], axis=1)
        cells = norms(distance, tau[:a, None], tolerance)
        self.cells["attribution.hybrid_step"] = cells.map(
            lambda part: np.where(np.isin(np.arange(self._last), steps), part, 0.0)
        )

    def _measure_logits(self, identity_logits: Array) -> None:
        settings, tolerance, a = self._settings, self._settings.tolerance, self.attributed
        backend, xp, rows = self._backend, self._backend.xp, tokens_as_rows
        # the last position has no next token: what is computed for it is left out
        targets = rows(xp.concat((self._tokens[:, 1:], self._tokens[:, :1]), axis=-1))
        x, y, identity = (rows(logits) for logits in (self._x, self._y, identity_logits))
        singles = {index: rows(logits) for index, logits in self._singles.items()}

        def compared(part: slice) -> dict[str, Array]:
            return compared_logits(backend, x[part], y[part], identity[part], targets[part], tolerance)

        def replaced(part: slice) -> dict[str, Array]:
            found: dict[str, Array] = {}
            for index, logits in singles.items():
                found[f"loss {index}"], found[f"size {index}"] = token_losses(backend, logits[part], targets[part])
            return found

        found = by_tokens(backend, compared, self.rows, self._x)
        spread = found["best"] - found["lowest"]
        agreed, control = agreement(found, "", tolerance), agreement(found, "identity ", tolerance)
        crowded = ~(agreed.scale <= FALL * spread)
        self._note(crowded, self._last, f"logits are more than {FALL:g} times larger than they differ")
        for prefix, one in (("", agreed), ("identity.", control)):
            self.cells[prefix + "logit_difference"] = one.logit_difference
            self.cells[prefix + "top1_agree"] = one.top1_agree
            self.cells[prefix + "decided"] = one.decided
        losses = divergence(found, agreed.scale, settings.loss, tolerance)
        for name in losses.__struct_fields__:
            self.cells[name] = getattr(losses, name)
        if not a:
            return
        reference, last = found["loss"][:a], self._scale.shape[1] - 1
        counts = np.full((a, self._last + 1, len(settings.loss)), last, dtype=np.int64)
        self.cells["attribution.loss_within"] = Cells.exactly(counts)
        if not singles:
            return
        found = by_tokens(backend, replaced, a, self._x)
        for index in singles:
            crowded = ~(found[f"size {index}"] <= FALL * spread[:a])
            self._note(crowded, index, f"with only this stage replaced, logits are {FALL:g} times what they differ")
        size = np.stack([found[f"size {index}"] for index in singles], axis=1)  # A x singles x T
        scale = np.maximum(agreed.scale[:a, None], size)[..., :-1]
        difference = (np.stack([found[f"loss {index}"] for index in singles], axis=1) - reference[:, None])[..., :-1]
        cells = loss_difference_counts(difference, scale, settings.loss, tolerance)
        places = np.searchsorted(sorted(singles), np.arange(self._last + 1)).clip(max=len(singles) - 1)
        touched = np.isin(np.arange(self._last + 1), sorted(singles))[:, None]
        self.cells["attribution.loss_within"] = cells.map(lambda part: np.where(touched, part[:, places], last))
