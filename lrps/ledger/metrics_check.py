"""The check of metrics.jsonl against the ledger of its path, which has the step and loss of every logged step too."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lrps.base.errors import LedgerError
from lrps.base.files import regular_file
from lrps.base.foreign_json import bounded_lines
from lrps.ledger.check import ledger_dirs
from lrps.ledger.heldout_metrics import Evaluated, HeldoutMetrics, parse_heldout, recorded_evaluations
from lrps.ledger.metrics import parse_metrics, rewound_to
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record

_SHOWN = 3
"""Number of damaged lines that a fault names."""
_AHEAD = 64
"""Number of heartbeats among which that of a line is looked for, if lines before it are missing."""


class _Heartbeat(NamedTuple):
    attempt: int
    step: int
    loss: float


def metrics_faults(run_dir: Path) -> tuple[str, ...]:
    """Return what is wrong with the metrics of the paths of a run, for every path with an intact ledger."""
    faults = []
    for path, ledger_dir in ledger_dirs(run_dir).items():
        file = ledger_dir.parent / "metrics.jsonl"
        with suppress(LedgerError):  # `check_run` reports it.
            if path and (file.exists() or any(_heartbeats(read_ledger(ledger_dir)))):
                faults.append(_fault(file, ledger_dir))
    return tuple(fault for fault in faults if fault)


def _fault(file: Path, ledger_dir: Path) -> str | None:
    try:
        return metrics_fault(file, ledger_dir)
    except OSError as error:
        return f"{file}: cannot be read ({error.strerror}); restore it from a copy, or curves lack its steps"


def metrics_fault(file: Path, ledger_dir: Path) -> str | None:
    """Return the first lines of a metrics.jsonl that differ from the heartbeats of its ledger; None if none does.

    Memory grows with the number of evaluations only. A torn last line is no fault: the writer was killed. Lines of
    steps are written before their heartbeats, so that the last ones of an attempt may have none. The next attempt
    trains these steps again, with equal losses: its heartbeats then have two lines each. Held-out losses are written
    after their records, so that each has one; a file of an earlier version of lrps has none. Raises LedgerError for a
    damaged ledger, OSError if the file cannot be read.
    """
    ahead = _Ahead(_heartbeats(read_ledger(ledger_dir)))
    faults: list[str] = []
    heldout: dict[int, HeldoutMetrics] = {}
    with open(file, "rb", opener=regular_file) as lines:
        for number, line in enumerate(bounded_lines(lines, str(file)), 1):
            if not line.endswith(b"\n") or line.isspace() or rewound_to(line) is not None:
                continue
            if (found := parse_heldout(line)) is not None:
                heldout[number] = found
                continue
            try:
                metrics = parse_metrics(line)
            except ValueError as error:
                faults.append(f"{file}:{number}: {error}")
                continue
            taken = ahead.take(metrics.step, metrics.loss) or ahead.was_taken(metrics.step, metrics.loss)
            if not (taken or ahead.at_end_of_attempt):
                faults.append(f"{file}:{number}: the ledger has no step {metrics.step} with a loss of {metrics.loss:g}")
    if missing := ahead.count_missing():
        faults.append(f"{file}: {missing} logged steps of the ledger have no whole line; restore the file from a copy")
    if heldout:  # The ledger is read after the lines, each of which was written after its records.
        known = recorded_evaluations(read_ledger(ledger_dir))
        faults += _unknown_evaluations(file, heldout, known)
    hidden = len(faults) - _SHOWN
    return ("\n".join(faults[:_SHOWN]) + (f"\n{file}: {hidden} more" if hidden > 0 else "")) or None


def _unknown_evaluations(
    file: Path, heldout: Mapping[int, HeldoutMetrics], known: Collection[Evaluated]
) -> Iterator[str]:
    """Yield a fault for each line of held-out losses that has one which is not known. heldout: by number of line."""
    for number, line in heldout.items():
        if unknown := sorted(
            name for step, name, form, loss in line.evaluated if (step, name, form, loss) not in known
        ):
            sets = ", ".join(unknown)
            yield f"{file}:{number}: the ledger has no such evaluation of step {line.step} on {sets}"


def _heartbeats(records: Iterable[Record]) -> Iterator[_Heartbeat]:
    attempt = 0
    for record in records:
        attempt += record.kind == "start"
        if record.kind == "heartbeat":
            yield _Heartbeat(attempt, record.step, record.facts.get("loss", 0.0))


class _Ahead:
    """The heartbeats that no line was found for yet."""

    def __init__(self, heartbeats: Iterator[_Heartbeat]) -> None:
        self._source = heartbeats
        self._next: deque[_Heartbeat] = deque(islice(heartbeats, _AHEAD))
        self._taken: deque[tuple[int, float]] = deque(maxlen=_AHEAD)
        self._attempt = 1
        self._missing = 0

    @property
    def at_end_of_attempt(self) -> bool:
        """Whether every heartbeat of the attempt of the last line that was found is taken."""
        return not self._next or self._next[0].attempt != self._attempt

    def take(self, step: int, loss: float) -> bool:
        """Take the heartbeat of a line, with those before it, which have no line; False if there is none."""
        for passed, beat in enumerate(self._next):
            if (beat.step, beat.loss) == (step, loss):
                self._missing += passed
                self._attempt = beat.attempt
                self._taken.append((step, loss))
                for _ in range(passed + 1):
                    self._next.popleft()
                self._next.extend(islice(self._source, passed + 1))
                return True
        return False

    def was_taken(self, step: int, loss: float) -> bool:
        """Return True if one of the last heartbeats that lines were found for has this step and loss."""
        return (step, loss) in self._taken

    def count_missing(self) -> int:
        """Return the number of heartbeats without a line, and read the rest of them."""
        return self._missing + len(self._next) + sum(1 for _ in self._source)
