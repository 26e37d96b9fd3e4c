"""The newest lines of a metrics.jsonl that may be long, and may be growing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from lrps.base.tail import Tail
from lrps.ledger.metrics import Metrics

KEPT = 30
"""Logged steps that are kept: enough for a small curve."""
_NEWEST_BYTES = 2**15
"""Holds more than KEPT lines; what lies before is never read."""


@dataclass(frozen=True)
class RecentMetrics:
    """The last logged steps of a path, in the order of steps. Of a repeated step the last line counts."""

    tail: Tail = field(default_factory=Tail)
    newest: tuple[Metrics, ...] = ()

    def refreshed(self, file: Path) -> RecentMetrics:
        """As the file is now. A line that is torn or no metrics is left out."""
        tail, lines, restarted = self.tail.read(file, _NEWEST_BYTES)
        newest = [] if restarted else list(self.newest)
        for metrics in filter(None, map(_metrics, lines)):
            while newest and newest[-1].step >= metrics.step:
                newest.pop()  # trained again: what an earlier attempt had reached is lost
            newest.append(metrics)
        return RecentMetrics(tail, tuple(newest[-KEPT:]))


def _metrics(line: bytes) -> Metrics | None:
    try:
        metrics = Metrics(**json.loads(line))
        return metrics if isfinite(metrics.loss) and metrics.step >= 0 else None
    except (ValueError, TypeError):
        return None
