"""Ledgers as JSON documents and as tables: whether they are whole, what they add up to, and their records."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, amount, count, ratio, short
from lrps.ledger.check import FileCheck
from lrps.ledger.records import Record
from lrps.ledger.totals import Totals
from lrps.report.text import print_table


def check_document(run_dir: Path, checks: Sequence[FileCheck]) -> dict[str, Any]:
    """`ok` and `files`: path ("" is the run itself), file, records, kinds, torn, last_sha256, fault."""
    shown = ("path", "records", "kinds", "torn", "last_sha256", "fault")
    files = [
        {"file": str(check.file.relative_to(run_dir)), **{key: getattr(check, key) for key in shown}}
        for check in checks
    ]
    return {"run_dir": str(run_dir), "ok": not any(check.fault for check in checks), "files": files}


def print_check(document: Mapping[str, Any]) -> None:
    """A line a file; then the first fault of every damaged one."""
    files = document["files"]
    rows = (
        (
            each["file"],
            "DAMAGED" if each["fault"] else "whole",
            "torn" if each["torn"] else "whole",
            count(each["records"]),
            each["last_sha256"][:12],
        )
        for each in files
    )
    print_table(document["run_dir"], ("file", "", "last line", "records", "ends with"), rows, left=3)
    for each in files:
        if each["fault"]:
            print(each["fault"])
    if document["ok"]:
        print(
            f"{sum(each['records'] for each in files):,} records in {len(files)} files, every line as it was written."
        )


def totals_document(run_dir: Path, totals: Mapping[str, Totals]) -> dict[str, Any]:
    """`paths`: name, attempts, state, steps, tokens by kind, device-hours by use, goodput, money, energy_kwh."""
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
        "tokens": {
            "all": spent.tokens,
            "unique": spent.unique_tokens,
            "replayed": spent.replayed_tokens,
            "rehearsal": spent.rehearsal_tokens,
            "repeated": spent.repeated_tokens,
        },
        "flops": spent.flops,
        "device_hours": spent.allocated_seconds / 3600,
        "device_hours_by_use": {use: seconds / 3600 for use, seconds in totals.uses.items()},
        "goodput": totals.goodput,
        "money": totals.money,
        "currency": totals.currency,
        "energy_kwh": None if spent.energy_joules is None else spent.energy_joules / 3.6e6,
        "updated": totals.updated,
    }


def print_totals(document: Mapping[str, Any]) -> None:
    """What every path has cost, and where its device-hours went."""
    paths = document["paths"]
    columns = ("path", "state", "attempts", "steps", "repeated", "tokens", "unique", "replayed", "rehearsal")
    rows = (
        (
            each["name"],
            each["state"],
            count(each["attempts"]),
            f"{count(each['first_step'])} .. {count(each['last_step'])}",
            count(each["repeated_steps"]),
            *(short(each["tokens"][kind]) for kind in ("all", "unique", "replayed", "rehearsal")),
        )
        for each in paths
    )
    print_table(document["run_dir"], columns, rows, left=2)
    uses = list(dict.fromkeys(use for each in paths for use in each["device_hours_by_use"]))
    hours = (
        (
            each["name"],
            amount(each["device_hours"]),
            *(amount(each["device_hours_by_use"].get(use, 0.0)) for use in uses),
            *(ratio(each["goodput"]), _money(each), amount(each["energy_kwh"])),
        )
        for each in paths
    )
    print_table("device-hours", ("path", "all", *uses, "goodput", "money", "kWh"), hours)


def _money(path: Mapping[str, Any]) -> str:
    return NOT_APPLICABLE if path["money"] is None else f"{amount(path['money'])} {path['currency']}"


def records_document(records: Iterable[tuple[str, int, Record]], last: int) -> list[dict[str, Any]]:
    """The last records of these: path, attempt and what the line says."""
    return [
        {"path": path, "attempt": attempt, **record._asdict(), "counters": asdict(record.counters)}
        for path, attempt, record in deque(records, last)
    ]


def print_records(documents: Sequence[Mapping[str, Any]]) -> None:
    """A line a record, with its facts as they are."""
    rows = (
        (
            each["path"] or "(run)",
            str(each["attempt"]),
            each["time"][:19].replace("T", " "),
            each["kind"],
            count(each["step"]),
            amount(each["counters"]["allocated_seconds"] / 3600),
            _facts(each["facts"]),
        )
        for each in documents
    )
    print_table("records", ("path", "attempt", "time (UTC)", "kind", "step", "device-hours", "facts"), rows, left=4)


def _facts(facts: Mapping[str, Any]) -> str:
    flat = (
        f"{key}={value}" for key, value in facts.items() if not isinstance(value, dict | list) and value is not None
    )
    return "  ".join(flat)
