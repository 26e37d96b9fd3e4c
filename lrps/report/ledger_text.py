"""Ledgers of a run for people and programs: whether they are intact, their totals, and their records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrps.base.numbers import amount, count, device_time, ratio, short
from lrps.ledger.check import FileCheck
from lrps.ledger.records import Record
from lrps.ledger.totals import Totals
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import print_table

LedgerRecord = tuple[str, int, Record]
"""Path of a record, empty for the run's own ledger; attempt; the record."""


def check_document(run_dir: Path, checks: Sequence[FileCheck], metrics_faults: Sequence[str]) -> dict[str, Any]:
    """Return the checked files of a run as JSON values; the path of the run's own ledger is empty."""
    shown = ("path", "records", "kinds", "torn", "last_sha256", "fault", "clock_set_back")
    files = [
        {"file": str(check.file.relative_to(run_dir)), **{key: getattr(check, key) for key in shown}}
        for check in checks
    ]
    ok = not (metrics_faults or any(check.fault for check in checks))
    return {"run_dir": str(run_dir), "ok": ok, "files": files, "metrics_faults": list(metrics_faults)}


def print_check(run_dir: Path, checks: Sequence[FileCheck], metrics_faults: Sequence[str]) -> None:
    """Print a row for each file, the first fault of every damaged one, and what is wrong with the metrics."""
    print_table(check_table(run_dir, checks))
    for check in checks:
        if check.clock_set_back:
            print(f"{check.file}: a clock was set back; its times are corrected by the time of its steps")
    faults = [*(check.fault for check in checks if check.fault), *metrics_faults]
    for fault in faults:
        print(fault)
    if not faults:
        print(
            f"{sum(check.records for check in checks):,} records in {len(checks)} files, every line as it was written."
        )


def check_table(run_dir: Path, checks: Sequence[FileCheck]) -> Table:
    """Return the checked files of a run as a table."""
    columns = (
        text_column("file"),
        text_column("state"),
        text_column("last line"),
        Column("records", count),
        Column("ends with", lambda sha256: str(sha256)[:12]),
    )
    rows = (
        (
            str(check.file.relative_to(run_dir)),
            "DAMAGED" if check.fault else "intact",
            "torn" if check.torn else "complete",
            check.records,
            check.last_sha256,
        )
        for check in checks
    )
    return Table(str(run_dir), columns, tuple(rows))


def totals_document(run_dir: Path, totals: Mapping[str, Totals]) -> dict[str, Any]:
    """Return the totals of every path of a run as JSON values."""
    return {"run_dir": str(run_dir), "paths": [_totals(path, each) for path, each in totals.items()]}


def _totals(path: str, totals: Totals) -> dict[str, Any]:
    spent = totals.spent
    return {
        "name": path,
        "state": totals.state,
        "attempts": totals.attempts,
        "device": totals.device,
        "processes": totals.processes,
        "first_step": totals.first_step,
        "last_step": totals.last_step,
        "repeated_steps": totals.repeated_steps,
        "skipped": totals.skipped.to_json(),
        "spikes": totals.spikes.to_json(),
        "tokens": {
            "all": spent.tokens,
            "unique": totals.unique_tokens,
            "replayed": spent.replayed_tokens,
            "rehearsal": spent.rehearsal_tokens,
            "repeated": spent.repeated_tokens,
            "skipped": totals.skipped_unique_tokens,
        },
        "flops": spent.flops,
        "device_hours": spent.allocated_seconds / 3600,
        "device_hours_by_use": {use: seconds / 3600 for use, seconds in totals.uses.items()},
        "goodput": totals.goodput,
        "money": totals.money,
        "currency": totals.currency,
        "energy_kwh": _energy_kwh(totals),
        "updated": totals.updated,
    }


def _energy_kwh(totals: Totals) -> float | None:
    joules = totals.spent.energy_joules
    return None if joules is None else joules / 3.6e6


def print_totals(run_dir: Path, totals: Mapping[str, Totals]) -> None:
    """Print what every path trained, and where its device time went."""
    print_table(steps_table(run_dir, totals))
    print_table(device_time_table(totals))


def steps_table(run_dir: Path, totals: Mapping[str, Totals]) -> Table:
    """Return the attempts, steps and tokens of every path as a table."""
    noticed = any(each.skipped or each.spikes for each in totals.values())
    columns = (
        text_column("path"),
        text_column("state"),
        Column("attempts", count),
        Column("steps"),
        Column("repeated", count, priority=1),
        *((Column("skipped", count), Column("spikes", count)) if noticed else ()),
        Column("tokens", short),
        Column("unique", short, priority=1),
        Column("replayed", short, priority=1),
        Column("rehearsal", short, priority=2),
    )
    rows = (
        (
            *(path, each.state, each.attempts, f"{count(each.first_step)} .. {count(each.last_step)}"),
            each.repeated_steps,
            *((len(each.skipped), len(each.spikes)) if noticed else ()),
            *(each.spent.tokens, each.unique_tokens),
            *(each.spent.replayed_tokens, each.spent.rehearsal_tokens),
        )
        for path, each in totals.items()
    )
    return Table(str(run_dir), columns, tuple(rows))


def device_time_table(totals: Mapping[str, Totals]) -> Table:
    """Return the allocated device time of every path by use, and its price and energy, as a table."""
    uses = list(dict.fromkeys(use for each in totals.values() for use in each.uses))
    columns = (
        text_column("path"),
        Column("allocated", device_time),
        *(Column(use, device_time, priority=1) for use in uses),
        Column("goodput", ratio),
        Column("money", priority=2),
        Column("kWh", amount, priority=3),
    )
    rows = (
        (
            *(path, each.spent.allocated_seconds / 3600),
            *(each.uses.get(use, 0.0) / 3600 for use in uses),
            *(each.goodput, _money(each), _energy_kwh(each)),
        )
        for path, each in totals.items()
    )
    return Table("device time", columns, tuple(rows))


def _money(totals: Totals) -> str | None:
    return None if totals.money is None else f"{amount(totals.money)} {totals.currency}"


def records_document(records: Iterable[LedgerRecord]) -> list[dict[str, Any]]:
    """Return records as JSON values."""
    return [
        {"path": path, "attempt": attempt, **record._asdict(), "counters": asdict(record.counters)}
        for path, attempt, record in records
    ]


def last_records(records: Iterable[LedgerRecord], number: int) -> Sequence[LedgerRecord]:
    """Return the last records, at most `number`."""
    return deque(records, number)


def records_table(records: Iterable[LedgerRecord]) -> Table:
    """Return records as a table, with their facts as they are written."""
    columns = (
        text_column("path"),
        Column("attempt", priority=2),
        text_column("time (UTC)", priority=1),
        text_column("kind"),
        Column("step", count),
        Column("device time", device_time, priority=1),
        text_column("facts", wraps=True),
    )
    rows = (
        (
            *(path or "(run)", attempt, record.time[:19].replace("T", " "), record.kind, record.step),
            *(record.counters.allocated_seconds / 3600, _facts(record.facts)),
        )
        for path, attempt, record in records
    )
    return Table("records", columns, tuple(rows))


def _facts(facts: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{key}={value}" for key, value in facts.items() if not isinstance(value, dict | list) and value is not None
    )
