"""The check of all ledgers of a run: every line, and that parents have trained up to every fork."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import tee
from math import inf
from pathlib import Path

from lrps.base.errors import LedgerError
from lrps.base.files import located, regular_file
from lrps.ledger.reader import read_attempt
from lrps.ledger.records import NO_LINE, Counters, Record, attempt_files
from lrps.ledger.set_back_clocks import without_decreases


@dataclass(frozen=True)
class FileCheck:
    """The result of the check of one attempt's file."""

    path: str
    file: Path
    records: int
    kinds: dict[str, int]
    torn: bool
    """True if the last line is incomplete because the writer was killed, which is no fault."""
    reached: int
    """Highest step of any record."""
    parent: tuple[str, int] | None
    """Path and step that the attempt's path forked from."""
    last_sha256: str
    """Hash of the last whole line: a copy of it proves later that nothing was cut off at the end."""
    fault: str | None = None
    """Description of the first line that was changed, or of sums that do not add up; None if there is none."""
    clock_set_back: bool = False
    """True if times decrease, because a clock was set back, which is no fault. Readers correct them."""


def ledger_dirs(run_dir: Path) -> dict[str, Path]:
    """Return path -> folder of its ledger, for every path that has one; "" is the run's own ledger."""
    found = sorted(run_dir.glob("[!.]*/ledger"))
    own = run_dir / "ledger"
    return {**({"": own} if attempt_files(own) else {}), **{each.parent.name: each for each in found}}


def check_run(run_dir: Path) -> tuple[FileCheck, ...]:
    """Check every ledger of a run, in the order of paths and attempts, each file in constant memory.

    Raises LedgerError if there is none.
    """
    directories = ledger_dirs(run_dir)
    if not directories:
        raise LedgerError(f"{located(run_dir)} holds no ledger: give the directory of a run, or its config file")
    checks = [check for path, directory in directories.items() for check in _check_ledger(path, directory)]
    checks += [_lost(directory) for directory in _without_ledger(run_dir)]
    reached: dict[str, float] = {}
    for check in checks:  # The last step in a damaged file is not known.
        reached[check.path] = max(inf if check.fault else check.reached, reached.get(check.path, 0))
    return tuple(check if check.fault else replace(check, fault=_fork_fault(check, reached)) for check in checks)


def _without_ledger(run_dir: Path) -> list[Path]:
    """Return the directories of paths that were trained and have no ledger."""
    traces = ("checkpoints/step-*", "branch_points/step-*", "metrics.jsonl")
    trained = {
        run_dir / found.relative_to(run_dir).parts[0] for trace in traces for found in run_dir.glob(f"*/{trace}")
    }
    return sorted(directory for directory in trained if not attempt_files(directory / "ledger"))


def _lost(directory: Path) -> FileCheck:
    what = f"{directory}: was trained and has no ledger; restore it from a copy, or its cost is missing"
    return FileCheck(directory.name, directory / "ledger", 0, {}, False, 0, None, NO_LINE, what)


def _fork_fault(check: FileCheck, reached: Mapping[str, float]) -> str | None:
    if check.parent is None:
        return None
    parent, step = check.parent
    if parent not in reached:
        return f"{check.file}:1: forked from {parent}, whose ledger is not here; copy it too, or its cost is missing"
    if reached[parent] < step:
        return f"{check.file}:1: forked from {parent} at step {step}, whose ledger ends at step {reached[parent]}"
    return None


def _check_ledger(path: str, ledger_dir: Path) -> Iterator[FileCheck]:
    """Check the files of a path. After a damaged file the next one is checked from its own first line."""
    previous: str | None = NO_LINE
    for file in attempt_files(ledger_dir):
        checked = _check_file(path, file, previous)
        # The last hash of a damaged file is not known; a file without a whole line does not change it.
        previous = None if checked.fault else checked.last_sha256 if checked.records else previous
        yield checked


def _check_file(path: str, file: Path, previous: str | None) -> FileCheck:
    kinds, last, reached, fault, set_back = Counter[str](), previous or NO_LINE, 0, None, False
    parent: tuple[str, int] | None = None
    before: Record | None = None
    try:
        written, to_correct = tee(read_attempt(file, previous))
        for number, (stated, record) in enumerate(
            zip(written, without_decreases(to_correct, apart=inf), strict=True), 1
        ):
            set_back = set_back or stated is not record
            _check_order(record, before, f"{file}:{number}")
            if record.kind == "start" and (fork := record.facts.get("parent")):
                parent = fork["path"], fork["step"]
            kinds[record.kind] += 1
            before, last, reached = record, record.sha256, max(reached, record.step)
    except LedgerError as error:
        fault = str(error)
    return FileCheck(path, file, kinds.total(), dict(kinds), _is_torn(file), reached, parent, last, fault, set_back)


def _is_torn(file: Path) -> bool:
    with open(file, "rb", opener=regular_file) as lines:
        if not lines.seek(0, os.SEEK_END):
            return False
        lines.seek(-1, os.SEEK_END)
        return lines.read(1) != b"\n"


def _check_order(record: Record, before: Record | None, where: str) -> None:
    """Raise LedgerError if counters decrease, or if parts add up to more than the whole."""
    now = record.counters
    if before is not None and any(getattr(now, name) < getattr(before.counters, name) for name in _GROWING):
        raise LedgerError(f"{where}: its counters are less than in the line before; restore the file from a copy")
    if now.unique_tokens < 0 or now.repeated_steps > now.steps or now.busy_seconds > _tolerated(now.allocated_seconds):
        raise LedgerError(f"{where}: parts of tokens, steps or seconds are more than all; restore the file from a copy")


def _tolerated(allocated_seconds: float) -> float:
    """Return the largest sum of parts that is accepted: the whole is by the system clock, which may be adjusted."""
    return 1.02 * allocated_seconds + 2.0


_GROWING = tuple(field.name for field in fields(Counters) if field.name != "energy_joules")
