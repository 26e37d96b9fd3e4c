"""Held-out curve of a main path: its losses while it was trained, and those of the versions that branch from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lrps.base.document import UNLESS_NONE
from lrps.costs.curves.measured_losses import averages_of_path, loss_on_first, states_of_path
from lrps.costs.curves.paired_difference import PairedDifference, paired_differences
from lrps.ledger.reader import RAW, HeldoutEvaluation
from lrps.paths.graph import Fork, Release, TrainingPath
from lrps.plan.main_curve import released_steps
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class CurvePoint:
    """Loss of a main path after a step on the held-out set of a version."""

    step: int
    """Lineage step."""
    version: str
    """Version of the held-out set."""
    loss: float
    """Loss in nats per predicted token."""
    rows: int
    """Number of sequences, the same at all steps."""


@dataclass(frozen=True)
class AveragePoint:
    """Loss of an average of a main path's weights after a step on the held-out set of a version."""

    step: int
    """Lineage step; that of the newest state of a merge."""
    form: str
    """Form of the weights: ema or merge."""
    version: str
    """Version of the held-out set."""
    loss: float
    """Loss in nats per predicted token, on the sequences that the main path is evaluated on."""


@dataclass(frozen=True)
class BranchEnd:
    """Loss of a version that branches from the main path, on the sequences that the main path is evaluated on."""

    released: str
    """Name of the released version."""
    path: str
    """Name of its path."""
    step: int
    """Lineage step of the released state."""
    version: str
    """Version of the held-out set."""
    loss: float
    """Loss in nats per predicted token."""
    other_parent: str | None = field(default=None, metadata=UNLESS_NONE)
    """Description of its fork, if the main path has another state there now; the key is absent otherwise."""


@dataclass(frozen=True)
class HeldoutCurve:
    """Held-out losses of a main path over its steps, beside those of the versions that branch from it."""

    points: tuple[CurvePoint, ...]
    """Losses of the main path, by step. An evaluation on other or fewer sequences than the newest is left out."""
    branch_ends: tuple[BranchEnd, ...]
    """Losses of the versions that branch from it."""
    differences: tuple[PairedDifference, ...]
    """Differences between the main path and the versions made from it, sequence by sequence: those that branch from
    it, at the fork and at their own step, and released averages of its weights, at their step."""
    device_hours: float
    """Allocated device-hours of all evaluations of the main path."""
    averages: tuple[AveragePoint, ...] | None = field(default=None, metadata=UNLESS_NONE)
    """Losses of averages of the main path's weights, by step; the key is absent where none was evaluated."""


def heldout_curves(plan: Plan, statuses: Mapping[str, PathStatus]) -> dict[str, HeldoutCurve]:
    """Return the curve of every main path that was evaluated, by name. statuses: by path."""
    mains = [path for path in plan.graph.paths if path.kind == "main"]
    curves = {path.name: _curve(plan, path, statuses) for path in mains}
    return {name: curve for name, curve in curves.items() if curve.points}


def _curve(plan: Plan, path: TrainingPath, statuses: Mapping[str, PathStatus]) -> HeldoutCurve:
    status = statuses[path.name]
    compared = [(release, _compared_steps(release, fork, statuses)) for release, fork in _branches(plan, path)]
    differences = (
        each
        for release, steps in (*compared, *_averages(plan, path))
        for each in paired_differences(plan, release, steps, statuses[release.path], status)
    )
    return replace(losses_alone(plan, path, statuses), differences=tuple(differences))


def losses_alone(plan: Plan, path: TrainingPath, statuses: Mapping[str, PathStatus]) -> HeldoutCurve:
    """Return the curve of a main path without paired differences, which need the losses of single sequences.

    statuses: by path. A branch without one is left out.
    """
    status = statuses[path.name]
    newest = _newest(plan, status)
    return HeldoutCurve(
        points=tuple(
            CurvePoint(found.step, found.heldout, loss, newest[found.heldout].rows)
            for found, loss in _comparable(plan, status, states_of_path(status), newest)
        ),
        branch_ends=tuple(
            BranchEnd(
                release.version, release.path, release.step, found.heldout, loss, statuses[release.path].other_parent
            )
            for release, _ in _branches(plan, path)
            if release.path in statuses
            for found, loss in _comparable(plan, statuses[release.path], states_of_path(statuses[release.path]), newest)
            if found.step == release.step
        ),
        differences=(),
        device_hours=status.totals.spent.evaluating_seconds / 3600,
        averages=tuple(
            AveragePoint(found.step, found.form, found.heldout, loss)
            for found, loss in _comparable(plan, status, averages_of_path(status), newest)
        )
        or None,
    )


def _newest(plan: Plan, status: PathStatus) -> dict[str, HeldoutEvaluation]:
    """Return the evaluation at the last step of a path by held-out version; a release, on all rows, only if alone."""
    released = released_steps(plan, status.path)
    found = sorted(states_of_path(status), key=lambda each: each.step not in released)
    return {each.heldout: each for each in found}


def _comparable(
    plan: Plan, status: PathStatus, taken: Iterable[HeldoutEvaluation], newest: Mapping[str, HeldoutEvaluation]
) -> Iterator[tuple[HeldoutEvaluation, float]]:
    """Yield those of a path's evaluations whose loss on the sequences of the newest ones is known, with that loss."""
    for found in taken:
        like = newest.get(found.heldout)
        if like is not None and like.manifest_sha256 == found.manifest_sha256:
            loss = loss_on_first(plan, status.path.name, found, like.rows)
            if loss is not None:
                yield found, loss


def _branches(plan: Plan, main: TrainingPath) -> Iterator[tuple[Release, Fork]]:
    """Yield the releases of paths that fork from a main path, each once, with the fork."""
    for release in plan.graph.releases:
        parent = plan.graph.by_name[release.path].parent
        if parent is not None and parent.path == main.name:
            yield release, parent


def _compared_steps(branch: Release, fork: Fork, statuses: Mapping[str, PathStatus]) -> tuple[int, ...]:
    """Return the steps of the main path that a branch is compared at.

    The fork is left out if the main path has another state there now: the branch gained nothing over that one.
    """
    return (fork.step, branch.step) if statuses[branch.path].other_parent is None else (branch.step,)


def _averages(plan: Plan, main: TrainingPath) -> Iterator[tuple[Release, tuple[int]]]:
    """Yield the releases of a main path that are averages of its weights, each with its step."""
    for release in plan.graph.releases:
        if release.path == main.name and release.form != RAW:
            yield release, (release.step,)
