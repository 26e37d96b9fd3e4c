"""The start of an attempt at a path: what rank 0 finds in the run directory, and what it puts in order there.

Only the process that holds the path's lock calls these functions, `check_origin` excepted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError, LineageError
from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.base.step_set import NO_STEPS, StepSet
from lrps.data.stream import PathData
from lrps.ledger.reader import EMA
from lrps.paths.graph import Release, TrainingPath
from lrps.paths.path_digest import PATH_DIGEST, PathDigest, differences, lineage_digest, path_digest
from lrps.plan.initial import initial_checkpoint, with_initial_weights
from lrps.plan.initial_evaluation import missing_initial_evaluations
from lrps.plan.main_curve import curve_to_come
from lrps.plan.origin import Origin, newest_checkpoint, origin_of
from lrps.plan.plan import Plan
from lrps.plan.recovery import check_recoverable, path_states
from lrps.plan.rewind import check_amendments, finish_rewind
from lrps.plan.status import check_has_identity, missing_evaluations, missing_merges, missing_of_form, saved_step
from lrps.store.checkpoints import Checkpoint, complete_checkpoints, damage, leftovers, pin, remove, set_aside
from lrps.store.identity import AVERAGE_KEY, EQUAL_DIGESTS, check_identity, read_identity
from lrps.store.layout import PathLayout, RunLayout
from lrps.store.marks import MARK, mark_run, new_mark
from lrps.train.fork_check import sets_to_check
from lrps.train.path_average import check_released_averages

Say = Callable[[str], None]
"""Function that shows a line to the user."""


@dataclass(frozen=True)
class PathStart:
    """The findings of rank 0 in the directory of a path before an attempt: what is left to do, and from which state."""

    origin: Origin
    """State that training continues or forks from."""
    steps_to_train: int
    """Number of steps from the origin to the path's last step; 0 if the path is trained."""
    missing_evaluations: Mapping[int, list[str]]
    """Lineage step -> held-out versions that the state of that step is still to be evaluated on.

    Step 0 is the model that the plan starts from.
    """
    branch_points: tuple[int, ...]
    """Lineage steps whose checkpoints are pinned, because other paths fork there or a version is released."""
    parent_digest: PathDigest | None = None
    """Digest of the parent path up to the fork; None for a path that starts from the initial weights."""
    initial: Checkpoint | None = None
    """State that paths without a parent start from; None for drawn weights and for a Hugging Face checkpoint."""
    initial_weights: str | None = None
    """Digest of the weights that paths without a parent start from; None for drawn ones."""
    missing_merges: Mapping[Release, list[str]] = field(default_factory=dict)
    """Held-out versions that released merges are still to be evaluated on; none if there is no held-out set. Merges are
    made once the path is trained."""
    skips: StepSet = NO_STEPS
    """Steps that the path lets pass without an update, and for which nothing is computed."""
    curve: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Lineage step -> held-out versions that a main path is evaluated on when training passes the step.

    They are never missing: a path that was trained without them is complete. If no step is trained, these are saved
    states to evaluate.
    """
    fork_check: tuple[str, ...] | None = None
    """Held-out versions on which the state that the path forks from is evaluated before its first step; None if that
    state is confirmed. See lrps/train/fork_check.py."""

    @property
    def stop(self) -> int:
        """Lineage step at which the attempt ends."""
        return self.origin.step + self.steps_to_train

    @property
    def first_state(self) -> Origin:
        """State that the attempt loads first: the initial one if only that is evaluated, else the origin."""
        return Origin("start", 0, self.initial) if 0 in self.missing_evaluations else self.origin

    @property
    def complete(self) -> bool:
        """True if no step and no evaluation is left to do."""
        return not (self.steps_to_train or self.missing_evaluations or self.missing_merges or self.curve)


def start_path(
    plan: Plan, path: TrainingPath, say: Say, *, train: bool = True, damaged: Mapping[Path, str] | None = None
) -> PathStart:
    """Claim the directory of a path and find what an attempt at it starts with.

    Leftovers of interrupted saves are removed first. No bytes of a state are read: `lrps.train.attempt_start` finds
    damaged ones, and calls this again with them. damaged: checkpoints that do not count, with the reasons. The model
    that the plan starts from is evaluated by the first path that starts from it, or if train is False by any such path.
    Raises LineageError if the directory belongs to another plan, if the path was rewound since the plan was made, for a
    path that is not trained to its end if train is False, and if the path's average begins too late for a release that
    is one; CheckpointError if there is no state to start from; RepeatedFailureError if a step has failed twice and
    would be trained again.
    """
    layout, children = plan.layout.path(path.name), plan.graph.children(path.name)
    check_amendments(plan, path)
    clear_leftovers(layout, lambda text: say(f"{path.name}: {text}"))
    finish_rewind(layout)
    identity = with_initial_weights(plan.identity(path), plan.config.model)
    initial = initial_checkpoint(plan.config.model)
    if saved_step(layout) is None:
        # If its saved states are only away for the moment, this fails, and path.json must say what they are.
        newest_checkpoint(path, layout, path_states(path.name, plan.layout))
    mark_run(plan.layout)
    claim(layout, path, identity)
    if train:
        check_recoverable(path, plan.layout, children)
    origin = origin_of(path, plan.layout, initial, children, damaged, plan.config.optimizer.kind)
    missing, branch_points = missing_evaluations(plan, path), plan.graph.branch_points(path.name)
    if (origin.verb == "start" or not train) and (versions := missing_initial_evaluations(plan, path)):
        missing[0] = versions
    digest = identity["training"]["initial_weights"]
    *ancestors, _ = plan.graph.lineage(path)
    parent = lineage_digest(ancestors, path.start) if ancestors else None
    steps, merges = max(0, path.stop - origin.step), missing_merges(plan, path)
    if steps and not train:
        raise LineageError(f"{path.name} is at step {origin.step} of {path.stop}; `lrps run` trains it first")
    check_released_averages(plan, path, origin, missing_of_form(plan, path, EMA))
    curve = curve_to_come(plan, path, origin.step) if steps else {}
    fork_check = sets_to_check(plan, path) if origin.verb == "fork" else None
    return PathStart(
        origin, steps, missing, branch_points, parent, initial, digest, merges, path.skips, curve, fork_check
    )


def claim(layout: PathLayout, path: TrainingPath, identity: Mapping[str, Any]) -> None:
    """Check that the directory belongs to the path, and write path.json if it is new or the path has grown.

    A path that begins gets a mark; one that was begun keeps its own, or none.
    A path that has never saved anything may still be replaced by another one. Raises LineageError for a directory of
    another plan, and for one with checkpoints whose path.json is missing.
    """
    begun = saved_step(layout) is not None
    if begun:
        check_has_identity(layout)
    if not begun or _is_more(layout, path, identity):
        atomic_write_json(layout.path_json, {**identity, **_kept(layout, identity)})


def _is_more(layout: PathLayout, path: TrainingPath, identity: Mapping[str, Any]) -> bool:
    """Return True if the path has grown beyond its path.json, or has an average from now on."""
    grown = check_identity(layout.path_json, identity).stop < path.stop
    return grown or AVERAGE_KEY in identity.keys() - read_identity(layout.path_json).keys()


def _kept(layout: PathLayout, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what path.json says beyond the identity; a new mark if there is none, or one of another path."""
    try:
        check_identity(layout.path_json, identity)
    except LineageError:
        return {MARK: new_mark()}
    there = read_identity(layout.path_json)
    return {key: there[key] for key in (EQUAL_DIGESTS, MARK, AVERAGE_KEY) if key in there}


