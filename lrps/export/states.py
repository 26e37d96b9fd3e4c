"""The states of a plan that are exported: releases of paths, any saved step, or the mean of several saved steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import ConfigError
from lrps.ledger.reader import EMA, MERGE, RAW
from lrps.paths.graph import Release, TrainingPath, form_in_words
from lrps.paths.merge_window import choose_steps, window_steps
from lrps.paths.optimizer_states import MAIN
from lrps.plan.plan import Plan
from lrps.plan.released_state import merge_release
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class PathState:
    """A path after `step` steps of its lineage. versions: those released there; none for an intermediate state."""

    path: TrainingPath
    step: int
    versions: tuple[str, ...]
    form: str = RAW
    """Form of the weights: raw, ema or merge."""
    averaged: tuple[int, ...] = ()
    """Steps of the saved states whose weights a merge averages, in ascending order; the last one is `step`."""
    first: bool = True
    """True if the path releases no raw state of an earlier step, so that its export is called `model` for short."""

    @property
    def form_in_words(self) -> str:
        """Form of the weights as people read it; empty for raw ones."""
        return form_in_words(self.form, len(self.averaged))

    def directory(self, layout: PathLayout) -> Path:
        """Return the default directory of its export."""
        if self.form != RAW:
            return layout.model_of(self.step, self.form)
        return layout.model if self.versions and self.first else layout.model_of(self.step)


def released_state(plan: Plan, release: Release) -> PathState:
    """Return the state of a release, with all versions that are released there."""
    place = (release.path, release.step, release.form)
    versions = (r.version for r in plan.graph.releases if (r.path, r.step, r.form) == place)
    raw = [r.step for r in plan.graph.releases if (r.path, r.form) == (release.path, RAW)]
    return PathState(
        plan.graph.by_name[release.path],
        release.step,
        tuple(dict.fromkeys(versions)),
        release.form,
        release.states if release.form == MERGE else (),
        release.step == min(raw, default=release.step),
    )


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
        return tuple(_raw_state(plan, name, step) for name in names)
    released = [
        release
        for release in plan.graph.releases
        if release.path in (names or plan.graph.by_name) and version in (None, release.version)
    ]
    for name in names:
        if name not in {release.path for release in released}:
            raise ConfigError(
                f"{name} releases {'no version' if version is None else f'not {version}'}; "
                f"export one of its saved steps with --step: {_saved_steps_text(plan.layout.path(name))}"
            )
    return tuple(dict.fromkeys(released_state(plan, release) for release in released))


def _raw_state(plan: Plan, name: str, step: int) -> PathState:
    """Return the state of a path at a step as it was trained."""
    place = (name, step, RAW)
    released = next((r for r in plan.graph.releases if (r.path, r.step, r.form) == place), None)
    return PathState(plan.graph.by_name[name], step, ()) if released is None else released_state(plan, released)


def merge_of(plan: Plan, name: str, window: float, count: int, step: int | None = None) -> PathState:
    """Return the merge of saved states of a main path: `count` states, evenly spread over a window that ends at `step`.

    window: share of the steps up to `step`. step: by default that of the newest saved state. Raises ConfigError for
    another path, for a step that is not saved, and if the window has fewer saved states.
    """
    (path,) = plan.named_paths([name])
    if path.kind != "main":
        raise ConfigError(
            f"--merge averages states of a main path, at a constant learning rate, and {name} is none; leave it out"
        )
    if not 0 < window <= 1:
        raise ConfigError(f"--window {window:g}: give a share of the steps so far, above 0 and at most 1")
    if count < 2:
        raise ConfigError(f"--count {count}: a merge averages at least 2 states")
    stop, saved = _saved_step(plan, name, step), _saved_steps(plan.layout.path(name))
    chosen = choose_steps(saved, stop, window, count)
    if len(chosen) < count:
        raise ConfigError(_too_few(name, saved, stop, window, count, chosen))
    release = merge_release(plan, name, stop)
    if release is not None and release.states == chosen:
        return released_state(plan, release)
    return PathState(path, stop, (), MERGE, chosen)


def average_of(plan: Plan, name: str, step: int | None = None) -> PathState:
    """Return the state of a main path with the moving average of its weights. step: by default the newest saved one.

    Raises ConfigError for another path and for a step that is not saved.
    """
    (path,) = plan.named_paths([name])
    if path.kind != MAIN:
        raise ConfigError(f"--ema: only main paths average their weights, and {name} is none; leave it out")
    stop = _saved_step(plan, name, step)
    place = (name, stop, EMA)
    release = next((each for each in plan.graph.releases if (each.path, each.step, each.form) == place), None)
    return PathState(path, stop, (), EMA) if release is None else released_state(plan, release)


def _saved_step(plan: Plan, name: str, step: int | None) -> int:
    """Return the step, or the newest saved one if that is None. Raises ConfigError if it is not saved."""
    layout = plan.layout.path(name)
    saved = _saved_steps(layout)
    stop = max(saved, default=0) if step is None else step
    if stop not in saved:
        raise ConfigError(f"{name} has no saved state of step {stop}; its saved steps: {_saved_steps_text(layout)}")
    return stop


def _too_few(name: str, saved: Sequence[int], stop: int, window: float, count: int, chosen: Sequence[int]) -> str:
    """Return the message for a window with too few saved states, with what helps now and for later merges."""
    length, earlier = window_steps(stop, window), [step for step in saved if step <= stop]
    now = [f"--count {len(chosen)}"] if len(chosen) > 1 else []
    if len(earlier) >= count:
        hundredths = -(-100 * (stop - earlier[-count] + 1) // stop)
        now += [f"--window {hundredths / 100:g}"] if hundredths <= 100 else []
    advice = f"Give {' or '.join(now)}. " if now else ""
    return (
        f"{name} has {len(chosen)} saved state{'' if len(chosen) == 1 else 's'} in steps {stop - length + 1} to {stop} "
        f"({', '.join(map(str, chosen))}), and --count asks for {count}; all its saved steps: "
        f"{', '.join(map(str, saved))}. {advice}For later merges set release: "
        f"merge, which keeps the states that it needs, or checkpoint.every_steps {max(1, length // count)} or fewer "
        f"with checkpoint.keep_last {count}"
    )


def _saved_steps(layout: PathLayout) -> list[int]:
    """Return the steps of a path that have a complete checkpoint, in ascending order."""
    directories = (layout.branch_points, layout.checkpoints)
    return sorted({found.step for directory in directories for found in complete_checkpoints(directory)})


def _saved_steps_text(layout: PathLayout) -> str:
    """Return the steps that can be exported, as text."""
    return ", ".join(map(str, _saved_steps(layout))) or "none yet"
