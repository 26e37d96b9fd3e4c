"""Following a running graph from its files, on any host: every update reads only what was appended since the last.

Reads files only, and writes nothing. Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from lrps.base.locks import is_locked
from lrps.ledger.confirmed import SavedStates, saved_states
from lrps.ledger.metrics import RecentMetrics
from lrps.ledger.reader import FollowedLedger
from lrps.ledger.totals import Totals
from lrps.paths.graph import TrainingPath
from lrps.plan.parent_state import other_parent
from lrps.plan.plan import Plan
from lrps.plan.recovery import saved_steps, states_with_child
from lrps.plan.status import Findings, PathStatus, is_foreign, status_of
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class _Read:
    """The content of a path's directory as of the last update."""

    ledger: FollowedLedger = field(default_factory=FollowedLedger)
    metrics: RecentMetrics = field(default_factory=RecentMetrics)
    changed: tuple[int | None, ...] | None = None
    """Values that change whenever the checkpoints do; None before the first update."""
    on_disk: frozenset[int] = frozenset()
    foreign: bool = False
    other_parent: str | None = None

    def refreshed(self, plan: Plan, path: TrainingPath) -> _Read:
        """Return the content with what was appended since. Raises OSError if files cannot be read."""
        layout = plan.layout.path(path.name)
        ledger, metrics = self.ledger.refreshed(layout.ledger), self.metrics.refreshed(layout.metrics)
        # Read after the ledger, as records are written after checkpoints.
        parents = () if path.parent is None else (plan.layout.path(path.parent.path),)
        changed = _changed(layout, parents, ledger)
        if changed == self.changed:
            return replace(self, ledger=ledger, metrics=metrics)
        on_disk = frozenset(saved_steps(layout))
        other = other_parent(plan, path, ledger.records) if on_disk else None
        return _Read(ledger, metrics, changed, on_disk, is_foreign(plan, path), other)

    def findings(self, states: SavedStates) -> Findings:
        """Return the content as far as the status of the path depends on it. states: its saved states."""
        saved = max(self.on_disk, default=None)
        recent = self.metrics.newest
        return Findings(self.foreign, saved, self.ledger.records, recent, self.other_parent, states, self.on_disk)


def _changed(layout: PathLayout, parents: Iterable[PathLayout], ledger: FollowedLedger) -> tuple[int | None, ...]:
    """Return values that change whenever the checkpoints of a path or of its parent do.

    Checkpoints appear and disappear by a rename, which changes the time of the directory. The number of records helps
    on file systems whose times are coarse.
    """
    folders = [folder for each in (layout, *parents) for folder in (each.checkpoints, each.branch_points)]
    times = (_mtime_ns(file) for file in (*folders, layout.path_json))
    return (*times, len(ledger.records))


def _mtime_ns(file: os.PathLike[str]) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except FileNotFoundError:
        return None


class Follower:
    """A reader of the status of all paths of a plan that can be called repeatedly."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._read = {path.name: _Read() for path in plan.graph.paths}
        self._last: dict[str, PathStatus] = {}

    def look(self) -> tuple[PathStatus, ...]:
        """Return the current status of every path, parents before children.

        Files that are torn, damaged, gone or unreachable raise no error: `trouble` describes them, and the rest of the
        status is the last one known.
        """
        return tuple(self._status(path) for path in self.plan.graph.paths)

    def _refreshed(self, path: TrainingPath) -> _Read:
        read = self._read[path.name] = self._read[path.name].refreshed(self.plan, path)
        return read

    def _states(self, path: TrainingPath, read: _Read) -> SavedStates:
        """Return the saved states of a path, with what its children show of them."""
        states = saved_states(read.ledger.records)
        for child in self.plan.graph.children(path.name):
            if child.start in states.unproven:
                shown = saved_states(self._refreshed(child).ledger.records)
                states = states_with_child(states, child, shown)
        return states

    def _status(self, path: TrainingPath) -> PathStatus:
        try:
            locked = is_locked(self.plan.layout.path(path.name).directory)
            read = self._refreshed(path)
            findings = read.findings(self._states(path, read))
            status = replace(status_of(self.plan, path, findings, locked), trouble=read.ledger.damage)
        except OSError as error:
            before = self._last.get(path.name, PathStatus(path, "planned", path.start, Totals(), {}, path.start))
            status = replace(before, trouble=f"cannot be read now: {error}")
        self._last[path.name] = status
        return status