def clear_leftovers(layout: PathLayout, say: Say) -> None:
    """Remove what interrupted saves, pins and removals left: up to a whole checkpoint each.

    A leftover that cannot be removed is reported, and is no error.
    """
    for directory in (*leftovers(layout.checkpoints), *leftovers(layout.branch_points)):
        where = f"{directory.parent.name}/{directory.name}"
        try:
            remove(directory)
        except CheckpointError as error:
            say(f"{where}, left by an interrupted save, stays: {error}")
        else:
            say(f"removed {where}, left by an interrupted save, pin or removal")


def set_aside_skipped(origin: Origin) -> None:
    """Set newer, unusable checkpoints aside, so that they are neither pinned nor counted by retention."""
    for skipped in origin.skipped:
        set_aside(skipped.directory, doubtful=skipped.doubtful)


def pin_saved(layout: PathLayout, steps: Collection[int], last: int, say: Say) -> None:
    """Pin the periodic checkpoints of these steps, up to step `last`.

    They are not pinned yet if a crash came between save and pin, or if the plan has grown. Raises CheckpointError if an
    intact one cannot be pinned. A state that is damaged, here and as a pin, is only reported: forks from it are
    refused, and the path itself does not need it.
    """
    for checkpoint in complete_checkpoints(layout.checkpoints):
        if checkpoint.step in steps and checkpoint.step <= last:
            try:
                pin(checkpoint, layout.branch_points)
            except CheckpointError:
                if (lost := damage(checkpoint)) is None:
                    raise
                say(f"the state of step {checkpoint.step}, which other paths or releases need, is lost: {lost}")


