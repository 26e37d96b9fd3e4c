"""Parts that the figures over training steps share: their axis, and the marks of releases and branches.

A paradigm has one slot in all figures: its place in the config. The slot selects colour, dash pattern and marker.
"""

from __future__ import annotations

from lrps.charts.axes import Axis, number_axis
from lrps.charts.line import Mark
from lrps.charts.svg import Point
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import ParadigmCosts, PathCosts
from lrps.costs.released_version import ReleasedVersion


def steps_axis(comparison: Comparison) -> Axis:
    """Return the axis from step 0 to the newest release, the same in every figure."""
    stops = [path.plan.stop_step for paradigm in comparison.paradigms.values() for path in paradigm.paths]
    return number_axis("training steps of the lineage", stops, from_zero=True, whole=True)


def version_guides(paradigm: ParadigmCosts) -> tuple[tuple[float, str], ...]:
    """Return the step of each released version with its name."""
    return tuple((release.step, release.version) for release in paradigm.releases)


def releases_of(paradigm: ParadigmCosts, path: PathCosts) -> list[ReleasedVersion]:
    """Return the versions that a path releases."""
    return [release for release in paradigm.releases if release.path == path.plan.name]


def release_mark(release: ReleasedVersion, at: Point) -> Mark:
    """Return the mark of a released version."""
    return Mark(at, f"{release.label}: {release.path} after step {release.step:,}")


def is_branch(paradigm: ParadigmCosts, path: PathCosts) -> bool:
    """Return True for a path whose parent is a main path of the paradigm."""
    mains = {other.plan.name for other in paradigm.paths if other.plan.kind == "main"}
    return path.plan.parent is not None and path.plan.parent.path in mains
