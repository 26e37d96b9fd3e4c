"""Forgetting matrices of a paradigm: its released versions on the held-out sets and tasks of all versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lrps.base.document import OPTIONAL
from lrps.costs.heldout_loss import HeldoutLoss
from lrps.costs.released_version import ReleasedVersion
from lrps.costs.version_matrix import MEASURES, Scores, VersionMatrix
from lrps.plan.initial_evaluation import INITIAL
from lrps.plan.scores import ROUGE_L

_LARGEST_LOSS = 700.0
"""Largest loss whose perplexity is still a float."""


@dataclass(frozen=True)
class ForgettingMatrix:
    """Scores of one measure by version and task, and their means (costs/version_matrix.py)."""

    title: str
    """Name of the measure."""
    unit: str
    """Unit of the scores."""
    higher_is_better: bool
    """True if a higher score is a better one."""
    scores: Mapping[str, Mapping[str, float]]
    """Scores by released version, then by the version of the held-out set or task, as far as they were measured."""
    after: str | None
    """Version T of the means: the newest one that was measured on all sets up to its own; null if there is none."""
    average: float | None
    """Average AR: the mean score of version T on the sets up to its own."""
    forward_transfer: float | None
    """Forward transfer FWT: the mean score on a version's set, of the version before it."""
    backward_transfer: float | None
    """Backward transfer BWT: the mean change of the score on older sets since their versions were new."""
    initial: Mapping[str, float] | None = field(metadata=OPTIONAL)
    """Row 0: scores of the model that the plan starts from, by the version of the held-out set; null if there are none,
    as where weights are drawn from the seed."""
    change_since_initial: float | None = field(metadata=OPTIONAL)
    """Mean change of the score from row 0 to version T, on the sets of all versions up to T."""


def forgetting_matrices(
    versions: Sequence[str],
    releases: Sequence[ReleasedVersion],
    tasks: Mapping[str, str | None],
    initial: Mapping[str, HeldoutLoss],
) -> dict[str, ForgettingMatrix]:
    """Return the matrix of every measure that has a score, by measure.

    versions: names of all versions, oldest first. tasks: version of each task; None for tasks of no version. initial:
    losses of the model that the plan starts from, by held-out version. Perplexity is exp(loss) of each cell: its means
    are means of perplexities. ROUGE-L of a version is the mean over its tasks, once all are scored; it has no row 0.
    """
    cells = {(release.version, on): heldout for release in releases for on, heldout in release.heldout.items()}
    found = {**_heldout_scores(cells), ROUGE_L: _task_scores(releases, tasks)}
    first = _heldout_scores({(INITIAL, on): heldout for on, heldout in initial.items()})
    with_tasks = [version for version in versions if version in tasks.values()]
    return {
        measure: _matrix(
            measure, versions, with_tasks if measure == ROUGE_L else versions, found[measure], first.get(measure, {})
        )
        for measure in MEASURES
        if found[measure] or first.get(measure)
    }


def _heldout_scores(cells: Mapping[tuple[str, str], HeldoutLoss]) -> dict[str, Scores]:
    return {
        "loss": {cell: heldout.loss for cell, heldout in cells.items()},
        "perplexity": {cell: math.exp(heldout.loss) for cell, heldout in cells.items() if heldout.loss < _LARGEST_LOSS},
        "bits_per_byte": {cell: heldout.bits_per_byte for cell, heldout in cells.items()},
    }


def _task_scores(releases: Iterable[ReleasedVersion], tasks: Mapping[str, str | None]) -> Scores:
    """Return ROUGE-L of the versions whose tasks are all scored."""
    found = {}
    for release in releases:
        for on in {version for version in tasks.values() if version is not None}:
            scores = [release.scores.get(task) for task, version in tasks.items() if version == on]
            points = [score.results[ROUGE_L].value for score in scores if score is not None]
            if len(points) == len(scores):
                found[release.version, on] = math.fsum(points) / len(points)
    return found


def _matrix(
    measure: str, versions: Sequence[str], tasks: Sequence[str], scores: Scores, initial: Scores
) -> ForgettingMatrix:
    kind = MEASURES[measure]
    row_0 = {on: initial[INITIAL, on] for on in tasks if (INITIAL, on) in initial}
    matrix = VersionMatrix(versions, tasks, scores, row_0)
    rows = {i: {j: scores[i, j] for j in tasks if (i, j) in scores} for i in versions}
    return ForgettingMatrix(
        title=kind.title,
        unit=kind.unit,
        higher_is_better=kind.higher_is_better,
        scores={version: row for version, row in rows.items() if row},
        after=matrix.newest,
        average=matrix.average,
        forward_transfer=matrix.forward_transfer,
        backward_transfer=matrix.backward_transfer,
        initial=row_0 or None,
        change_since_initial=matrix.change_since_initial,
    )
