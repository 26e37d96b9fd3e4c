"""Amendments of a path as values: what `lrps rewind` changes of it from a step on, and the rates that follow.

The whole list of a path's amendments is recorded in its path.json, oldest first. An amendment that goes further back
than earlier ones ends them, because its rewind abandoned the steps that they spoke of. Numbers of amendments count from
1 in the whole list, so that a number names one history for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lrps.base.step_set import StepSet
from lrps.paths.schedule import Schedule, SchedulePiece

GENERATION = "generation"
"""Key of the number of its history in a checkpoint's identity; left out if it is 0."""


@dataclass(frozen=True)
class Amendment:
    """A change of a path from lineage step `at` on, to whose state the path was taken back."""

    at: int
    """Lineage step of the state that the path was taken back to. It is the last one of the older history."""
    skip_from: int | None = None
    """First step that passes without an update; None for `at`."""
    skip: int = 0
    """Number of steps that pass without an update: nothing is computed, and their sequences are not trained on."""
    peak_lr: float | None = None
    """Learning rate in place of the path's peak; rates below the peak change in proportion. None changes no rate."""
    for_steps: int | None = None
    """Number of steps for which `peak_lr` is in force; None for good."""
    clip_grad_norm: float | None = None
    """Largest norm of the gradient in place of that of the config; None changes nothing."""
    reason: str = ""
    """Reason as text, by whoever took the path back."""
    when: str = ""
    """Time of the amendment, in ISO 8601."""

    @property
    def skipped(self) -> range:
        """Steps that pass without an update."""
        first = self.at if self.skip_from is None else self.skip_from
        return range(first, first + self.skip)

    @property
    def changed(self) -> tuple[Any, ...]:
        """Everything that the amendment changes: its values without those that are for people."""
        skipped = self.skipped if self.skip else range(0)
        clip, peak = self.clip_grad_norm, self.peak_lr
        return self.at, skipped.start, skipped.stop, _as_float(peak), self.for_steps, _as_float(clip)

    def sets_rate(self, step: int) -> bool:
        """Return whether the amendment sets the learning rate of a step."""
        end = None if self.for_steps is None else self.at + self.for_steps
        return self.peak_lr is not None and self.at <= step and (end is None or step < end)

    def to_json(self) -> dict[str, Any]:
        """Return the recorded form of the amendment."""
        return asdict(self)


Amendments = tuple[Amendment, ...]
"""The whole list of a path's amendments, oldest first."""


def _as_float(value: float | None) -> float | None:
    """Return a number as a float, because a whole number is the same rate."""
    return None if value is None else float(value)


def amendments_from_json(values: Sequence[Mapping[str, Any]]) -> Amendments:
    """Return the list of a path.json. Raises TypeError for anything else, such as keys of a later version of lrps."""
    found = tuple(Amendment(**each) for each in values)
    for each in found:
        whole = (each.at, each.skip, *(n for n in (each.skip_from, each.for_steps) if n is not None))
        rates = tuple(n for n in (each.peak_lr, each.clip_grad_norm) if n is not None)
        if not all(type(n) is int for n in whole) or not all(type(n) in (int, float) for n in rates):
            raise TypeError(f"no amendment: {each}")
    return found


def in_force(amendments: Amendments) -> tuple[tuple[int, Amendment], ...]:
    """Return (number, amendment) of those that none which goes as far back has ended, oldest first."""
    kept: list[tuple[int, Amendment]] = []
    for number, amendment in enumerate(amendments, 1):
        kept = [(n, each) for n, each in kept if each.at < amendment.at]
        kept.append((number, amendment))
    return tuple(kept)


def generation(amendments: Amendments, step: int) -> int:
    """Return the number of the history that a state of `step` belongs to: that of its newest amendment, 0 if none.

    The state of the step that a path was taken back to belongs to the older history, since it was trained in it.
    """
    return max((number for number, each in in_force(amendments) if each.at < step), default=0)


def abandoned_by(amendments: Amendments, history: int, step: int) -> int | None:
    """Return the number of the amendment that abandoned a state of an older history; None if it is in force.

    history: number of the history of the state, see `generation`. step: lineage step of the state.
    """
    later = enumerate(amendments[history:], history + 1)
    return next((number for number, each in later if each.at < step), None)


def skips(amendments: Amendments) -> StepSet:
    """Return the steps that pass without an update."""
    skipped = [each.skipped for _, each in in_force(amendments) if each.skip]
    return StepSet.of([(steps.start, steps.stop - 1) for steps in skipped])


def clip_at(amendments: Amendments, step: int) -> float | None:
    """Return the largest gradient norm that amendments set for a step; None if it is that of the config."""
    found = [each.clip_grad_norm for _, each in in_force(amendments) if each.at <= step]
    return next((clip for clip in reversed(found) if clip is not None), None)


@dataclass(frozen=True)
class AmendedSchedule:
    """A schedule and the amendments that change it. Below the first one's step every rate is that of the schedule."""

    base: Schedule
    amendments: Amendments
    """The whole list."""

    @property
    def _peak(self) -> float:
        return max(max(piece.lr_start, piece.lr_stop) for piece in self.base.pieces)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of a step. Raises ValueError for a step outside the schedule."""
        return self._amended(step, self.base.lr_at(step))

    @property
    def changes(self) -> frozenset[int]:
        """Steps at which the amendments make the rate jump, and the steps before them."""
        found = [each for _, each in in_force(self.amendments) if each.peak_lr is not None]
        jumps = {each.at for each in found} | {each.at + each.for_steps for each in found if each.for_steps is not None}
        return frozenset(step for jump in jumps for step in (jump - 1, jump))

    def lr_after(self, stop: int) -> float:
        """Return the rate that a path ends at which stops at `stop`: the limit after its last step."""
        last = stop - 1 if self.base.pieces[-1].stop == stop else stop
        return self._amended(last, self.base.lr_after(stop))

    def _amended(self, step: int, rate: float) -> float:
        """Return what the newest amendment that speaks of a step makes of its rate: at the peak, exactly its own."""
        if not self.amendments:
            return rate
        found = [each.peak_lr for _, each in in_force(self.amendments) if each.sets_rate(step)]
        if not found or found[-1] is None:
            return rate
        return found[-1] if rate == self._peak else rate / self._peak * found[-1]


def scaled_to(schedule: Schedule, before: float, now: float) -> Schedule:
    """Return the schedule of a fork whose parent's rate there is `now` instead of `before`.

    All rates change in proportion, but for the final one of a smooth decay: that is absolute.
    """

    def scaled(rate: float) -> float:
        return now if rate == before else rate / before * now

    def changed(piece: SchedulePiece, ends: bool) -> SchedulePiece:
        stop = piece.lr_stop if ends and piece.shape != "constant" else scaled(piece.lr_stop)
        return replace(piece, lr_start=scaled(piece.lr_start), lr_stop=stop)

    *first, last = schedule.pieces
    return Schedule((*(changed(piece, ends=False) for piece in first), changed(last, ends=True)))


def longer_list(one: Amendments, other: Amendments) -> Amendments | None:
    """Return the list that continues the other one, or the same; None if they contradict each other."""
    shorter, longer = sorted((one, other), key=len)
    return longer if longer[: len(shorter)] == shorter else None
