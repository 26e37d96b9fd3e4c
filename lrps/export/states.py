"""The states of a plan that are exported: releases of paths, or any saved step."""

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
    """A path after `step` steps of its lineage. versions: those released there; none for an intermediate state."""

    path: TrainingPath
    step: int
    versions: tuple[str, ...]

    def directory(self, layout: PathLayout) -> Path:
        """Return the default directory of its export."""
        return layout.model if self.versions else layout.model_of(self.step)


def chosen_states(
    plan: Plan, names: Sequence[str], version: str | None = None, step: int | None = None
) -> tuple[PathState, ...]:
    """Return the states that the named paths release, or these paths at `step`. With a version, names may be empty.

    Raises ConfigError for unknown names and for a path that releases nothing.
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
    """Return the steps that can be exported, as text."""
    directories = (layout.branch_points, layout.checkpoints)
    steps = {found.step for directory in directories for found in complete_checkpoints(directory)}
    return ", ".join(map(str, sorted(steps))) or "none yet"
