"""Follows a running graph from its files, from any host: every look reads what was written since the last one.

Nothing but files is read, and nothing is written. Imports no torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from lrps.base.locks import is_locked
from lrps.ledger.metrics import RecentMetrics
from lrps.ledger.reader import FollowedLedger
from lrps.ledger.totals import Totals
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import Findings, PathStatus, is_foreign, saved_step, status_of
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class _Read:
    """What has been read of a path's directory."""

    ledger: FollowedLedger = field(default_factory=FollowedLedger)
    metrics: RecentMetrics = field(default_factory=RecentMetrics)
    changed: tuple[int | None, ...] | None = None
    """By what a change of the checkpoints is known; None while nobody has looked."""
    saved: int | None = None
    foreign: bool = False

    def refreshed(self, plan: Plan, path: TrainingPath) -> _Read:
        """As the files are now. OSError if they cannot be read."""
        layout = plan.layout.path(path.name)
        ledger, metrics = self.ledger.refreshed(layout.ledger), self.metrics.refreshed(layout.metrics)
        # Later than the ledger, as it is written: what a record says is saved is there.
        changed = _changed(layout, ledger)
        if changed == self.changed:
            return _Read(ledger, metrics, changed, self.saved, self.foreign)
        return _Read(ledger, metrics, changed, saved_step(layout), is_foreign(plan, path))


def _changed(layout: PathLayout, ledger: FollowedLedger) -> tuple[int | None, ...]:
    """A checkpoint comes and goes by a rename, which changes its directory's time, and is recorded afterwards, which
    tells where times are coarse."""
    times = (_mtime_ns(file) for file in (layout.checkpoints, layout.branch_points, layout.path_json))
    return (*times, len(ledger.records))


def _mtime_ns(file: os.PathLike[str]) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except FileNotFoundError:
        return None


class Follower:
    """Looks at the paths of a plan again and again."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._read = {path.name: _Read() for path in plan.graph.paths}
        self._last: dict[str, PathStatus] = {}

    def look(self) -> tuple[PathStatus, ...]:
        """The status of every path now, parents before children. Raises nothing for files that are torn, damaged,
        gone or out of reach: such a status says so in `trouble`, and is otherwise what was known before."""
        return tuple(self._status(path) for path in self.plan.graph.paths)

    def _status(self, path: TrainingPath) -> PathStatus:
        try:
            locked = is_locked(self.plan.layout.path(path.name).directory)
            read = self._read[path.name] = self._read[path.name].refreshed(self.plan, path)
            findings = Findings(read.foreign, read.saved, read.ledger.records, read.metrics.newest)
            status = replace(status_of(self.plan, path, findings, locked), trouble=read.ledger.damage)
        except OSError as error:
            before = self._last.get(path.name, PathStatus(path, "planned", path.start, Totals(), {}, path.start))
            status = replace(before, trouble=f"cannot be read now: {error}")
        self._last[path.name] = status
        return status
