"""Pace of a run: device time of an optimizer step on each path, and the one speed at which ways of training compare.

Paths run on machines of different speed: spot instances, other devices, a busy host. Device time as it ran then
compares the machines. At one speed, steps times one step time, the ratio of two paradigms is that of their steps. All
steps of a plan have the same number of tokens and of model FLOPs, so a ratio of step times is also one of the costs of
a FLOP.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from lrps.base.amounts import bill_time, factor
from lrps.costs.measured_cost import MeasuredCost

UNEQUAL = 1.2
"""Paths whose cost of a FLOP differs by more than this factor are not compared by device time as it ran."""
UNEQUAL_SHORT = 1.5
"""The same factor where a path is short, because the time of a few dozen steps differs by chance."""
_LONG_STEPS, _LONG_SECONDS = 100, 60.0
"""A path is long from this many steps on, or from this many seconds in steps."""
_FEWEST_STEPS = 10
"""Number of steps of the shortest path that is compared: the first steps of a process take longer than others."""


@dataclass(frozen=True)
class PathPace:
    """Measured device time of the steps of a path."""

    steps: int
    """Number of optimizer steps, each counted once."""
    device_seconds_per_step: float
    """Device-seconds of a step that was not lost."""
    ratio: float
    """Device-seconds of a step over those at the one speed."""
    long: bool
    """True if the path has at least 100 steps or 60 seconds in steps, so that its mean says something."""
    outlier: bool
    """True if speeds are unequal, and this path is among those that make them so."""


@dataclass(frozen=True)
class SpeedComparison:
    """The one speed of a run, and the pace of each path."""

    source: Literal["measured", "hardware"] | None
    """Basis of the one speed: ledgers of this run, or the hardware of the config; null if there is no speed."""
    paradigm: str | None
    """Paradigm of whose counted steps the speed is the mean; null for the median of all paths by steps, where this
    paradigm was not trained, and for a speed that was not measured."""
    device_seconds_per_step: float | None
    """The one speed: device-seconds of one optimizer step; null if it is not known."""
    lowest_device_seconds_per_step: float | None
    """Device-seconds of a step on the fastest path that the one speed is based on; null if it was not measured."""
    highest_device_seconds_per_step: float | None
    """Device-seconds of a step on the slowest path that the one speed is based on; null if it was not measured."""
    spread: float | None
    """Slowest over fastest cost of a FLOP among all measured paths of 10 steps and more; null below two paths."""
    unequal: bool
    """True if `spread` is above 1.2 among long paths, or above 1.5 among all."""
    paths: Mapping[str, PathPace]
    """Pace of each path that was measured, by name."""

    def hours(self, steps: int) -> float | None:
        """Return the device-hours of some steps at the one speed; None if it is not known."""
        seconds = self.device_seconds_per_step
        return None if seconds is None else steps * seconds / 3600

    def differs_among(self, names: Collection[str]) -> bool:
        """Return True if the paths with these names ran at unequal speeds."""
        return _unequal([path for name, path in self.paths.items() if name in names])

    @property
    def compared(self) -> list[PathPace]:
        """Paces of the paths that are long enough to be compared at all."""
        return _compared(self.paths.values())

    @property
    def outliers(self) -> dict[str, float]:
        """Ratios to the one speed of the paths that make speeds unequal, slowest first."""
        found = {name: path.ratio for name, path in self.paths.items() if path.outlier}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


UNKNOWN_PACE = SpeedComparison(None, None, None, None, None, None, False, {})
"""Pace of a run where only losses matter."""


def main_paradigm(kinds: Mapping[str, str]) -> str:
    """Return the first path switching, or else the first paradigm. kinds: by the name of the paradigm."""
    return next((name for name, kind in kinds.items() if kind == "path-switching"), next(iter(kinds)))


def pace_of(
    paths: Mapping[str, MeasuredCost],
    paradigm: str,
    own: Collection[str],
    mean: MeasuredCost | None,
    hardware_seconds: float | None,
) -> SpeedComparison:
    """Return the pace of a run.

    paths: cost of each path, by name. paradigm: the one that others are compared with; own: its paths; mean: their
    cost together. hardware_seconds: device-seconds of a step by the config, for a run that measured nothing.
    """
    measured = {name: _step_seconds(cost) for name, cost in paths.items()}
    seconds = {name: each for name, each in measured.items() if each is not None}
    own_seconds = None if mean is None else _step_seconds(mean)
    based_on = [seconds[name] for name in own if name in seconds] if own_seconds else list(seconds.values())
    one = own_seconds or _median(seconds, paths) or hardware_seconds
    found = {
        name: PathPace(paths[name].total_steps, each, each / one, _is_long(paths[name]), outlier=False)
        for name, each in seconds.items()
        if one
    }
    compared = [path.device_seconds_per_step for path in _compared(found.values())]
    unequal = _unequal(found.values())
    return SpeedComparison(
        source="measured" if seconds else "hardware" if hardware_seconds else None,
        paradigm=paradigm if own_seconds else None,
        device_seconds_per_step=one,
        lowest_device_seconds_per_step=min(based_on, default=None),
        highest_device_seconds_per_step=max(based_on, default=None),
        spread=max(compared) / min(compared) if len(compared) > 1 else None,
        unequal=unequal,
        paths=_with_outliers(found) if unequal else found,
    )


def unequal_speeds(pace: SpeedComparison) -> str:
    """Return the sentence that reports unequal speeds with their range, without a full stop at its end."""
    times = [path.device_seconds_per_step / 3600 for path in pace.compared]
    return (
        f"Speeds differed {factor(pace.spread or 1.0)}-fold: a step took from {bill_time(min(times))} to "
        f"{bill_time(max(times))} of device time"
    )


def _step_seconds(cost: MeasuredCost) -> float | None:
    """Return the device-seconds of a counted step; None if none was measured."""
    if not (cost.attempts and cost.total_steps > 0 and cost.productive_hours > 0):
        return None
    return cost.productive_hours * 3600 / cost.total_steps


def _median(seconds: Mapping[str, float], paths: Mapping[str, MeasuredCost]) -> float | None:
    """Return the step time that half of all measured steps do not exceed; None if no step was measured."""
    half, reached = sum(paths[name].total_steps for name in seconds) / 2, 0
    for name, each in sorted(seconds.items(), key=lambda item: item[1]):
        reached += paths[name].total_steps
        if reached >= half:
            return each
    return None


def _is_long(cost: MeasuredCost) -> bool:
    seconds = cost.productive_hours * 3600 / max(1, cost.processes)
    return cost.total_steps >= _LONG_STEPS or seconds >= _LONG_SECONDS


def _compared(paths: Collection[PathPace]) -> list[PathPace]:
    return [path for path in paths if path.long or path.steps >= _FEWEST_STEPS]


def _unequal(paths: Collection[PathPace]) -> bool:
    every = [path.device_seconds_per_step for path in _compared(paths)]
    long = [path.device_seconds_per_step for path in paths if path.long]
    return _spread(long) > UNEQUAL or _spread(every) > UNEQUAL_SHORT


def _spread(seconds: Collection[float]) -> float:
    return max(seconds, default=1.0) / min(seconds, default=1.0)


def _with_outliers(paths: Mapping[str, PathPace]) -> dict[str, PathPace]:
    """Return the paces with the paths marked that are far from the one speed, or else the two ends."""
    candidates = {name: path for name, path in paths.items() if path in _compared(paths.values())}
    limits = {name: UNEQUAL if path.long else UNEQUAL_SHORT for name, path in candidates.items()}
    far = {name for name, path in candidates.items() if not 1 / limits[name] <= path.ratio <= limits[name]}
    if not far:
        by_ratio = sorted(candidates, key=lambda name: candidates[name].ratio)
        far = {by_ratio[0], by_ratio[-1]}
    return {
        name: PathPace(path.steps, path.device_seconds_per_step, path.ratio, path.long, outlier=name in far)
        for name, path in paths.items()
    }
