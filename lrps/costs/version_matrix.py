"""Matrix of every version's score on every version's task, and its three means AR, FWT and BWT (arXiv 2403.01244).

a_j^(i) is the score on the task of version j after version i. The means are defined as in the paper for every score, so
their signs depend on it: for a loss, where lower is better, a backward transfer above 0 is forgetting; for a score
where higher is better, one below 0 is. Row 0 is the model that a plan starts from, if that was trained before; a fourth
mean, of the changes since then, is ours. A mean with a missing term is None, never the mean of the other terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lrps.plan.scores import ROUGE_L

Scores = Mapping[tuple[str, str], float]
"""Scores a_j^(i) by (after version i, on the task of version j), as far as they were measured."""


@dataclass(frozen=True)
class Measure:
    """Kind of score, and how it is shown to people."""

    title: str
    """Name for people."""
    unit: str
    """Unit for people."""
    higher_is_better: bool
    """True if a higher score is a better one."""
    digits: int
    """Number of decimals that are shown."""

    def shown(self, value: float, *, signed: bool = False) -> str:
        """Return a score as text; signed: with a plus sign in front of a positive one."""
        return f"{value:{'+' if signed else ''},.{self.digits}f}"


MEASURES: Mapping[str, Measure] = {
    "loss": Measure("held-out loss", "nats a token", False, 4),
    "perplexity": Measure("perplexity", "a token", False, 3),
    "bits_per_byte": Measure("bits per byte", "bits a byte of text", False, 4),
    ROUGE_L: Measure("ROUGE-L", "points", True, 2),
}


@dataclass(frozen=True)
class VersionMatrix:
    """Scores of every version on the task of every version that has one."""

    versions: Sequence[str]
    """Names of all versions, oldest first."""
    tasks: Sequence[str]
    """Names of the versions that have a task, oldest first."""
    scores: Scores
    """Scores, as far as they were measured."""
    initial: Mapping[str, float] = field(default_factory=dict)
    """Scores a_j^(0) of the model that the plan starts from, by task, as far as they were measured."""

    @cached_property
    def newest(self) -> str | None:
        """Version T: the newest version that was measured on the tasks of all versions up to its own."""
        whole = (version for version in reversed(self.versions) if self._known(self._last_row(version)) is not None)
        return next(whole, None)

    @property
    def average(self) -> float | None:
        """Average AR = mean_i a_i^(T)."""
        return None if self.newest is None else _mean(self._known(self._last_row(self.newest)))

    @property
    def forward_transfer(self) -> float | None:
        """Forward transfer FWT = 1/(T-1) sum_{i>=2} a_i^(i-1): the mean score on a task just before its data."""
        return _mean(self._known((before, version) for before, version in self._pairs() if version in self._so_far()))

    @property
    def backward_transfer(self) -> float | None:
        """Backward transfer BWT = 1/(T-1) sum_{i<T} (a_i^(T) - a_i^(i)): the mean change on older tasks."""
        older = [version for version in self._so_far() if version != self.newest]
        now, new = self._known((self.newest, v) for v in older), self._known((v, v) for v in older)
        if now is None or new is None:
            return None
        return _mean([last - first for last, first in zip(now, new, strict=True)])

    @property
    def change_since_initial(self) -> float | None:
        """Change 1/T sum_{i<=T} (a_i^(T) - a_i^(0)): the mean change since the model that the plan starts from."""
        tasks = self._so_far()
        now, first = self._known((self.newest, task) for task in tasks), [self.initial.get(task) for task in tasks]
        if now is None or None in first:
            return None
        return _mean([last - before for last, before in zip(now, first, strict=True) if before is not None])

    def _pairs(self) -> Iterable[tuple[str, str]]:
        return zip(self.versions, self.versions[1:], strict=False)

    def _so_far(self) -> list[str]:
        """Return the tasks of the versions up to T."""
        return [] if self.newest is None else self._up_to(self.newest)

    def _up_to(self, version: str) -> list[str]:
        seen = self.versions[: self.versions.index(version) + 1]
        return [task for task in self.tasks if task in seen]

    def _last_row(self, version: str) -> list[tuple[str, str]]:
        return [(version, task) for task in self._up_to(version)]

    def _known(self, cells: Iterable[tuple[str | None, str]]) -> list[float] | None:
        """Return the scores of these cells; None if there is no cell, or one was not measured."""
        found = [self.scores.get(cell) for cell in cells]  # type: ignore[arg-type]
        known = [score for score in found if score is not None]
        return known if known and len(known) == len(found) else None


def _mean(scores: Sequence[float] | None) -> float | None:
    return None if scores is None else math.fsum(scores) / len(scores)
