"""One stage at a stated point: float64 activations in, float64 balls out, on any back end (``spec/15-enclosures.md``).

The enclosure is of the exact stage at exactly these activations. It is about this point alone (scope
``stated-points``) and is never composed with that of another stage.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from blockcert.errors import Refusal
from blockcert.program import (
    Activation,
    Add,
    Attention,
    Constant,
    Embed,
    LayerNorm,
    Linear,
    MeanPattern,
    Multiply,
    OffsetPattern,
    Positions,
    RmsNorm,
    Rotary,
    SinkPattern,
    SoftCap,
    Step,
    Take,
    attends,
)
from blockcert_verifier.enclose.angles import rotary_table
from blockcert_verifier.enclose.point_balls import SLACK, UPWARD, Ball, BallMath
from blockcert_verifier.evaluate import Array, LoadedStage
from blockcert_verifier.evaluate.operations import activate

__all__ = ["Norms", "PointStage", "distances"]

_DIGITS = Context(prec=60)


class Norms(NamedTuple):
    """Norms known to lie between two float64 numbers, B x T; an upper end may be infinite."""

    lower: Array
    upper: Array


class PointStage:
    """A stage ready to be enclosed at stated activations.

    Args:
        loaded: the stage with its weights, on a back end in float64.

    Raises:
        ValueError: where the back end is not in float64.
    """

    def __init__(self, loaded: LoadedStage) -> None:
        if loaded.backend.precision != "float64":
            raise ValueError("the rules of the radii are those of float64")
        self._loaded, self.math = loaded, BallMath(loaded.backend)
        self._prepared = [self._prepare(step, weights) for step, weights in loaded.loaded]

    def _prepare(self, step: Step, weights: tuple[Array | None, ...]) -> tuple[Any, ...]:
        backend, xp = self._loaded.backend, self.math.xp
        match step:
            case Linear():
                return tuple(None if one is None else self.math.magnitudes(one) for one in weights[:2])
            case Rotary():
                cos, sin, radius = rotary_table(step, self._loaded.length)
                tables = (backend.array(one)[None, :, None, :] for one in (cos, sin))
                made = tuple(Ball(one, xp.full_like(one, radius)) for one in tables)
                largest = (
                    max(float(xp.max(xp.abs(one.mid))) for one in made) + 2 * radius if made[0].mid.shape[-1] else 1.0
                )
                return (*made, largest)
            case _:
                return ()

    def __call__(self, source: Array) -> Ball:
        """The stage's exact output, B x T x width, at tokens (B x T, int64) or a hidden state (B x T x d).

        Raises:
            Refusal: ``program.shape`` where widths do not fit.
            ValueError: where the hidden state holds a NaN or an infinity, which is no point.
        """
        stage = self._loaded.stage
        if stage.kind != "embedding" and not bool(self.math.xp.all(self.math.xp.isfinite(source))):
            raise ValueError("a hidden state that is not finite is no point")
        values = {"hidden": Ball(source, None)}
        with np.errstate(all="ignore"):  # a radius that is not finite encloses nothing, and whoever reads it sees that
            for (step, weights), prepared in zip(self._loaded.loaded, self._prepared, strict=True):
                try:
                    values[step.out] = self._run(step, weights, prepared, values, source)
                except (ValueError, RuntimeError, IndexError) as error:
                    place = f"{stage.kind}: {step.out}"
                    raise Refusal("program.shape", place, f"the step cannot be evaluated: {error}") from error
        return values[stage.output]

    def _run(
        self,
        step: Step,
        weights: tuple[Array | None, ...],
        prepared: tuple[Any, ...],
        values: dict[str, Ball],
        source: Array,
    ) -> Ball:
        m, xp, backend = self.math, self.math.xp, self._loaded.backend
        prompts, length = source.shape[0], self._loaded.length
        match step:
            case Embed():
                rows = xp.take(weights[0], xp.reshape(source, (-1,)), axis=0)
                found = m.exactly(xp.reshape(rows, (prompts, length, -1)))
                return found if step.scale is None else m.scale(found, float(step.scale))
            case Positions() | Constant():
                first: Any = weights[0]
                return m.exactly(xp.broadcast_to(first, (prompts, length, first.shape[-1])))
            case Add():
                return m.add(values[step.left], values[step.right])
            case Multiply():
                return m.multiply(values[step.left], values[step.right])
            case RmsNorm():
                gain = m.exactly(weights[0]) if step.offset == "0" else self._shifted(weights[0], step.offset)
                return self._rms_norm(values[step.input], gain, float(step.eps))
            case LayerNorm():
                return self._layer_norm(values[step.input], weights, float(step.eps))
            case Linear():
                x = m.weigh(values[step.input], weights[0], prepared[0])
                x = x if weights[1] is None else m.weigh(x, weights[1], prepared[1])
                return x if weights[2] is None else m.add(x, m.exactly(weights[2]))
            case Rotary():
                return self._rotate(values[step.input], prepared, step.head_size)
            case Activation():
                x = values[step.input]
                return m.activate(x, activate(backend, x.mid, step.function), step.function)
            case SoftCap():
                return self._capped(values[step.input], step.cap)
            case Attention():
                sides = (values[step.query], values[step.key], values[step.value])
                return self._attend(step, *sides, weights[0], weights[1])
            case Take():
                indices = weights[0]
                return m.select(values[step.input], lambda x: xp.take(x, indices, axis=-1))

    def _shifted(self, gain: Any, offset: str) -> Ball:
        # the sum of weight and offset was rounded, and so was the offset
        xp = self.math.xp
        return Ball(gain, self.math.up(2.0**-52 * (xp.abs(gain) + abs(float(offset)))))

    def _mean(self, x: Ball) -> Ball:
        return self.math.scale(self.math.total(x), 1 / x.mid.shape[-1])

    def _rms_norm(self, x: Ball, gain: Ball, eps: float) -> Ball:
        m, xp = self.math, self.math.xp
        shape = x.mid.shape
        heads = m.select(x, lambda a: xp.reshape(a, (*shape[:2], -1, gain.mid.shape[0])))
        root = m.sqrt(m.shift(self._mean(m.square(heads)), eps))
        normed = m.multiply(m.divide(heads, root), gain)
        return m.select(normed, lambda a: xp.reshape(a, shape))

    def _layer_norm(self, x: Ball, weights: tuple[Array | None, ...], eps: float) -> Ball:
        m = self.math
        centred = m.subtract(x, self._mean(x))
        root = m.sqrt(m.shift(self._mean(m.square(centred)), eps))
        normed = m.multiply(m.divide(centred, root), m.exactly(weights[0]))
        return normed if weights[1] is None else m.add(normed, m.exactly(weights[1]))

    def _capped(self, x: Ball, cap: str) -> Ball:
        m, value = self.math, float(cap)
        return m.scale(m.tanh(m.scale(x, 1 / value)), value)

    def _rotate(self, x: Ball, prepared: tuple[Any, ...], head_size: int) -> Ball:
        m, xp = self.math, self.math.xp
        cos, sin, largest = prepared
        half, shape = cos.mid.shape[-1], x.mid.shape
        heads = m.select(x, lambda a: xp.reshape(a, (*shape[:2], -1, head_size)))
        first, second = m.select(heads, lambda a: a[..., :half]), m.select(heads, lambda a: a[..., half : 2 * half])
        turned = (*m.turn(first, second, cos, sin, largest), m.select(heads, lambda a: a[..., 2 * half :]))
        mid = xp.concat([one.mid for one in turned], axis=-1)
        rad = xp.concat([m.radius(one) for one in turned], axis=-1)
        return Ball(xp.reshape(mid, shape), xp.reshape(rad, shape))

    def _attend(self, step: Attention, q: Ball, k: Ball, v: Ball, mask: Any, means: Any) -> Ball:
        m, xp = self.math, self.math.xp
        prompts, length, _ = q.mid.shape
        groups, size = step.heads // step.key_value_heads, step.head_size

        def split(x: Ball, heads: int) -> Ball:  # B x heads x T x size
            return m.select(x, lambda a: xp.permute_dims(xp.reshape(a, (prompts, length, heads, size)), (0, 2, 1, 3)))

        def chosen(x: Ball, heads: list[int]) -> Ball:
            if heads == list(range(x.mid.shape[1])):
                return x
            return m.select(x, lambda a: xp.stack([a[:, h] for h in heads], axis=1))

        q, k, v = split(q, step.heads), split(k, step.key_value_heads), split(v, step.key_value_heads)
        weighing = [h for h, pattern in enumerate(step.patterns) if attends(pattern)]
        parts: dict[int, Ball] = {}
        if weighing:
            shared = [h // groups for h in weighing]
            found = self._weighted(step, chosen(q, weighing), chosen(k, shared), chosen(v, shared), mask)
            for i, h in enumerate(weighing):
                parts[h] = Ball(found.mid[:, i], m.radius(found)[:, i])
        for h, pattern in enumerate(step.patterns):
            own = m.select(v, partial(_one, h // groups))
            match pattern:
                case OffsetPattern():
                    parts[h] = m.select(own, partial(_moved, xp, pattern.back))
                case SinkPattern():
                    parts[h] = m.select(own, partial(_moved, xp, length))
                case MeanPattern():
                    parts[h] = m.exactly(xp.broadcast_to(means[h], (prompts, length, size)))
                case _:
                    pass
        heads = [parts[h] for h in range(step.heads)]
        return Ball(xp.concat([h.mid for h in heads], axis=-1), xp.concat([m.radius(h) for h in heads], axis=-1))

    def _weighted(self, step: Attention, q: Ball, k: Ball, v: Ball, mask: Any) -> Ball:
        """Values averaged by the softmax of the scores; all B x heads x T x size, ``mask`` heads x T x T, 0 or minus
        infinity."""
        m, xp = self.math, self.math.xp
        root = _DIGITS.divide(Decimal(1), _DIGITS.sqrt(Decimal(step.denominator_squared)))
        scores = m.matmul(m.scale(q, float(root)), m.select(k, lambda a: xp.permute_dims(a, (0, 1, 3, 2))))
        if step.cap is not None:
            scores = self._capped(scores, step.cap)
        largest = xp.max(scores.mid + mask, axis=-1, keepdims=True)
        # the same number from every score of a position, so that no exponent is above 0
        shifted = m.subtract(scores, m.exactly(largest))
        hidden = shifted.mid
        hidden += mask  # exactly 0 after exp, where a position does not look
        raised = m.exp(shifted)
        return m.divide(m.matmul(raised, v), m.total(raised))


def _one(head: int, x: Array) -> Array:
    return x[:, head]


def _moved(xp: Any, back: int, x: Array) -> Array:
    """``x[max(0, t - back)]`` at every position ``t``; x is B x T x size."""
    prompts, length, size = x.shape
    first = xp.broadcast_to(x[:, :1], (prompts, min(back, length), size))
    return xp.concat((first, x[:, : max(0, length - back)]), axis=1)


def distances(math_: BallMath, first: Ball, second: Ball) -> Norms:
    """``||first_t - second_t||`` for every token, B x T, between two float64 numbers; infinite where not known."""
    xp = math_.xp
    with np.errstate(all="ignore"):
        difference = math_.subtract(first, second)
        norm = math_.sqrt(math_.total(math_.square(difference)))
        mid, rad = norm.mid[..., 0], math_.radius(norm)[..., 0] * UPWARD
        known = xp.isfinite(mid) & xp.isfinite(rad)
        lower = (mid - rad) * (1 - 2.0**-50) - SLACK
        lower = xp.where(known & (lower > 0), lower, xp.zeros_like(mid))
        upper = xp.where(known, (mid + rad) * UPWARD + SLACK, xp.full_like(mid, math.inf))
    return Norms(lower, upper)
