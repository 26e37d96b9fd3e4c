"""Recovery of a path after a failed step: what the next attempt does, or the command that a person has to choose.

A step that was not finite says one of two things. If the state that it was taken from is not confirmed, that state may
be broken: the next attempt goes back to the newest confirmed one, once. If the same step has failed twice, it would
fail again: the path is not trained until `lrps rewind` changes something. Reads files only, and imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lrps.base.errors import CheckpointError, RepeatedFailureError
from lrps.ledger.confirmed import STEPS_BEFORE_FAILURE, SavedStates, saved_states
from lrps.ledger.reader import read_ledger
from lrps.paths.graph import Graph, TrainingPath
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.layout import PathLayout, RunLayout


def path_states(path: str, run: RunLayout, children: Iterable[TrainingPath] = ()) -> SavedStates:
    """Return the saved states of a path. children: paths that may fork from it; their first steps confirm its states.

    Raises LedgerError for a ledger that was changed.
    """
    return with_children(saved_states(read_ledger(run.path(path).ledger, heartbeats=False)), path, run, children)


def with_children(states: SavedStates, path: str, run: RunLayout, children: Iterable[TrainingPath]) -> SavedStates:
    """Return the states of a path with what the ledgers of its children show of them.

    The ledger of a child is read only if it forks from a state that no step has confirmed.
    """
    for child in children:
        fork = child.parent
        if fork is not None and fork.path == path and fork.step in states.unproven:
            child_ledger = read_ledger(run.path(child.name).ledger, heartbeats=False)
            states = states_with_child(states, child, saved_states(child_ledger))
    return states


def states_with_child(states: SavedStates, child: TrainingPath, shown: SavedStates) -> SavedStates:
    """Return the states of a path with what a path that forks from it shows. shown: saved states of that child.

    A branch decays on the text that its parent would read next. Probes, CPT and mixed branches read other text first.
    """
    other_data = child.kind in ("probe", "cpt") or len(child.segments[0].parts) > 1
    return states.with_child(child.start, shown, other_data=other_data)


def saved_steps(layout: PathLayout) -> set[int]:
    """Return the steps of the complete checkpoints of a path, pinned ones included."""
    return {found.step for place in (layout.checkpoints, layout.branch_points) for found in complete_checkpoints(place)}


def step_to_return_to(path: TrainingPath, states: SavedStates, on_disk: Iterable[int]) -> int | None:
    """Return the step that the next attempt goes back to because the newest state is doubtful; None if it is not.

    on_disk: steps of the checkpoints that are there. If no state was saved before the doubtful ones, it is the step
    that the path starts from. Raises CheckpointError if one was, and is not there any more.
    """
    there = set(on_disk)
    if not there or max(there) not in states.doubtful:
        return None
    if not there & states.confirmed and (lost := states.saved - states.doubtful):
        raise CheckpointError(
            f"{path.name}: state {max(there)} may be broken, because a step soon after it failed, and no state before "
            f"it is left; restore that of step {max(lost)} from a copy (`lrps pull`)"
        )
    return max(there & states.confirmed, default=path.start)


def repeated_failure(path: TrainingPath, states: SavedStates, on_disk: Iterable[int]) -> RepeatedFailureError | None:
    """Return the error that names what a person has to choose; None while another attempt may succeed.

    A path that has saved nothing may be trained with other settings under its name, so that it is never refused.
    """
    there = set(on_disk)
    failed, times = max(Counter(each.at for each in states.failures).items(), key=lambda pair: pair[1], default=(0, 0))
    if times < 2 or not there:
        return None
    failures = {each.at for each in states.failures} | states.failed_before
    back = _state_before(path, states, there, min(failures))
    first = max(back, min(failures) - STEPS_BEFORE_FAILURE)
    last = min(max(failures), path.stop - 1)
    rewind = f"lrps rewind CONFIG {path.name} --to {back}"
    cause = next(each.cause for each in reversed(states.failures) if each.at == failed)
    return RepeatedFailureError(
        f"{path.name}: step {failed} has failed {times} times ({cause}), and the same training would fail there again. "
        f"State {back} is sound. Choose one:\n"
        f"  {rewind} --skip-from {first} --skip-steps {last - first + 1}\n"
        "    leaves out the failed step and those before it, one of which may have broken the weights\n"
        f"  {rewind} --peak-lr X --for-steps N\n"
        "    takes N steps from there at a lower peak rate X\n"
        f"  {rewind}\n"
        "    tries again unchanged, if a device was at fault that is replaced now\n"
        "  With `guard: {action: skip}` a run passes over single steps of this kind by itself"
    )


def repeated_failure_of(
    path: TrainingPath, run: RunLayout, children: Iterable[TrainingPath]
) -> RepeatedFailureError | None:
    """Return the error of the next attempt at a path if that would fail as the last two did; else None."""
    return repeated_failure(path, path_states(path.name, run, children), saved_steps(run.path(path.name)))


def check_recoverable(path: TrainingPath, run: RunLayout, children: Iterable[TrainingPath]) -> None:
    """Raise RepeatedFailureError if another attempt at a path would fail as the last two did."""
    if (error := repeated_failure_of(path, run, children)) is not None:
        raise error


def _state_before(path: TrainingPath, states: SavedStates, on_disk: set[int], failed: int) -> int:
    """Return the newest confirmed state up to a failed step from which no rewind has failed yet."""
    confirmed = {step for step in on_disk & states.confirmed if step <= failed}
    return max(confirmed - states.rewound_to, default=min(confirmed, default=path.start))


def what_follows(path: TrainingPath, states: SavedStates, on_disk: Iterable[int]) -> str | None:
    """Return a description of a failure after which the same command does not just resume; None if it does."""
    there = set(on_disk)
    if (error := repeated_failure(path, states, there)) is not None:
        return str(error)
    try:
        back = step_to_return_to(path, states, there)
    except CheckpointError as error:
        return str(error)
    if back is None:
        return None
    to = f"step {back}, its start" if back == path.start else f"the confirmed state of step {back}"
    return f"state {max(there)} may be broken, because a step soon after it failed; the next attempt goes back to {to}"


def after_spike(path: TrainingPath, run: RunLayout, step: int) -> str:
    """Return what a person can choose from after the guard has stopped a path at the spike of a step."""
    layout = run.path(path.name)
    back = _state_before(path, path_states(path.name, run), saved_steps(layout), step)
    return (
        "Look at the rows of this step, then choose one:\n"
        f"  lrps rewind CONFIG {path.name} --to {back} --skip-from {step} --skip-steps 1\n"
        "    leaves out the step\n"
        f"  lrps rewind CONFIG {path.name} --to {back} --peak-lr X --for-steps N\n"
        "    takes N steps from there at a lower peak rate X\n"
        "  the same command with `--set guard.action=warn`\n"
        "    trains on the step as it is\n"
        "  the same command\n"
        "    tries again unchanged, if a device was at fault"
    )


def after_failure(path: TrainingPath, graph: Graph, run: RunLayout) -> str:
    """Return what the same command does now that an attempt has failed at a step.

    Raises RepeatedFailureError if it would be refused.
    """
    states = path_states(path.name, run, graph.children(path.name))
    if path.parent is not None and not states.saved:
        parent = graph.by_name[path.parent.path]
        check_recoverable(parent, run, [path])
        if path.parent.step in path_states(parent.name, run, [path]).doubtful:
            return (
                f"the state of {parent.name} that it starts from may be broken. `lrps run` trains {parent.name} again "
                "from its newest confirmed state, and then this path"
            )
    check_recoverable(path, run, graph.children(path.name))
    on_disk = saved_steps(run.path(path.name))
    if not on_disk:
        return (
            f"nothing of {path.name} is saved yet: run the same command again to try again, or first lower "
            "schedule.peak_lr or make the warm-up longer; the plan may keep its `name`"
        )
    if (text := what_follows(path, states, on_disk)) is not None:
        return f"{text}. Run the same command again"
    return f"run the same command again: it resumes from step {max(on_disk)}, and says what to do if that fails too"
