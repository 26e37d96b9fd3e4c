"""Averages of a main path's weights beside the branch of the same version, on the same held-out sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lrps.costs.curves.measured_losses import loss_on_first
from lrps.costs.curves.paired_difference import differences_of_rows, mean_and_error
from lrps.ledger.reader import EMA, RAW, EvaluationKey, HeldoutEvaluation
from lrps.paths.graph import Fork, Release
from lrps.plan.histories import older_history
from lrps.plan.plan import Plan

Evaluations = Mapping[EvaluationKey, HeldoutEvaluation]


@dataclass(frozen=True)
class AverageBesideBranch:
    """Loss of an average of a main path's weights on a held-out set, beside that of a branch with a decay."""

    version: str
    """Name of the version."""
    form: str
    """Form of the average: ema or merge."""
    path: str
    """Name of the main path."""
    step: int
    """Lineage step of the averaged state, of a merge that of the newest one."""
    released: bool
    """Whether the average is a release of the version; else it is that of the state from which the branch forked."""
    branch: str
    """Name of the path of the branch."""
    branch_step: int
    """Lineage step of the state that the branch releases."""
    heldout: str
    """Version of the held-out set."""
    rows: int
    """Number of sequences that both were evaluated on."""
    loss: float
    """Loss of the average on them, in nats per predicted token."""
    branch_loss: float
    """Loss of the branch on them."""
    difference: float
    """Loss of the average minus that of the branch: below 0 the average is better."""
    standard_error: float | None
    """Standard error of the difference over the sequences; null without the losses of single sequences."""


def averages_beside_branches(
    plan: Plan, evaluations_of: Callable[[str], Evaluations]
) -> tuple[AverageBesideBranch, ...]:
    """Return every average that is evaluated on the sequences of a branch of the same version.

    evaluations_of: function from the name of a path to its newest evaluations.
    """
    found: list[AverageBesideBranch] = []
    for release in plan.graph.releases:
        fork = plan.graph.by_name[release.path].parent
        if fork is not None and release.form == RAW and plan.graph.by_name[fork.path].kind == "main":
            for average, is_release in _averages(plan, release, fork):
                found += _pairs(plan, average, is_release, release, evaluations_of)
    return tuple(found)


def _averages(plan: Plan, branch: Release, fork: Fork) -> Iterator[tuple[Release, bool]]:
    """Yield the averages that could be the version of a branch, each with whether it is a release."""
    of_version = [each for each in plan.graph.releases if each.version == branch.version and each.form != RAW]
    yield from ((each, True) for each in of_version)
    at_fork = Release(branch.version, fork.path, fork.step, EMA)
    # After a rewind the main path may have another state at that step now than the one that the branch forked from.
    if at_fork not in of_version and older_history(plan, plan.graph.by_name[branch.path]) is None:
        yield at_fork, False


def _pairs(
    plan: Plan, average: Release, released: bool, branch: Release, evaluations_of: Callable[[str], Evaluations]
) -> Iterator[AverageBesideBranch]:
    """Yield an average beside a branch on every held-out set that both were evaluated on."""
    of_average, of_branch = evaluations_of(average.path), evaluations_of(branch.path)
    for key, found in of_branch.items():
        own = of_average.get(EvaluationKey(average.step, key.heldout, average.form))
        if (key.step, key.form) != (branch.step, RAW) or own is None or own.manifest_sha256 != found.manifest_sha256:
            continue
        rows = min(own.rows, found.rows)
        loss, branch_loss = loss_on_first(plan, average.path, own, rows), loss_on_first(plan, branch.path, found, rows)
        if loss is None or branch_loss is None:
            continue
        pair = differences_of_rows(plan, (average.path, own), (branch.path, found))
        yield AverageBesideBranch(
            version=branch.version,
            form=average.form,
            path=average.path,
            step=average.step,
            released=released,
            branch=branch.path,
            branch_step=branch.step,
            heldout=key.heldout,
            rows=rows,
            loss=loss,
            branch_loss=branch_loss,
            difference=loss - branch_loss,
            standard_error=mean_and_error(pair)[1] if pair else None,
        )
