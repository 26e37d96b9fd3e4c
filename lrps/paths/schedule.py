"""Learning-rate schedules as values: a tuple of pieces, evaluated by a pure function of the step.

Steps are counted along a path's lineage, from the first step of the first ancestor. The step with number `s`
(0-based) trains at `schedule.lr_at(s)`. A decay over [start, stop) begins AT its first rate, so a branch is
continuous with its parent, and reaches its last rate in the limit at `stop`. A warm-up ends AT its last rate in
its last step, so the first step already trains.

Sources of the shapes: method.md section 1 (Wang et al. 2024; Haegele et al. 2024; Iyer et al. 2023; DeepSeek-LLM;
MiniCPM; Wen et al. 2025; Shen et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

POWER_EXPONENT = -0.51
"""Shen et al. 2024: lr = a (tokens so far) ** -0.51; with c tokens a step, a c ** -0.51 (steps so far) ** -0.51."""

MULTI_STEP = ((Fraction(8, 10), 1.0), (Fraction(9, 10), 0.316), (Fraction(1), 0.1))
"""DeepSeek-LLM: (up to this share of the run, at this share of the peak)."""


def _interpolate(shape: Callable[[float], float]) -> Callable[[SchedulePiece, float], float]:
    """Turn a falling shape, 1 at p = 0 and 0 at p = 1, into a rate between the piece's two ends."""
    return lambda piece, p: piece.lr_stop + (piece.lr_start - piece.lr_stop) * shape(p)


def _exponential(piece: SchedulePiece, p: float) -> float:
    return piece.lr_start * (piece.lr_stop / piece.lr_start) ** p


def _inverse(piece: SchedulePiece, p: float) -> float:
    """WSD-S: the inverse of the rate is interpolated."""
    return 1 / (p / piece.lr_stop + (1 - p) / piece.lr_start)


SHAPES: dict[str, Callable[[SchedulePiece, float], float]] = {
    "linear": _interpolate(lambda p: 1 - p),
    "cosine": _interpolate(lambda p: (1 + math.cos(math.pi * p)) / 2),
    "1-sqrt": _interpolate(lambda p: 1 - math.sqrt(p)),
    "exponential": _exponential,
    "inverse": _inverse,
}
NEEDS_POSITIVE_FINAL = ("exponential", "inverse")


@dataclass(frozen=True)
class SchedulePiece:
    """One shape over the steps [start, stop); `stop` None means open-ended.

    shape: a name in SHAPES, `warmup` (linear, its last step is at lr_stop) or `power`
        (min(lr_start, coefficient * (step + 1) ** -0.51)).
    lr_start, lr_stop: the rates at both ends; a constant and a power piece only use lr_start.
    """

    shape: str
    start: int
    stop: int | None
    lr_start: float
    lr_stop: float
    coefficient: float = 0.0

    def lr_at(self, step: int) -> float:
        if self.shape == "power":
            return min(self.lr_start, self.coefficient * float(step + 1) ** POWER_EXPONENT)
        if self.stop is None or self.shape == "constant":
            return self.lr_start
        done, length = step - self.start, self.stop - self.start
        if self.shape == "warmup":
            return self.lr_start + (self.lr_stop - self.lr_start) * (done + 1) / length
        return SHAPES[self.shape](self, done / length)

    def lr_after(self) -> float:
        """The rate that the piece ends at: its limit at `stop`."""
        if self.shape == "power":
            return self.lr_at(self.stop - 1) if self.stop is not None else 0.0
        return self.lr_start if self.shape == "constant" else self.lr_stop


@dataclass(frozen=True)
class Schedule:
    """step -> learning rate: pieces that follow each other without a gap.

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
        for piece in self.pieces:
            if piece.start <= step and (piece.stop is None or step < piece.stop):
                return piece.lr_at(step)
        raise ValueError(f"step {step} lies outside the schedule {self.pieces}")

    def lr_after(self, stop: int) -> float:
        """The rate that a path which stops at `stop` ends at: the limit from its last step."""
        for piece in self.pieces:
            if piece.stop is not None and piece.stop == stop:
                return piece.lr_after()
        return self.lr_at(stop)

    def clipped(self, start: int, stop: int) -> tuple[SchedulePiece, ...]:
        """The pieces that touch [start, stop): what two schedules must share to be equal there."""
        return tuple(p for p in self.pieces if p.start < stop and (p.stop is None or p.stop > start))


@dataclass(frozen=True)
class Decay:
    """A decay by name: `shape` in SHAPES or multi-step, over `steps` steps, down to `final` (a rate, not a share)."""

    shape: str
    steps: int
    final: float


def decay_pieces(decay: Decay, stop: int, peak: float, earliest: int) -> tuple[SchedulePiece, ...]:
    """The pieces of a decay from `peak` that ends at `stop`, none before the step `earliest`.

    A smooth shape begins at `earliest` at the soonest; multi-step keeps its falls at 80 % and 90 % of decay.steps.
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
    return (SchedulePiece("warmup", start, start + steps, lr_start, lr_stop),) if steps else ()


def warmup_stable(peak: float, warmup: int, power_coefficient: float | None = None) -> Schedule:
    """The main path: a linear warm-up, then the maximal learning rate (or the power law under it), open-ended."""
    shape = "constant" if power_coefficient is None else "power"
    stable = SchedulePiece(shape, warmup, None, peak, peak, power_coefficient or 0.0)
    return Schedule((*warmup_pieces(0, warmup, 0.0, stable.lr_at(warmup)), stable))


def warmup_stable_decay(start: int, stop: int, *, warmup: int, lr_start: float, peak: float, decay: Decay) -> Schedule:
    """A warm-up from `lr_start` to `peak`, a stable phase and a decay that ends at `stop`.

    WSD; Knee with a linear decay; the classical warm-up and decay with decay.steps = stop - start; the re-warmed
    continual pre-training of Ibrahim et al. 2024 with start > 0; WSD-S with start > 0 and warmup = 0; a branch with
    decay.steps = stop - start and warmup = 0. A decay longer than the room after the warm-up is cut: it still ends
    at `stop`, at its final rate.
    """
    stable_from = min(start + warmup, stop)
    falling = decay_pieces(decay, stop, peak, stable_from)
    stable_to = falling[0].start if falling else stop
    stable = (SchedulePiece("constant", stable_from, stable_to, peak, peak),) if stable_to > stable_from else ()
    return Schedule((*warmup_pieces(start, stable_from - start, lr_start, peak), *stable, *falling))


def constant(start: int, stop: int | None, lr: float) -> Schedule:
    return Schedule((SchedulePiece("constant", start, stop, lr, lr),))
