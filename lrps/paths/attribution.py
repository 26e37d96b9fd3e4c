"""Attribution of a paradigm's steps to its versions: lineage, marginal and shared cost (docs/method.md, section 1.5).

Every path is cut into step ranges at its start, its stop, every fork from it and every release on it, so that every
step of a paradigm is in exactly one of them. A version needs the step ranges of its lineage, from step 0 of the first
ancestor to its release.

lineage: all step ranges that the version needs, which is its cost on its own. The lineages of several versions overlap.
marginal: the step ranges that the version needs and no earlier release does, which is what the version added.
shared: all step ranges that the version needs, each divided equally between the versions that need it.
unreleased: the step ranges that no version needs, such as the end of a main path beyond its last fork and release.
Marginal and unreleased costs add up to the paradigm's total; so do shared and unreleased costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from lrps.paths.graph import Paradigm, Release


@dataclass(frozen=True)
class StepRange:
    """Steps [from_step, to_step) of a path, counted along its lineage, between two neighbouring cuts."""

    path: str
    """Name of the path."""
    from_step: int
    to_step: int

    @property
    def steps(self) -> int:
        return self.to_step - self.from_step


@dataclass(frozen=True)
class Attribution:
    """Stretches of a paradigm, and those of them that every release needs."""

    step_ranges: tuple[StepRange, ...]
    """All step ranges, parents before children."""
    lineages: Mapping[Release, tuple[StepRange, ...]]
    """Stretches that a release needs, from step 0 on; the oldest release first."""

    @cached_property
    def needed_by(self) -> dict[StepRange, tuple[Release, ...]]:
        """Releases that need a step range, oldest first; the first one is the release that added it."""
        users: dict[StepRange, list[Release]] = {step_range: [] for step_range in self.step_ranges}
        for release, lineage in self.lineages.items():
            for step_range in lineage:
                users[step_range].append(release)
        return {step_range: tuple(releases) for step_range, releases in users.items()}

    def marginal(self, release: Release) -> tuple[StepRange, ...]:
        """Return the step ranges that the release needs and no earlier one does."""
        return tuple(step_range for step_range in self.lineages[release] if self.needed_by[step_range][0] == release)

    def shared(self, release: Release) -> dict[StepRange, Fraction]:
        """Return the step ranges that the release needs, each with the fraction of it that the release pays for."""
        return {step_range: Fraction(1, len(self.needed_by[step_range])) for step_range in self.lineages[release]}

    @property
    def unreleased(self) -> tuple[StepRange, ...]:
        """Stretches that no release needs."""
        return tuple(step_range for step_range in self.step_ranges if not self.needed_by[step_range])


def attribute(paradigm: Paradigm) -> Attribution:
    """Return the attribution of a paradigm: its step ranges, and those that lead from step 0 to each release."""
    cuts: dict[str, set[int]] = {path.name: {path.start, path.stop} for path in paradigm.paths}
    for path in paradigm.paths:
        if path.parent is not None:
            cuts[path.parent.path].add(path.parent.step)
    for release in paradigm.releases:
        cuts[release.path].add(release.step)
    of_path = {name: _between(name, steps) for name, steps in cuts.items()}
    before: dict[str, tuple[StepRange, ...]] = {}
    for path in paradigm.paths:  # parents before children
        parent = path.parent
        before[path.name] = () if parent is None else _up_to(before, of_path, parent.path, parent.step)
    return Attribution(
        tuple(step_range for step_ranges in of_path.values() for step_range in step_ranges),
        {release: _up_to(before, of_path, release.path, release.step) for release in paradigm.releases},
    )


def marginal_steps(paradigm: Paradigm) -> tuple[int, ...]:
    """Return the number of steps that each version of a paradigm added, oldest first."""
    found = attribute(paradigm)
    return tuple(sum(each.steps for each in found.marginal(release)) for release in paradigm.releases)


def steps_needed(paradigm: Paradigm, releases: Iterable[Release]) -> int:
    """Return the number of steps that some of a paradigm's releases need, each counted once."""
    furthest: dict[str, int] = {}
    for release in releases:
        furthest[release.path] = max(release.step, furthest.get(release.path, 0))
    for path in reversed(paradigm.paths):  # children before parents
        if path.name in furthest and path.parent is not None:
            furthest[path.parent.path] = max(path.parent.step, furthest.get(path.parent.path, 0))
    return sum(furthest[path.name] - path.start for path in paradigm.paths if path.name in furthest)


def _between(path: str, steps: Iterable[int]) -> tuple[StepRange, ...]:
    return tuple(StepRange(path, start, stop) for start, stop in pairwise(sorted(steps)))


def _up_to(
    before: Mapping[str, tuple[StepRange, ...]], of_path: Mapping[str, tuple[StepRange, ...]], path: str, step: int
) -> tuple[StepRange, ...]:
    """Return the step ranges that lead to a path's state after `step`.

    before: the step ranges that lead to the start of each path. of_path: the step ranges of each path itself.
    """
    return (*before[path], *(step_range for step_range in of_path[path] if step_range.to_step <= step))
