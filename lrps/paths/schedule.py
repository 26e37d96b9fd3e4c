"""Learning-rate schedules as values: a tuple of pieces, evaluated by a pure function of the step.

Steps are counted along a path's lineage, from the first step of the first ancestor. The step with number `s`
(0-based) trains at `schedule.lr_at(s)`. A decay over [start, stop) has its first rate at `start`, so that a branch is
continuous with its parent, and reaches its last rate in the limit at `stop`. A warm-up has its last rate in its last
step, so that its first step trains at a rate above the one that it starts from.

docs/method.md, section 1.6, has the formulas of the shapes and their sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from lrps.base.errors import ConfigError
from lrps.base.plugins.registry import Plugin
from lrps.base.plugins.source import errors_of_plugin
from lrps.config.extensions import DECAYS

POWER_EXPONENT = -0.51
"""Exponent of the power law (Shen et al. 2024): lr = a (tokens so far) ** -0.51.

With c tokens in a step that is lr = a c ** -0.51 (steps so far) ** -0.51.
"""

MULTI_STEP = ((Fraction(8, 10), 1.0), (Fraction(9, 10), 0.316), (Fraction(1), 0.1))
"""Levels of the multi-step decay (DeepSeek-LLM): (share of the decay up to which a level holds, share of the peak)."""


def _interpolate(shape: Callable[[float], float]) -> Callable[[SchedulePiece, float], float]:
    """Return a function of a piece and the progress p that scales a shape to the rates at the piece's ends.

    shape: falls from 1 at p = 0 to 0 at p = 1.
    """
    return lambda piece, p: piece.lr_stop + (piece.lr_start - piece.lr_stop) * shape(p)


def _exponential(piece: SchedulePiece, p: float) -> float:
    return piece.lr_start * (piece.lr_stop / piece.lr_start) ** p


def _inverse(piece: SchedulePiece, p: float) -> float:
    """Return the rate of a decay in which the inverse of the rate falls linearly (WSD-S)."""
    return 1 / (p / piece.lr_stop + (1 - p) / piece.lr_start)


SHAPES: dict[str, Callable[[SchedulePiece, float], float]] = {
    "linear": _interpolate(lambda p: 1 - p),
    "cosine": _interpolate(lambda p: (1 + math.cos(math.pi * p)) / 2),
    "1-sqrt": _interpolate(lambda p: 1 - math.sqrt(p)),
    "exponential": _exponential,
    "inverse": _inverse,
}
"""Rate of each built-in smooth decay, as a function of the piece and of the progress p from 0 to 1."""
NEEDS_POSITIVE_FINAL = ("exponential", "inverse")
"""Shapes that never reach 0."""


def smooth_shape(name: str) -> Callable[[SchedulePiece, float], float]:
    """Return the rate of a smooth decay, built-in or of a plug-in, as a function of the piece and of the progress.

    Raises ConfigError for an unknown name, and the function raises it if a plug-in fails or gives no share of the fall.
    """
    if (builtin := SHAPES.get(name)) is not None:
        return builtin
    plugin = DECAYS.get(name)
    return _interpolate(lambda p: _height(plugin, p))


def _height(plugin: Plugin, progress: float) -> float:
    with errors_of_plugin(f"decays.{plugin.name}", plugin.source.file):
        height = float(plugin.value(progress))
    if not 0 <= height <= 1:
        raise ConfigError(f"{plugin}: gives {height:g} at progress {progress:g}; the height of a decay is from 0 to 1")
    return height


@dataclass(frozen=True)
class SchedulePiece:
    """One shape over the steps [start, stop)."""

    shape: str
    """Name in SHAPES, or `constant`, `warmup` or `power`.

    `warmup` is linear, with lr_stop in its last step; `power` is min(lr_start, coefficient * (step + 1) ** -0.51).
    """
    start: int
    stop: int | None
    """Step at which the piece ends; None for an open end."""
    lr_start: float
    """Rate at the start. Constant and power pieces use no other."""
    lr_stop: float
    """Rate at the end."""
    coefficient: float = 0.0
    """Coefficient of a power piece, for steps instead of tokens."""

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        if self.shape == "power":
            return min(self.lr_start, self.coefficient * float(step + 1) ** POWER_EXPONENT)
        if self.stop is None or self.shape == "constant":
            return self.lr_start
        done, length = step - self.start, self.stop - self.start
        if self.shape == "warmup":
            return self.lr_start + (self.lr_stop - self.lr_start) * (done + 1) / length
        return smooth_shape(self.shape)(self, done / length)

    def lr_after(self) -> float:
        """Return the rate that the piece ends at: its limit at `stop`."""
        if self.shape == "power":
            return self.lr_at(self.stop - 1) if self.stop is not None else 0.0
        return self.lr_start if self.shape == "constant" else self.lr_stop


@dataclass(frozen=True)
class Schedule:
    """Learning rate as a function of the step: pieces without a gap or an overlap, or else ValueError.

    >>> decay = Decay("linear", steps=40, final=0.0)
    >>> warmup_stable_decay(0, 100, warmup=10, lr_start=0.0, peak=1.0, decay=decay).lr_at(80)
    0.5
    """

    pieces: tuple[SchedulePiece, ...]

    def __post_init__(self) -> None:
        for before, after in zip(self.pieces, self.pieces[1:], strict=False):
            if before.stop != after.start:
                raise ValueError(f"schedule has a gap or an overlap: {before} then {after}")

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step. Raises ValueError for a step outside the schedule."""
        for piece in self.pieces:
            if piece.start <= step and (piece.stop is None or step < piece.stop):
                return piece.lr_at(step)
        raise ValueError(f"step {step} is outside the schedule {self.pieces}")

    def lr_after(self, stop: int) -> float:
        """Return the rate that a path ends at which stops at `stop`: the limit after its last step."""
        for piece in self.pieces:
            if piece.stop is not None and piece.stop == stop:
                return piece.lr_after()
        return self.lr_at(stop)

    def clipped(self, start: int, stop: int) -> tuple[SchedulePiece, ...]:
        """Return the pieces that overlap [start, stop). Schedules with the same ones are equal on these steps."""
        return tuple(p for p in self.pieces if p.start < stop and (p.stop is None or p.stop > start))


