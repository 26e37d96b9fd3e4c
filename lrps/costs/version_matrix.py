"""The matrix of every version on every version's task, and the three means of it: AR, FWT and BWT (arXiv 2403.01244).

a_j^(i) is the score on the task of version j after version i. The means are the paper's whatever the score is, so their
signs follow it: of a loss, where lower is better, a backward transfer above 0 is forgetting; of a score where higher is
better, one below 0. A mean of which a term is missing is None, never that of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lrps.plan.scores import ROUGE_L

Scores = Mapping[tuple[str, str], float]
"""(after version i, on the task of version j) -> a_j^(i), as far as it was measured."""


@dataclass(frozen=True)
class Measure:
    """What a score is. title and unit for people; digits: decimals that are shown of it."""

    title: str
    unit: str
    higher_is_better: bool
    digits: int

    def shown(self, value: float, *, signed: bool = False) -> str:
        return f"{value:{'+' if signed else ''},.{self.digits}f}"


MEASURES: Mapping[str, Measure] = {
    "loss": Measure("held-out loss", "nats a token", False, 4),
    "perplexity": Measure("perplexity", "a token", False, 3),
    "bits_per_byte": Measure("bits per byte", "bits a byte of text", False, 4),
    ROUGE_L: Measure("ROUGE-L", "points", True, 2),
}


@dataclass(frozen=True)
class VersionMatrix:
    """versions: all, oldest first. tasks: those that have a task, in the same order."""

    versions: Sequence[str]
    tasks: Sequence[str]
    scores: Scores

    @cached_property
    def newest(self) -> str | None:
        """T: the newest version that was measured on the tasks of all versions up to its own."""
        whole = (version for version in reversed(self.versions) if self._known(self._last_row(version)) is not None)
        return next(whole, None)

    @property
    def average(self) -> float | None:
        """AR = mean_i a_i^(T)."""
        return None if self.newest is None else _mean(self._known(self._last_row(self.newest)))

    @property
    def forward_transfer(self) -> float | None:
        """FWT = 1/(T-1) sum_{i>=2} a_i^(i-1): the score on a task before its version's data came."""
        return _mean(self._known((before, version) for before, version in self._pairs() if version in self._so_far()))

    @property
    def backward_transfer(self) -> float | None:
        """BWT = 1/(T-1) sum_{i<T} (a_i^(T) - a_i^(i)): the change on older tasks since they were new."""
        older = [version for version in self._so_far() if version != self.newest]
        now, new = self._known((self.newest, v) for v in older), self._known((v, v) for v in older)
        if now is None or new is None:
            return None
        return _mean([last - first for last, first in zip(now, new, strict=True)])

    def _pairs(self) -> Iterable[tuple[str, str]]:
        return zip(self.versions, self.versions[1:], strict=False)

    def _so_far(self) -> list[str]:
        """The tasks of the versions up to T."""
        return [] if self.newest is None else self._up_to(self.newest)

    def _up_to(self, version: str) -> list[str]:
        seen = self.versions[: self.versions.index(version) + 1]
        return [task for task in self.tasks if task in seen]

    def _last_row(self, version: str) -> list[tuple[str, str]]:
        return [(version, task) for task in self._up_to(version)]

    def _known(self, cells: Iterable[tuple[str | None, str]]) -> list[float] | None:
        """The scores of these cells; None if there is no cell, or one was not measured."""
        found = [self.scores.get(cell) for cell in cells]  # type: ignore[arg-type]
        known = [score for score in found if score is not None]
        return known if known and len(known) == len(found) else None


def _mean(scores: Sequence[float] | None) -> float | None:
    return None if scores is None else math.fsum(scores) / len(scores)


def matrices(
    versions: Sequence[str], releases: Iterable[Mapping[str, Any]], tasks: Mapping[str, str | None]
) -> dict[str, dict[str, Any]]:
    """measure -> {title, unit, higher_is_better, scores: {version: {version of the task: score}}, after, average,
    forward_transfer, backward_transfer}, of every measure with a score.

    releases: those of a comparison. tasks: of instruction pairs -> the version that they belong to. `after` is T.
    Perplexity is exp(loss) of each cell: its means are means of perplexities. ROUGE-L of a version is the mean of its
    tasks, once all are scored.
    """
    releases = list(releases)
    found = {**_heldout(releases), ROUGE_L: _points(releases, tasks)}
    with_tasks = [version for version in versions if version in tasks.values()]
    return {
        measure: _described(measure, versions, with_tasks if measure == ROUGE_L else versions, found[measure])
        for measure in MEASURES
        if found[measure]
    }


def _heldout(releases: Iterable[Mapping[str, Any]]) -> dict[str, Scores]:
    losses, bits = (
        {(release["version"], on): heldout[key] for release in releases for on, heldout in release["heldout"].items()}
        for key in ("loss", "bits_per_byte")
    )
    perplexities = {cell: math.exp(loss) for cell, loss in losses.items() if loss < _TOO_LARGE}
    return {"loss": losses, "perplexity": perplexities, "bits_per_byte": bits}


def _points(releases: Iterable[Mapping[str, Any]], tasks: Mapping[str, str | None]) -> Scores:
    """ROUGE-L of the versions whose tasks are all scored."""
    found = {}
    for release in releases:
        for on in {version for version in tasks.values() if version is not None}:
            scored = [release["scores"].get(task) for task, version in tasks.items() if version == on]
            points = [each["results"][ROUGE_L]["value"] for each in scored if each is not None]
            if len(points) == len(scored):
                found[release["version"], on] = math.fsum(points) / len(points)
    return found


_TOO_LARGE = 700.0
"""exp() of a larger loss is no number."""


def _described(measure: str, versions: Sequence[str], tasks: Sequence[str], scores: Scores) -> dict[str, Any]:
    what = MEASURES[measure]
    matrix = VersionMatrix(versions, tasks, scores)
    rows = {i: {j: scores[i, j] for j in tasks if (i, j) in scores} for i in versions}
    return {
        "title": what.title,
        "unit": what.unit,
        "higher_is_better": what.higher_is_better,
        "scores": {version: row for version, row in rows.items() if row},
        "after": matrix.newest,
        "average": matrix.average,
        "forward_transfer": matrix.forward_transfer,
        "backward_transfer": matrix.backward_transfer,
    }
