"""Reads ledgers strictly and adds them up. A torn last line (the writer died) is tolerated, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lrps.errors import LedgerError
from lrps.ledger.records import FORMAT, KINDS, NO_LINE, Counters, Record, attempt_files, line_hash


def read_attempt(file: Path, previous: str | None = None) -> Iterator[Record]:
    """The records of one attempt, in order, in constant memory.

    previous: the hash that the first record must carry; None does not check it.
    Raises LedgerError with file and line for a line that is not the one that was written.
    """
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return  # torn: the writer died in this write
            record = _parse(line, f"{file}:{number}")
            if previous is not None and record.previous != previous:
                raise LedgerError(
                    f"{file}:{number}: this line does not follow the one before it: the ledger was changed after it "
                    "was written; restore the file from a copy"
                )
            if number == 1 and (record.kind != "start" or record.facts.get("format") != FORMAT):
                raise LedgerError(f"{file}:1: not the start of a ledger of format {FORMAT}")
            previous = line_hash(line)
            yield record


def _parse(line: bytes, where: str) -> Record:
    try:
        values = json.loads(line)
        record = Record(**{**values, "counters": Counters(**values["counters"])})
    except (ValueError, TypeError, KeyError) as error:
        raise LedgerError(f"{where}: not a record of the ledger ({error}); restore the file from a copy") from None
    if record.kind not in KINDS:
        raise LedgerError(f"{where}: unknown kind of record '{record.kind}'; read it with a newer lrps")
    if record.line() != line:
        raise LedgerError(f"{where}: this line was changed after it was written; restore the file from a copy")
    return record


def read_ledger(ledger_dir: Path) -> Iterator[Record]:
    """The records of all attempts of a path, oldest first, with the hash chain checked across attempts.

    A record is given out once the line after it has vouched for it; only the very last one has none.
    """
    previous = NO_LINE
    held: Record | None = None
    for file in attempt_files(ledger_dir):
        for record in read_attempt(file, previous):
            previous = line_hash(record.line())
            if held is not None:
                yield held
            held = record
    if held is not None:
        yield held


@dataclass
class Totals:
    """What a path really cost over all its attempts."""

    attempts: int = 0
    first_step: int | None = None
    """Lineage step at which the path began."""
    last_step: int = 0
    """Highest lineage step that any attempt reached."""
    spent: Counters = field(default_factory=Counters)
    """Sums over the attempts, repeated steps included."""
    device: str = "n/a"
    processes: int = 0
    state: str = "planned"
    """planned | running | interrupted | failed | complete, by the last record."""
    updated: str | None = None
    """Time of the last record."""

    @property
    def useful_steps(self) -> int:
        """Steps of the path that its attempts have reached, each counted once."""
        return 0 if self.first_step is None else self.last_step - self.first_step

    @property
    def repeated_steps(self) -> int:
        """Steps that were lost and trained again: waste."""
        return self.spent.steps - self.useful_steps

    @property
    def goodput(self) -> float | None:
        """Productive share of the device-seconds: training time of useful steps over all time held."""
        if not self.spent.allocated_seconds or not self.spent.steps:
            return None
        return self.spent.training_seconds / self.spent.allocated_seconds * self.useful_steps / self.spent.steps


_STATES = {"stop": "complete", "failure": "failed"}


def total(records: Iterable[Record]) -> Totals:
    """Add up the attempts of one path."""
    totals = Totals()
    closed = asdict(Counters())
    for record in records:
        if record.kind == "start":
            closed = asdict(totals.spent)
            totals.attempts += 1
            totals.device, totals.processes = record.facts["device"], record.facts["processes"]
            if totals.first_step != record.facts["path_start"]:
                # The first attempt, or one after attempts that saved nothing: until then a path may become another.
                totals.first_step = totals.last_step = record.facts["path_start"]
        totals.spent = Counters(**{key: closed[key] + value for key, value in asdict(record.counters).items()})
        totals.last_step = max(totals.last_step, record.step)
        totals.state = record.facts.get("outcome") or _STATES.get(record.kind, "running")
        totals.updated = record.time
    return totals


def until(records: Iterable[Record], stop: int) -> Iterator[Record]:
    """What of a ledger led to step `stop`: of every attempt the records up to it, of later attempts nothing.

    For a main path that has grown, or that goes further in another paradigm.
    """
    inside = False
    for record in records:
        if record.kind == "start":
            inside = record.step < stop or record.facts["path_start"] == stop
        inside = inside and record.step <= stop
        if inside:
            yield record


@dataclass(frozen=True)
class Evaluation:
    """Loss of a released state on one held-out set."""

    step: int
    heldout: str
    manifest_sha256: str
    loss: float
    """Nats per predicted token."""
    bits_per_byte: float
    rows: int
    tokens: int
    """Predicted tokens of these rows."""


def evaluations(records: Iterable[Record]) -> dict[tuple[int, str], Evaluation]:
    """(step, held-out version) -> the newest evaluation of it."""
    found = {}
    for record in records:
        if record.kind == "evaluation":
            facts: dict[str, Any] = {key: record.facts[key] for key in Evaluation.__annotations__ if key != "step"}
            found[record.step, facts["heldout"]] = Evaluation(step=record.step, **facts)
    return found
