"""The metrics of a path in metrics.jsonl, one line per logged step, which trackers and charts are copies of.

Between them are lines with the held-out losses of evaluated states (lrps/ledger/heldout_metrics.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

from lrps.base.errors import LedgerError
from lrps.base.files import regular_file
from lrps.base.foreign_json import bounded_lines, parse_json
from lrps.base.line_file import LineFile
from lrps.base.tail import Tail
from lrps.ledger.heldout_metrics import HeldoutMetrics

KEPT = 30
"""Number of logged steps that `RecentMetrics` keeps: enough for a small curve."""
_REWIND = "rewound_to"
"""Only key of a line that is no metrics: it says that the path was taken back."""
_NEWEST_BYTES = 2**15
"""Size of the end of a file that is read at first: it contains more than KEPT logged steps."""


@dataclass(frozen=True, slots=True)
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
    """A writer that appends to metrics.jsonl; a resumed path writes lines for repeated steps again.

    Raises LedgerError if the file cannot be written. After a failed write nothing more is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = LineFile(path, "a")

    def write(self, metrics: Metrics) -> None:
        with self._writing():
            self._file.append((json.dumps(asdict(metrics)) + "\n").encode())

    def write_heldout(self, heldout: HeldoutMetrics) -> None:
        """Write the held-out losses of a state, which the ledger has already."""
        with self._writing():
            self._file.append(heldout.to_line())

    def rewind(self, step: int) -> None:
        """Write that the path was taken back to lineage step `step`: earlier lines of later steps no longer count.

        Idempotent: nothing is written if that is the last line.
        """
        line = (json.dumps({_REWIND: step}) + "\n").encode()
        with self._writing():
            if not self._path.read_bytes().endswith(line):
                self._file.append(line)

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LedgerError(f"{self._path}: cannot write the metrics: {error}; free space, then rerun") from None


def rewound_to(line: bytes) -> int | None:
    """Return the lineage step that a path was taken back to, of a line that says so; None for any other line."""
    if _REWIND.encode() not in line:
        return None
    try:
        values = parse_json(line, "metrics")
    except ValueError:
        return None
    step = values.get(_REWIND) if len(values) == 1 else None
    return step if type(step) is int else None


def parse_metrics(line: bytes) -> Metrics:
    """Return the metrics of a line. Raises ValueError for a line that `MetricsWriter` cannot have written."""
    try:
        metrics = Metrics(**parse_json(line, "the line"))
    except (ValueError, TypeError) as error:
        raise ValueError(f"no metrics of a step ({error})") from None
    whole = type(metrics.step) is int and type(metrics.tokens) is int and metrics.step >= 0
    numbers = (metrics.loss, metrics.lr, metrics.tokens_per_second, metrics.grad_norm or 0.0)
    if not (whole and all(type(number) in (int, float) for number in numbers)):
        raise ValueError("no metrics of a step (values of another type)")
    return metrics


def read_metrics(path: Path) -> list[Metrics]:
    """Return the metrics of a path in the order of steps, without lines that are torn or damaged.

    The last line of a repeated step counts. `lrps ledger verify` reports damaged lines.
    """
    newest: dict[int, Metrics] = {}
    with suppress(FileNotFoundError), open(path, "rb", opener=regular_file) as lines:
        for line in bounded_lines(lines, str(path)):
            if (to := rewound_to(line)) is not None:
                newest = {step: metrics for step, metrics in newest.items() if step <= to}
                continue
            with suppress(ValueError):
                metrics = parse_metrics(line)
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
        for line in lines:
            to, metrics = rewound_to(line), _parsed(line)
            # A later attempt has repeated the step, or a rewind has abandoned it.
            last = to if to is not None else metrics.step - 1 if metrics is not None else None
            while last is not None and newest and newest[-1].step > last:
                newest.pop()
            if metrics is not None:
                newest.append(metrics)
        return RecentMetrics(tail, tuple(newest[-KEPT:]))


def _parsed(line: bytes) -> Metrics | None:
    """Return the metrics of a line; None if it has none, or a loss that cannot be drawn."""
    try:
        metrics = parse_metrics(line)
    except ValueError:
        return None
    return metrics if isfinite(metrics.loss) else None
