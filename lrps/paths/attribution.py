"""Which version pays for which steps: a paradigm cut into stretches, and three ways of adding them up.

A stretch lies between two neighbouring cuts of a path: its start, its stop, every fork from it and every release on it.
Every step of a paradigm lies in exactly one stretch. A version needs the stretches of its lineage, from step 0 of the
first ancestor to its release.

lineage: all stretches that the version needs: what it would cost alone. The lineages of several versions overlap.
marginal: those of them that no earlier version needs (the order is that of the releases): what the version added.
shared: every stretch in equal parts to all versions that need it.
Stretches that no version needs are `unreleased`: a main path that runs on beyond its last fork and release. Marginal
costs and unreleased ones add up to the paradigm's total; so do shared costs and unreleased ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from lrps.paths.graph import Paradigm, Release


@dataclass(frozen=True)
class Stretch:
    """Steps [from_step, to_step) of a path, counted along its lineage."""

    path: str
    from_step: int
    to_step: int

    @property
    def steps(self) -> int:
        return self.to_step - self.from_step


@dataclass(frozen=True)
class Attribution:
    """The stretches of a paradigm, parents before children, and which of them every release needs."""

    stretches: tuple[Stretch, ...]
    lineages: Mapping[Release, tuple[Stretch, ...]]
    """Oldest release first."""

    @cached_property
    def needed_by(self) -> dict[Stretch, tuple[Release, ...]]:
        """Who needs a stretch; the first one is who added it."""
        users: dict[Stretch, list[Release]] = {stretch: [] for stretch in self.stretches}
        for release, lineage in self.lineages.items():
            for stretch in lineage:
                users[stretch].append(release)
        return {stretch: tuple(releases) for stretch, releases in users.items()}

    def marginal(self, release: Release) -> tuple[Stretch, ...]:
        """What the release needs and none before it."""
        return tuple(stretch for stretch in self.lineages[release] if self.needed_by[stretch][0] == release)

    def shared(self, release: Release) -> dict[Stretch, Fraction]:
        """What the release needs, and the part of it that it pays for."""
        return {stretch: Fraction(1, len(self.needed_by[stretch])) for stretch in self.lineages[release]}

    @property
    def unreleased(self) -> tuple[Stretch, ...]:
        """What no release needs."""
        return tuple(stretch for stretch in self.stretches if not self.needed_by[stretch])


def attribute(paradigm: Paradigm) -> Attribution:
    """Cut a paradigm into stretches and follow every release back to step 0."""
    cuts: dict[str, set[int]] = {path.name: {path.start, path.stop} for path in paradigm.paths}
    for path in paradigm.paths:
        if path.parent is not None:
            cuts[path.parent.path].add(path.parent.step)
    for release in paradigm.releases:
        cuts[release.path].add(release.step)
    of_path = {name: _between(name, steps) for name, steps in cuts.items()}
    before: dict[str, tuple[Stretch, ...]] = {}
    for path in paradigm.paths:  # parents before children
        parent = path.parent
        before[path.name] = () if parent is None else _up_to(before, of_path, parent.path, parent.step)
    return Attribution(
        tuple(stretch for stretches in of_path.values() for stretch in stretches),
        {release: _up_to(before, of_path, release.path, release.step) for release in paradigm.releases},
    )


def _between(path: str, steps: Iterable[int]) -> tuple[Stretch, ...]:
    return tuple(Stretch(path, start, stop) for start, stop in pairwise(sorted(steps)))


def _up_to(
    before: Mapping[str, tuple[Stretch, ...]], of_path: Mapping[str, tuple[Stretch, ...]], path: str, step: int
) -> tuple[Stretch, ...]:
    """The lineage of a path's state after `step`. before: the lineage of every path's start."""
    return (*before[path], *(stretch for stretch in of_path[path] if stretch.to_step <= step))
