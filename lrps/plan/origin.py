"""The origin of an attempt at a path: a start, a resume or a fork.

A start has no checkpoint, unless the config names an initial state; its steps count from 0 in either case. Resume and
fork differ:

| item                       | resume                | fork                                             |
|----------------------------|-----------------------|--------------------------------------------------|
| checkpoint                 | the path's own newest | the parent's at the fork step, left untouched    |
| weights, moments, count    | carried               | carried (the moments reset where declared)       |
| learning rate, rows, seed  | f(step) of the path   | f(step) of the NEW path                          |
| ledger                     | a new attempt         | from 0, with a pointer to the parent             |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lrps.base.errors import CheckpointError, LineageError
from lrps.config.optimizing import DEFAULT_KIND
from lrps.ledger.confirmed import SavedStates
from lrps.paths.graph import TrainingPath
from lrps.paths.optimizer_states import optimizer_in
from lrps.plan.recovery import path_states, saved_steps, step_to_return_to
from lrps.store.checkpoints import Checkpoint, Skipped, complete_checkpoints, directory_name, find
from lrps.store.layout import PathLayout, RunLayout
from lrps.store.newest import newest_complete


@dataclass(frozen=True)
class Origin:
    """The state that an attempt begins from."""

    verb: str
    """Kind of origin: start | fork | resume."""
    step: int
    """Lineage step of the state."""
    checkpoint: Checkpoint | None
    """Checkpoint of the state; None for initial weights. A start's checkpoint is an initial state, of any step."""
    optimizer: str = "carry"
    """Treatment of the optimizer state: carry | reset."""
    skipped: tuple[Skipped, ...] = ()
    """Newer checkpoints that are damaged or doubtful, with reasons. Training sets them aside before its first step."""

    @property
    def doubtful(self) -> tuple[int, ...]:
        """Lineage steps of the doubtful states that the attempt goes back from."""
        return tuple(sorted({each.step for each in self.skipped if each.doubtful}))

    def __str__(self) -> str:
        if self.checkpoint is None:
            return "from the initial weights"
        moments = ", optimizer reset" if self.optimizer == "reset" else ""
        if self.verb == "start":
            return f"from the state in {self.checkpoint.directory}{moments}"
        where = self.checkpoint.directory.parent.parent.name
        return f"{self.verb}{'d' if self.verb == 'resume' else 'ed'} from {where} at step {self.step}{moments}"


def newest_checkpoint(
    path: TrainingPath, layout: PathLayout, states: SavedStates, damaged: Mapping[Path, str] | None = None
) -> tuple[Checkpoint | None, tuple[Skipped, ...]]:
    """Return the path's newest checkpoint to resume from, pinned ones included, and the newer ones that were skipped.

    states: saved states of the path. Doubtful ones are skipped; if there is nothing before them, the path starts again.
    damaged: checkpoints that are skipped because their bytes differ; the others are not read. Raises CheckpointError
    if all that it saved are damaged or gone: such a path is not trained again without notice.
    """
    step_to_return_to(path, states, saved_steps(layout))
    places = (layout.checkpoints, layout.branch_points)
    newest, skipped = newest_complete(*places, doubtful=states.doubtful, damaged=damaged)
    lost = states.saved - states.doubtful
    if newest is None and (lost or not all(each.doubtful for each in skipped)):
        vanished = f"its ledger says that step {max(lost, default=0)} was saved, but no checkpoint is there"
        reasons = tuple(map(str, skipped)) or (vanished,)
        raise CheckpointError(
            f"{path.name}: no intact checkpoint to resume from:\n  "
            + "\n  ".join(reasons)
            + "\n  restore one from a copy (`lrps pull`), or train the path again under another plan `name`"
        )
    return newest, skipped


def fork(path: TrainingPath, run: RunLayout) -> Origin:
    """Return the parent's checkpoint at the fork step. Raises LineageError if there is none, or if it is doubtful."""
    assert path.parent is not None
    parent = run.path(path.parent.path)
    if path.parent.step in path_states(path.parent.path, run, [path]).doubtful:
        raise LineageError(
            f"{path.name} forks from {path.parent.path} at step {path.parent.step}, whose state may be broken: a step "
            f"soon after it failed\n  train {path.parent.path} first (`lrps run` does): it goes back to its newest "
            "confirmed state, and saves this one again"
        )
    try:
        checkpoint = find(parent, path.parent.step)
    except CheckpointError as error:
        what = f"{path.name} forks from {path.parent.path} at step {path.parent.step}: {error}"
        places = (parent.branch_points, parent.checkpoints)
        if any((place / directory_name(path.parent.step)).is_dir() for place in places):
            raise LineageError(what) from None  # It exists and is incomplete: the error says how to fix it.
        newest, _ = newest_complete(parent.checkpoints, parent.branch_points)
        passed = newest is not None and newest.step > path.parent.step
        how_to_fix = (
            f"its parent has passed that step without a branch point there; {_other_fork(path, parent)}"
            if passed
            else f"train {path.parent.path} first (`lrps run` does)"
        )
        raise LineageError(f"{what}\n  {how_to_fix}") from None
    return Origin("fork", checkpoint.step, checkpoint, path.parent.optimizer)


def _other_fork(path: TrainingPath, parent: PathLayout) -> str:
    """Return which other fork is possible of a path whose parent has passed its fork without saving it."""
    saved = {each.step for place in (parent.branch_points, parent.checkpoints) for each in complete_checkpoints(place)}
    if path.kind == "probe":
        nearest = min(saved, key=lambda step: (abs(step - path.start), step))
        return f"choose `at: {{step: {nearest}}}`, the nearest step that is saved, or one beyond step {max(saved)}"
    return f"choose an alpha whose fork is at or beyond step {max(saved)}, or train under another plan name"


def _start(initial: Checkpoint | None, optimizer: str) -> Origin:
    """Return the origin of a path without a parent. optimizer: kind of that of the plan."""
    same = initial is None or optimizer_in(initial.identity) == optimizer
    return Origin("start", 0, initial, "carry" if same else "reset")


def origin_of(
    path: TrainingPath,
    run: RunLayout,
    initial: Checkpoint | None = None,
    children: Iterable[TrainingPath] = (),
    damaged: Mapping[Path, str] | None = None,
    optimizer: str = DEFAULT_KIND,
) -> Origin:
    """Return the origin of the next attempt: resume a path that was begun, else fork from its parent, else start.

    initial: checkpoint that a start begins from; None for initial weights. children: paths that may fork from this one.
    damaged: checkpoints of the path that do not count, with the reasons. optimizer: kind of that of the plan; from an
    initial state of another one only the weights are taken. Reads no bytes of a state.
    """
    states = path_states(path.name, run, children)
    newest, skipped = newest_checkpoint(path, run.path(path.name), states, damaged)
    if newest is not None:
        return Origin("resume", newest.step, newest, skipped=skipped)
    origin = _start(initial, optimizer) if path.parent is None else fork(path, run)
    return replace(origin, skipped=skipped)
