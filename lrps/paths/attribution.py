"""Attribution of a paradigm's steps to its versions: lineage, marginal and shared cost (docs/method.md, section 1.5).

Every path is cut into stretches at its start, its stop, every fork from it and every release on it, so that every step
of a paradigm is in exactly one stretch. A version needs the stretches of its lineage, from step 0 of the first ancestor
to its release.

lineage: all stretches that the version needs, which is its cost on its own. The lineages of several versions overlap.
marginal: the stretches that the version needs and no earlier release does, which is what the version added.
shared: all stretches that the version needs, each divided equally between the versions that need it.
unreleased: the stretches that no version needs, such as the end of a main path beyond its last fork and release.
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
class Stretch:
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

    stretches: tuple[Stretch, ...]
    """All stretches, parents before children."""
    lineages: Mapping[Release, tuple[Stretch, ...]]
    """Stretches that a release needs, from step 0 on; the oldest release first."""

    @cached_property
    def needed_by(self) -> dict[Stretch, tuple[Release, ...]]:
        """Releases that need a stretch, oldest first; the first one is the release that added it."""
        users: dict[Stretch, list[Release]] = {stretch: [] for stretch in self.stretches}
        for release, lineage in self.lineages.items():
            for stretch in lineage:
                users[stretch].append(release)
        return {stretch: tuple(releases) for stretch, releases in users.items()}

    def marginal(self, release: Release) -> tuple[Stretch, ...]:
        """Return the stretches that the release needs and no earlier one does."""
        return tuple(stretch for stretch in self.lineages[release] if self.needed_by[stretch][0] == release)

    def shared(self, release: Release) -> dict[Stretch, Fraction]:
        """Return the stretches that the release needs, each with the fraction of it that the release pays for."""
        return {stretch: Fraction(1, len(self.needed_by[stretch])) for stretch in self.lineages[release]}

    @property
    def unreleased(self) -> tuple[Stretch, ...]:
        """Stretches that no release needs."""
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
    """Return the stretches that lead to a path's state after `step`.

    before: the stretches that lead to the start of each path. of_path: the stretches of each path itself.
    """
    return (*before[path], *(stretch for stretch in of_path[path] if stretch.to_step <= step))