@dataclass(frozen=True)
class Decay:
    """Shape and length of a decay, and the rate that it ends at."""

    shape: str
    """Name in SHAPES, or `multi-step`."""
    steps: int
    """Number of steps."""
    final: float
    """Rate at the end, absolute. A multi-step decay does not use it."""

    def longer(self, steps: int) -> Decay:
        """Return the same decay over `steps` steps more."""
        return replace(self, steps=self.steps + steps)


def decay_pieces(decay: Decay, stop: int, peak: float, earliest: int) -> tuple[SchedulePiece, ...]:
    """Return the pieces of a decay from `peak` that ends at `stop`, none of them before the step `earliest`.

    A smooth shape that would start before `earliest` is shortened. A multi-step decay loses its first steps but keeps
    its falls at 80 % and 90 % of decay.steps.
    """
    start = stop - decay.steps
    if decay.shape != "multi-step":
        start = max(start, earliest)
        return (SchedulePiece(decay.shape, start, stop, peak, decay.final),) if stop > start else ()
    edges = [start, *(start + math.floor(share * decay.steps) for share, _ in MULTI_STEP)]
    return tuple(
        SchedulePiece("constant", max(a, earliest), b, peak * level, peak * level)
        for a, b, (_, level) in zip(edges, edges[1:], MULTI_STEP, strict=False)
        if b > max(a, earliest)
    )


def warmup_pieces(start: int, steps: int, lr_start: float, lr_stop: float) -> tuple[SchedulePiece, ...]:
    """Return the piece of a linear warm-up from `start` on; none for 0 steps."""
    return (SchedulePiece("warmup", start, start + steps, lr_start, lr_stop),) if steps else ()


def warmup_stable(peak: float, warmup: int, power_coefficient: float | None = None) -> Schedule:
    """Return the schedule of a main path: a linear warm-up, then the peak rate without an end.

    power_coefficient: coefficient, for steps instead of tokens, of a power law that replaces the peak rate below it.
    """
    shape = "constant" if power_coefficient is None else "power"
    stable = SchedulePiece(shape, warmup, None, peak, peak, power_coefficient or 0.0)
    return Schedule((*warmup_pieces(0, warmup, 0.0, stable.lr_at(warmup)), stable))


def warmup_stable_decay(start: int, stop: int, *, warmup: int, lr_start: float, peak: float, decay: Decay) -> Schedule:
    """Return a warm-up from `lr_start` to `peak`, a stable phase and a decay that ends at `stop`.

    This is WSD, and Knee if the decay is linear. With decay.steps = stop - start it is the classical warm-up and decay,
    and without a warm-up a branch. With start > 0 it is the re-warmed continual pre-training of Ibrahim et al. 2024,
    and without a warm-up a version of WSD-S. A decay that is longer than the steps after the warm-up starts where the
    warm-up ends, and still ends at `stop` at its final rate.
    """
    stable_from = min(start + warmup, stop)
    falling = decay_pieces(decay, stop, peak, stable_from)
    stable_to = falling[0].start if falling else stop
    stable = (SchedulePiece("constant", stable_from, stable_to, peak, peak),) if stable_to > stable_from else ()
    return Schedule((*warmup_pieces(start, stable_from - start, lr_start, peak), *stable, *falling))


def constant(start: int, stop: int | None, lr: float) -> Schedule:
    """Return a schedule with one rate on the steps [start, stop); without an end if `stop` is None."""
    return Schedule((SchedulePiece("constant", start, stop, lr, lr),))
