"""Saved states of a path as what an attempt evaluates, with `lrps evaluate CONFIG PATH --steps ...`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lrps.base.errors import CheckpointError
from lrps.paths.graph import TrainingPath
from lrps.plan.main_curve import heldout_after, newest_evaluations, not_evaluated, released_steps
from lrps.plan.plan import Plan
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout
from lrps.train.path_start import PathStart, Say, start_path

SavedSteps = tuple[int, ...] | Literal["all"]
"""Lineage steps of saved states, or all that a path has."""


def start_with_saved_states(
    plan: Plan, path: TrainingPath, say: Say, *, steps: SavedSteps, damaged: Mapping[Path, str] | None = None
) -> PathStart:
    """Return the start of an attempt that evaluates saved states of a path, also of an unfinished one, and trains none.

    States that were evaluated on the same sequences already are left out. Raises CheckpointError for a step without a
    saved state; raises like `start_path` otherwise. damaged: as there.
    """
    chosen = _chosen(plan.layout.path(path.name), path.name, steps)
    start = start_path(plan, path, say, damaged=damaged)
    chosen -= {each.step for each in start.origin.skipped}  # These are about to be set aside.
    heldout, released = heldout_after(plan, path), released_steps(plan, path)
    done = newest_evaluations(plan, path)
    missing = {step: not_evaluated(plan, done, step, heldout(step)) for step in chosen if step not in released}
    start = replace(
        start,
        steps_to_train=0,
        missing_evaluations={
            step: start.missing_evaluations[step] for step in chosen & start.missing_evaluations.keys()
        },
        curve={step: versions for step, versions in missing.items() if versions},
        missing_merges={},
    )
    if start.complete:
        say(f"{path.name}: all of these states are evaluated already")
    return start


def _chosen(layout: PathLayout, name: str, steps: SavedSteps) -> set[int]:
    places = (layout.checkpoints, layout.branch_points)
    saved = {checkpoint.step for place in places for checkpoint in complete_checkpoints(place)}
    if not saved:
        raise CheckpointError(f"{name} has no saved state; `lrps run` trains it")
    if steps == "all":
        return saved
    if unknown := sorted(set(steps) - saved):
        there = ", ".join(map(str, sorted(saved)))
        raise CheckpointError(f"{name} has no saved state of step {unknown[0]}; it has those of steps {there}")
    return set(steps)
