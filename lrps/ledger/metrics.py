"""The metrics of a path in metrics.jsonl, one line per logged step, which trackers and charts are copies of."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

from lrps.base.tail import Tail

KEPT = 30
"""Number of logged steps that `RecentMetrics` keeps: enough for a small curve."""
_NEWEST_BYTES = 2**15
"""Size of the end of a file that is read at first: it contains more than KEPT lines."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of one logged step of a path."""

    step: int
    """Number of steps of the lineage up to this one."""
    tokens: int
    """Number of tokens of the lineage up to this step."""
    loss: float
    """Mean training loss, in nats per token, over the steps since the previous line."""
    lr: float
    """Learning rate of the last of these steps."""
    grad_norm: float | None
    """Gradient norm of the last of these steps, before clipping."""
    tokens_per_second: float


class MetricsWriter:
    """A writer that appends to metrics.jsonl; a resumed path writes lines for repeated steps again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - open during training
        if torn:
            self._file.write("\n")

    def write(self, metrics: Metrics) -> None:
        self._file.write(json.dumps(asdict(metrics)) + "\n")

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[Metrics]:
    """Return the metrics of a path in the order of steps.

    The last line of a repeated step counts; torn lines are left out.
    """
    if not path.exists():
        return []
    newest: dict[int, Metrics] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # A crash can tear a line.
            metrics = Metrics(**json.loads(line))
            newest[metrics.step] = metrics
    return [newest[step] for step in sorted(newest)]


@dataclass(frozen=True)
class RecentMetrics:
    """The last logged steps of a path, in the order of steps, from a file that may be long and still growing.

    The last line of a repeated step counts.
    """

    tail: Tail = field(default_factory=Tail)
    newest: tuple[Metrics, ...] = ()

    def refreshed(self, file: Path) -> RecentMetrics:
        """Return the metrics with the lines that are new in the file. Lines that are torn or invalid are left out."""
        tail, lines, restarted = self.tail.read(file, _NEWEST_BYTES)
        newest = [] if restarted else list(self.newest)
        for metrics in filter(None, map(_parsed, lines)):
            while newest and newest[-1].step >= metrics.step:
                newest.pop()  # A later attempt has repeated the step.
            newest.append(metrics)
        return RecentMetrics(tail, tuple(newest[-KEPT:]))


def _parsed(line: bytes) -> Metrics | None:
    try:
        metrics = Metrics(**json.loads(line))
        return metrics if isfinite(metrics.loss) and metrics.step >= 0 else None
    except (ValueError, TypeError):
        return None
