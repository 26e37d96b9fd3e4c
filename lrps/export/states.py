"""Which states of a plan are exported: the releases of paths, or any saved step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class PathState:
    """A path after `step` steps of its lineage. versions: what is released there; none for a state on the way."""

    path: TrainingPath
    step: int
    versions: tuple[str, ...]

    def directory(self, layout: PathLayout) -> Path:
        """Where it is exported to by default."""
        return layout.model if self.versions else layout.model_of(self.step)


def chosen_states(
    plan: Plan, names: Sequence[str], version: str | None = None, step: int | None = None
) -> tuple[PathState, ...]:
    """The states that the named paths release (all paths if a version is given), or those paths at `step`.

    ConfigError for names that the plan does not have, and for a path that releases nothing.
    """
    plan.named_paths(names)
    versions = [increment.version for increment in plan.increments]
    if version is not None and version not in versions:
        raise ConfigError(f"--version {version}: the config has {', '.join(versions)}")
    if not names and (version is None or step is not None):
        raise ConfigError("name the paths to export, or give --version for every path that releases it")
    if step is not None:
        return tuple(_state(plan, name, step) for name in names)
    released = [
        release
        for release in plan.graph.releases
        if release.path in (names or plan.graph.by_name) and version in (None, release.version)
    ]
    for name in names:
        if name not in {release.path for release in released}:
            raise ConfigError(
                f"{name} releases {'no version' if version is None else f'not {version}'}; "
                f"export one of its saved steps with --step: {saved_steps(plan.layout.path(name))}"
            )
    return tuple(dict.fromkeys(_state(plan, release.path, release.step) for release in released))


def _state(plan: Plan, name: str, step: int) -> PathState:
    released = (r.version for r in plan.graph.releases if (r.path, r.step) == (name, step))
    return PathState(plan.graph.by_name[name], step, tuple(dict.fromkeys(released)))


def saved_steps(layout: PathLayout) -> str:
    """The steps that can be exported, for people."""
    places = (layout.branch_points, layout.checkpoints)
    steps = {found.step for place in places for found in complete_checkpoints(place)}
    return ", ".join(map(str, sorted(steps))) or "there is none yet"
