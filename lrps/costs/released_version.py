"""Released version of a paradigm: its losses on held-out sets, its scores on tasks, and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lrps.base.document import OPTIONAL
from lrps.costs.heldout_loss import HeldoutLoss, heldout_loss, mean_loss
from lrps.costs.version_costs import VersionCosts
from lrps.ledger.reader import RAW
from lrps.paths.graph import Release
from lrps.plan.scores import MetricResult, Score
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class TaskScore:
    """Scores of a released version on one task."""

    results: Mapping[str, MetricResult]
    """Results by metric."""
    examples: int
    """Number of scored examples."""


@dataclass(frozen=True)
class ReleasedVersion:
    """State of a path that is released as a version: its quality and its cost."""

    version: str
    """Name of the version."""
    path: str
    """Name of the path."""
    step: int
    """Lineage step of the state."""
    heldout: Mapping[str, HeldoutLoss]
    """Losses by the version whose held-out set they were measured on, as far as they were."""
    seen_loss: float | None
    """Mean loss over the held-out sets of all versions up to this one, in nats per token; null while one is missing."""
    scores: Mapping[str, TaskScore]
    """Scores by task, as far as they were measured."""
    cost: VersionCosts
    """Cost of the version."""
    form: str = field(default=RAW, metadata=OPTIONAL)
    """Form of the weights: raw, ema (moving average) or merge (mean of several states)."""

    @property
    def label(self) -> str:
        """Version with the form of its weights if they are not raw, such as `v3 (merge of 10 states)`."""
        return Release(self.version, self.path, self.step, self.form).label


def released_version(
    release: Release,
    status: PathStatus,
    versions: Sequence[str],
    scores: Mapping[str, Score],
    cost: VersionCosts,
) -> ReleasedVersion:
    """Return a release with its quality and its cost.

    status: of the path. versions: names of all versions, oldest first. scores: of the released state, by task.
    """
    heldout = {
        key.heldout: heldout_loss(found)
        for key, found in status.evaluations.items()
        if (key.step, key.form) == (release.step, release.form)
    }
    seen = versions[: versions.index(release.version) + 1]
    return ReleasedVersion(
        version=release.version,
        path=release.path,
        step=release.step,
        heldout=heldout,
        seen_loss=mean_loss(heldout, seen),
        scores={task: TaskScore(score.results, score.examples) for task, score in scores.items()},
        cost=cost,
        form=release.form,
    )