def pin_fork(origin: Origin, parent: str, run: RunLayout) -> None:
    """Pin the checkpoint that a path forks from if it is not: the parent's retention would remove it.

    It is not pinned if the plan that trained the parent did not contain the fork. Raises LineageError while the parent
    is being trained, since its trainer could remove the checkpoint at this moment.
    """
    layout = run.path(parent)
    assert origin.checkpoint is not None
    if origin.checkpoint.directory.parent != layout.branch_points:
        with path_lock(layout.directory):
            pin(origin.checkpoint, layout.branch_points)


def check_origin(
    checkpoint: Checkpoint,
    origin: Origin,
    path: TrainingPath,
    data: PathData,
    training_digests: Collection[str],
    parent_digest: PathDigest | None,
) -> None:
    """Raise CheckpointError if a checkpoint is of another plan, of another path, of other rates or of other rows.

    training_digests: those that checkpoints of the plan may carry. parent_digest: digest of the parent at the fork.
    """
    identity, where, step = checkpoint.identity, checkpoint.directory, checkpoint.step
    if identity.get("training_sha256") not in training_digests:
        raise CheckpointError(
            f"{where} is of another plan ({identity.get('plan')}, path {identity.get('path')}): its model, "
            "tokenizer, optimizer, batch or seed differ; move it back to the run that it is of. (If an earlier version "
            "of lrps saved it and model.architecture has nested keys, `lrps repair CONFIG` finds out whether it is of "
            "this plan after all)"
        )
    parent = path.parent if origin.verb == "fork" else None
    name = path.name if parent is None else parent.path
    if identity.get("path") != name:
        raise CheckpointError(
            f"{where} is a state of path {identity.get('path')}, not of {name}; move it back to where it was"
        )
    if parent is None and step > path.stop:
        return
    planned = path_digest(path, step, parent_digest) if parent is None else parent_digest
    if planned is not None and (differing := differences(identity.get(PATH_DIGEST), planned)):
        raise CheckpointError(
            f"{where} was trained with other values than {name} has in this plan up to step {step}: "
            f"{', '.join(differing)}; `lrps data audit` says which states differ; put back the states that were "
            "trained here (`lrps pull`), or move this one and every later checkpoint of its path out of the run"
        )
    if parent is not None:
        return
    here, there = data.positions(step - path.start), identity.get("positions", {})
    if differing := [source for source in here.keys() & there.keys() if here[source] != there[source]]:
        source = min(differing)
        raise CheckpointError(
            f"{where} is at row {there[source]} of {source}, where {name} is at row {here[source]} after step "
            f"{step}: it was trained on other rows; put back the state that was trained here, or give the plan another "
            "`name`"
        )
